"""The cubes one model learns from: opened at a snapshot, checked, and cut into patches."""

from __future__ import annotations

import hashlib
import json
import logging
import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import zarr

from terralatent.catalogs.errors import InputError
from terralatent.pipeline.cube.losses import PENDING
from terralatent.pipeline.cube.masking import AS_STORED, MaskingRequest, Masks, mask_bands, settle
from terralatent.pipeline.region import Block, blocks
from terralatent.pipeline.store.damage import translated_errors
from terralatent.pipeline.store.repository import ABOUT, Store
from terralatent.pipeline.training.holdout import blocks_apart

__all__ = ["Bands", "TrainingCube", "mask", "open_training_cubes"]

log = logging.getLogger(__name__)

PATCH = 64
"""Side of what is read at once, in pixels: one inner chunk."""


@dataclass(frozen=True)
class Bands:
    """What one value of a sensor means; equal in all cubes of a training."""

    names: tuple[str, ...]
    """Bands in the order of the cube."""

    units: str
    """Units of the bands' values."""


@dataclass(frozen=True)
class TrainingCube:
    """One cube at one snapshot, cut into patches of which some are kept from training."""

    store: Store
    """Its path or URL."""

    snapshot: str
    """The commit that is read, empty for plain Zarr."""

    identity: str
    """SHA-256 of what the cube says it was built from."""

    group: zarr.Group
    """Its root, read-only, at that snapshot."""

    sensors: dict[str, Bands]
    """The sensors that are used and have acquisitions, by name."""

    patches: tuple[Block, ...]
    """At most 64 x 64 pixels each; none crosses a block's edge."""

    apart: tuple[bool, ...]
    """For each patch, whether its block is kept for validation."""

    masks: Masks = AS_STORED
    """How the sensors are masked; the same in all cubes of a training."""

    def choose(self, *, apart: bool) -> list[int]:
        """The places of the patches kept apart, or of those for training."""
        return [place for place, mark in enumerate(self.apart) if mark == apart]


def open_training_cubes(
    cubes: str | Path | Sequence[str | Path],
    sensors: Sequence[str] | None = None,
    *,
    seed: int,
    masking: MaskingRequest = None,
) -> tuple[TrainingCube, ...]:
    """Open cubes at their newest snapshot and check that one model fits them. Reads no pixels.

    Args:
        cubes: A path or URL, or several.
        sensors: Those to use; by default all that have acquisitions.
        seed: Of the choice of the blocks kept apart.
        masking: How the sensors are masked.

    Raises:
        InputError: If one is no cube or has none of the sensors, if no cube has one of them, if two
            disagree about the bands or units of a sensor, or if they cannot be masked so.
    """
    if isinstance(cubes, str | Path):
        cubes = [cubes]
    if not cubes:
        raise InputError("training needs at least one cube, got none.")
    opened = [_open(Store.of(cube), seed) for cube in cubes]
    known = {name: bands for cube in opened for name, bands in cube.sensors.items()}
    unknown = sorted(set(sensors or ()) - set(known))
    if unknown or not known:
        raise InputError(
            f"no cube has acquisitions of {', '.join(unknown) or 'any sensor'}; "
            f"there are {', '.join(sorted(known)) or 'none'}."
        )
    return mask([_use(cube, known, sensors) for cube in opened], masking)


def mask(
    cubes: Sequence[TrainingCube],
    masking: MaskingRequest,
    before: Masks = AS_STORED,
    fixed: Collection[str] = (),
) -> tuple[TrainingCube, ...]:
    """Settle how the sensors of all cubes are masked; see :func:`settle`. Reads no pixels."""
    bands: dict[str, str | None] = {}
    for cube in cubes:
        own = mask_bands(cube.group, list(cube.sensors))
        bands |= {name: dtype or bands.get(name) for name, dtype in own.items()}
    masks = settle(bands, masking, before, fixed)
    return tuple(replace(cube, masks=masks) for cube in cubes)


def _open(store: Store, seed: int) -> TrainingCube:
    with translated_errors(store):
        return _open_whole(store, seed)


def _open_whole(store: Store, seed: int) -> TrainingCube:
    snapshot = store.snapshot() if store.exists() else ""
    group = store.group(kind="cube", snapshot=snapshot or None)
    sensors, edge, shape = {}, 1, (0, 0)
    for name, part in sorted(group.groups()):
        if "data" not in part:
            continue
        data = part["data"]
        shape, edge = data.shape[-2:], (data.shards or data.chunks)[-1]
        if data.shape[0]:
            names = tuple(str(band) for band in part["band"][:])
            sensors[name] = Bands(names, str(data.attrs.get("units", "")))
            if (part["state"][:] == PENDING).any():
                log.warning("%s: %s is not built to the end; what is there is used", store, name)
    whole = blocks(shape, edge)
    full = np.array([math.prod(block.shape) == edge * edge for block in whole])
    patches = [
        (patch, bool(mark))
        for block, mark in zip(whole, blocks_apart(full, seed), strict=True)
        for patch in _cut(block)
    ]
    identity = json.dumps(group.attrs[ABOUT], sort_keys=True)
    return TrainingCube(
        store=store,
        snapshot=snapshot,
        identity=hashlib.sha256(identity.encode()).hexdigest(),
        group=group,
        sensors=sensors,
        patches=tuple(patch for patch, _ in patches),
        apart=tuple(mark for _, mark in patches),
    )


def _use(
    cube: TrainingCube, known: dict[str, Bands], sensors: Sequence[str] | None
) -> TrainingCube:
    """Keep the sensors that are wanted; ``known`` says what the other cubes hold of them."""
    for name, bands in cube.sensors.items():
        if bands != known[name]:
            raise InputError(
                f"{cube.store}: {name} has the bands {list(bands.names)} in {bands.units}, another "
                f"cube {list(known[name].names)} in {known[name].units}; one model needs the same."
            )
    used = {name: bands for name, bands in cube.sensors.items() if not sensors or name in sensors}
    if not used:
        raise InputError(
            f"{cube.store} has acquisitions of none of {', '.join(sensors or ['its sensors'])}."
        )
    return replace(cube, sensors=used)


def _cut(block: Block) -> list[Block]:
    """Cut a block into patches, row by row."""
    return [
        Block(
            block.index,
            slice(y, min(y + PATCH, block.y.stop)),
            slice(x, min(x + PATCH, block.x.stop)),
        )
        for y in range(block.y.start, block.y.stop, PATCH)
        for x in range(block.x.start, block.x.stop, PATCH)
    ]
