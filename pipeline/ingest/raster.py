"""A raster of somebody else's, opened so that it is read as what it says it is, or not at all."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeAlias

import numpy as np
import rasterio
from odc.geo.converters import rio_geobox
from odc.geo.geobox import GeoBox
from odc.geo.overlap import ReprojectInfo, compute_reproject_roi
from rasterio.crs import CRS
from rasterio.enums import ColorInterp
from rasterio.errors import CRSError
from rasterio.warp import transform_bounds
from shapely.geometry import box

from terralatent.catalogs.items.georeference import Georeference
from terralatent.pipeline.ingest.decoding import MOST_BYTES, RasterError

__all__ = [
    "GDAL_OPTIONS",
    "Misplaced",
    "open_raster",
    "source_window",
]

GDAL_OPTIONS: Mapping[str, Any] = {
    # Few requests for a small COG: no listing of its folder, no sidecars, a long header. HEAD
    # stays: set not to use it, GDAL begins to GET the whole file to learn its size.
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    "GDAL_INGESTED_BYTES_AT_OPEN": 32768,
    "GDAL_HTTP_MULTIPLEX": "YES",
    "GDAL_HTTP_MERGE_CONSECUTIVE_RANGES": "YES",
    # A thread asks for one range after the other, so that threads count the requests to a host.
    # Measured with 20 ms of latency, eight threads lose nothing by it.
    "GDAL_HTTP_MULTIRANGE": "SERIAL",
    # A stall ends a request soon, a slow line does not.
    "GDAL_HTTP_CONNECTTIMEOUT": 10,
    "GDAL_HTTP_TIMEOUT": 120,
    "GDAL_HTTP_LOW_SPEED_TIME": 20,
    "GDAL_HTTP_LOW_SPEED_LIMIT": 1000,
    # Of one request, after 0.5, 1.2 and 2.7 s; retry.py has the patience. 429 is left to it,
    # because it comes with a wish how long to wait, which GDAL does not hear.
    "GDAL_HTTP_MAX_RETRY": 3,
    "GDAL_HTTP_RETRY_DELAY": 0.5,
    "GDAL_HTTP_RETRY_CODES": "500,502,503,504",
    "VSI_CACHE": True,
    "VSI_CACHE_SIZE": 5_000_000,
    # A worker lives longer than a file: what was missing a while ago may be back. URLs of http(s)
    # are named anew at each reading instead (assets.py).
    "CPL_VSIL_CURL_NON_CACHED": "/vsis3/:/vsigs/:/vsiaz/",
    # Its block cache would take a twentieth of the machine in each worker; pixels are read once.
    "GDAL_CACHEMAX": 128,
    # What one window needs of a file is asked for at once, else GDAL comes back for parts of it.
    "GDAL_MAX_RAW_BLOCK_CACHE_SIZE": 64_000_000,
    # A raster is one file: what lies beside it neither moves it nor changes what its values mean.
    "GDAL_PAM_ENABLED": "NO",
    "GDAL_GEOREF_SOURCES": "INTERNAL",
}
"""GDAL's settings for cloud-optimised GeoTIFFs over HTTP."""

DRIVERS = ("GTiff", "COG", "JP2OpenJPEG")
"""Formats that are a raster in one file. Others, VRT above all, are lists of other files to read,
whatever they are called."""

NAMES_FILES = ("OVERVIEWS", "GEOLOCATION")
"""Domains of a GeoTIFF's own tags in which it may name other files, which GDAL reads by any driver
as if they were parts of it."""

MOST_SIDE = 200_000
"""Pixels along y and x of a file: 20 times a Sentinel-2 tile, and few bytes can claim it."""

COARSE = 0.05
"""Share of a file's longer side by which the footprint of its item may be off it."""


Misplaced: TypeAlias = Callable[[str], None]
"""Told why an item places a file elsewhere than the file itself, which is right."""


@contextmanager
def open_raster(
    path: str,
    dtype: str,
    placement: Georeference,
    *,
    overview: int | None = None,
    misplaced: Misplaced | None = None,
) -> Iterator[rasterio.DatasetReader]:
    """Open a raster of one band and check all that can be known of it without reading pixels.

    An alpha beside the band is no band; it says which pixels are data.

    Args:
        path: As :meth:`terralatent.catalogs.documents.access.Access.check_now` returned it.
        dtype: NumPy name of what it is to be read as.
        placement: Where its item says that it lies.
        overview: Open this one of its overviews.
        misplaced: Told where shape and transform of its item are not the file's, and the file lies
            in the CRS and the footprint that the item states; such a file is then read where it
            lies. None: it is refused.

    Raises:
        RasterError: If it has several bands, numbers that ``dtype`` does not hold, no place or
            another one, tiles beyond reason, or if it names other files as parts of itself.
        rasterio.errors.RasterioIOError: If it cannot be opened as one of :data:`DRIVERS`.
    """
    options = {} if overview is None else {"overview_level": overview}
    # rasterio.open() takes one driver at most, and would try them all to open a file.
    with rasterio.DatasetReader(path, driver=list(DRIVERS), sharing=False, **options) as file:
        _require_plain(file)
        _require_dtype(file, dtype)
        _require_placed(file, placement, misplaced)
        yield file


def source_window(
    file: rasterio.DatasetReader, window: GeoBox, tolerance: float, *, overviews: bool = True
) -> tuple[ReprojectInfo, int | None]:
    """Find the pixels of a file that a window of the grid is made from.

    Args:
        file: As :func:`open_raster` gave it.
        window: The window.
        tolerance: Pixels by which the grids may be apart and count as one.
        overviews: Whether one of its overviews may be read instead. Not of classes and bits, which
            have no means: most overviews are made of means, and so are all levels of JPEG 2000.

    Returns:
        What to read, by odc-geo, and the index of the overview to read it from; None: of none.

    Raises:
        RasterError: If they are more than may be decoded at once.
    """
    needed = compute_reproject_roi(rio_geobox(file), window, ttol=tolerance)
    shrink, overview = 1, None
    if needed.read_shrink > 1 and overviews:
        factors = [factor for factor in file.overviews(1) if factor <= needed.read_shrink]
        if factors:
            shrink, overview = factors[-1], len(factors) - 1
    rows, columns = (part.stop - part.start for part in needed.roi_src)
    size = rows * columns * np.dtype(file.dtypes[0]).itemsize
    if size > MOST_BYTES * shrink**2:
        raise RasterError(f"{rows} x {columns} of its pixels would have to be read for one window")
    return needed, overview


def _require_plain(file: rasterio.DatasetReader) -> None:
    alpha = [band for band in file.colorinterp[1:] if band == ColorInterp.alpha]
    if file.count - len(alpha) != 1 or len(alpha) > 1:
        raise RasterError(f"it has {file.count} bands, one was wanted")
    if max(file.shape) > MOST_SIDE:
        raise RasterError(f"it claims {file.height} x {file.width} pixels")
    if any(file.tags(ns=domain) for domain in NAMES_FILES):
        raise RasterError("it names other files as parts of itself")


def _require_dtype(file: rasterio.DatasetReader, dtype: str) -> None:
    stored = file.dtypes[0]
    try:
        kind = np.dtype(stored)
    except TypeError:  # complex integers, which NumPy does not have
        kind = np.dtype("complex64")
    # Floats take any real number; integers only what they hold, so that none is cut.
    fits = kind.kind in "uif" if np.dtype(dtype).kind == "f" else np.can_cast(kind, dtype)
    if not fits:
        raise RasterError(f"it holds {stored}, {dtype} was wanted")
    rows, columns = file.block_shapes[0]
    if rows * columns * kind.itemsize > MOST_BYTES:
        raise RasterError(f"it has tiles of {rows} x {columns} pixels")


def _require_placed(
    file: rasterio.DatasetReader, stated: Georeference, misplaced: Misplaced | None
) -> None:
    if file.crs is None or file.transform.is_identity or file.transform.determinant == 0:
        raise RasterError("it does not say where it lies")
    if stated.crs is not None and not _same_crs(file.crs, stated.crs):
        raise RasterError(f"it lies in {_name(file.crs)}, its item says {stated.crs}")
    here = file.transform
    there = Georeference(transform=tuple(here)[:6], shape=file.shape).corners
    wanted = stated.corners
    if stated.transform is not None and not wanted:  # of another resolution maybe, but from here
        wanted = ((stated.transform[2], stated.transform[5]),)
    away = max(
        (max(abs(x - u), abs(y - v)) for (x, y), (u, v) in zip(wanted, there, strict=False)),
        default=0.0,
    )
    # Catalogues disagree by half a pixel on whether corners or centres are meant.
    pixel = max(abs(side) for step in (here, stated.transform or ()) for side in _steps(step))
    if not away <= pixel:
        reason = (
            f"its {file.height} x {file.width} pixels begin at {here.c:.10g}, {here.f:.10g} and "
            f"end up to {away:.4g} from where its item says"
        )
        if misplaced is None or not _fits_footprint(file, stated):
            raise RasterError(reason)
        misplaced(reason)


def _fits_footprint(file: rasterio.DatasetReader, stated: Georeference) -> bool:
    """Whether a file lies where its item says on a map, in the CRS that its item says."""
    if stated.crs is None or stated.footprint is None:
        return False
    try:
        west, south, east, north = transform_bounds(file.crs, "EPSG:4326", *file.bounds)
    except Exception:  # it lies where its CRS has no degrees, for GDAL in many ways
        return False
    if not west <= east:  # across the 180th meridian
        return False
    around = box(west, south, east, north).buffer(COARSE * max(east - west, north - south))
    return bool(around.contains(stated.footprint))


def _steps(transform: Any) -> tuple[float, ...]:
    numbers = tuple(transform)[:6]
    return (*numbers[0:2], *numbers[3:5])


def _same_crs(crs: CRS, stated: str) -> bool:
    try:
        wanted = CRS.from_user_input(stated)
    except CRSError as error:
        raise RasterError(f"its item says {stated!r}, which is no CRS") from error
    return crs == wanted or (crs.to_epsg() is not None and crs.to_epsg() == wanted.to_epsg())


def _name(crs: CRS) -> str:
    code = crs.to_epsg()
    return f"EPSG:{code}" if code else "a CRS without a code"
