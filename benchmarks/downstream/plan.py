"""Which rows are measured, in which order: what targets are about first, draw after draw.

All sets have as many draws, wherever a run stops, but for those of the draw that it stopped at.
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
KINDS = ("50 %", "3 months", "30 %", "70 %", "no radar", "no optical")
"""What is missing; what targets are about first."""

MISSING_BUDGETS = (50, ALL)
SEASON_BUDGET = 50
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
        for budget in (50, ALL, 10, 1, 5, 20):
            if budget == ALL and draw:
                continue
            for name in sets:
                for own in probes_for(budget):
                    yield Row(name, NONE, budget, own, draw)
        for kind in KINDS:
            for budget in MISSING_BUDGETS:
                if budget == ALL and draw:
                    continue
                for name in sets:
                    yield Row(name, kind, budget, "lda", draw)
        for kind in IN_SEASON:
            for name in season:
                yield Row(name, kind, SEASON_BUDGET, "lda", draw)
        for budget in PROBE_BUDGETS:
            if budget == ALL and draw:
                continue
            for name in probed:
                for own in MORE_PROBES:
                    yield Row(name, NONE, budget, own, draw)


def probes_for(budget: int) -> tuple[str, ...]:
    """What is asked of every feature set at a number of labels."""
    return FEW if 0 < budget < FEWEST else ("lda",)
