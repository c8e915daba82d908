"""The areas of a region's file, in degrees: GeoJSON, and what GDAL reads of vector files."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from pyproj import CRS, Transformer
from pyproj.exceptions import CRSError
from shapely.geometry import shape
from shapely.geometry.base import BaseGeometry

from terralatent.catalogs.antimeridian import leaps, on_globe, unbroken
from terralatent.catalogs.errors import InputError
from terralatent.catalogs.text_files import read_text
from terralatent.catalogs.vector_files import VECTOR_FILES, read_vector_file

__all__ = ["areas_of", "areas_of_frame", "read_areas", "require_valid", "unleaping"]

_LOG = logging.getLogger(__name__)

_BROKEN = (ValueError, TypeError, LookupError, AttributeError, shapely.errors.ShapelyError)
"""What shapely raises for a mapping that is no GeoJSON."""

_DEGREES = CRS("OGC:CRS84")
"""Longitude and latitude, in this order, as in GeoJSON."""

_PIECES = 100
"""Into how many pieces the longest edge of an area is cut at least before it is reprojected: a
straight line of a map is none in degrees."""


def read_areas(path: Path, name: str) -> list[BaseGeometry]:
    """Read the areas of a file, two-dimensional, in degrees.

    Its coordinate reference system (CRS) counts: that of a vector file, and the member ``crs`` of a
    GeoJSON file as QGIS and GDAL write it.

    Args:
        path: GeoJSON, or by its ending one of
            :data:`terralatent.catalogs.vector_files.VECTOR_FILES`.
        name: What messages call it.

    Raises:
        InputError: If it does not exist or cannot be read as what it is, if it has several layers,
            or if its CRS is not stated or unknown.
    """
    if path.suffix.lower() in VECTOR_FILES:
        return _read_vector_file(path, name)
    return areas_of(_read_geojson(path, name), name)


def areas_of(content: Mapping[str, Any], name: str, crs: Any = None) -> list[BaseGeometry]:
    """The areas of GeoJSON, as those of :func:`read_areas`.

    Args:
        content: Geometry, Feature or FeatureCollection.
        name: What messages call it.
        crs: Of what does not state one, anything that pyproj takes; degrees by default.

    Raises:
        InputError: If it is not valid, or if its ``crs`` cannot be used.
    """
    try:
        others = _DEGREES if crs is None else CRS.from_user_input(crs)
        parts = [
            unleaping(_in_degrees(shapely.force_2d(shape(part)), own, name), name)
            for part, own in _geometries(content, others, name)
        ]
    except InputError:
        raise
    except _BROKEN as error:
        raise InputError(
            f"{name} is not valid GeoJSON ({_broken(error)}). "
            "Give a Polygon, a MultiPolygon, or Features of them."
        ) from error
    for part in parts:
        require_valid(part, name)
    return parts


def unleaping(area: BaseGeometry, name: str) -> BaseGeometry:
    """Bring an area to longitudes from -180 to 180, and warn where that is a matter of opinion."""
    made = on_globe(area)
    if leaps(area):
        west, _, east, _ = unbroken(made).bounds
        _LOG.warning(
            "%s has an edge over half of the globe and more: it is read as one that crosses the "
            "180th meridian, %.5g degrees wide; if it is the other way around, add corners between",
            name,
            east - west,
        )
    return made


def require_valid(shape: BaseGeometry, name: str) -> None:
    """Check that no outline crosses itself.

    Raises:
        InputError: If one does.
    """
    if not shape.is_valid:
        why = shapely.is_valid_reason(shape)
        raise InputError(f"{name} is not valid: {why}; repair it first.")


def _read_geojson(path: Path, name: str) -> Mapping[str, Any]:
    try:
        text = read_text(path)
    except FileNotFoundError:
        raise _missing(name) from None
    except OSError as error:
        raise InputError(f"{name} cannot be read: {error.strerror or error}.") from error
    except ValueError as error:
        raise InputError(
            f"{name} is no text, so no GeoJSON ({error}); other files are known by their ending: "
            f"{', '.join(VECTOR_FILES)}."
        ) from error
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


def _missing(name: str) -> InputError:
    return InputError(
        f"{name} does not exist; give the path of a GeoJSON file (or "
        f"{', '.join(VECTOR_FILES)}) or minx,miny,maxx,maxy in degrees."
    )


def _geometries(
    content: Mapping[str, Any], crs: CRS, name: str
) -> Iterator[tuple[Mapping[str, Any], CRS]]:
    """The geometries of GeoJSON, each with the CRS that it, or what holds it, states."""
    crs = _crs_of(content["crs"], name) if "crs" in content else crs
    kind = content.get("type")
    if kind == "FeatureCollection":
        for feature in content["features"]:
            yield from _geometries(feature, crs, name)
    elif kind == "Feature":
        if content["geometry"] is not None:
            yield from _geometries(content["geometry"], crs, name)
    else:
        yield content, crs


def _crs_of(member: Any, name: str) -> CRS:
    """The CRS that the member ``crs`` of GeoJSON (2008) names."""
    properties = member.get("properties") if isinstance(member, Mapping) else None
    stated = properties.get("name") if isinstance(properties, Mapping) else None
    if isinstance(properties, Mapping) and isinstance(properties.get("code"), int):
        stated = f"EPSG:{properties['code']}"  # as some wrote it before 2008
    try:
        if isinstance(stated, str):
            return CRS(stated)
    except CRSError:
        pass
    raise InputError(
        f"{name} states a crs that is unknown, {json.dumps(member)[:100]}; name one such as "
        "urn:ogc:def:crs:EPSG::32631, or reproject it to EPSG:4326 and leave the member out."
    )


def _in_degrees(
    area: BaseGeometry, crs: CRS, name: str, to: Transformer | None = None
) -> BaseGeometry:
    if crs == _DEGREES or (crs.is_geographic and crs.to_epsg() == 4326) or area.is_empty:
        return area
    west, south, east, north = area.bounds
    longest = max(east - west, north - south)
    if np.isfinite(longest) and longest > 0:
        area = shapely.segmentize(area, longest / _PIECES)
    transformer = to or Transformer.from_crs(crs, _DEGREES, always_xy=True)

    def reproject(points: np.ndarray) -> np.ndarray:
        return np.column_stack(transformer.transform(points[:, 0], points[:, 1]))

    made: BaseGeometry = shapely.transform(area, reproject)
    if not np.isfinite(made.bounds).all():
        raise InputError(f"{name} lies outside of its own CRS, {crs.name}; check its coordinates.")
    return made


def _read_vector_file(path: Path, name: str) -> list[BaseGeometry]:
    if not path.exists():
        raise _missing(name)
    table = read_vector_file(path, name)
    if table is None:
        return []
    beside = f"{path.stem}.prj" if path.suffix.lower() == ".shp" else "one"
    mend = f"{beside} is missing; add it, or save the region as GeoJSON in EPSG:4326"
    return areas_of_frame(table, name, mend)


def areas_of_frame(frame: Any, name: str, mend: str) -> list[BaseGeometry]:
    """The areas of a GeoDataFrame or GeoSeries, as those of :func:`read_areas`.

    Args:
        frame: In any CRS.
        name: What messages call it.
        mend: What to do where it has no CRS.

    Raises:
        InputError: If it has none, or if an area is not valid.
    """
    if frame.crs is None:
        raise InputError(f"{name} does not state its CRS: {mend}.")
    areas = [shapely.force_2d(area) for area in frame.geometry if area is not None]
    to = Transformer.from_crs(frame.crs, _DEGREES, always_xy=True)  # for all: it takes its time
    made = [unleaping(_in_degrees(area, frame.crs, name, to), name) for area in areas]
    for area in made:
        require_valid(area, name)
    return made


def _broken(error: Exception) -> str:
    """What is wrong, in the words of whoever noticed."""
    if isinstance(error, LookupError):
        return f"it has no {error}"
    return str(error).rstrip(".") or type(error).__name__
