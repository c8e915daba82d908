r"""Scores of predictions that are pooled over folds, and their differences by bootstrap of cells.

A draw's predictions of all folds make one confusion matrix; scores of it are averaged over draws.
The calibration error is that of Kumar et al.: in bins of equal mass the mean confidence less the
share that is right, in absolute value; what noise of that share adds is taken off, as the excess
that it would have if its noise were added once more,

.. math:: 2 \sum_b p_b |d_b| - \sum_b p_b E |N(d_b, s_b)|, \quad s_b^2 = a_b (1 - a_b) / n_b.

What is taken off is half of the bias where all is noise, and all of it in bins of thousands.

References:
    | Verified uncertainty calibration (Kumar, Liang & Ma, 2019)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from benchmarks.downstream.rows import RowResult

__all__ = ["Difference", "Scores", "calibration_error", "paired", "score"]

Array = NDArray[np.float64]

BINS = 15
RESAMPLES = 2000


@dataclass(frozen=True)
class Scores:
    """Means over draws."""

    overall: float
    """Share of pixels that are right."""

    macro_f1: float
    balanced: float
    """Mean over classes of the share that is right."""

    calibration: float
    """NaN where labels were too few for a temperature."""

    spread: float
    """Standard deviation of the overall accuracy over draws."""

    draws: int


@dataclass(frozen=True)
class Difference:
    """Of two rows, with the ends of its 95 % interval over cells drawn anew."""

    value: float
    low: float
    high: float


def score(results: Sequence[RowResult], target: NDArray[np.intp], classes: int) -> Scores:
    """Score draws of one row."""
    tables = np.stack([_confusion(own.predicted, target, classes) for own in results])
    overall, macro, balanced = _figures(tables)
    calibration = np.nan
    if all(own.tempered for own in results):
        sure = np.concatenate([own.sure for own in results])
        right = np.concatenate([own.predicted == target for own in results])
        calibration = calibration_error(sure, right)
    return Scores(
        float(overall.mean()), float(macro.mean()), float(balanced.mean()), calibration,
        float(overall.std()), len(results),
    )  # fmt: skip


def paired(
    one: Sequence[RowResult],
    other: Sequence[RowResult],
    target: NDArray[np.intp],
    cells: NDArray[np.intp],
    classes: int,
    *,
    strata: NDArray[np.intp] | None = None,
    seed: int = 0,
) -> tuple[Difference, Difference]:
    """Overall accuracy and macro-F1 of one row less another's, of the draws that both have.

    Args:
        one: Draws of a row.
        other: Draws of the row that is taken off.
        target: Place of the class, (N,).
        cells: What is drawn anew, (N,).
        classes: How many there are.
        strata: Of each cell, such as its region: each keeps its number of cells; one by default.
        seed: Of the bootstrap.
    """
    draws = min(len(one), len(other))
    both = [
        np.stack([_by_cell(own.predicted, target, cells, classes) for own in results[:draws]])
        for results in (one, other)
    ]  # (draw, cell, class, class)
    count = both[0].shape[1]
    random = np.random.default_rng(seed)
    weights = np.zeros((RESAMPLES, count))
    strata = np.zeros(count, np.intp) if strata is None else strata
    for stratum in np.unique(strata):
        own = np.flatnonzero(strata == stratum)
        weights[:, own] = random.multinomial(len(own), np.full(len(own), 1 / len(own)), RESAMPLES)
    whole, drawn = [], []
    for tables in both:
        whole.append(np.stack(_figures(tables.sum(axis=1)))[:2].mean(axis=1))
        sums = np.tensordot(weights, tables, axes=(1, 1))
        drawn.append(np.stack(_figures(sums))[:2].mean(axis=2))
    found = whole[0] - whole[1]
    low, high = np.percentile(drawn[0] - drawn[1], [2.5, 97.5], axis=1)
    overall, macro = (Difference(*map(float, ends)) for ends in zip(found, low, high, strict=True))
    return overall, macro


def calibration_error(sure: Array, right: NDArray[np.bool_], bins: int = BINS) -> float:
    """Debiased expected calibration error of the predicted class, see the module; at least 0."""
    order = np.argsort(sure, kind="stable")
    plain = noisy = 0.0
    for places in np.array_split(order, bins):
        accuracy, share = right[places].mean(), len(places) / len(sure)
        gap = sure[places].mean() - accuracy
        noise = np.sqrt(accuracy * (1.0 - accuracy) / len(places))
        plain += share * abs(gap)
        if noise > 0:
            folded = noise * np.sqrt(2.0 / np.pi) * np.exp(-0.5 * (gap / noise) ** 2)
            noisy += share * (folded + gap * (1.0 - 2.0 * norm.cdf(-gap / noise)))
        else:
            noisy += share * abs(gap)
    return max(0.0, float(2.0 * plain - noisy))


def _confusion(predicted: NDArray[np.intp], target: NDArray[np.intp], classes: int) -> Array:
    flat = np.bincount(target * classes + predicted, minlength=classes**2)
    return flat.reshape(classes, classes).astype(np.float64)


def _by_cell(
    predicted: NDArray[np.intp], target: NDArray[np.intp], cells: NDArray[np.intp], classes: int
) -> Array:
    flat = np.bincount(
        (cells * classes + target) * classes + predicted,
        minlength=(int(cells.max()) + 1) * classes**2,
    )
    return flat.reshape(-1, classes, classes).astype(np.float64)


def _figures(tables: Array) -> tuple[Array, Array, Array]:
    """Overall accuracy, macro-F1 and balanced accuracy of confusion matrices, (...,).

    A class that a bootstrap did not draw counts in neither mean.
    """
    right = np.diagonal(tables, axis1=-2, axis2=-1)
    there, given = tables.sum(axis=-1), tables.sum(axis=-2)
    overall = right.sum(axis=-1) / there.sum(axis=-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        f1 = np.where(there + given > 0, 2.0 * right / (there + given), np.nan)
        recall = np.where(there > 0, right / there, np.nan)
    return overall, np.nanmean(f1, axis=-1), np.nanmean(recall, axis=-1)
