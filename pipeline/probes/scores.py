"""How good a cross-validated prediction is, label by label.

Every label counts as much as another, by the share of its pixels that are right: pixels of a
polygon are alike, and a large one would count many times over. Intervals come from drawing groups
of labels anew within their class, never pixels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from terralatent.pipeline.probes.labels import Labels
from terralatent.pipeline.probes.legend import Legend

__all__ = ["ClassScores", "NumberScores", "Scored", "score_classes", "score_numbers"]

Array = NDArray[np.float64]

DRAWS = 2000
"""Of the bootstrap."""

MOST_BINS, LABELS_A_BIN = 15, 10
"""Of probabilities, for the calibration error: fewer where a bin would have fewer labels."""

KEPT = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1)
"""Shares of the pixels, the surest first, whose accuracy is given."""


@dataclass(frozen=True)
class Scored:
    """A score and its 95 % interval by the bootstrap of groups."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} (95 % interval {self.low:.3f} to {self.high:.3f})"


@dataclass(frozen=True)
class ClassScores:
    """Of classes."""

    accuracy: Scored
    """Share of a label's pixels that are right, mean over labels."""

    macro_f1: Scored
    """Mean over classes of the F1 score, from the confusion of labels."""

    pixel_accuracy: float
    """Share of pixels that are right, where a large polygon counts as much as it is large."""

    confusion: tuple[tuple[float, ...], ...]
    """Labels of a class (row) that are predicted as a class (column): each label is parted by its
    pixels, so that a row sums to the number of its labels."""

    f1: tuple[float, ...]
    """Of each class."""

    calibration_error: float
    """Mean difference between the probability of the predicted class and how often it is right, in
    bins of as many labels; 0 is best."""

    bins: int
    """So many."""

    kept: tuple[tuple[float, float], ...]
    """Share of pixels that are kept, the surest first, and the accuracy of these."""


@dataclass(frozen=True)
class NumberScores:
    """Of numbers; a label's prediction is the mean of its pixels'."""

    rmse: Scored
    """Root mean square error over labels, in units of the number."""

    r2: Scored
    """Share of the labels' variance that is explained; below 0 where their mean does better."""

    bias: float
    """Mean of prediction less label."""

    pixel_std: float
    """Root mean square of pixel less label, labels counting alike."""


def score_classes(
    probabilities: Array, target: NDArray[np.intp], labels: Labels, legend: Legend, seed: int = 0
) -> ClassScores:
    """Score probabilities of pixels that were not learnt from.

    Args:
        probabilities: (pixel, class).
        target: Place of the true class, (pixel,).
        labels: Which label a pixel belongs to, and what is drawn together.
        legend: The classes.
        seed: Of the bootstrap.
    """
    predicted, shares, count = probabilities.argmax(axis=1), labels.shares(), len(legend)
    right = predicted == target
    _, group = np.unique(labels.groups, return_inverse=True)
    tables = np.zeros((int(group.max()) + 1, count, count))
    np.add.at(tables, (group[labels.of], target, predicted), shares)
    main = tables.sum(axis=2).argmax(axis=1)
    accuracy, macro = _bootstrap(tables, main, [_accuracy, _macro_f1], seed)
    bins = int(np.clip(len(labels) // LABELS_A_BIN, 1, MOST_BINS))
    sure = probabilities.max(axis=1)
    return ClassScores(
        accuracy=accuracy,
        macro_f1=macro,
        pixel_accuracy=float(np.average(right, weights=shares * labels.sizes[labels.of])),
        confusion=tuple(tuple(map(float, row)) for row in tables.sum(axis=0)),
        f1=tuple(map(float, _f1(tables.sum(axis=0)))),
        calibration_error=_calibration_error(sure, right, shares, bins),
        bins=bins,
        kept=_kept(sure, right, shares),
    )


def score_numbers(predicted: Array, target: Array, labels: Labels, seed: int = 0) -> NumberScores:
    """Score numbers of pixels that were not learnt from.

    Args:
        predicted: (pixel,).
        target: (pixel,).
        labels: Which label a pixel belongs to, and what is drawn together.
        seed: Of the bootstrap.
    """
    shares = labels.shares()
    mean = np.bincount(labels.of, shares * predicted, len(labels))
    true = np.bincount(labels.of, shares * target, len(labels))
    _, group = np.unique(labels.groups, return_inverse=True)
    # Of each group: labels, sum and squares of the truth, and squares of the error.
    parts = np.stack([np.ones_like(true), true, true**2, (mean - true) ** 2], axis=1)
    tables = np.zeros((int(group.max()) + 1, parts.shape[1]))
    np.add.at(tables, group, parts)
    rmse, r2 = _bootstrap(tables, np.zeros(len(tables), np.intp), [_rmse, _r2], seed)
    pixel = float((shares * (predicted - target) ** 2).sum() / shares.sum())
    return NumberScores(rmse, r2, float((mean - true).mean()), pixel**0.5)


def _bootstrap(
    tables: Array, kinds: NDArray[np.intp], scores: list[Callable[[Array], Any]], seed: int
) -> list[Scored]:
    """Scores of a sum of tables over groups, (group, ...), and of sums over groups drawn anew.

    As many of each kind are drawn as there are: how many labels a class has was chosen.
    """
    random = np.random.default_rng(seed)
    drawn = np.zeros((DRAWS, len(tables)))
    for kind in np.unique(kinds):
        mine = np.flatnonzero(kinds == kind)
        drawn[:, mine] = random.multinomial(len(mine), np.full(len(mine), 1 / len(mine)), DRAWS)
    sums = np.tensordot(drawn, tables, axes=1)
    ends = [np.nanpercentile(score(sums), [2.5, 97.5]) for score in scores]
    total = tables.sum(axis=0)
    return [
        Scored(float(score(total)), float(low), float(high))
        for score, (low, high) in zip(scores, ends, strict=True)
    ]


def _accuracy(confusion: Array) -> Any:
    return np.trace(confusion, axis1=-2, axis2=-1) / confusion.sum(axis=(-2, -1))


def _f1(confusion: Array) -> Array:
    """Of each class; NaN of one that is neither there nor predicted, as in some bootstraps."""
    right = np.diagonal(confusion, axis1=-2, axis2=-1)
    with np.errstate(invalid="ignore"):
        return np.asarray(2.0 * right / (confusion.sum(axis=-1) + confusion.sum(axis=-2)))


def _macro_f1(confusion: Array) -> Any:
    return np.nanmean(_f1(confusion), axis=-1)


def _rmse(parts: Array) -> Any:
    return np.sqrt(parts[..., 3] / parts[..., 0])


def _r2(parts: Array) -> Any:
    count, total, squares, error = np.moveaxis(parts, -1, 0)
    variance = squares - total**2 / count
    varies = variance > 1e-12 * squares  # else, as in some bootstraps, there is nothing to explain
    return np.where(varies, 1.0 - error / np.where(varies, variance, 1.0), np.nan)


def _calibration_error(sure: Array, right: NDArray[np.bool_], shares: Array, bins: int) -> float:
    order = np.argsort(sure, kind="stable")
    reached = np.cumsum(shares[order])
    place = np.minimum((reached / reached[-1] * bins).astype(int), bins - 1)
    gap = np.bincount(place, (shares * (sure - right))[order], minlength=bins)
    return float(np.abs(gap).sum() / shares.sum())


def _kept(sure: Array, right: NDArray[np.bool_], shares: Array) -> tuple[tuple[float, float], ...]:
    order = np.argsort(-sure, kind="stable")
    weight = np.cumsum(shares[order])
    correct = np.cumsum((shares * right)[order])
    places = [int(np.searchsorted(weight, share * weight[-1] * (1 - 1e-9))) for share in KEPT]
    return tuple(
        (share, float(correct[place] / weight[place]))
        for share, place in zip(KEPT, places, strict=True)
    )
