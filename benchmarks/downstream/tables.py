"""The rows as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.downstream.canada import Crops
from benchmarks.downstream.missing import IN_SEASON, NONE
from benchmarks.downstream.plan import BUDGETS, FEW, MORE_PROBES, PROBE_BUDGETS, SEASON_BUDGET
from benchmarks.downstream.rows import ALL, Labelled, Row, RowResult, read_row
from benchmarks.downstream.scores import Scores, paired, score
from benchmarks.gapfill.tables import table

__all__ = ["Figures", "format_page"]

NOTE = (
    "OA / macro-F1, pooled: from one confusion matrix of the predictions of all five folds, mean "
    "over draws of labels (their number in brackets where it is not {draws}; of all labels there "
    "is one)."
)
PAIRED = (
    "Less the best raw row of the column ({best}), with 95 % intervals over 2,000 draws of cells; "
    "OA, then macro-F1."
)
MISSING_COLUMNS = tuple(
    (kind, labels)
    for kind in ("30 %", "50 %", "70 %", "3 months", "no radar", "no optical")
    for labels in (50, ALL)
)


class Figures:
    """The rows of a work folder, scored.

    Args:
        work: Where they are kept.
        crops: What is labelled.
        draws: Of labels at most.
        first: Number of the first draw.
    """

    strata: NDArray[np.intp] | None = None
    """Of the cells that are drawn anew, see :func:`benchmarks.downstream.scores.paired`."""

    def __init__(self, work: Path, crops: Labelled, draws: int, first: int = 0) -> None:
        self.work, self.crops = work, crops
        self.draws = range(first, first + draws)
        self._scored: dict[Row, Scores | None] = {}

    def results(self, row: Row) -> list[RowResult]:
        """All draws that are there; of all labels there is one."""
        draws = self.draws[:1] if row.labels == ALL else self.draws
        found = (read_row(self.work, replace(row, draw=draw)) for draw in draws)
        return [own for own in found if own is not None]

    def scores(self, row: Row) -> Scores | None:
        """None where nothing was computed."""
        row = replace(row, draw=0)
        if row not in self._scored:
            results = self.results(row)
            classes = len(self.crops.classes)
            self._scored[row] = score(results, self.crops.target, classes) if results else None
        return self._scored[row]

    def cell(self, row: Row) -> str:
        """OA / macro-F1 of a row."""
        own = self.scores(row)
        if own is None:
            return ""
        few = own.draws < len(self.draws) and row.labels != ALL
        return f"{_short(own.overall)}/{_short(own.macro_f1)}" + (f" ({own.draws})" if few else "")

    def best(self, names: Iterable[str], row: Row) -> str | None:
        """The feature set of the best overall accuracy in a column, of those with most draws."""
        there = {name: own for name in names
                 if (own := self.scores(replace(row, features=name)))}  # fmt: skip
        most = max((own.draws for own in there.values()), default=0)
        complete = {name: own.overall for name, own in there.items() if own.draws == most}
        return max(complete, key=lambda name: complete[name]) if complete else None

    def difference(self, name: str, other: str, row: Row) -> str:
        """OA and macro-F1 of one set less another's, with intervals."""
        one, two = (self.results(replace(row, features=own)) for own in (name, other))
        if not one or not two or name == other:
            return ""
        crops = self.crops
        both = paired(one, two, crops.target, crops.cells, len(crops.classes), strata=self.strata)
        return "; ".join(f"{own.value:+.3f} ({own.low:+.3f}, {own.high:+.3f})" for own in both)


def format_page(
    work: Path, crops: Crops, names: Sequence[str], raw: Sequence[str], draws: int, first: int = 0
) -> str:
    """All tables of the rows that are there."""
    figures = Figures(work, crops, draws, first)
    there = [name for name in names if any((work / "rows").glob(f"{_folder(name)}/*/*.json"))]
    known = [name for name in raw if name in there]
    count = sum(1 for _ in (work / "rows").rglob("*.json"))
    parts = [
        NOTE.format(draws=draws),
        f"{count:,} rows of figures were computed: a feature set, what is missing, labels, a probe "
        "and a draw each.",
        _accuracy(figures, there),
        _balanced(figures, there),
        "What is missing:",
        _missing(figures, there),
        _against(figures, there, known),
        "Expected calibration error, pooled over folds and draws:",
        _calibration(figures, there),
        f"Within the season: only months until the end of that one, {SEASON_BUDGET} labels:",
        _season(figures, there),
        "Other probes, nothing missing:",
        _probes(figures, there),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _accuracy(figures: Figures, names: Sequence[str]) -> str:
    head = ["features", "1, nearest mean", "1, 1-NN", "1, 3-NN",
            *(_count(labels) for labels in BUDGETS[1:])]  # fmt: skip
    return table(head, [
        [name, *(figures.cell(Row(name, labels=1, probe=own)) for own in FEW),
         *(figures.cell(Row(name, labels=labels)) for labels in BUDGETS[1:])]
        for name in names
    ])  # fmt: skip


def _balanced(figures: Figures, names: Sequence[str]) -> str:
    rows = []
    for name in names:
        found = [figures.scores(Row(name, labels=labels)) for labels in BUDGETS[1:]]
        rows.append([name, *(_short(own.balanced) if own else "" for own in found)])
    head = ["balanced accuracy", *(_count(labels) for labels in BUDGETS[1:])]
    return table(head, rows)


def _missing(figures: Figures, names: Sequence[str]) -> str:
    head = ["features", *(f"{kind}, {_count(labels)}" for kind, labels in MISSING_COLUMNS)]
    return table(head, [
        [name, *(figures.cell(Row(name, kind, labels)) for kind, labels in MISSING_COLUMNS)]
        for name in names
    ])  # fmt: skip


def _against(figures: Figures, names: Sequence[str], raw: Sequence[str]) -> str:
    columns = [(NONE, 10), (NONE, 50), (NONE, ALL), ("50 %", 50), ("50 %", ALL), ("3 months", 50),
               ("3 months", ALL)]  # fmt: skip
    bests = [figures.best(raw, Row("", kind, labels)) for kind, labels in columns]
    others = [name for name in names if name not in raw]
    if not others or not any(bests):
        return ""
    head = ["features", *(f"{kind}, {_count(labels)}" for kind, labels in columns)]
    rows = [
        [name, *(figures.difference(name, best, Row("", kind, labels)) if best else ""
                 for best, (kind, labels) in zip(bests, columns, strict=True))]
        for name in others
    ]  # fmt: skip
    named = "; ".join(f"{best}" for best in bests)
    return PAIRED.format(best=named) + "\n\n" + table(head, rows)


def _calibration(figures: Figures, names: Sequence[str]) -> str:
    columns = [*((NONE, labels) for labels in BUDGETS[1:]), ("50 %", 50), ("50 %", ALL),
               ("3 months", 50), ("3 months", ALL)]  # fmt: skip
    rows = []
    for name in names:
        found = [figures.scores(Row(name, kind, labels)) for kind, labels in columns]
        rows.append([name, *(f"{own.calibration:.3f}" if own else "" for own in found)])
    head = ["features", *(f"{kind}, {_count(labels)}" for kind, labels in columns)]
    return table(head, rows)


def _season(figures: Figures, names: Sequence[str]) -> str:
    rows = [
        [name, *(figures.cell(Row(name, kind, SEASON_BUDGET)) for kind in IN_SEASON)]
        for name in names
    ]
    return table(["features", *IN_SEASON], [row for row in rows if any(row[1:])])


def _probes(figures: Figures, names: Sequence[str]) -> str:
    columns = [(own, labels) for labels in PROBE_BUDGETS for own in ("lda", *MORE_PROBES)]
    rows = [
        [name, *(figures.cell(Row(name, labels=labels, probe=own)) for own, labels in columns)]
        for name in names
        if figures.scores(Row(name, labels=PROBE_BUDGETS[0], probe=MORE_PROBES[0]))
    ]
    return table(["features", *(f"{own}, {_count(labels)}" for own, labels in columns)], rows)


def _count(labels: int) -> str:
    return "all" if labels == ALL else f"{labels} labels"


def _short(share: float) -> str:
    return f"{share:.3f}".removeprefix("0")


def _folder(name: str) -> str:
    return Row(name).file(Path()).parts[1]
