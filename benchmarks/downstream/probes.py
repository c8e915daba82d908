"""Probes: what is fitted to the features of a few labelled pixels. All is chosen within these.

The shrinkage of the whitening, the probe's own penalty, and the temperature of its probabilities
come from folds of the labelled pixels that keep cells together; the temperature also from how
frequent classes are among unlabelled pixels.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier

from benchmarks.downstream.temperature import Unseen, map_temperature, tune
from benchmarks.downstream.whitening import Rotated, discriminant_scores
from terralatent.pipeline.landcover.estimators import scores_of
from terralatent.pipeline.landcover.folds import deal_folds

__all__ = ["PROBES", "Learnt", "probe"]

Array = NDArray[np.float64]
Scorer = Callable[[Array, NDArray[np.intp], Array], list[Array]]
"""Labelled features, their classes, other features -> scores by candidate, (m, classes there)."""

WHITENINGS = (1.0, 0.1, 0.01)
UNCHOSEN = 1.0
"""Of the whitening, where there are no folds within the labels: none. With one label a class, on
development folds, 0.1 costs the nearest mean up to 0.1 of overall accuracy."""

SHRINKAGES = (0.03, 0.1, 0.3, 0.7)
PENALTIES = (0.003, 0.03, 0.3)
HIDDEN = (64,)
INNER_FOLDS = 3
TEMPERING_FOLDS = 10


@dataclass(frozen=True, eq=False)
class Learnt:
    """What a probe gives the pixels that were not learnt from."""

    probabilities: Array
    """(m, classes)."""

    tempered: bool
    """Whether hidden labels chose a temperature."""


def _discriminants(features: Array, target: NDArray[np.intp], others: Array) -> list[Array]:
    return discriminant_scores(features, target, others, SHRINKAGES)


def _means(features: Array, target: NDArray[np.intp], others: Array) -> list[Array]:
    """Nearest mean: a discriminant whose covariance is a multiple of the identity."""
    return discriminant_scores(features, target, others, (1.0,))


def _fitted(candidates: Callable[[int], Sequence[Any]]) -> Scorer:
    def score(features: Array, target: NDArray[np.intp], others: Array) -> list[Array]:
        with warnings.catch_warnings():  # a network that still moves after its epochs will do
            warnings.simplefilter("ignore", ConvergenceWarning)
            fitted = [own.fit(features, target) for own in candidates(len(features))]
        return [scores_of(own, others) for own in fitted]

    return score


def _neighbours(k: int) -> Scorer:
    return _fitted(lambda count: [KNeighborsClassifier(min(k, count), weights="distance")])


PROBES: dict[str, Scorer] = {
    "lda": _discriminants,
    "mean": _means,
    "knn1": _neighbours(1),
    "knn3": _neighbours(3),
    "logit": _fitted(lambda count: [LogisticRegression(C=c, max_iter=500) for c in PENALTIES]),
    "mlp": _fitted(lambda count: [MLPClassifier(HIDDEN, alpha=0.1, max_iter=200, random_state=0)]),
}

CHOSEN_BY_LDA = ("logit", "mlp")
"""Probes that cost more take the whitening that a discriminant chooses within the same labels."""


def probe(
    name: str,
    features: Rotated,
    target: NDArray[np.intp],
    cells: NDArray[np.intp],
    labelled: NDArray[np.intp],
    unlabelled: NDArray[np.intp],
    others: NDArray[np.intp],
    classes: int,
) -> Learnt:
    """Fit a probe to labelled pixels and score others. Computes.

    Args:
        name: One of :data:`PROBES`.
        features: Of all pixels.
        target: Classes of all pixels, (N,); only those of ``labelled`` are read.
        cells: Of all pixels, (N,).
        labelled: Places of pixels, (n,).
        unlabelled: Places of pixels whose features are known to begin with, such as the others of
            training cells; they say how frequent classes are.
        others: Places of pixels to score, (m,).
        classes: How many there are.
    """
    own, scorer = target[labelled], PROBES[name]
    folds = deal_folds(cells[labelled], own, most=INNER_FOLDS)
    parted = bool(folds.max() > 0 and np.bincount(own).max() > 1)
    gamma, best = UNCHOSEN, 0
    outcomes: list[Unseen] = []
    if parted:
        alike = np.ones(len(own))
        costly = name in CHOSEN_BY_LDA
        judge = PROBES["lda"] if costly else scorer
        found = [
            (tune(outcome, own, alike)[1], g, place, outcome)
            for g in WHITENINGS
            for place, outcome in enumerate(
                _unseen(judge, features.white(g)[labelled], own, folds, classes)
            )
        ]
        if found:
            _, gamma, best, unseen = min(found, key=lambda one: one[:3])
            white = features.white(gamma)[labelled]
            if costly:
                candidates = _unseen(scorer, white, own, folds, classes)
                best = int(np.argmin([tune(outcome, own, alike)[1] for outcome in candidates]))
                outcomes = [(candidates[best], _count(folds))]
            else:
                more = deal_folds(cells[labelled], own, most=TEMPERING_FOLDS)
                outcomes = [
                    (unseen, _count(folds)),
                    (_unseen(scorer, white, own, more, classes)[best], _count(more)),
                ]
    white, asked = features.white(gamma), np.concatenate([others, unlabelled])
    scores = np.full((len(asked), classes), -np.inf)
    scores[:, np.unique(own)] = scorer(white[labelled], own, white[asked])[best]
    scores, rest = scores[: len(others)], scores[len(others) :]
    temperature = map_temperature(outcomes, own, rest) if outcomes else 1.0
    return Learnt(softmax(scores / temperature, axis=1), parted)


def _count(folds: NDArray[np.intp]) -> int:
    return int(folds.max()) + 1


def _unseen(
    scorer: Scorer,
    features: Array,
    own: NDArray[np.intp],
    folds: NDArray[np.intp],
    classes: int,
) -> list[Array]:
    """Scores of each label by each candidate, which did not see it; -inf of classes not there."""
    outcomes: list[Array] = []
    for fold in range(_count(folds)):
        hidden = folds == fold
        there = np.unique(own[~hidden])
        if len(there) < 2 or not hidden.any():
            continue
        for place, scores in enumerate(scorer(features[~hidden], own[~hidden], features[hidden])):
            if len(outcomes) <= place:
                outcomes.append(np.full((len(own), classes), -np.inf))
            rows = np.flatnonzero(hidden)
            outcomes[place][np.ix_(rows, there)] = scores
    return outcomes
