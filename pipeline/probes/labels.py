"""Labels on a grid: polygons or points with a value each -> the pixels that have these values."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import geopandas
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.features import rasterize
from rasterio.windows import Window, from_bounds
from rasterio.windows import transform as transform_of
from shapely.geometry.base import BaseGeometry

from terralatent.catalogs.errors import InputError
from terralatent.pipeline.labels import class_names, read_shapes, shapes_on

__all__ = [
    "KnownLabels",
    "LabelColumns",
    "LabelSource",
    "Labels",
    "know_labels",
    "most_pixels",
    "read_labels",
]

log = logging.getLogger(__name__)

LabelSource: TypeAlias = str | Path | geopandas.GeoDataFrame
"""A file of polygons or points (GeoJSON, GeoParquet, GeoPackage, Shapefile, KML), or a frame."""

MOST_PIXELS, FEWEST_PIXELS, ALL_PIXELS = 64, 8, 20_000
"""Of a label that are learnt from, evenly spread over it, since its pixels are much alike: so many,
fewer where there would be more than ``ALL_PIXELS`` of all labels, but not below the fewest."""

ALIKE = 0.5
"""Correlation that two pixels of a label are taken to have, see :meth:`Labels.weights`."""

KINDS = {"Polygon", "MultiPolygon", "Point", "MultiPoint"}


@dataclass(frozen=True)
class LabelColumns:
    """What of a file of labels is meant."""

    value: str
    """Column of the class or number."""

    group: str | None = None
    """Column whose equal values are never parted by cross-validation; by default each label is by
    itself."""

    square: float | None = None
    """The same for labels whose middles lie in one square of this side, in units of the CRS."""

    strata: str | None = None
    """Column of the stratum from which a label was drawn."""

    ignore: tuple[str, ...] = ()
    """Values that are no class."""

    def __post_init__(self) -> None:
        if self.group is not None and self.square is not None:
            raise InputError(f"Labels are grouped by {self.group!r} or by squares; give one.")
        if self.square is not None and not (np.isfinite(self.square) and self.square > 0):
            raise InputError(f"Squares of side {self.square:g} group nothing; give metres above 0.")


@dataclass(frozen=True, eq=False)
class Labels:
    """Labels that lie on a grid, and the pixels of each."""

    values: NDArray[Any]
    """Of each label: text of its class, or a number, (label,)."""

    groups: NDArray[np.intp]
    """Labels of a number belong together, (label,)."""

    strata: NDArray[Any] | None
    """From which each was drawn, text, (label,); None where that is not stated."""

    rows: NDArray[np.intp]
    """Of each pixel, (pixel,)."""

    columns: NDArray[np.intp]
    """Of each pixel, (pixel,)."""

    of: NDArray[np.intp]
    """Which label a pixel belongs to, ascending, (pixel,)."""

    sizes: NDArray[np.int64]
    """How many pixels each label has on the grid, also those that are not learnt from, (label,)."""

    def __len__(self) -> int:
        """The number of labels."""
        return len(self.values)

    def weights(self) -> NDArray[np.float64]:
        """What each pixel counts in learning, (pixel,).

        The n pixels of a label count together as the n / (1 + (n - 1) rho) independent ones that
        they are worth where any two have the correlation rho (Kish's design effect), so that a
        large polygon does not drown others.
        """
        count = np.bincount(self.of, minlength=len(self))
        return np.asarray(1.0 / (1.0 + (count - 1.0) * ALIKE))[self.of]

    def shares(self) -> NDArray[np.float64]:
        """What each pixel counts in scores: those of a label 1 together, (pixel,)."""
        return np.asarray(1.0 / np.bincount(self.of, minlength=len(self)).clip(1))[self.of]

    def digest(self) -> str:
        """SHA-256 of their pixels, values and groups, in hexadecimal."""
        digest = hashlib.sha256()
        for array in (self.rows, self.columns, self.of, self.groups):
            digest.update(np.ascontiguousarray(array, dtype=np.int64).tobytes())
        digest.update("\n".join(map(str, self.values)).encode())
        return digest.hexdigest()

    def spread(self, most: int) -> NDArray[np.bool_]:
        """Choose up to ``most`` pixels of each label, evenly spread over its rows, (pixel,)."""
        chosen = np.zeros(len(self.of), dtype=bool)
        starts = np.flatnonzero(np.diff(self.of, prepend=-1))
        for start, stop in zip(starts, [*starts[1:], len(self.of)], strict=True):
            places = np.linspace(start, stop - 1, min(stop - start, most))
            chosen[places.round().astype(int)] = True
        return chosen

    def kept(self, pixels: NDArray[np.bool_]) -> Labels:
        """Keep some pixels, and the labels that have one."""
        some = replace(
            self, rows=self.rows[pixels], columns=self.columns[pixels], of=self.of[pixels]
        )
        there, of = np.unique(some.of, return_inverse=True)
        return replace(
            some,
            values=self.values[there],
            groups=self.groups[there],
            strata=None if self.strata is None else self.strata[there],
            sizes=self.sizes[there],
            of=of,
        )


@dataclass(frozen=True, eq=False)
class KnownLabels:
    """Labels that have a value, wherever they lie."""

    frame: geopandas.GeoDataFrame
    """Polygons or points, in any CRS."""

    values: NDArray[Any]
    """Text of their classes, or numbers, (label,)."""

    columns: LabelColumns
    """What is meant."""

    def __len__(self) -> int:
        """The number of labels."""
        return len(self.frame)

    def to_crs(self, crs: str) -> KnownLabels:
        """The same in another CRS.

        Raises:
            InputError: If they have none.
        """
        if self.frame.crs is None:
            raise InputError("The labels have no CRS; set it with `frame.set_crs(...)`.")
        return replace(self, frame=self.frame.to_crs(crs))

    def on(self, grid: GeoBox) -> Labels | None:
        """Find their pixels on a grid; None where there are none.

        All of them are there, those without a pixel too, and so a number of a group means the same
        on grids of one CRS. Of squares; by column or by label it does on all grids.

        Raises:
            InputError: If they have no CRS, or a corner is no place in that of the grid.
        """
        shapes = shapes_on(self.frame, grid, "labels")
        rows, cols, of = _pixels(list(shapes), grid)
        if not of.size:
            return None
        strata = self.columns.strata
        return Labels(
            values=self.values,
            groups=_groups(self.frame, shapes, self.columns),
            strata=None if strata is None else class_names(self.frame[strata]),
            rows=rows,
            columns=cols,
            of=of,
            sizes=np.bincount(of, minlength=len(self.frame)),
        )


def know_labels(
    source: LabelSource, columns: LabelColumns, *, numbers: bool = False
) -> KnownLabels:
    """Read labels and check them; arguments and errors as of :func:`read_labels`.

    Those without a value are left out, which is logged.
    """
    frame = read_shapes(source, "labels") if isinstance(source, (str, Path)) else source
    wanted = [name for name in (columns.value, columns.group, columns.strata) if name is not None]
    _require_columns(frame, wanted)
    kinds = set(frame.geom_type.dropna())
    if not kinds or not kinds <= KINDS:
        raise InputError(
            f"Labels must be polygons or points, got {len(frame)} geometries of the kinds "
            f"{sorted(kinds)}."
        )
    there = frame[columns.value].notna() & frame.geometry.notna() & ~frame.geometry.is_empty
    if not frame[columns.value].notna().any():
        raise InputError(
            f"None of the {len(frame)} labels has a value in the column {columns.value!r}; fill "
            "it, or name another."
        )
    names = class_names(frame[columns.value])
    there &= ~np.isin(names, columns.ignore)
    _log_left_out(frame, there, columns)
    if not there.any():
        raise InputError(f"All of the {len(frame)} labels are left out; ignore fewer values.")
    frame = frame[there]
    values = _numbers(frame[columns.value]) if numbers else names[np.asarray(there)]
    return KnownLabels(frame, values, columns)


def read_labels(
    source: LabelSource, columns: LabelColumns, grid: GeoBox, *, numbers: bool = False
) -> Labels:
    """Read labels and find their pixels: those whose centre a polygon holds, or a point's own.

    Where they overlap, the later one has the pixel. Labels without a value are left out, and those
    off the grid or too small to hold a centre, which is logged.

    Args:
        source: In any CRS.
        columns: What is meant.
        grid: Of the latents.
        numbers: Whether values are numbers, else names.

    Raises:
        InputError: If there is no such file or column, no geometry or CRS, no value, a value that
            is no number where one is wanted, or no label on the grid.
    """
    known = know_labels(source, columns, numbers=numbers)
    labels = known.on(grid)
    if labels is None:
        bounds = shapes_on(known.frame, grid, "labels").total_bounds
        raise InputError(
            f"None of the {len(known)} labels holds the centre of a pixel of the latents, which "
            f"cover {_bounds(grid.extent.boundingbox)} in {grid.crs}; theirs are "
            f"{_bounds(bounds)}. Check the CRS of the labels, and the region."
        )
    if empty := int((labels.sizes == 0).sum()):
        log.warning(
            "%d of %d labels hold no pixel's centre of the latents and are left out.",
            empty, len(labels),
        )  # fmt: skip
    return labels.kept(labels.spread(most_pixels(len(labels))))


def most_pixels(labels: int) -> int:
    """How many pixels of each are learnt from where there are so many labels."""
    return int(np.clip(ALL_PIXELS // labels, FEWEST_PIXELS, MOST_PIXELS))


def _require_columns(frame: geopandas.GeoDataFrame, names: Collection[str]) -> None:
    known = [str(name) for name in frame.columns if name != frame.geometry.name]
    for name in names:
        if name not in known:
            listed = ", ".join(known) or "none"
            raise InputError(f"The labels have no column {name!r}; they have {listed}.")


def _log_left_out(frame: geopandas.GeoDataFrame, there: pd.Series, columns: LabelColumns) -> None:
    missing = int(frame[columns.value].isna().sum())
    if missing:
        log.info("%d of %d labels have no %s and are left out", missing, len(frame), columns.value)
    if ignored := len(frame) - missing - int(there.sum()):
        log.info("%d of %d labels are ignored or empty", ignored, len(frame))


def _numbers(values: pd.Series) -> NDArray[np.float64]:
    found = pd.to_numeric(values, errors="coerce").astype(float)
    wrong = values[~np.isfinite(found)]
    if len(wrong):
        raise InputError(
            f"The column {values.name!r} holds {str(wrong.iloc[0])!r}, which is no finite number; "
            "`classify` is for names."
        )
    return np.asarray(found)


def _groups(
    frame: geopandas.GeoDataFrame, shapes: geopandas.GeoSeries, columns: LabelColumns
) -> NDArray[np.intp]:
    if columns.square is not None:
        middles = shapes.centroid
        keys = pd.Series(
            list(zip(middles.x // columns.square, middles.y // columns.square, strict=True))
        )
        return np.asarray(pd.factorize(keys)[0])
    if columns.group is not None:
        numbers, known = pd.factorize(frame[columns.group])
        alone = numbers < 0  # no group is named: each is by itself
        return np.where(alone, len(known) + np.cumsum(alone), numbers)
    return np.arange(len(frame))


def _pixels(
    shapes: list[BaseGeometry], grid: GeoBox
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]:
    """Rows, columns and labels of all pixels, in row-major order of each label."""
    bounds, shape = grid.extent.boundingbox, grid.shape
    parts: list[tuple[NDArray[np.intp], NDArray[np.intp], int]] = []
    for number, geometry in enumerate(shapes):
        left, bottom, right, top = geometry.bounds
        # A pixel has its left and its upper edge: what lies on the others of the grid is outside.
        if left >= bounds.right or right < bounds.left:
            continue
        if bottom > bounds.top or top <= bounds.bottom:
            continue
        window = _window((left, bottom, right, top), grid)
        laid = rasterize(
            [(geometry, 1)],
            out_shape=(window.height, window.width),
            transform=transform_of(window, grid.affine),
            dtype="uint8",
        )
        rows, columns = np.nonzero(laid)
        parts.append((rows + window.row_off, columns + window.col_off, number))
    if not parts:
        nothing = np.empty(0, np.intp)
        return nothing, nothing, nothing
    rows = np.concatenate([part[0] for part in parts])
    columns = np.concatenate([part[1] for part in parts])
    of = np.concatenate([np.full(len(part[0]), part[2]) for part in parts])
    # The later label has the pixel: of equal places the first of the reversed is kept.
    _, last = np.unique((rows * shape[1] + columns)[::-1], return_index=True)
    kept = np.sort(len(rows) - 1 - last)
    return rows[kept], columns[kept], of[kept]


def _window(bounds: tuple[float, float, float, float], grid: GeoBox) -> Window:
    """The pixels of the grid that bounds touch, at least one along each side."""
    exact = from_bounds(*bounds, transform=grid.affine)
    top, left = max(0, int(np.floor(exact.row_off))), max(0, int(np.floor(exact.col_off)))
    bottom = min(grid.shape[0], int(np.floor(exact.row_off + exact.height)) + 1)
    right = min(grid.shape[1], int(np.floor(exact.col_off + exact.width)) + 1)
    return Window(left, top, max(1, right - left), max(1, bottom - top))


def _bounds(bounds: Any) -> str:
    return ",".join(f"{edge:.8g}" for edge in tuple(bounds))
