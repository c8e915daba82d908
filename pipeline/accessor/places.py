"""Places on the grid of what was opened: points and shapes -> rows and columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import geopandas
import numpy as np
import xarray as xr
from numpy.typing import NDArray
from pyproj import Transformer
from pyproj.exceptions import CRSError
from shapely.geometry.base import BaseGeometry

from terralatent.catalogs.errors import InputError
from terralatent.pipeline.probes.dataset import grid_under
from terralatent.pipeline.probes.labels import LabelColumns, read_labels

__all__ = ["Number", "Shapes", "find_pixel", "find_pixels", "pixels_in"]

Shapes: TypeAlias = BaseGeometry | geopandas.GeoSeries | geopandas.GeoDataFrame
"""Points or polygons; of shapely in the CRS that is stated beside, or in that of the grid."""

Number: TypeAlias = float | Sequence[float] | NDArray[Any]


def find_pixels(
    data: xr.Dataset, x: Number, y: Number, crs: Any = None
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Rows and columns of the pixels that hold points. Reads no pixels.

    Args:
        data: What was opened, or a part of it.
        x: Of one point or several, in map coordinates; longitudes with ``crs=4326``.
        y: The same; latitudes.
        crs: That of the points: an EPSG code or what pyproj takes; the map's own by default.

    Raises:
        InputError: If a point lies outside of the grid, or the CRS is unknown.
    """
    xs, ys = (np.atleast_1d(np.asarray(values, np.float64)) for values in (x, y))
    if xs.shape != ys.shape or xs.ndim != 1:
        raise InputError(f"There are {xs.size} x and {ys.size} y; give as many of both.")
    own = data.rio.crs
    if crs is not None:
        if own is None:
            raise InputError("This Dataset has no CRS; keep its coordinate spatial_ref.")
        try:
            xs, ys = Transformer.from_crs(crs, own, always_xy=True).transform(xs, ys)
        except CRSError as error:
            raise InputError(f"crs is {crs!r}, which is none; give one such as 4326.") from error
    rows, columns = _places(data, "y", ys), _places(data, "x", xs)
    outside = np.flatnonzero((rows < 0) | (columns < 0))
    if len(outside):
        first = outside[0]
        west, south, east, north = data.rio.bounds()
        raise InputError(
            f"The point x {xs[first]:.10g}, y {ys[first]:.10g} lies outside of the grid, which "
            f"has x {west:.10g} to {east:.10g} and y {south:.10g} to {north:.10g} in "
            f"{own or 'an unknown CRS'}; give map coordinates, or the points' crs=."
        )
    return rows, columns


def find_pixel(data: xr.Dataset, x: float, y: float, crs: Any = None) -> tuple[int, int]:
    """Row and column of the pixel that holds one point, as :func:`find_pixels`."""
    rows, columns = find_pixels(data, x, y, crs)
    if len(rows) != 1:
        raise InputError(f"One point is wanted here, not {len(rows)}.")
    return int(rows[0]), int(columns[0])


def pixels_in(
    data: xr.Dataset, shapes: Shapes, crs: Any = None
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Rows and columns of pixels in shapes, at most 64 of each, evenly spread. Reads no pixels.

    Args:
        data: What was opened.
        shapes: Points or polygons.
        crs: Of geometries of shapely; the map's own by default.

    Raises:
        InputError: If they hold no pixel, or a frame has no CRS.
    """
    grid = grid_under(data)
    if isinstance(shapes, BaseGeometry):
        shapes = geopandas.GeoSeries([shapes], crs=str(grid.crs) if crs is None else crs)
    frame = geopandas.GeoDataFrame(geometry=shapes.geometry).assign(place="here")
    found = read_labels(frame, LabelColumns("place"), grid)
    return found.rows, found.columns


def _places(data: xr.Dataset, dim: str, wanted: NDArray[np.float64]) -> NDArray[np.intp]:
    """The pixel along one side that holds each coordinate; -1 for none."""
    half = 0.5 * abs(data.rio.resolution()[dim == "y"])
    index = data[dim].to_index()
    places = index.get_indexer(wanted, method="nearest", tolerance=half * (1 + 1e-9))
    return np.asarray(places, np.intp)
