"""The rows of several regions, pooled, as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.downstream.canada import Fold
from benchmarks.downstream.missing import NONE
from benchmarks.downstream.parcels.features import SETS
from benchmarks.downstream.parcels.medians import RAW
from benchmarks.downstream.parcels.plan import BUDGETS, row_of
from benchmarks.downstream.parcels.polygons import FEWEST, Polygons
from benchmarks.downstream.parcels.regions import MISSING, TWO_THIRDS, Region
from benchmarks.downstream.rows import Row, RowResult, read_row
from benchmarks.downstream.scores import paired
from benchmarks.downstream.tables import Figures
from benchmarks.gapfill.tables import table

__all__ = ["Pool", "PooledFigures", "describe", "format_page"]

Regions = Mapping[Region, Polygons]

NOTE = (
    "{regions}: OA / macro-F1 by polygon, from one confusion matrix of the predictions of all "
    "folds and regions, mean over {draws} draws of labels."
)
PAIRED = (
    "Less the best row without latents of the column ({best}), with 95 % intervals over 2,000 "
    "draws of polygons within their regions; OA, then macro-F1."
)
WANTED = 0.08
TARGET_BUDGET = 10
TARGET = (
    "Target: simulated regions, ten polygons a class, two thirds of acquisitions gone, "
    "8 points of OA above the best row without latents ({best}, {overall:.1%})."
)


@dataclass(frozen=True, eq=False)
class Pool:
    """Polygons of all regions, one after the other, as what is labelled."""

    classes: tuple[str, ...]
    target: NDArray[np.intp]
    strata: NDArray[np.intp]
    """Number of the region, (N,)."""

    folds: tuple[Fold, ...] = ()
    """Each region has its own."""

    @property
    def cells(self) -> NDArray[np.intp]:
        """Every polygon is by itself, (N,)."""
        return np.arange(len(self.target))

    @classmethod
    def of(cls, all_polygons: Sequence[Polygons]) -> Pool:
        """Number classes by their names over all regions."""
        classes = sorted({name for own in all_polygons for name in own.classes})
        target = [_renumber(own.target, own.classes, classes) for own in all_polygons]
        strata = np.repeat(np.arange(len(target)), [len(own) for own in target])
        return cls(tuple(classes), np.concatenate(target), strata)


class PooledFigures(Figures):
    """The rows of regions, scored together.

    Args:
        regions: With their polygons.
        draws: Of labels at most.
        first: Number of the first draw.
    """

    def __init__(self, regions: Regions, draws: int, first: int = 0) -> None:
        self.pool = Pool.of(list(regions.values()))
        super().__init__(Path(), self.pool, draws, first)
        self.regions, self.strata = regions, self.pool.strata

    def results(self, row: Row) -> list[RowResult]:
        """All draws that every region has."""
        found = []
        for draw in self.draws:
            own = [read_row(region.work, replace(row, draw=draw)) for region in self.regions]
            there = [result for result in own if result is not None]
            if len(there) == len(own):
                found.append(self._joined(there))
        return found

    def points(self, name: str, other: str, row: Row) -> str:
        """Percentage points of OA of one set less another's, with their interval."""
        one, two = (self.results(replace(row, features=own)) for own in (name, other))
        pool = self.pool
        more, _ = paired(one, two, pool.target, pool.cells, len(pool.classes), strata=pool.strata)
        return f"{100 * more.value:+.1f} ({100 * more.low:+.1f}, {100 * more.high:+.1f})"

    def _joined(self, results: Sequence[RowResult]) -> RowResult:
        predicted = [
            _renumber(own.predicted, polygons.classes, self.pool.classes)
            for own, polygons in zip(results, self.regions.values(), strict=True)
        ]
        sure = np.concatenate([own.sure for own in results])
        return RowResult(np.concatenate(predicted), sure, all(own.tempered for own in results))


def _renumber(
    places: NDArray[np.intp], classes: Sequence[str], wanted: Sequence[str]
) -> NDArray[np.intp]:
    """Places in one list of classes as places in another that has them all, both sorted."""
    return np.searchsorted(wanted, classes)[places]


def describe(region: Region, polygons: Polygons) -> str:
    """Say how many polygons of each class a region has, and how many dates its cubes."""
    counts = np.bincount(polygons.target)
    there = ", ".join(f"{own} {n}" for own, n in zip(polygons.classes, counts, strict=True))
    dates = ", ".join(f"{name} {' / '.join(map(str, n))}" for name, n in region.dates().items())
    polygon_count, pixel_count = len(polygons.target), len(polygons.pixels[0])
    lines = [
        f"{region.name}: {polygon_count} polygons, {pixel_count:,} pixels: {there}",
        f"acquisitions, whole / {TWO_THIRDS} removed (seed {region.seed}): {dates}",
    ]
    if polygons.left_out:
        lines.append(f"left out, fewer than {FEWEST} polygons: {', '.join(polygons.left_out)}")
    return "\n".join(lines)


def format_page(regions: Regions, draws: int, first: int = 0, *, simulated: bool) -> str:
    """All tables of the rows that are there.

    Args:
        regions: That are pooled.
        draws: Of labels at most.
        first: Number of the first draw.
        simulated: Whether the target is about these.
    """
    figures = PooledFigures(regions, draws, first)
    columns = [row_of("", missing, labels) for missing in MISSING for labels in BUDGETS]
    columns = [own for own in columns if any(figures.cell(_row(name, own)) for name in SETS)]
    names = [name for name in SETS if any(figures.cell(_row(name, own)) for own in columns)]
    cells = [[name, *(figures.cell(_row(name, own)) for own in columns)] for name in names]
    note = NOTE.format(regions=", ".join(own.name for own in regions), draws=draws)
    head = ["features", *map(_title, columns)]
    parts = [note, table(head, cells), _against(figures, names, columns)]
    if simulated:
        parts.append(_target(figures, names))
    return "\n\n".join(part for part in parts if part) + "\n"


def _against(figures: Figures, names: Sequence[str], columns: Sequence[Row]) -> str:
    bests = [figures.best(RAW, own) for own in columns]
    others = [name for name in names if name not in RAW]
    if not others or None in bests:
        return ""
    rows = [
        [name, *(figures.difference(name, str(best), own)
                 for best, own in zip(bests, columns, strict=True))]
        for name in others
    ]  # fmt: skip
    head = ["features", *map(_title, columns)]
    return PAIRED.format(best="; ".join(map(str, bests))) + "\n\n" + table(head, rows)


def _target(figures: PooledFigures, names: Sequence[str]) -> str:
    row = row_of("", TWO_THIRDS, TARGET_BUDGET)
    best = figures.best(RAW, row)
    beside = figures.scores(_row(best, row)) if best else None
    if best is None or beside is None:
        return ""
    rows = []
    for name in names:
        own = figures.scores(_row(name, row))
        if name not in RAW and own:
            more = own.overall - beside.overall
            reached = "yes" if more > WANTED else "no"
            points = figures.points(name, best, row)
            rows.append([name, f"{own.overall:.1%}", points, reached])
    if not rows:
        return ""
    head = ["features", "OA", "more, points (95 %)", "above the target"]
    return TARGET.format(best=best, overall=beside.overall) + "\n\n" + table(head, rows)


def _row(name: str, row: Row) -> Row:
    return replace(row, features=name)


def _title(row: Row) -> str:
    polygons = "polygon" if row.labels == 1 else "polygons"
    return f"{'whole' if row.missing == NONE else row.missing}, {row.labels} {polygons}"
