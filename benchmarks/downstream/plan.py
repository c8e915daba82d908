"""Which rows are measured, in which order: what targets are about first, draw after draw.

Wherever a run stops, all sets have as many draws, but for the last one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from benchmarks.downstream.missing import IN_SEASON, NONE
from benchmarks.downstream.rows import ALL, Row

__all__ = ["BUDGETS", "plan", "probes_for"]

BUDGETS = (1, 5, 10, 20, 50, ALL)
FEWEST = 5
"""Labels of a class below which only neighbours and means are asked."""

FEW = ("mean", "knn1", "knn3")
FIRST = ((NONE, 50), (NONE, 10), ("50 %", 50), ("3 months", 50), (NONE, 5), (NONE, 20), (NONE, 1))
"""What is missing, and labels of each class: what is measured before all else."""

KINDS = (NONE, "50 %", "3 months", "30 %", "70 %", "no radar", "no optical")
MISSING_BUDGET = SEASON_BUDGET = 50
PROBE_BUDGETS = (10, 50, ALL)
MORE_PROBES = ("knn1", "knn3", "mean", "logit", "mlp")


def plan(
    sets: Sequence[str], draws: int, *, season: Sequence[str] = (), probed: Sequence[str] = ()
) -> Iterator[Row]:
    """All rows.

    Args:
        sets: Names of feature sets.
        draws: Of labels; all labels are one.
        season: Feature sets that are also made within the season.
        probed: Feature sets on which all probes are tried.
    """
    for draw in range(draws):
        for kind, budget in FIRST:
            for name in sets:
                for own in probes_for(budget):
                    yield Row(name, kind, budget, own, draw)
    for kind in KINDS:
        for name in sets:
            yield Row(name, kind, ALL)
    others = [kind for kind in KINDS if kind not in dict(FIRST)]
    for draw in range(draws):
        for kind in others:
            for name in sets:
                yield Row(name, kind, MISSING_BUDGET, "lda", draw)
    for draw in range(draws):
        for kind in IN_SEASON:
            for name in season:
                yield Row(name, kind, SEASON_BUDGET, "lda", draw)
    for draw in range(draws):
        for budget in PROBE_BUDGETS:
            if budget == ALL and draw:
                continue
            for name in probed:
                for own in MORE_PROBES:
                    yield Row(name, NONE, budget, own, draw)


def probes_for(budget: int) -> tuple[str, ...]:
    """What is asked of every feature set at a number of labels."""
    return FEW if 0 < budget < FEWEST else ("lda",)
