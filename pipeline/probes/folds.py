"""Folds of cross-validation that keep together what belongs together."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["deal_folds"]

MOST_FOLDS = 5


def deal_folds(
    groups: NDArray[np.intp],
    classes: NDArray[np.intp] | None = None,
    *,
    most: int = MOST_FOLDS,
    seed: int = 0,
) -> NDArray[np.intp]:
    """Deal labels out to folds, group by group, so that every fold has much the same of each class.

    The groups of the rarest classes go first, each to the fold that has least of its class; so a
    class with two groups is in two folds.

    Args:
        groups: Of each label, (label,).
        classes: Of each label, (label,); all alike by default.
        most: Folds at most; as many as there are groups where those are fewer.
        seed: Of the order of groups that are alike.

    Returns:
        The fold of each label, (label,).
    """
    kinds = np.zeros(len(groups), np.intp) if classes is None else classes
    names, own = np.unique(groups, return_inverse=True)
    count = max(1, min(most, len(names)))
    table = np.zeros((len(names), int(kinds.max(initial=0)) + 1), np.int64)
    np.add.at(table, (own, kinds), 1)
    spread = (table > 0).sum(axis=0)  # groups that have a class
    rarest = np.where(table > 0, spread, len(names) + 1).argmin(axis=1)
    shuffled = np.random.default_rng(seed).permutation(len(names))
    order = shuffled[np.lexsort((rarest[shuffled], spread[rarest[shuffled]]))]
    has = np.zeros((count, table.shape[1]), np.int64)
    fold = np.empty(len(names), np.intp)
    for group in order:
        fewest = np.lexsort((has.sum(axis=1), has[:, rarest[group]]))[0]
        fold[group] = fewest
        has[fewest] += table[group]
    return fold[own]
