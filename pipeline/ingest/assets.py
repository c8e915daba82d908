"""Files of STAC items to arrays on one grid, by odc-stac, with every failure named."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from datetime import datetime
from email.utils import formatdate
from functools import partial
from time import monotonic
from typing import Any
from uuid import uuid4

import numpy as np
import odc.stac
import pystac
import rasterio
import rasterio.errors
from odc.geo.geobox import GeoBox
from odc.loader import RioDriver
from rasterio.session import Session
from shapely.geometry import mapping

from terralatent.catalogs.documents.access import Access
from terralatent.catalogs.documents.proxy import gdal_settings, refused_since
from terralatent.catalogs.hrefs import scheme_of, without_secrets
from terralatent.catalogs.items.georeference import Georeference
from terralatent.catalogs.printable import printable
from terralatent.catalogs.sources.sensors import Resampling
from terralatent.catalogs.sources.signing import Readable
from terralatent.pipeline.ingest.decoding import MOST_BYTES, DecodingMemory, decoding_memory
from terralatent.pipeline.ingest.raster import GDAL_OPTIONS, Misplaced, open_raster
from terralatent.pipeline.ingest.retry import FAULTS, Host, host_of, persist
from terralatent.pipeline.ingest.warp import read_on_grid

__all__ = ["Band", "Source", "Unread", "opening", "read_sources", "reason_of"]

LONGEST = 500
"""Characters of a reason."""

_ANEW = "#read-"
"""What begins the part of a name that is new at each reading."""


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

    classes: bool = False
    """Whether its values are classes or bits, which have no means: overviews are not read."""

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

    placements: Mapping[str, Georeference] = field(default_factory=dict)
    """Where the item says that the files lie, by band."""


@dataclass(frozen=True)
class Unread:
    """A file that could not be read, its pixels are no data; or of which its item was wrong."""

    source: str
    """Id of its item."""

    band: str
    """Its band."""

    reason: str
    """Why, in one line."""


def read_sources(
    sources: Sequence[Source],
    bands: Sequence[Band],
    window: GeoBox,
    *,
    access: Access,
    opened: Callable[[str], Readable] = Readable,
    threads: int,
    at_once: int | None = None,
    memory: int = MOST_BYTES,
    misplaced: Callable[[Unread], None] | None = None,
) -> tuple[dict[str, np.ndarray], list[Unread]]:
    """Read every band of every source on the grid of ``window``. Computes.

    Args:
        sources: Items whose bands are read alike.
        bands: What to read of each.
        window: The grid.
        access: What files may be read; checked right before each is opened.
        threads: Files read at the same time.
        opened: Given the href of a file just before it is read, says how to open it.
        at_once: Requests to each host at the same time, of all calls in this process that give
            the same number; None: as many as there are threads. Files of this machine do not count.
        memory: Bytes that may be decoded at the same time, of all calls in this process that give
            the same number.
        misplaced: Told of each file that is read where it lies, though its item places it elsewhere
            (see :func:`~terralatent.pipeline.ingest.raster.open_raster`); None: it is not read.

    Returns:
        For each band, pixels as the files hold them, (source, y, x), no data outside of them; and
        the files that failed, which are no data from edge to edge.
    """
    files = {
        _name(n, band): _File(source, band)
        for n, source in enumerate(sources)
        for band in source.hrefs
    }
    classes = frozenset(band.name for band in bands if band.classes)
    driver = _NamingDriver(
        access, opened, files, classes, at_once, decoding_memory(memory), misplaced
    )
    with rasterio.Env(**GDAL_OPTIONS), _not_warning():
        loaded = odc.stac.load(
            [_item(n, source, bands, window) for n, source in enumerate(sources)],
            bands=[band.name for band in bands],
            groupby="id",
            geobox=window,
            resampling={band.name: band.resampling for band in bands},
            pool=threads,
            driver=driver,
        )
    return {band.name: loaded[band.name].values for band in bands}, driver.unread


@contextmanager
def opening(
    href: str,
    dtype: str,
    placement: Georeference,
    *,
    access: Access,
    opened: Callable[[str], Readable] = Readable,
    misplaced: Misplaced | None = None,
) -> Iterator[Callable[..., AbstractContextManager[rasterio.DatasetReader]]]:
    """Yield what opens a file or one of its overviews, as :func:`read_sources` would.

    Args:
        href: The file.
        dtype: NumPy name of what it is to be read as.
        placement: Where its item says that it lies.
        access: As for :func:`read_sources`, as are ``opened`` and ``misplaced``.
    """
    now = _reached(opened(access.check_now(href)), access)
    with rasterio.Env(**GDAL_OPTIONS), _settings(now.options):
        yield partial(open_raster, _named_anew(now.href), dtype, placement, misplaced=misplaced)


@dataclass(frozen=True)
class _File:
    """One band of one source."""

    source: Source
    band: str

    @property
    def href(self) -> str:
        return self.source.hrefs[self.band]

    @property
    def placement(self) -> Georeference:
        return self.source.placements.get(self.band, Georeference())


def _name(source: int, band: str) -> str:
    """What odc-loader knows a file by: two items may say different things of one href."""
    return f"file://{source}/{band}"


class _NamingDriver(RioDriver):
    """Reads as odc-loader does; a file that fails reads as no data and is written down."""

    def __init__(
        self,
        access: Access,
        opened: Callable[[str], Readable],
        files: Mapping[str, _File],
        classes: Collection[str],
        at_once: int | None,
        memory: DecodingMemory,
        misplaced: Callable[[Unread], None] | None,
    ) -> None:
        super().__init__()
        self.misplaced = misplaced
        self.classes = classes
        self.memory = memory
        self.at_once = at_once
        self.access = access
        self.opened = opened
        self.files = files
        self.unread: list[Unread] = []

    def open(self, src: Any, ctx: Any) -> Any:
        return _NamingReader(self.files[src.uri], self)


class _NamingReader:
    """One file; what odc-loader calls a raster reader."""

    def __init__(self, file: _File, driver: _NamingDriver) -> None:
        self._file = file
        self._driver = driver

    def read(
        self, cfg: Any, dst_geobox: GeoBox, *, dst: Any = None, selection: Any = None
    ) -> tuple[Any, np.ndarray]:
        href = self._file.href
        host = host_of(href, self._driver.at_once)
        try:
            return persist(
                host,
                href,
                self._open_now,
                lambda now, first: self._read(
                    now, cfg, dst_geobox, _requests(host, unchanged=first)
                ),
            )
        except MemoryError:  # ours, not the file's: the task fails, and is tried again
            raise
        except Exception as error:  # no file may take those of its window with it
            file = self._file
            self._driver.unread.append(Unread(file.source.id, file.band, reason_of(error)))
            return np.s_[0:0, 0:0], np.ndarray((0, 0), dtype=cfg.dtype)

    def _tell_misplaced(self, reason: str) -> None:
        assert self._driver.misplaced is not None
        self._driver.misplaced(Unread(self._file.source.id, self._file.band, reason))

    def _open_now(self) -> Readable:
        access = self._driver.access
        return _reached(self._driver.opened(access.check_now(self._file.href)), access)

    def _read(
        self, now: Readable, cfg: Any, window: GeoBox, requests: AbstractContextManager[Any]
    ) -> tuple[Any, np.ndarray]:
        reopen = partial(
            open_raster,
            _named_anew(now.href),
            cfg.dtype,
            self._file.placement,
            misplaced=None if self._driver.misplaced is None else self._tell_misplaced,
        )
        how = cfg.patch(use_overviews=self._file.band not in self._driver.classes)
        begun = monotonic()
        try:
            with requests, _settings(now.options), reopen() as file:
                pixels = read_on_grid(file, reopen, how, window, self._driver.memory)
        except FAULTS as error:
            if refused := refused_since(begun, self._driver.access, gdal=True):
                raise refused from error  # a redirect: it is no fault that may pass
            raise
        return np.s_[0 : window.shape[0], 0 : window.shape[1]], pixels


def _reached(now: Readable, access: Access) -> Readable:
    """How a URL of http(s) is opened: by the proxy, which holds redirects to ``access`` as well.

    Objects of s3 are not: their host is that of a bucket of the source, which sends nobody on, and
    GDAL asks the machine itself for the keys that it may have.
    """
    if scheme_of(now.href) not in ("http", "https"):
        return now
    return replace(now, options={**now.options, **gdal_settings(access)})


def _named_anew(href: str) -> str:
    """A name for a URL that GDAL has not met; a fragment is sent to nobody.

    GDAL keeps what it learnt of a name for as long as the process lives: what was missing or cut
    short would be so for ever. Set to keep nothing, it asks for the size of every file twice, and
    for the header again at each overview. What it keeps of a name is 2 kB, of 100,000 at most.
    """
    if scheme_of(href) not in ("http", "https"):
        return href
    return f"/vsicurl/{href}{_ANEW}{uuid4().hex[:8]}"


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


def _requests(host: Host | None, *, unchanged: bool) -> AbstractContextManager[Any]:
    """GDAL's settings for the requests for one file, in this thread alone.

    They end sooner where files of the host are known to. And a file that changes between two of
    them is refused by its host (412), whatever its codec would make of both: the next try reads all
    of it anew, without that, in case the clock of this machine is late.
    """
    if host is None:
        return nullcontext()
    options: dict[str, Any] = {}
    if host.request_s is not None:
        longest = GDAL_OPTIONS["GDAL_HTTP_TIMEOUT"]
        options["GDAL_HTTP_TIMEOUT"] = max(1, min(longest, round(host.request_s)))
    if unchanged:
        headers = [os.environ.get("GDAL_HTTP_HEADERS", "")]
        headers += [f'"If-Unmodified-Since: {formatdate(usegmt=True)}"']
        options["GDAL_HTTP_HEADERS"] = ",".join(filter(None, headers))
    return rasterio.Env(**options) if options else nullcontext()


def reason_of(error: BaseException) -> str:
    """Describe an error in one line, without what may be a secret."""
    text, pointer = str(error), "See previous exception for details."
    if pointer in text:  # rasterio's words, which leave what happened to the first of a chain
        first = error
        while (cause := first.__cause__ or first.__context__) is not None:
            first = cause
        text = text.replace(f". {pointer}", f": {first}")
    text = re.sub(rf"{_ANEW}\w+", "", text)
    text = without_secrets(printable(" ".join(text.split()))) or type(error).__name__
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."


def _item(place: int, source: Source, bands: Sequence[Band], window: GeoBox) -> pystac.Item:
    """Describe a source anew, so that odc-stac has nothing to guess.

    Its footprint is the window itself: which pixels a window gets is left to the files, because
    footprints in catalogues are coarse, and tilings would differ at their edges.
    """
    extent = window.extent.to_crs("EPSG:4326").geom
    item = pystac.Item(
        id=f"{place:09d}",  # its own may be that of another one, too
        geometry=mapping(extent),
        bbox=list(extent.bounds),
        datetime=datetime(1970, 1, 1),
        properties={},
        collection="scenes",
    )
    for band in bands:
        if band.name in source.hrefs:
            properties = {
                "data_type": band.dtype,
                "nodata": "nan" if band.nodata is None else band.nodata,
            }
            asset = pystac.Asset(
                href=_name(place, band.name),
                media_type="image/tiff",
                roles=["data"],
                extra_fields={"raster:bands": [properties]},
            )
            item.add_asset(band.name, asset)
    return item


@contextmanager
def _not_warning() -> Iterator[None]:
    with warnings.catch_warnings():
        # rasterio asks an array in memory for its transform before it has set it.
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        yield
