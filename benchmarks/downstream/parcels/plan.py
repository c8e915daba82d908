"""Which rows are measured: every feature set with 1, 5 and 10 labelled polygons of each class."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from benchmarks.downstream.parcels.regions import MISSING
from benchmarks.downstream.rows import Row

__all__ = ["BUDGETS", "plan", "row_of"]

BUDGETS = (1, 5, 10)
"""Of each class; fewer where a fold leaves fewer to learn from."""


def row_of(name: str, missing: str, labels: int, draw: int = 0) -> Row:
    """One row: nearest mean from one label, linear discriminants from more."""
    return Row(name, missing, labels, "mean" if labels == 1 else "lda", draw)


def plan(
    sets: Sequence[str], draws: int, first: int = 0, kinds: Sequence[str] = MISSING
) -> Iterator[Row]:
    """All rows; those of the same features follow one another.

    Args:
        sets: Names of feature sets.
        draws: Of labels.
        first: Number of the first draw.
        kinds: What cubes lack.
    """
    for missing in kinds:
        for name in sets:
            for draw in range(first, first + draws):
                for labels in BUDGETS:
                    yield row_of(name, missing, labels, draw)
