"""Cloud-optimised GeoTIFFs (COGs) of packed arrays: the one writer of them.

GDAL's COG driver only copies: blocks go, in any order, to a plain tiled BigTIFF beside it, of which
one copy makes a COG. Integers stay as they are stored; scale, offset, no data, units, names of
bands and the colours of classes are those of the array's CF attributes.
"""

from __future__ import annotations

import errno
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import rasterio.shutil
from odc.geo.geobox import GeoBox
from rasterio._err import CPLE_BaseError
from rasterio.enums import ColorInterp
from rasterio.errors import RasterioIOError
from rasterio.io import DatasetWriter
from rasterio.windows import Window

__all__ = ["Cog", "writing_cogs"]

PLAIN_TILE = 256
"""Pixels along a side of a tile of the plain file: a block of most stores."""

TILE, SMALLEST_TILE = 512, 128
"""The same of a COG, and of one with very many bands."""

TILE_BYTES = 16 * 2**20
"""What a tile of a COG has at most before it is made smaller: a reader of one band fetches all."""

LEVEL = 6
"""Of Zstandard: measured on latents as small as GDAL's 9 in half of the time; 3 is 3 % larger."""

CACHE_BYTES = 128 * 2**20
"""Of pixels that GDAL keeps of all files it has open."""

OVERVIEWS = 4 / 3
"""A file with its overviews, each of a quarter of the pixels of the one before."""

TITLE_BYTES, TILE_ENTRY = 64 * 2**10, 32
"""Room for headers and tags of a file, and for where a tile begins and how long it is."""


@dataclass(frozen=True, eq=False)
class Cog:
    """A COG to be: everything but its pixels."""

    path: Path
    """Where it appears, once it is whole."""

    grid: GeoBox
    """Its pixels."""

    dtype: str
    """NumPy name, of all its bands."""

    bands: tuple[str, ...]
    """What each band is; empty where the file says enough."""

    attrs: Mapping[str, Any] = field(default_factory=dict)
    """CF attributes of the array."""

    tags: Mapping[str, str] = field(default_factory=dict)
    """Metadata of the file."""

    @property
    def plain_bytes(self) -> int:
        """Size of the plain file at most."""
        tiles = math.prod(math.ceil(n / PLAIN_TILE) for n in self.grid.shape)
        return self.pixel_bytes + tiles * len(self.bands) * TILE_ENTRY + TITLE_BYTES

    @property
    def pixel_bytes(self) -> int:
        """Size of all that the plain file's tiles hold."""
        rows, columns = (math.ceil(n / PLAIN_TILE) * PLAIN_TILE for n in self.grid.shape)
        return rows * columns * self._pixel_bytes

    @property
    def most_bytes(self) -> int:
        """Size of the COG at most, where nothing can be compressed."""
        rows, columns = (math.ceil(n / self.tile) * self.tile for n in self.grid.shape)
        return int(rows * columns * self._pixel_bytes * OVERVIEWS) + TITLE_BYTES

    @property
    def tile(self) -> int:
        """Pixels along a side of a tile of the COG."""
        tile = TILE
        while tile > SMALLEST_TILE and tile * tile * self._pixel_bytes > TILE_BYTES:
            tile //= 2
        return tile

    @property
    def is_of_classes(self) -> bool:
        """Whether its pixels are names, between two of which there is no third."""
        return "flag_values" in self.attrs

    @property
    def _pixel_bytes(self) -> int:
        return len(self.bands) * np.dtype(self.dtype).itemsize


@contextmanager
def writing_cogs(cogs: Sequence[Cog], folder: Path) -> Iterator[list[DatasetWriter]]:
    """Yield plain files to write blocks into, one for each COG; COGs are made of them at the end.

    Each COG appears under its name whole, in the place of what was there.

    Args:
        cogs: Those to be.
        folder: For what is on the way, on the disk of the COGs.

    Raises:
        RasterioError: If GDAL cannot write.
        OSError: If the disk is full, or a COG cannot be put into its place.
    """
    plains = [folder / f"plain-{number}.tif" for number in range(len(cogs))]
    with rasterio.Env(GDAL_CACHEMAX=CACHE_BYTES, GDAL_PAM_ENABLED="NO", CPL_TMPDIR=str(folder)):
        with ExitStack() as stack:
            yield [
                stack.enter_context(_open(cog, plain))
                for cog, plain in zip(cogs, plains, strict=True)
            ]
        for cog, plain in zip(cogs, plains, strict=True):
            if plain.stat().st_size < cog.pixel_bytes:  # of which GDAL says nothing on closing
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            _put_in_place(cog, _copied(cog, plain))
            plain.unlink()


def _open(cog: Cog, plain: Path) -> DatasetWriter:
    none = np.nan if np.dtype(cog.dtype).kind == "f" else None
    nodata = cog.attrs.get("_FillValue", cog.attrs.get("nodata", none))
    file = rasterio.open(
        plain, "w", driver="GTiff", height=cog.grid.shape[0], width=cog.grid.shape[1],
        count=len(cog.bands), dtype=cog.dtype, crs=str(cog.grid.crs), transform=cog.grid.affine,
        nodata=nodata, tiled=True, blockxsize=PLAIN_TILE, blockysize=PLAIN_TILE,
        interleave="band", bigtiff="yes",
    )  # fmt: skip
    _describe(file, cog)
    return file


def _describe(file: Any, cog: Cog) -> None:
    attrs = cog.attrs
    if "units" in attrs:
        file.units = (attrs["units"],) * file.count
    if "scale_factor" in attrs:
        file.scales = (attrs["scale_factor"],) * file.count
    if "add_offset" in attrs:
        file.offsets = (attrs["add_offset"],) * file.count
    for band, text in enumerate(cog.bands, start=1):
        if text:
            file.set_band_description(band, text)
    tags = dict(cog.tags)
    if "long_name" in attrs:
        tags["long_name"] = attrs["long_name"]
    if cog.is_of_classes and file.count == 1:
        tags |= _class_names(attrs)
        if "flag_colors" in attrs:
            file.write_colormap(1, {0: (0, 0, 0, 0), **_colours(attrs)})
            file.colorinterp = [ColorInterp.palette]
    file.update_tags(**tags)


def _class_names(attrs: Mapping[str, Any]) -> dict[str, str]:
    names = attrs.get("class_names") or str(attrs.get("flag_meanings", "")).split()
    pairs = zip(attrs["flag_values"], names, strict=False)
    return {f"CLASS_{value}": str(name) for value, name in pairs}


def _colours(attrs: Mapping[str, Any]) -> dict[int, tuple[int, ...]]:
    return {
        int(value): (*bytes.fromhex(colour[1:]), 255)
        for value, colour in zip(attrs["flag_values"], attrs["flag_colors"].split(), strict=True)
    }


def _copied(cog: Cog, plain: Path) -> Path:
    """Copy a plain file to a COG beside it, and read its last pixels: where it ends."""
    aside = plain.with_suffix(".cog")
    # Means are of quantities; of classes, bits and counts an overview shows what most pixels are.
    quantity = "scale_factor" in cog.attrs or np.dtype(cog.dtype).kind == "f"
    try:
        rasterio.shutil.copy(
            plain, aside, driver="COG", compress="zstd", level=LEVEL, num_threads="all_cpus",
            blocksize=cog.tile, bigtiff="if_safer", predictor="no" if cog.is_of_classes else "yes",
            overview_resampling="average" if quantity else "mode",
        )  # fmt: skip
        with rasterio.open(aside) as made:
            made.read(window=Window(made.width - 1, made.height - 1, 1, 1))
    except CPLE_BaseError as error:
        raise RasterioIOError(" ".join(str(error.errmsg).split())) from error
    return aside


def _put_in_place(cog: Cog, made: Path) -> None:
    os.replace(made, cog.path)
