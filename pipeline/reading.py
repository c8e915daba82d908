"""Files of STAC items to arrays on one grid, by odc-stac, with every failure named."""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import odc.stac
import pystac
import rasterio
import rasterio.errors
from odc.geo.geobox import GeoBox
from odc.loader._rio import RioDriver, RioReader
from shapely.geometry import mapping

__all__ = ["GDAL_OPTIONS", "Band", "Source", "Unread", "read_sources"]

GDAL_OPTIONS: Mapping[str, Any] = {
    # Few requests for a small COG: no listing of its folder, no sidecars, a long header. HEAD
    # stays: told not to use it, GDAL begins to GET the whole file to learn its size.
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    "GDAL_INGESTED_BYTES_AT_OPEN": 32768,
    "GDAL_HTTP_MULTIPLEX": "YES",
    "GDAL_HTTP_MERGE_CONSECUTIVE_RANGES": "YES",
    "GDAL_HTTP_CONNECTTIMEOUT": 10,
    "GDAL_HTTP_TIMEOUT": 60,
    "GDAL_HTTP_MAX_RETRY": 5,
    "GDAL_HTTP_RETRY_DELAY": 0.5,
    "VSI_CACHE": True,
    "VSI_CACHE_SIZE": 5_000_000,
    # A worker lives longer than a file: what was missing a while ago may be back.
    "CPL_VSIL_CURL_NON_CACHED": "/vsicurl/:/vsis3/:/vsigs/:/vsiaz/",
    # Its block cache would take a twentieth of the machine in each worker; pixels are read once.
    "GDAL_CACHEMAX": 128,
}
"""GDAL's settings for cloud-optimised GeoTIFFs over HTTP."""

ODC_LOG = "odc.loader._rio"
"""Logger in which odc-loader repeats a failure that is named by :class:`Unread` already."""


@dataclass(frozen=True)
class Band:
    """How one band of a source is read."""

    name: str
    """Its name in the result."""

    dtype: str
    """NumPy name of the integers or floats in which it comes."""

    nodata: float | None
    """What a pixel without data reads as; None: NaN, for floats only."""

    def __post_init__(self) -> None:
        if self.nodata is None and np.dtype(self.dtype).kind != "f":
            raise ValueError(f"{self.name}: integers ({self.dtype}) need a no data value.")


@dataclass(frozen=True)
class Source:
    """One item: where the file of each band lies."""

    id: str
    """The item's id."""

    hrefs: Mapping[str, str]
    """Path or URL of each band, by its name; bands that are absent read as no data."""


@dataclass(frozen=True)
class Unread:
    """A file that could not be read; its pixels are no data."""

    href: str
    """The file."""

    reason: str
    """Why, in one line."""


def read_sources(
    sources: Sequence[Source], bands: Sequence[Band], window: GeoBox, *, threads: int
) -> tuple[dict[str, np.ndarray], list[Unread]]:
    """Read every band of every source on the grid of ``window``, nearest neighbour. Computes.

    Args:
        sources: Items whose bands are read alike.
        bands: What to read of each.
        window: The grid.
        threads: Files read at the same time.

    Returns:
        For each band, pixels as the files hold them, (source, y, x), no data outside of them; and
        the files that failed, which are no data from edge to edge.
    """
    driver = _NamingDriver()
    with rasterio.Env(**GDAL_OPTIONS), _silent(ODC_LOG):
        loaded = odc.stac.load(
            [_item(source, bands, window) for source in sources],
            bands=[band.name for band in bands],
            groupby="id",
            geobox=window,
            resampling="nearest",
            pool=threads,
            driver=driver,
        )
    return {band.name: loaded[band.name].values for band in bands}, driver.unread


class _NamingDriver(RioDriver):
    """The rasterio driver of odc-loader; a file that fails reads as no data and is written down."""

    def __init__(self) -> None:
        super().__init__()
        self.unread: list[Unread] = []

    def open(self, src: Any, ctx: Any) -> _NamingReader:
        return _NamingReader(src, ctx, self.unread)


class _NamingReader(RioReader):
    def __init__(self, src: Any, ctx: Any, unread: list[Unread]) -> None:
        super().__init__(src, ctx)
        self._unread = unread

    def read(
        self, cfg: Any, dst_geobox: GeoBox, *, dst: Any = None, selection: Any = None
    ) -> tuple[Any, np.ndarray]:
        try:
            return super().read(cfg, dst_geobox, dst=dst, selection=selection)
        except (rasterio.errors.RasterioError, OSError, ValueError) as error:
            self._unread.append(Unread(self._src.uri, _reason(error)))
            return np.s_[0:0, 0:0], np.ndarray((0, 0), dtype=cfg.dtype)


def _reason(error: BaseException) -> str:
    """The error in one line, without the query of a URL, where signatures are."""
    text, pointer = str(error), "See previous exception for details."
    if pointer in text:  # rasterio's words, which leave what happened to the first of a chain
        first = error
        while (cause := first.__cause__ or first.__context__) is not None:
            first = cause
        text = text.replace(f". {pointer}", f": {first}")
    return re.sub(r"\?[^\s'\"]+", "", " ".join(text.split())) or type(error).__name__


def _item(source: Source, bands: Sequence[Band], window: GeoBox) -> pystac.Item:
    """Describe a source anew, so that odc-stac has nothing to guess.

    Its footprint is the window itself: which pixels a window gets is left to the files, because
    footprints in catalogues are coarse, and tilings would differ at their edges.
    """
    extent = window.extent.to_crs("EPSG:4326").geom
    item = pystac.Item(
        id=source.id,
        geometry=mapping(extent),
        bbox=list(extent.bounds),
        datetime=datetime(1970, 1, 1),
        properties={},
        collection="scenes",
    )
    for band in bands:
        if band.name in source.hrefs:
            told = {
                "data_type": band.dtype,
                "nodata": "nan" if band.nodata is None else band.nodata,
            }
            asset = pystac.Asset(
                href=source.hrefs[band.name],
                media_type="image/tiff",
                roles=["data"],
                extra_fields={"raster:bands": [told]},
            )
            item.add_asset(band.name, asset)
    return item


@contextmanager
def _silent(name: str) -> Iterator[None]:
    log = logging.getLogger(name)

    # A filter of its own for each call: other threads of this process may be reading too.
    def nothing(_: logging.LogRecord) -> bool:
        return False

    log.addFilter(nothing)
    try:
        with warnings.catch_warnings():
            # rasterio asks an array in memory for its transform before it has set it.
            warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
            yield
    finally:
        log.removeFilter(nothing)
