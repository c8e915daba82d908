"""Points and polygons of a file -> pixels of a cube's grid, with what the file says of them."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeAlias

import geopandas
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from pyproj import Transformer

from terralatent.catalogs.errors import InputError
from terralatent.catalogs.vector_files import read_vector_file
from terralatent.pipeline.field_labels import lay_fields

__all__ = ["Places", "VectorSource", "find_places"]

log = logging.getLogger(__name__)

VectorSource: TypeAlias = str | Path | geopandas.GeoDataFrame
"""A file (GeoJSON, GeoPackage, GeoParquet, Shapefile or KML), or a frame."""

OWN = ("pixel", "time", "lon", "lat")
"""Columns that a table has of its own, whatever a file says."""


@dataclass(frozen=True, eq=False)
class Places:
    """Pixels of a grid, each of one feature; N of F features, row by row of the grid."""

    rows: NDArray[np.intp]
    """Of the grid, (N,)."""

    columns: NDArray[np.intp]
    """Of the grid, (N,)."""

    features: NDArray[np.intp]
    """The feature of each, by its place in the file, (N,)."""

    attributes: pa.Table
    """What the file says of its features, and ``group``: by default the feature itself; F rows."""

    grid: GeoBox
    """The cube's."""

    def __len__(self) -> int:
        """The number of pixels N."""
        return len(self.rows)

    @cached_property
    def identity(self) -> str:
        """SHA-256 of which pixels they are, and what is said of them."""
        digest = hashlib.sha256()
        for numbers in (self.rows, self.columns, self.features):
            digest.update(np.ascontiguousarray(numbers, "<i8").tobytes())
        digest.update(repr(self.attributes.to_pydict()).encode())
        return digest.hexdigest()

    def pixels(self, some: NDArray[np.intp]) -> pa.Table:
        """What a table says of some of them: ``pixel``, ``lon``, ``lat`` and all attributes.

        ``pixel`` is made of feature, row and column, and ``lon`` and ``lat`` are degrees of the
        pixel's centre.
        """
        rows, columns, features = self.rows[some], self.columns[some], self.features[some]
        to_map = self.grid.affine
        x = to_map.a * (columns + 0.5) + to_map.b * (rows + 0.5) + to_map.c
        y = to_map.d * (columns + 0.5) + to_map.e * (rows + 0.5) + to_map.f
        to_degrees = Transformer.from_crs(str(self.grid.crs), "EPSG:4326", always_xy=True)
        lon, lat = to_degrees.transform(x, y)
        names = [
            f"{feature}-{row}-{column}"
            for feature, row, column in zip(features, rows, columns, strict=True)
        ]
        own = {"pixel": pa.array(names, pa.string()), "lon": pa.array(lon), "lat": pa.array(lat)}
        theirs = self.attributes.take(pa.array(features))
        return pa.table({**own, **{name: theirs[name] for name in theirs.column_names}})


def find_places(
    source: VectorSource, grid: GeoBox, *, polygons: bool, label: str | None = None
) -> Places:
    """Find the pixels of a grid that hold points, or whose centres lie in polygons.

    Where polygons overlap, the later one has the pixel; several points in one pixel each have it.

    Args:
        source: A file, or a frame, in any CRS that it names.
        grid: Of the cube.
        polygons: Whether polygons are wanted, else points.
        label: The column of it that becomes ``label``.

    Raises:
        InputError: If there is no such file, no CRS or no such column, its geometries are of
            another kind, or none lies on the grid.
    """
    frame, name = _frame(source)
    wanted = {"Polygon", "MultiPolygon"} if polygons else {"Point"}
    kinds = set(frame.geom_type.dropna())
    if not kinds or not kinds <= wanted:
        other = "points=" if polygons else "polygons="
        hint = f" (see {other})" if kinds else ""
        raise InputError(
            f"{name} holds {', '.join(sorted(kinds)) or 'no geometries'}, where "
            f"{'polygons' if polygons else 'points'} are wanted{hint}."
        )
    if frame.crs is None:
        raise InputError(f"{name} does not say its CRS; write it with one.")
    attributes = _attributes(frame, name, label)
    where = _of_polygons(frame, grid) if polygons else _of_points(frame, grid, name)
    order = np.lexsort((where[2], where[1], where[0]))
    rows, columns, features = (own[order] for own in where)
    return Places(rows, columns, features, attributes, grid)


def _frame(source: VectorSource) -> tuple[geopandas.GeoDataFrame, str]:
    if isinstance(source, geopandas.GeoDataFrame):
        return source.reset_index(drop=True), "The frame of places"
    name = f"The file of places {str(source)!r}"
    if not Path(source).is_file():
        raise InputError(f"There is no file of places {str(source)!r}.")
    frame = read_vector_file(Path(source), name)
    if frame is None or not len(frame):
        raise InputError(f"{name} has no features.")
    return frame.reset_index(drop=True), name


def _attributes(frame: geopandas.GeoDataFrame, name: str, label: str | None) -> pa.Table:
    known = frame.drop(columns=frame.geometry.name)
    if label is not None:
        if label not in known.columns:
            there = ", ".join(map(str, known.columns)) or "none"
            raise InputError(f"{name} has no column {label!r}; it has {there}.")
        known = known.drop(columns={"label"} - {label}, errors="ignore").rename(
            columns={label: "label"}
        )
    if taken := [column for column in known.columns if column in OWN]:
        log.info("%s: its columns %s are left out; a table has its own", name, ", ".join(taken))
    known = known.drop(columns=list(OWN), errors="ignore")
    if "group" not in known.columns:
        known.insert(0, "group", np.arange(len(known)))
    try:
        return pa.Table.from_pandas(known, preserve_index=False).replace_schema_metadata()
    except (pa.ArrowException, TypeError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{name} has a column of mixed values: {reason}") from error


def _of_points(
    frame: geopandas.GeoDataFrame, grid: GeoBox, name: str
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]:
    """Rows, columns and features of points that lie on the grid."""
    points = frame.geometry.to_crs(str(grid.crs))
    there = np.flatnonzero(~(points.isna() | points.is_empty).to_numpy())
    x, y = points.iloc[there].x.to_numpy(), points.iloc[there].y.to_numpy()
    to_grid = ~grid.affine
    column = np.floor(to_grid.a * x + to_grid.b * y + to_grid.c)
    row = np.floor(to_grid.d * x + to_grid.e * y + to_grid.f)
    height, width = grid.shape
    inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
    if not inside.any():
        box = grid.extent.to_crs("EPSG:4326").boundingbox.bbox
        edges = ", ".join(f"{edge:.6g}" for edge in box)
        raise InputError(
            f"None of the {len(frame)} points of {name[0].lower()}{name[1:]} lies on the cube, "
            f"which covers {edges} (degrees: west, south, east, north)."
        )
    if outside := len(frame) - int(inside.sum()):
        log.warning("%s: %d of %d points lie outside the cube", name, outside, len(frame))
    return row[inside].astype(np.intp), column[inside].astype(np.intp), there[inside]


def _of_polygons(
    frame: geopandas.GeoDataFrame, grid: GeoBox
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]:
    """Rows, columns and features of pixels whose centres lie in a polygon."""
    numbers = lay_fields(frame, grid).whole()
    rows, columns = np.nonzero(numbers >= 0)
    return rows, columns, numbers[rows, columns].astype(np.intp)
