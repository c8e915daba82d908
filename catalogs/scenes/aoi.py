"""The area of interest (AOI): four numbers or GeoJSON, checked, as one geometry in degrees."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import shapely
from shapely.geometry import box, shape
from shapely.geometry.base import BaseGeometry

from terralatent.catalogs.errors import InputError
from terralatent.catalogs.text_files import read_text

__all__ = ["describe_extent", "read_aoi"]

_BROKEN = (ValueError, TypeError, LookupError, AttributeError, shapely.errors.ShapelyError)
"""What shapely raises for a mapping that is no GeoJSON."""


def read_aoi(region: str | Path | Mapping[str, Any] | BaseGeometry) -> BaseGeometry:
    """Read a region and check it.

    Args:
        region: ``minx,miny,maxx,maxy`` in degrees, the path of a GeoJSON file (a geometry, a
            Feature or a FeatureCollection, whose areas are united), the same as a mapping, or a
            shapely geometry in EPSG:4326.

    Returns:
        A valid, two-dimensional Polygon or MultiPolygon in EPSG:4326, x the longitude.

    Raises:
        InputError: If there is no such file, if it is not valid GeoJSON, or if the region is
            empty, without area, crosses itself or leaves the range of degrees.
    """
    if isinstance(region, BaseGeometry):
        return _checked(region, "The region")
    if isinstance(region, Mapping):
        return _checked(_united(region, "The region"), "The region")
    corners = _corners(str(region))
    if corners is not None:
        return _checked(_rectangle(corners), f"The region {str(region)!r}")
    if not str(region).strip():
        raise InputError(
            "The region is empty; give minx,miny,maxx,maxy in degrees or a GeoJSON file's path."
        )
    path = Path(region)
    name = f"The region file {str(path)!r}"
    return _checked(_united(_read_geojson(path, name), name), name)


def describe_extent(bounds: tuple[float, float, float, float], aoi: BaseGeometry) -> str:
    """Describe where scenes lie, none of which is in the requested region.

    Args:
        bounds: Of the scenes, in degrees.
        aoi: The requested region.
    """
    within = "within " + ",".join(f"{edge:.4g}" for edge in bounds)
    extent, (minx, miny, maxx, maxy) = box(*bounds), aoi.bounds
    if not extent.intersects(aoi) and extent.intersects(box(miny, minx, maxy, maxx)):
        return f"{within}, where the region lies with x and y swapped: the longitude comes first"
    return within


def _corners(text: str) -> tuple[float, float, float, float] | None:
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


def _rectangle(corners: tuple[float, float, float, float]) -> BaseGeometry:
    minx, miny, maxx, maxy = corners
    if not all(map(math.isfinite, corners)):
        raise InputError(f"The region {minx:g},{miny:g},{maxx:g},{maxy:g} has no finite corners.")
    if minx > maxx or miny > maxy:
        raise InputError(
            f"The region {minx:g},{miny:g},{maxx:g},{maxy:g} ends before it begins; give "
            "minx,miny,maxx,maxy (one that crosses the 180th meridian: its two parts as GeoJSON)."
        )
    if minx == maxx or miny == maxy:
        raise InputError(f"The region {minx:g},{miny:g},{maxx:g},{maxy:g} has no area.")
    return box(minx, miny, maxx, maxy)


def _read_geojson(path: Path, name: str) -> Mapping[str, Any]:
    try:
        text = read_text(path)
    except FileNotFoundError:
        raise InputError(
            f"{name} does not exist; give the path of a GeoJSON file or "
            "minx,miny,maxx,maxy in degrees."
        ) from None
    except OSError as error:
        raise InputError(f"{name} cannot be read: {error.strerror or error}.") from error
    except ValueError as error:
        raise InputError(f"{name} is no text, so no GeoJSON ({error}).") from error
    try:
        content = json.loads(text)
    except ValueError as error:
        raise InputError(f"{name} is not valid GeoJSON: {error}.") from error
    if not isinstance(content, Mapping):
        raise InputError(
            f"{name} is not valid GeoJSON: it holds a {type(content).__name__}, "
            "not a geometry, Feature or FeatureCollection."
        )
    return content


def _geometries(content: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    kind = content.get("type")
    if kind == "FeatureCollection":
        for feature in content["features"]:
            yield from _geometries(feature)
    elif kind == "Feature":
        if content["geometry"] is not None:
            yield content["geometry"]
    else:
        yield content


def _united(content: Mapping[str, Any], name: str) -> BaseGeometry:
    try:
        parts = [shapely.force_2d(shape(part)) for part in _geometries(content)]
    except _BROKEN as error:
        raise InputError(
            f"{name} is not valid GeoJSON ({_broken(error)}). "
            "Give a Polygon, a MultiPolygon, or Features of them."
        ) from error
    for part in parts:
        _require_valid(part, name)
    return shapely.union_all(parts)


def _broken(error: Exception) -> str:
    """What is wrong, in the words of whoever noticed."""
    if isinstance(error, LookupError):
        return f"it has no {error}"
    return str(error).rstrip(".") or type(error).__name__


def _checked(aoi: BaseGeometry, name: str) -> BaseGeometry:
    if aoi.is_empty:
        raise InputError(f"{name} is empty; give at least one Polygon.")
    aoi = shapely.force_2d(aoi)
    bounds = aoi.bounds
    if not all(math.isfinite(edge) for edge in bounds):
        raise InputError(f"{name} has coordinates that are not finite: {bounds}.")
    if bounds[0] < -180 or bounds[2] > 180 or bounds[1] < -90 or bounds[3] > 90:
        raise InputError(
            f"{name} reaches from {bounds[0]:g},{bounds[1]:g} to {bounds[2]:g},{bounds[3]:g}, "
            "which are no degrees of longitude and latitude; reproject it to EPSG:4326."
        )
    _require_valid(aoi, name)
    if aoi.geom_type not in ("Polygon", "MultiPolygon") or aoi.area == 0:
        raise InputError(
            f"{name} is a {aoi.geom_type} of area {aoi.area:g}; give a Polygon or a "
            "MultiPolygon that has an area."
        )
    return aoi


def _require_valid(shape: BaseGeometry, name: str) -> None:
    if not shape.is_valid:
        why = shapely.is_valid_reason(shape)
        raise InputError(f"{name} is not valid: {why}; repair it first.")
