"""Fields on the grid of a cube: polygons or labels -> which field each pixel belongs to."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeAlias

import geopandas
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.features import rasterize

from terralatent.catalogs.errors import InputError
from terralatent.catalogs.vector_files import read_vector_file

__all__ = ["FieldLabels", "Fields", "class_names", "lay_fields", "read_shapes", "shapes_on"]

log = logging.getLogger(__name__)

Fields: TypeAlias = str | Path | geopandas.GeoDataFrame | NDArray[np.integer]
"""A file of polygons (GeoJSON, GeoParquet, GeoPackage, Shapefile or KML), a frame of them, or
labels on the grid, 0 for none."""

NONE = -1


@dataclass(frozen=True, eq=False)
class FieldLabels:
    """Which field each pixel of the grid belongs to."""

    numbers: NDArray[np.int32]
    """Place of the field in :attr:`names`, -1 for none, (y, x)."""

    names: NDArray[Any]
    """What the fields are called: labels of an array, or the index of a frame, (field,)."""

    def __len__(self) -> int:
        """The number of fields."""
        return len(self.names)

    def some(self, most: int, among: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Choose up to ``most`` pixels of each field, evenly spread over its rows.

        The choice knows the whole grid and no blocks.

        Args:
            most: Pixels of a field at most.
            among: Pixels that may be chosen, (y, x).

        Returns:
            (y, x).
        """
        chosen = np.zeros(self.numbers.size, dtype=bool)
        for place in self._pixels(among):
            steps = np.linspace(0, len(place) - 1, min(len(place), most))
            chosen[place[steps.round().astype(int)]] = True
        return chosen.reshape(self.numbers.shape)

    def thinned(self, most: int) -> FieldLabels:
        """Keep up to ``most`` fields, evenly spread over their order."""
        kept = np.unique(np.linspace(0, len(self) - 1, most).round().astype(int))
        if len(self) <= most:
            return self
        number = np.full(len(self) + 1, NONE, dtype=np.int32)  # the last entry is that of -1
        number[kept] = np.arange(len(kept))
        return FieldLabels(number[self.numbers], self.names[kept])

    def _pixels(self, among: NDArray[np.bool_]) -> Iterator[NDArray[np.intp]]:
        """Row-major places of each field's pixels that are ``among`` the allowed."""
        numbers = np.where(among, self.numbers, NONE).ravel()
        order = np.argsort(numbers, kind="stable")
        starts = np.searchsorted(numbers[order], np.arange(len(self) + 1))
        for start, stop in pairwise(starts):
            if stop > start:
                yield order[start:stop]


def lay_fields(fields: Fields, grid: GeoBox) -> FieldLabels:
    """Lay fields on a grid: a pixel belongs to the polygon that holds its centre.

    Where polygons overlap, the later one has the pixel. Polygons may leave the grid, and one that
    holds no pixel stays, without pixels.

    Raises:
        InputError: If there is no such file, no polygon, no CRS, nothing on the grid, or labels
            are not integers of the grid's shape.
    """
    shape = (grid.shape[0], grid.shape[1])
    if isinstance(fields, (str, Path)):
        fields = read_shapes(fields, "fields")
    if isinstance(fields, geopandas.GeoDataFrame):
        polygons = FieldLabels(_rasterised(fields, grid), np.asarray(fields.index))
        if not (polygons.numbers != NONE).any():
            raise InputError(
                f"None of the {len(polygons)} fields holds the centre of a pixel of the cube, "
                f"which covers {_format_bounds(grid.extent.boundingbox)} in {grid.crs}; theirs are "
                f"{_format_bounds(fields.to_crs(str(grid.crs)).total_bounds)}."
            )
        _warn_of_empty(polygons)
        return polygons
    labels = np.asarray(fields)
    if labels.dtype.kind not in "iu" or labels.shape != shape:
        raise InputError(
            f"Labels of fields are {labels.dtype} of shape {labels.shape}; they must be integers "
            f"of the cube's shape {shape}, 0 where there is no field."
        )
    names = np.unique(labels[labels > 0])
    if not names.size:
        raise InputError("The labels name no field: none is above 0.")
    numbers = np.searchsorted(names, labels)
    return FieldLabels(np.where(labels > 0, numbers, NONE).astype(np.int32), names)


def read_shapes(path: str | Path, what: str) -> geopandas.GeoDataFrame:
    """Read a file of polygons or points with their columns, in its own CRS.

    Args:
        path: GeoJSON, GeoParquet, GeoPackage, Shapefile or KML.
        what: Messages call it the file of these, such as ``fields``.

    Raises:
        InputError: If there is no such file, it cannot be read, or it has no geometries.
    """
    name = f"The file of {what} {str(path)!r}"
    if not Path(path).is_file():
        raise InputError(f"There is no file of {what} {str(path)!r}.")
    frame = read_vector_file(Path(path), name)
    if frame is None:
        raise InputError(f"{name} has no geometries.")
    return frame


def shapes_on(frame: geopandas.GeoDataFrame, grid: GeoBox, what: str) -> geopandas.GeoSeries:
    """Bring the geometries of a frame into the CRS of a grid; None where there is none.

    Args:
        frame: In any CRS.
        grid: Whose CRS is wanted.
        what: Messages call them so, in the plural.

    Raises:
        InputError: If the frame has no CRS, or a corner is no place in that of the grid.
    """
    if frame.crs is None:
        raise InputError(f"The {what} have no CRS; set it with `frame.set_crs(...)`.")
    shapes = frame.geometry.to_crs(str(grid.crs))
    for place, shape in zip(frame.index, shapes, strict=True):
        if shape is not None and not shape.is_empty and not np.isfinite(shape.bounds).all():
            raise InputError(
                f"The {what.removesuffix('s')} {place!r} has corners that are no place in "
                f"{grid.crs}; check its coordinates and that {frame.crs.name} is their CRS."
            )
    return shapes


def class_names(values: pd.Series) -> NDArray[Any]:
    """Values as the names of classes: whole numbers without a point, text without its margins.

    Empty where there is none, objects, (label,).
    """

    def text(value: Any) -> str:
        if isinstance(value, (float, np.floating)) and float(value).is_integer():
            value = int(value)
        return "" if pd.isna(value) else " ".join(str(value).split())

    return np.array([text(value) for value in values], dtype=object)


def _rasterised(frame: geopandas.GeoDataFrame, grid: GeoBox) -> NDArray[np.int32]:
    kinds = set(frame.geom_type.dropna())
    if not len(frame) or not kinds or not kinds <= {"Polygon", "MultiPolygon"}:
        raise InputError(
            f"Fields must be polygons, got {len(frame)} geometries of the kinds {sorted(kinds)}."
        )
    shapes = shapes_on(frame, grid, "fields")
    laid = [(shape, n) for n, shape in enumerate(shapes) if not (shape is None or shape.is_empty)]
    if not laid:
        raise InputError(f"All of the {len(frame)} fields are empty; give polygons with an area.")
    numbers: NDArray[np.int32] = rasterize(
        laid,
        out_shape=(grid.shape[0], grid.shape[1]),
        fill=NONE,
        transform=grid.affine,
        dtype="int32",
    )
    return numbers


def _warn_of_empty(fields: FieldLabels) -> None:
    there = np.unique(fields.numbers[fields.numbers != NONE])
    if len(there) < len(fields):
        absent = np.setdiff1d(np.arange(len(fields)), there)
        log.warning(
            "%d of %d fields hold no pixel's centre, such as %s: they are NaN.",
            len(absent), len(fields), fields.names[absent[0]],
        )  # fmt: skip


def _format_bounds(bounds: Any) -> str:
    return ",".join(f"{edge:.8g}" for edge in tuple(bounds))
