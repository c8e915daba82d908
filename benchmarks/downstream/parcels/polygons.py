"""Labelled polygons on a grid: their pixels, their classes, and the folds that hide them."""

from __future__ import annotations

from dataclasses import dataclass

import geopandas
import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.features import rasterize
from sklearn.model_selection import StratifiedKFold

from benchmarks.downstream.canada import Fold

__all__ = ["CLASS", "FEWEST", "FOLDS", "Polygons", "lay_polygons"]

CLASS = "class"
"""Column of the class of a polygon."""

FOLDS = 3
"""A third of the polygons is always left to test."""

FEWEST = FOLDS
"""Polygons of a class; one with fewer is left out."""

FEWEST_PIXELS = 3
"""Centres of pixels that a polygon holds at least."""


@dataclass(frozen=True, eq=False)
class Polygons:
    """N labelled polygons of a region, which hold P pixels of its grid."""

    places: NDArray[np.intp]
    """Of the polygon that holds a pixel, -1 where there is none, (y, x)."""

    classes: tuple[str, ...]
    """In alphabetical order."""

    target: NDArray[np.intp]
    """Place of the class, (N,)."""

    folds: tuple[Fold, ...]
    """Places of polygons; each is hidden once."""

    left_out: tuple[str, ...]
    """Classes with too few polygons."""

    @property
    def cells(self) -> NDArray[np.intp]:
        """Every polygon is by itself, (N,)."""
        return np.arange(len(self.target))

    @property
    def pixels(self) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Rows and columns of the pixels in polygons, (P,) both."""
        rows, columns = np.nonzero(self.places >= 0)
        return rows, columns

    def means(self, features: NDArray[np.floating]) -> NDArray[np.float64]:
        """Mean over the pixels of each polygon, (P, F) -> (N, F)."""
        of = self.places[self.pixels]
        sums = np.zeros((len(self.target), features.shape[1]))
        np.add.at(sums, of, features)
        return sums / np.bincount(of, minlength=len(sums))[:, None]


def lay_polygons(frame: geopandas.GeoDataFrame, grid: GeoBox, *, seed: int) -> Polygons:
    """Find the pixels of polygons, and deal these out to folds, those of a class evenly.

    Polygons are numbered as they come on the grid, row by row, so that neither folds nor draws
    depend on their order in the frame. Those with fewer than 3 pixels are left out.

    Args:
        frame: Polygons that do not overlap, in the grid's CRS, each with its :data:`CLASS`.
        grid: Of the cube.
        seed: Of the folds.

    Raises:
        ValueError: If fewer than two classes have 3 polygons.
    """
    outlines = ((outline, place) for place, outline in enumerate(frame.geometry, 1))
    held = rasterize(outlines, grid.shape, transform=grid.affine, dtype=np.int32)
    found, first, sizes = np.unique(held, return_index=True, return_counts=True)
    kept = (found > 0) & (sizes >= FEWEST_PIXELS)
    found = found[kept][np.argsort(first[kept])]
    names = frame[CLASS].to_numpy(str)[found - 1]
    there, counts = np.unique(names, return_counts=True)
    classes = there[counts >= FEWEST]
    if len(classes) < 2:
        raise ValueError(
            f"{len(frame)} polygons have {len(classes)} classes of {FEWEST} polygons with "
            f"{FEWEST_PIXELS} pixels or more; two are the least."
        )
    some = np.isin(names, classes)
    found, target = found[some], np.searchsorted(classes, names[some])
    places = np.full(len(frame) + 1, -1)
    places[found] = np.arange(len(found))
    dealt = StratifiedKFold(FOLDS, shuffle=True, random_state=seed).split(target, target)
    folds = tuple(Fold(number, training, test) for number, (training, test) in enumerate(dealt))
    left_out = sorted({*frame[CLASS].astype(str)} - {*classes})
    return Polygons(places[held], tuple(map(str, classes)), target, folds, tuple(left_out))
