"""Files of STAC items to arrays on one grid, many at a time, with every failure named."""

from __future__ import annotations

import os
import re
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from email.utils import formatdate
from functools import partial
from itertools import islice
from threading import BoundedSemaphore
from time import monotonic
from typing import Any
from uuid import uuid4

import numpy as np
import rasterio
import rasterio.errors
from odc.geo.geobox import GeoBox
from odc.loader.types import RasterLoadParams
from rasterio.session import Session

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

AHEAD = 3
"""Files that are open for each that is decoded: to open one takes two answers of its host, its
pixels one."""

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

    @property
    def loading(self) -> RasterLoadParams:
        """The same as odc-loader says it."""
        return RasterLoadParams(
            dtype=self.dtype,
            fill_value=self.nodata,
            resampling=self.resampling,
            use_overviews=not self.classes,
        )


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
    together: int | None = None,
    unread: Callable[[Unread], None],
    misplaced: Callable[[Unread], None] | None = None,
) -> Iterator[tuple[int, dict[str, np.ndarray]]]:
    """Read every band of every source on the grid of ``window``, one source after the other.

    While what came is used, threads read what comes next.

    Args:
        sources: Items whose bands are read alike.
        bands: What to read of each.
        window: The grid.
        access: What files may be read; checked right before each is opened.
        threads: Files of which pixels are read at the same time; more are opened meanwhile where
            ``at_once`` lets them.
        opened: Given the href of a file just before it is read, says how to open it.
        at_once: Requests to each host at the same time, of all calls in this process that give
            the same number; None: as many as there are threads. Files of this machine do not count.
        memory: Bytes that may be decoded at the same time, of all calls in this process that give
            the same number.
        together: Sources in memory at the same time, at least one; None: all of them.
        unread: Told of each file that failed; it is no data from edge to edge.
        misplaced: Told of each file that is read where it lies, though its item places it elsewhere
            (see :func:`~terralatent.pipeline.ingest.raster.open_raster`); None: it is not read.

    Yields:
        The place of each source in turn, and the pixels of each band as its file holds them,
        (y, x), no data outside of it.
    """
    reader = _Reader(
        window, access, opened, at_once, decoding_memory(memory), unread, misplaced,
        decoding=BoundedSemaphore(threads),
    )  # fmt: skip
    ahead = threads if at_once is None else max(threads, min(at_once, AHEAD * threads))
    with _not_warning(), ThreadPoolExecutor(ahead, "read") as pool:
        waiting = (
            {band.name: pool.submit(reader.read, source, band) for band in bands}
            for source in sources
        )
        coming = deque(islice(waiting, together))
        try:
            for place in range(len(sources)):
                yield place, _results(coming.popleft())
                coming.extend(islice(waiting, 1))
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _results(files: Mapping[str, Future[np.ndarray]]) -> dict[str, np.ndarray]:
    return {band: file.result() for band, file in files.items()}


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


@dataclass(frozen=True, eq=False)
class _Reader:
    """Reads any band of any source on one grid."""

    window: GeoBox
    access: Access
    opened: Callable[[str], Readable]
    at_once: int | None
    memory: DecodingMemory
    unread: Callable[[Unread], None]
    misplaced: Callable[[Unread], None] | None
    decoding: AbstractContextManager[Any]
    """So many files may hold pixels at the same time; of an open one, only its header is here."""

    def read(self, source: Source, band: Band) -> np.ndarray:
        """Read one file; what is absent or fails is no data, and a failure is noted."""
        href = source.hrefs.get(band.name)
        if href is not None:
            host = host_of(href, self.at_once)
            try:
                return persist(
                    host,
                    href,
                    lambda: _reached(self.opened(self.access.check_now(href)), self.access),
                    lambda now, first: self._read(
                        now, source, band, _requests(host, unchanged=first)
                    ),
                )
            except MemoryError:  # ours, not the file's: the task fails, and is tried again
                raise
            except Exception as error:  # no file may take those of its window with it
                self.unread(Unread(source.id, band.name, reason_of(error)))
        fill = np.nan if band.nodata is None else band.nodata
        return np.full(self.window.shape, fill, dtype=band.dtype)

    def _read(
        self, now: Readable, source: Source, band: Band, requests: AbstractContextManager[Any]
    ) -> np.ndarray:
        reopen = partial(
            open_raster,
            _named_anew(now.href),
            band.dtype,
            source.placements.get(band.name, Georeference()),
            misplaced=self._misplaced(source, band),
        )
        begun = monotonic()
        try:
            with (
                rasterio.Env(**GDAL_OPTIONS), requests, _settings(now.options), reopen() as file,
                self.decoding,
            ):  # fmt: skip
                return read_on_grid(file, reopen, band.loading, self.window, self.memory)
        except FAULTS as error:
            if refused := refused_since(begun, self.access, gdal=True):
                raise refused from error  # a redirect: it is no fault that may pass
            raise

    def _misplaced(self, source: Source, band: Band) -> Misplaced | None:
        """Takes note of why a file is read where it lies; None: it is not read then."""
        note = self.misplaced
        return note and (lambda reason: note(Unread(source.id, band.name, reason)))


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


@contextmanager
def _not_warning() -> Iterator[None]:
    with warnings.catch_warnings():
        # rasterio asks an array in memory for its transform before it has set it.
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        yield
