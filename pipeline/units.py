"""Read units: what one task of a build reads and writes, fitted to memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
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
from terralatent.pipeline.border import border_halo
from terralatent.pipeline.layout import DATES_A_SHARD, STATES
from terralatent.pipeline.pixels import read_dtype
from terralatent.pipeline.region import Block
from terralatent.pipeline.windows import WIDEST, cut_windows, tile_edges

__all__ = ["READ_THREADS", "ReadUnit", "UnitCut", "memory_bytes", "open_units", "unit_cut"]

READ_THREADS = 8
"""Files that one task reads at the same time: a request waits longer than it computes."""


@dataclass(frozen=True)
class UnitCut:
    """How the read units of one sensor are cut, and read."""

    windows: tuple[Block, ...]
    """Pixels of the grid, each once; edges of windows are edges of blocks."""

    together: int
    """Dates that are read together."""

    def __post_init__(self) -> None:
        if not self.windows or self.together < 1:
            raise ValueError(f"{len(self.windows)} windows, {self.together} dates together: no cut")


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

    together: int = 1
    """Dates that are read together."""

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
    cube: Any, scenes: Scenes, pixels: GeoBox, block: int, cuts: Mapping[str, UnitCut]
) -> Iterator[ReadUnit]:
    """Yield the read units of a cube that are not done; reads states, no pixels.

    Args:
        cube: Root group, or any mapping with the ``state`` array of each sensor.
        scenes: What the cube is of.
        pixels: Its grid.
        block: Pixels along y and x of a block.
        cuts: For each sensor, its windows, see :func:`unit_cut`.
    """
    source = replace(scenes.place, where="")  # may hold a key, and no file is read by it
    for name, cut in cuts.items():
        sensor, acquisitions = scenes.sensor(name), scenes.acquisitions(name)
        state = np.asarray(cube[f"{name}/state"][...])
        for shard in range(state.shape[0]):
            dates = acquisitions[shard * DATES_A_SHARD : (shard + 1) * DATES_A_SHARD]
            for window in cut.windows:
                unit = ReadUnit(
                    sensor=sensor,
                    shard=shard,
                    window=window,
                    block=block,
                    acquisitions=dates,
                    grid=pixels,
                    source=source,
                    access=scenes.access,
                    together=cut.together,
                )
                if (state[unit.states] != STATES["done"]).any():
                    yield unit


def unit_cut(
    sensor: Sensor, acquisitions: Sequence[Acquisition], grid: GeoBox, block: int, limit: int
) -> UnitCut:
    """Cut a grid into the read units of a sensor, so that each fits into ``limit`` bytes.

    Half of the limit is for a unit's arrays. A pixel of the unit takes in them:

    - the 16 dates as the cube keeps them, in all bands and the mask;
    - the dates that are read together as their files hold them;
    - of one file, four times as much for each thread that reads: what it fetches, twice while it
      arrives, its tiles beyond the window, and of a file of another CRS what is to be warped;
    - of a date with noise along its edges, three copies in double precision.

    Units are as wide as they can be with one date read at a time; then as many dates are read
    together as fit. The other half is for the rest of the process: its libraries (250 MB), GDAL's
    caches (170 MB), and ten shards that are compressed at a time.

    Args:
        sensor: Its source sees it so.
        acquisitions: Its dates.
        grid: The cube's grid.
        block: Pixels along y and x of a block.
        limit: Bytes that a worker process may use.

    Raises:
        InputError: If not even one block fits.
    """
    halo = max(
        (border_halo(item, sensor.border, grid) for a in acquisitions for item in a.items),
        default=0,
    )
    pixel = _PixelBytes.of(sensor, acquisitions)
    room = limit // 2
    one = pixel.kept + pixel.reading(1, halo > 0)
    padded = (block + 2 * halo) ** 2
    if (need := pixel.kept * block**2 + pixel.reading(1, halo > 0) * padded) > room:
        raise InputError(
            f"A block of {block} pixels of {sensor.name} takes {2 * need / 1e6:.0f} MB a worker; "
            "give more --memory or a smaller --block."
        )
    # odc-stac would read a file in several windows where one is wider than this.
    widest = WIDEST - 2 * halo
    windows = cut_windows(grid, block, room // one, tile_edges(acquisitions, grid), widest)
    rows, columns = (max(sizes) for sizes in zip(*(w.shape for w in windows), strict=True))
    left = room - (pixel.kept + pixel.reading(0, halo > 0)) * rows * columns
    together = left // (pixel.date * (rows + 2 * halo) * (columns + 2 * halo))
    return UnitCut(windows, int(min(max(together, 1), DATES_A_SHARD)))


@dataclass(frozen=True)
class _PixelBytes:
    """What one pixel takes."""

    kept: int
    """As the cube keeps it, all dates of a shard."""

    date: int
    """As the files of one date hold it."""

    file: int
    """As a file of one band holds it."""

    double: int
    """In double precision, all bands."""

    @classmethod
    def of(cls, sensor: Sensor, acquisitions: Sequence[Acquisition]) -> _PixelBytes:
        mask = max((np.dtype(band.dtype).itemsize for band in sensor.quality), default=0)
        bands = len(sensor.bands)
        kinds = {
            read_dtype(item["assets"].get(sensor.bands[0], {}), scaling)
            for a in acquisitions
            for item, scaling in zip(a.items, a.scalings, strict=True)
        }
        file = max((np.dtype(kind).itemsize for kind in kinds), default=4)
        kept = DATES_A_SHARD * (bands * np.dtype(sensor.packing.dtype).itemsize + mask)
        return cls(kept, bands * file + mask, file, bands * np.dtype(np.float64).itemsize)

    def reading(self, dates: int, noisy: bool) -> int:
        """What it takes besides while so many dates are read together."""
        return dates * self.date + 4 * READ_THREADS * self.file + 3 * self.double * noisy


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
