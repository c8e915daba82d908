"""The area of interest (AOI): four numbers or a file, checked, as one geometry in degrees."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import shapely
from shapely.geometry import box
from shapely.geometry.base import BaseGeometry

from terralatent.catalogs.antimeridian import Bounds, box_on_globe, crosses
from terralatent.catalogs.errors import InputError
from terralatent.catalogs.scenes.region_file import (
    areas_of,
    areas_of_frame,
    read_areas,
    require_valid,
    unleaping,
)

__all__ = ["Region", "describe_box", "describe_extent", "read_aoi"]


class _Geographic(Protocol):
    """What offers itself as GeoJSON, such as a GeoSeries, a GeoDataFrame or an item of pystac."""

    @property
    def __geo_interface__(self) -> Mapping[str, Any]: ...


Region: TypeAlias = str | Path | Sequence[float] | Mapping[str, Any] | BaseGeometry | _Geographic
"""What :func:`read_aoi` takes."""


def read_aoi(region: Region) -> BaseGeometry:
    """Read a region and check it.

    One that crosses the 180th meridian may be given in any way, see
    :mod:`terralatent.catalogs.antimeridian`; four numbers then begin east of their end.

    Args:
        region: ``minx,miny,maxx,maxy`` in degrees, as text or as four numbers; the path of a
            GeoJSON file (a geometry, a Feature or a FeatureCollection, whose areas are united) or
            of a GeoPackage, Shapefile or KML file; GeoJSON as a mapping; a shapely geometry in
            EPSG:4326; a GeoSeries or GeoDataFrame in any CRS, whose areas are united; or anything
            else with ``__geo_interface__``, in EPSG:4326 unless its ``crs`` says otherwise. The CRS
            that a file states is obeyed, see :mod:`terralatent.catalogs.scenes.region_file`.

    Returns:
        A valid, two-dimensional Polygon or MultiPolygon in EPSG:4326, x the longitude from -180 to
        180.

    Raises:
        InputError: If there is no such file, if it cannot be read or its CRS is unknown, or if the
            region is empty, without area, crosses itself or leaves the range of degrees.
    """
    if isinstance(region, BaseGeometry):
        return _checked(unleaping(region, "The region"), "The region")
    if isinstance(region, Mapping):
        return _checked(shapely.union_all(areas_of(region, "The region")), "The region")
    if hasattr(region, "__geo_interface__"):
        return _checked(shapely.union_all(_offered_areas(region)), "The region")
    if not isinstance(region, str | os.PathLike):
        region = _joined(region)
    corners = _corners(str(region))
    if corners is not None:
        return _checked(_rectangle(corners), f"The region {str(region)!r}")
    if not str(region).strip():
        raise InputError(
            "The region is empty; give minx,miny,maxx,maxy in degrees or a GeoJSON file's path."
        )
    path = Path(region)
    name = f"The region file {str(path)!r}"
    return _checked(shapely.union_all(read_areas(path, name)), name)


def describe_box(bounds: Sequence[float]) -> str:
    """Write a box in degrees to the metre, so that two boxes that differ read differently.

    >>> describe_box((179.99651, -17.0, -179.5, -16.9990000001))
    '179.99651,-17,-179.5,-16.999'
    """
    return ",".join(f"{edge:.5f}".rstrip("0").rstrip(".") for edge in bounds)


def describe_extent(bounds: Bounds, aoi: BaseGeometry) -> str:
    """Describe where scenes lie, none of which is in the requested region.

    Args:
        bounds: Of the scenes, in degrees.
        aoi: The requested region.
    """
    within = f"within {describe_box(bounds)}"
    extent, (minx, miny, maxx, maxy) = box(*bounds), aoi.bounds
    if not extent.intersects(aoi) and extent.intersects(box(miny, minx, maxy, maxx)):
        return f"{within}, where the region lies with x and y swapped: the longitude comes first"
    return within


def _offered_areas(region: _Geographic) -> list[BaseGeometry]:
    """The areas of what is geographic, in degrees by its own CRS."""
    if hasattr(region, "crs") and hasattr(region, "geometry"):  # of geopandas
        return areas_of_frame(region, "The region", _NO_CRS)
    return areas_of(region.__geo_interface__, "The region", getattr(region, "crs", None))


def _joined(numbers: Any) -> str:
    """Numbers as they are typed: what is wrong with them is said of both in one place."""
    try:
        return ",".join(repr(float(number)) for number in numbers)
    except (TypeError, ValueError):
        raise InputError(
            f"The region is a {type(numbers).__name__}; give minx,miny,maxx,maxy in degrees, a "
            "file's path, a geometry or a GeoDataFrame."
        ) from None


def _corners(text: str) -> Bounds | None:
    """The four numbers of ``text``; None where it must be a path."""
    parts = text.split(",")
    try:
        numbers = [float(part) for part in parts]
    except ValueError:
        return None
    if len(numbers) != 4:
        raise InputError(
            f"The region {text!r} has {len(numbers)} numbers; "
            "give minx,miny,maxx,maxy in degrees or the path of a GeoJSON file."
        )
    return numbers[0], numbers[1], numbers[2], numbers[3]


def _rectangle(corners: Bounds) -> BaseGeometry:
    minx, miny, maxx, maxy = corners
    shown = f"The region {describe_box(corners)}"
    if not all(map(math.isfinite, corners)):
        raise InputError(f"{shown} has no finite corners.")
    if miny > maxy or (minx > maxx and not crosses(minx, maxx)):
        raise InputError(f"{shown} ends before it begins; give minx,miny,maxx,maxy.")
    if minx == maxx or miny == maxy:
        raise InputError(f"{shown} has no area.")
    return box_on_globe(corners)


def _checked(aoi: BaseGeometry, name: str) -> BaseGeometry:
    if aoi.is_empty:
        raise InputError(f"{name} is empty; give at least one Polygon.")
    aoi = shapely.force_2d(aoi)
    bounds = aoi.bounds
    if not all(math.isfinite(edge) for edge in bounds):
        raise InputError(f"{name} has coordinates that are not finite: {bounds}.")
    if bounds[0] < -180 or bounds[2] > 180 or bounds[1] < -90 or bounds[3] > 90:
        raise InputError(
            f"{name} reaches from {describe_box(bounds[:2])} to {describe_box(bounds[2:])}, "
            "which are no degrees of longitude and latitude; reproject it to EPSG:4326."
        )
    require_valid(aoi, name)
    if aoi.geom_type not in ("Polygon", "MultiPolygon") or aoi.area == 0:
        raise InputError(
            f"{name} is a {aoi.geom_type} of area {aoi.area:g}; give a Polygon or a "
            "MultiPolygon that has an area."
        )
    return aoi


_NO_CRS = 'it has none; say in which its coordinates are, as by gdf.set_crs("EPSG:4326")'
