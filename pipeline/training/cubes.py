"""The cubes one model learns from: opened at a snapshot, checked, and cut into patches."""

from __future__ import annotations

import hashlib
import json
import logging
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from terralatent.catalogs.errors import InputError
from terralatent.pipeline.cube.losses import PENDING
from terralatent.pipeline.cube.masking import AS_STORED, MaskingRequest, Masks, mask_bands, settle
from terralatent.pipeline.cube.series import SeriesBlock, read_series
from terralatent.pipeline.region import Block, blocks
from terralatent.pipeline.store.damage import translated_errors
from terralatent.pipeline.store.history import keep_for
from terralatent.pipeline.store.repository import ABOUT, Store
from terralatent.pipeline.tables.columns import Columns
from terralatent.pipeline.tables.table import TableSource, is_table
from terralatent.pipeline.training.holdout import blocks_apart
from terralatent.pipeline.training.sources import Bands, PixelSource, agree
from terralatent.pipeline.training.tables.calendars import open_table

__all__ = ["Labels", "TrainingCube", "mask", "open_training_cubes"]

log = logging.getLogger(__name__)

PATCH = 64
"""Side of what is read at once, in pixels: one inner chunk."""

Labels = NDArray[np.integer]
"""Classes on a cube's grid, (y, x); 0 where a pixel is unlabelled, a class of its own."""


@dataclass(frozen=True, eq=False)
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

    sensors: Mapping[str, Bands]
    """The sensors that are used and have acquisitions, by name, and the bands that series have."""

    patches: tuple[Block, ...]
    """At most 64 x 64 pixels each; none crosses a block's edge."""

    apart: tuple[bool, ...]
    """For each patch, whether its block is kept for validation."""

    masks: Masks = AS_STORED
    """How the sensors are masked; the same in all cubes of a training."""

    labels: Labels | None = field(default=None, repr=False)
    """Classes of its pixels, by which they are balanced."""

    together: bool = True
    """Its pixels have the same dates."""

    @property
    def name(self) -> str:
        """Its path or URL, as it was given."""
        return str(self.store)

    @property
    def version(self) -> str:
        """Its snapshot; its path for plain Zarr."""
        return self.snapshot or self.name

    @property
    def sizes(self) -> tuple[int, ...]:
        """Pixels of each patch."""
        return tuple(math.prod(patch.shape) for patch in self.patches)

    def read(self, part: int) -> SeriesBlock:
        """Read the series of a patch. Computes.

        Raises:
            InputError: If the cube is damaged there.
        """
        patch = self.patches[part]
        bands = {name: own.names for name, own in self.sensors.items()}
        with translated_errors(self.store):
            return read_series(self.group, tuple(self.sensors), patch.y, patch.x, self.masks, bands)

    def classes(self, part: int) -> Labels | None:
        """The class of each pixel of a patch, row by row; None without labels."""
        patch = self.patches[part]
        return None if self.labels is None else self.labels[patch.y, patch.x].ravel()

    def with_sensors(self, sensors: Mapping[str, Bands]) -> TrainingCube:
        """The same cube with some of its sensors, whose series have the bands given."""
        return replace(self, sensors=dict(sensors))

    def keep_for(self, user: str) -> None:
        """Tag the snapshot, so that it is kept for as long as ``user`` is there."""
        keep_for(user, self.store, self.snapshot)


def open_training_cubes(
    cubes: TableSource | Sequence[TableSource],
    sensors: Sequence[str] | None = None,
    *,
    seed: int,
    masking: MaskingRequest = None,
    columns: Columns = None,
    labels: Sequence[Labels | None] | None = None,
    carry: Sequence[str] = (),
) -> tuple[PixelSource, ...]:
    """Open cubes at their newest snapshot, and tables, and see that one model fits them.

    Reads no pixels of cubes; a table is read once, one row group after the other.

    Args:
        cubes: A path or URL, or several; those that end in ``.parquet`` or ``.csv``, frames, and
            :class:`~terralatent.pipeline.tables.series.Series` are tables of pixel series, see
            :func:`terralatent.pipeline.training.tables.calendars.open_table`.
        sensors: Those to use; by default all that have acquisitions.
        seed: Of the choice of the blocks kept apart.
        masking: How the sensors of cubes are masked.
        columns: Where the tables have what.
        labels: For each of ``cubes``, classes of its pixels; None for one that has none.
        carry: Further columns of pixels that are wanted of tables, where these have them.

    Returns:
        The cubes, and the calendars of the tables. A sensor has the same bands in all of them;
        what one lacks is never valid there.

    Raises:
        InputError: If one is no cube or table or has none of the sensors, if none has one of them,
            if two disagree about the units of a sensor, if they cannot be masked so, or if labels
            do not fit.
    """
    if isinstance(cubes, str | Path) or is_table(cubes):
        cubes = [cubes]
    if not cubes:
        raise InputError("training needs at least one cube, got none.")
    if labels is not None and len(labels) != len(cubes):
        raise InputError(
            f"there are labels for {len(labels)} cubes, but {len(cubes)} cubes; give None for one "
            "without."
        )
    opened: list[PixelSource] = []
    for place, cube in enumerate(cubes):
        own = None if labels is None else labels[place]
        if not is_table(cube):
            opened.append(_labelled(_open(Store.of(cube), seed), own))
        elif own is not None:
            raise InputError(f"{cube}: labels are for cubes; leave those of a table out.")
        else:
            opened += open_table(cube, sensors, seed=seed, columns=columns, carry=carry)
    return mask(agree(opened, sensors), masking)


def mask(
    sources: Sequence[PixelSource],
    masking: MaskingRequest,
    before: Masks = AS_STORED,
    fixed: Collection[str] = (),
) -> tuple[PixelSource, ...]:
    """Settle how the sensors of all cubes are masked; see :func:`settle`. Reads no pixels.

    Tables stay as they are: what they hold was seen.
    """
    bands: dict[str, str | None] = {}
    for source in sources:
        names = list(source.sensors)
        there = source.group if isinstance(source, TrainingCube) else None
        own = dict.fromkeys(names) if there is None else mask_bands(there, names)
        bands |= {name: dtype or bands.get(name) for name, dtype in own.items()}
    masks = settle(bands, masking, before, fixed)
    return tuple(
        replace(source, masks=masks) if isinstance(source, TrainingCube) else source
        for source in sources
    )


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


def _labelled(cube: TrainingCube, labels: Labels | None) -> TrainingCube:
    """The same cube with labels.

    Raises:
        InputError: If they are no integers on its grid.
    """
    if labels is None or not cube.sensors:
        return cube
    data: Any = cube.group[f"{next(iter(cube.sensors))}/data"]
    labels, shape = np.asarray(labels), data.shape[-2:]
    if labels.shape != shape or labels.dtype.kind not in "ui":
        raise InputError(
            f"{cube.name}: labels are {labels.dtype} {labels.shape}; integers on its grid are "
            f"wanted, {shape}."
        )
    return replace(cube, labels=labels)


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
