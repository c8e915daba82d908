"""How a grid is cut into the read units of a sensor, and how they are read within memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from odc.geo.geobox import GeoBox

from terralatent.catalogs.errors import InputError
from terralatent.catalogs.scenes.acquisition import Acquisition
from terralatent.catalogs.sources.sensors import Sensor
from terralatent.pipeline.cube.layout import DATES_A_SHARD
from terralatent.pipeline.ingest.border_noise import border_halo
from terralatent.pipeline.ingest.pixels import read_dtype
from terralatent.pipeline.ingest.window_shapes import WIDEST, cut_windows, tile_edges
from terralatent.pipeline.region import Block

__all__ = ["READ_THREADS", "UnitCut", "unit_cut"]

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
