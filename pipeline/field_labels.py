"""Fields on the grid of a cube: polygons or labels -> which field each pixel belongs to.

Windows of the grid are laid one by one, so that nothing here grows with it but the polygons.
"""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

import geopandas
import numpy as np
import pandas as pd
import shapely
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio import Affine
from rasterio.features import rasterize

from terralatent.catalogs.errors import InputError
from terralatent.pipeline.labels import read_shapes, shapes_on

__all__ = ["NONE", "FieldLabels", "Fields", "lay_fields"]

log = logging.getLogger(__name__)

Fields: TypeAlias = str | Path | geopandas.GeoDataFrame | NDArray[np.integer]
"""A file of polygons (GeoJSON, GeoParquet, GeoPackage, Shapefile or KML), a frame of them, or
labels on the grid, 0 for none."""

NONE = -1
"""The number of a pixel that belongs to no field."""


@dataclass(frozen=True, eq=False)
class FieldLabels:
    """Which field each pixel of a grid belongs to."""

    names: NDArray[Any]
    """What the fields are called: labels of an array, the index of a frame, or values of a column
    of it, (field,)."""

    columns: pd.DataFrame
    """What is known of each beside its name: the columns of a frame but for its geometry; of fields
    that are groups of polygons those that are the same all over a group. One row a field."""

    grid: GeoBox
    """Of the cube."""

    shapes: NDArray[Any]
    """Polygons in the grid's CRS, (polygon,); none where :attr:`labels` are given."""

    numbers: NDArray[np.int32]
    """Place in :attr:`names` of what each polygon, or each label, belongs to."""

    labels: NDArray[np.integer] | None = None
    """Numbers on the grid (y, x), 0 for none, ascending as :attr:`names`; None for polygons."""

    def __len__(self) -> int:
        """The number of fields."""
        return len(self.names)

    def on(self, y: slice, x: slice) -> NDArray[np.int32]:
        """Lay the fields on a window: a pixel belongs to the polygon that holds its centre.

        Args:
            y: Rows of the grid, ``start`` and ``stop`` inside it.
            x: Columns, likewise.

        Returns:
            Place of each pixel's field in :attr:`names`, :data:`NONE` for none, (y, x).
        """
        shape = (y.stop - y.start, x.stop - x.start)
        if self.labels is not None:
            own = self.labels[y, x]
            return np.where(own > 0, np.searchsorted(self.names, own), NONE).astype(np.int32)
        window = shapely.box(*self.grid[y, x].boundingbox.bbox)
        near = np.sort(self._tree.query(window))  # the later polygon has the pixel
        if not near.size:
            return np.full(shape, NONE, np.int32)
        laid: NDArray[np.int32] = rasterize(
            zip(self.shapes[near], self.numbers[near].tolist(), strict=True),
            out_shape=shape,
            fill=NONE,
            transform=self.grid.affine * Affine.translation(x.start, y.start),
            dtype="int32",
        )
        return laid

    def whole(self) -> NDArray[np.int32]:
        """Lay the fields on all of the grid, (y, x), see :meth:`on`.

        Raises:
            InputError: If none of them has a pixel.
        """
        rows, columns = self.grid.shape
        numbers = self.on(slice(0, rows), slice(0, columns))
        self.check(np.bincount(numbers[numbers != NONE], minlength=len(self)))
        return numbers

    def check(self, pixels: NDArray[np.integer]) -> None:
        """Refuse fields of which none has a pixel, and warn where some have none.

        Args:
            pixels: Of each field, (field,).

        Raises:
            InputError: If all are 0.
        """
        if not pixels.any():
            theirs = _format_bounds(shapely.total_bounds(self.shapes))
            raise InputError(
                f"None of the {len(self)} fields holds the centre of a pixel of the cube, "
                f"which covers {_format_bounds(self.grid.extent.boundingbox)} in {self.grid.crs}; "
                f"theirs are {theirs}."
            )
        absent = np.flatnonzero(pixels == 0)
        if absent.size:
            log.warning(
                "%d of %d fields hold no pixel's centre, such as %s: they are NaN.",
                len(absent), len(self), self.names[absent[0]],
            )  # fmt: skip

    @cached_property
    def digest(self) -> str:
        """A hash of names, columns and places of the fields."""
        digest = hashlib.sha256(repr(self.names.tolist()).encode())
        digest.update(repr(self.columns.to_dict("list")).encode())
        digest.update(np.ascontiguousarray(self.numbers, "<i4").tobytes())
        for shape in shapely.to_wkb(self.shapes):
            digest.update(shape)
        if self.labels is not None:
            digest.update(np.ascontiguousarray(self.labels, "<i8").tobytes())
        return digest.hexdigest()

    @cached_property
    def _tree(self) -> shapely.STRtree:
        return shapely.STRtree(self.shapes)


def lay_fields(fields: Fields, grid: GeoBox, by: str | None = None) -> FieldLabels:
    """Lay fields on a grid. Where polygons overlap, the later one has the pixel.

    Polygons may leave the grid, and one that holds no pixel stays, without pixels.

    Args:
        fields: Polygons in any CRS, or labels on the grid.
        grid: Of the cube.
        by: A column of the polygons: all that have one value of it are one field, in the order in
            which values first come; those without a value are none.

    Raises:
        InputError: If there is no such file, no polygon, no CRS, no such column or no value of it,
            or labels are not integers of the grid's shape.
    """
    if isinstance(fields, (str, Path)):
        fields = read_shapes(fields, "fields")
    if isinstance(fields, geopandas.GeoDataFrame):
        return _of_frame(fields, grid, by)
    if by is not None:
        raise InputError(f"by={by!r} is a column of polygons; labels on the grid have none.")
    shape = (grid.shape[0], grid.shape[1])
    labels = np.asarray(fields)
    if labels.dtype.kind not in "iu" or labels.shape != shape:
        raise InputError(
            f"Labels of fields are {labels.dtype} of shape {labels.shape}; they must be integers "
            f"of the cube's shape {shape}, 0 where there is no field."
        )
    names = np.unique(labels[labels > 0])
    if not names.size:
        raise InputError("The labels name no field: none is above 0.")
    none = pd.DataFrame(index=range(len(names)))
    numbers = np.arange(len(names), dtype=np.int32)
    return FieldLabels(names, none, grid, np.array([], dtype=object), numbers, labels)


def _of_frame(frame: geopandas.GeoDataFrame, grid: GeoBox, by: str | None) -> FieldLabels:
    kinds = set(frame.geom_type.dropna())
    if not len(frame) or not kinds or not kinds <= {"Polygon", "MultiPolygon"}:
        raise InputError(
            f"Fields must be polygons, got {len(frame)} geometries of the kinds {sorted(kinds)}."
        )
    shapes = shapes_on(frame, grid, "fields")
    there = ~(shapes.isna() | shapes.is_empty).to_numpy()
    if not there.any():
        raise InputError(f"All of the {len(frame)} fields are empty; give polygons with an area.")
    columns = pd.DataFrame(frame.drop(columns=frame.geometry.name)).reset_index(drop=True)
    numbers, names = np.arange(len(frame)), np.asarray(frame.index)
    if by is not None:
        numbers, names, columns = _grouped(columns, by)
        there &= numbers != NONE
    own = np.asarray(shapes.array)[there]
    return FieldLabels(names, columns, grid, own, numbers[there].astype(np.int32))


def _grouped(columns: pd.DataFrame, by: str) -> tuple[NDArray[np.intp], NDArray[Any], pd.DataFrame]:
    """Which group each row is of, their names, and the columns that are the same all over one."""
    if by not in columns:
        known = ", ".join(map(str, columns)) or "none"
        raise InputError(f"The fields have no column {by!r}, which by= names; they have {known}.")
    numbers, names = pd.factorize(columns[by])
    if not len(names):
        raise InputError(f"No field has a value of {by!r}, which by= names.")
    rows = np.flatnonzero(numbers != NONE)
    first = rows[np.unique(numbers[rows], return_index=True)[1]]
    texts = columns.drop(columns=by).map(repr)
    alike = [
        name
        for name, own in texts.items()
        if (own.to_numpy()[rows] == own.to_numpy()[first[numbers[rows]]]).all()
    ]
    return numbers, np.asarray(names), columns[alike].iloc[first].reset_index(drop=True)


def _format_bounds(bounds: Any) -> str:
    return ",".join(f"{edge:.8g}" for edge in tuple(bounds))
