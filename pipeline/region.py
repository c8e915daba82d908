"""A region as a grid of pixels, and the grid as blocks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import zarr
from odc.geo.crs import CRS, CRSError
from odc.geo.geobox import Affine, GeoBox
from odc.geo.geom import Geometry
from shapely.geometry.base import BaseGeometry

from terralatent.catalogs.antimeridian import unbroken
from terralatent.catalogs.errors import InputError

__all__ = ["Block", "blocks", "grid", "grid_of"]

MAX_PIXELS = 2**31
"""Largest number of pixels of one grid: more is a slip of the resolution's unit."""

POLAR = ("EPSG:3031", "EPSG:3995")
"""Polar stereographic CRS, of the Antarctic and of the Arctic."""

MAX_RESOLUTION = 100_000.0
"""Largest pixel size in metres: the width of a scene."""


@dataclass(frozen=True)
class Block:
    """A square of the grid, cut off at the grid's lower and right edge."""

    index: tuple[int, int]
    """Row and column among the blocks."""

    y: slice
    """Rows of the grid."""

    x: slice
    """Columns of the grid."""

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of pixels."""
        return self.y.stop - self.y.start, self.x.stop - self.x.start


def grid(aoi: BaseGeometry, resolution: float, crs: str | None = None) -> GeoBox:
    """Lay a grid around a region; its pixel edges fall on multiples of ``resolution``.

    Args:
        aoi: The region in EPSG:4326.
        resolution: Pixel size in the units of ``crs``, metres for UTM.
        crs: A projected CRS such as ``EPSG:32631``; the region's UTM zone by default, and where
            there is none, beyond 84° N and 80° S, polar stereographic (:data:`POLAR`).

    Raises:
        InputError: If the CRS is unknown or in degrees, or if the resolution is not positive,
            wider than a scene, or makes more than two thousand million pixels.
    """
    if not (np.isfinite(resolution) and resolution > 0):
        raise InputError(f"Resolution {resolution} is no pixel size; give metres above zero.")
    if resolution > MAX_RESOLUTION:
        raise InputError(
            f"A resolution of {resolution:g} makes pixels wider than {MAX_RESOLUTION:g}, which no "
            "scene fills; give metres."
        )
    shape = Geometry(aoi, "EPSG:4326")
    try:
        target = CRS(crs) if crs is not None else _default_crs(aoi)
    except (CRSError, ValueError) as error:
        raise InputError(f"CRS {crs!r} is unknown; give one such as EPSG:32631.") from error
    if not target.projected:
        raise InputError(
            f"CRS {crs} is in degrees; a cube needs a projected one in metres, such as EPSG:32631."
        )
    minx, miny, maxx, maxy = shape.to_crs(target, resolution="auto").boundingbox.bbox
    left, bottom = np.floor(np.array([minx, miny]) / resolution + _TOLERANCE)
    right, top = np.ceil(np.array([maxx, maxy]) / resolution - _TOLERANCE)
    rows, columns = int(max(top - bottom, 1)), int(max(right - left, 1))
    if rows * columns > MAX_PIXELS:
        raise InputError(
            f"A resolution of {resolution:g} makes {rows} x {columns} pixels of this region; "
            "give a coarser one, or a smaller region."
        )
    origin = Affine(resolution, 0.0, left * resolution, 0.0, -resolution, top * resolution)
    return GeoBox((rows, columns), origin, target)


def _default_crs(aoi: BaseGeometry) -> CRS:
    """The UTM zone of a region; around the poles, where there is none, polar stereographic."""
    west, south, east, north = unbroken(aoi).bounds
    middle = (south + north) / 2.0
    if not -80.0 <= middle <= 84.0:
        return CRS(POLAR[middle > 0])
    if east <= 180.0:
        return CRS.utm(Geometry(aoi, "EPSG:4326"))
    across = (west + east) / 2.0
    return CRS.utm(across - 360.0 if across > 180.0 else across, middle)


def grid_of(group: zarr.Group) -> GeoBox:
    """Read the grid of a group that has ``x``, ``y`` and ``spatial_ref``; reads no pixels."""
    reference = group["spatial_ref"].attrs
    transform = [float(v) for v in str(reference["GeoTransform"]).split()]
    shape = (group["y"].shape[0], group["x"].shape[0])
    return GeoBox(shape, Affine.from_gdal(*transform), CRS(str(reference["crs_wkt"])))


def blocks(shape: tuple[int, int], size: int) -> tuple[Block, ...]:
    """Cut a grid of ``shape`` (rows, columns) into squares of ``size`` pixels, row by row."""
    rows, columns = shape
    return tuple(
        Block(
            index=(top // size, left // size),
            y=slice(top, min(top + size, rows)),
            x=slice(left, min(left + size, columns)),
        )
        for top in range(0, rows, size)
        for left in range(0, columns, size)
    )


_TOLERANCE = 0.01
"""Part of a pixel by which a region may reach over an edge without another row: rounding."""
