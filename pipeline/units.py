"""Read units: what one task of a build reads and writes, fitted to memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from dask.utils import parse_bytes
from odc.geo.geobox import GeoBox

from terralatent.catalogs.access import Access
from terralatent.catalogs.acquisition import Acquisition
from terralatent.catalogs.errors import InputError
from terralatent.catalogs.scenes import Scenes
from terralatent.catalogs.sensors import Sensor
from terralatent.catalogs.sources import Source
from terralatent.pipeline.layout import DATES_A_SHARD, STATES
from terralatent.pipeline.region import Block, blocks

__all__ = ["ReadUnit", "memory_bytes", "open_units", "unit_side"]

WIDEST_UNIT = 2048
"""Pixels along y and x of a read unit at most."""


@dataclass(frozen=True, eq=False)
class ReadUnit:
    """What one task reads and writes: whole shards of one sensor. Picklable and small."""

    sensor: Sensor
    """The sensor, as its source sees it."""

    shard: int
    """Index of the time shard."""

    window: Block
    """Pixels of the grid; its edges are edges of blocks."""

    block: int
    """Pixels along y and x of a block."""

    acquisitions: tuple[Acquisition, ...]
    """The dates of the shard."""

    grid: GeoBox
    """The cube's grid."""

    source: Source
    """Where the files come from."""

    access: Access
    """What files may be read."""

    @property
    def dates(self) -> slice:
        """Dates of the sensor's time axis."""
        start = self.shard * DATES_A_SHARD
        return slice(start, start + len(self.acquisitions))

    @property
    def states(self) -> tuple[int, slice, slice]:
        """Where this unit lies in the sensor's ``state`` array."""
        y, x = self.window.y, self.window.x
        size = self.block
        return (
            self.shard,
            slice(y.start // size, -(-y.stop // size)),
            slice(x.start // size, -(-x.stop // size)),
        )

    @property
    def name(self) -> str:
        """What messages and the store call this unit: shard, first row and column of pixels."""
        return f"{self.shard}/{self.window.y.start}/{self.window.x.start}"


def open_units(
    cube: Any, scenes: Scenes, pixels: GeoBox, block: int, sides: Mapping[str, int]
) -> Iterator[ReadUnit]:
    """Yield the read units of a cube that are not done; reads states, no pixels.

    Args:
        cube: Root group.
        scenes: What the cube is of.
        pixels: Its grid.
        block: Pixels along y and x of a block.
        sides: For each sensor, pixels along y and x of a unit, see :func:`unit_side`.
    """
    source = replace(scenes.place, where="")  # may hold a key, and no file is read by it
    for name, side in sides.items():
        sensor, acquisitions = scenes.sensor(name), scenes.acquisitions(name)
        state = np.asarray(cube[f"{name}/state"][...])
        for shard in range(state.shape[0]):
            dates = acquisitions[shard * DATES_A_SHARD : (shard + 1) * DATES_A_SHARD]
            for window in blocks((pixels.shape[0], pixels.shape[1]), side):
                unit = ReadUnit(sensor, shard, window, block, dates, pixels, source, scenes.access)
                if (state[unit.states] != STATES["done"]).any():
                    yield unit


def unit_side(sensor: Sensor, block: int, limit: int) -> int:
    """Pixels along y and x of the widest unit of whole blocks that fits into ``limit`` bytes.

    Raises:
        InputError: If not even one block fits.
    """
    mask = 2 if sensor.quality else 0
    raw = 4 if sensor.decibel else 2
    packed = np.dtype(sensor.packing.dtype).itemsize
    # As read, as packed, as encoded, and the passing copies of one item in double precision.
    pixel = DATES_A_SHARD * (len(sensor.bands) * (raw + 2 * packed) + 3 * mask)
    pixel += len(sensor.bands) * packed + 3 * np.dtype(np.float64).itemsize
    across = int((limit / 2 / pixel) ** 0.5) // block
    if across < 1:
        need = 2 * pixel * block**2 / 1e6
        raise InputError(
            f"A block of {block} pixels of {sensor.name} takes {need:.0f} MB a worker; "
            "give more --memory or a smaller --block."
        )
    return max(block, min(across * block, WIDEST_UNIT // block * block))


def memory_bytes(memory: str) -> int:
    """Bytes of a size such as ``4GB``.

    Raises:
        InputError: If it is no size above zero.
    """
    try:
        size = int(parse_bytes(memory))
    except ValueError as error:
        raise InputError(f"Memory {memory!r} is no size; give one such as 4GB.") from error
    if size <= 0:
        raise InputError(f"Memory {memory!r} must be above zero.")
    return size
