"""Files of STAC items to arrays on one grid, by odc-stac, with every failure named."""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np
import odc.stac
import pystac
import rasterio
import rasterio.errors
from odc.geo.geobox import GeoBox
from odc.loader._rio import RioDriver, RioReader
from rasterio.session import Session
from shapely.geometry import mapping

from terralatent.catalogs.item import ToldGrid
from terralatent.catalogs.sensors import Resampling
from terralatent.catalogs.signing import Readable
from terralatent.pipeline.placement import check_placement
from terralatent.pipeline.warping import read_on_grid

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

    resampling: Resampling = "nearest"
    """How pixels of the file become pixels of the grid; those without data never count."""

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

    grids: Mapping[str, ToldGrid] = field(default_factory=dict)
    """Where the file of a band lies by the words of its item; a file that lies elsewhere is not
    read."""


@dataclass(frozen=True)
class Unread:
    """A file that could not be read; its pixels are no data."""

    href: str
    """The file."""

    reason: str
    """Why, in one line."""


def read_sources(
    sources: Sequence[Source],
    bands: Sequence[Band],
    window: GeoBox,
    *,
    threads: int,
    opened: Callable[[str], Readable] = Readable,
) -> tuple[dict[str, np.ndarray], list[Unread]]:
    """Read every band of every source on the grid of ``window``. Computes.

    Args:
        sources: Items whose bands are read alike.
        bands: What to read of each.
        window: The grid.
        threads: Files read at the same time.
        opened: Told the href of a file just before it is read, says how to open it.

    Returns:
        For each band, pixels as the files hold them, (source, y, x), no data outside of them; and
        the files that failed, which are no data from edge to edge.
    """
    places = {
        href: source.grids[band]
        for source in sources
        for band, href in source.hrefs.items()
        if band in source.grids
    }
    driver = _NamingDriver(opened, places)
    with rasterio.Env(**GDAL_OPTIONS), _silent(ODC_LOG):
        loaded = odc.stac.load(
            [_item(source, bands, window) for source in sources],
            bands=[band.name for band in bands],
            groupby="id",
            geobox=window,
            resampling={band.name: band.resampling for band in bands},
            pool=threads,
            driver=driver,
        )
    return {band.name: loaded[band.name].values for band in bands}, driver.unread


class _NamingDriver(RioDriver):
    """The rasterio driver of odc-loader; a file that fails reads as no data and is written down."""

    def __init__(self, opened: Callable[[str], Readable], places: Mapping[str, ToldGrid]) -> None:
        super().__init__()
        self.opened = opened
        self.places = places
        self.unread: list[Unread] = []

    def open(self, src: Any, ctx: Any) -> _NamingReader:
        return _NamingReader(src, ctx, self)


class _NamingReader(RioReader):
    def __init__(self, src: Any, ctx: Any, driver: _NamingDriver) -> None:
        super().__init__(src, ctx)
        self._driver = driver

    def read(
        self, cfg: Any, dst_geobox: GeoBox, *, dst: Any = None, selection: Any = None
    ) -> tuple[Any, np.ndarray]:
        href = self._src.uri
        try:
            now = self._driver.opened(href)
            with _settings(now.options), rasterio.open(now.href, sharing=False) as file:
                if href in self._driver.places:
                    check_placement(file, self._driver.places[href])

                def reopen(level: int) -> Any:
                    return rasterio.open(now.href, sharing=False, overview_level=level)

                return read_on_grid(file, reopen, cfg, dst_geobox)
        except (rasterio.errors.RasterioError, OSError, ValueError) as error:
            self._driver.unread.append(Unread(href, _reason(error)))
            return np.s_[0:0, 0:0], np.ndarray((0, 0), dtype=cfg.dtype)


class _Keys(Session):
    """Settings of GDAL that hold keys, which rasterio takes from nobody but a session."""

    def __init__(self, options: Mapping[str, str]) -> None:
        self._options = dict(options)

    def get_credential_options(self) -> dict[str, str]:
        return self._options


@contextmanager
def _settings(options: Mapping[str, str]) -> Iterator[None]:
    """GDAL's settings for one file, in this thread alone."""
    if not options:
        yield
        return
    with rasterio.Env(session=_Keys(options)):
        yield


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
