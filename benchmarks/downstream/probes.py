r"""Probes: what is fitted to the features of a few labelled pixels. All is chosen within these.

The shrinkage of the whitening, the probe's own penalty, and the temperature of its probabilities
come from folds of the labelled pixels that keep cells together; the temperature also from how
frequent classes are among unlabelled pixels.

Labels that a probe did not see say by which temperature its scores become probabilities. Two things
make these labels harder than what is mapped. They are drawn evenly by class, while the map is not:
each counts as much as its class is more frequent among unlabelled pixels, which expectation and
maximisation find from the probe's own probabilities (Saerens et al.). And they are scored by probes
that learnt from fewer labels: the logarithm of the temperature is taken to be linear in
:math:`1 / n`, and drawn on from folds of two thirds and of nine tenths of the labels to all of
them. No prediction changes.

References:
    | Adjusting the outputs of a classifier to new a priori probabilities (Saerens, Latinne &
      Decaestecker, 2002)
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import softmax
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier

from benchmarks.downstream.whitening import Rotated, discriminant_scores
from terralatent.pipeline.probes.estimators import scores_of
from terralatent.pipeline.probes.folds import deal_folds
from terralatent.pipeline.probes.probe import TEMPERATURES

__all__ = ["PROBES", "Learnt", "class_shares", "map_temperature", "probe", "tune"]

Array = NDArray[np.float64]
Scorer = Callable[[Array, NDArray[np.intp], Array], list[Array]]
"""Labelled features, their classes, other features -> scores by candidate, (m, classes there)."""

Unseen = tuple[Array, int]
"""Scores of labels by probes that did not see them, (n, classes), -inf of classes that were not
there to learn; and the number of folds."""

STEPS = 50
"""Of expectation and maximisation."""

TOLERANCE = 1e-3
"""Of the logarithm of a temperature."""

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


def map_temperature(outcomes: Sequence[Unseen], own: NDArray[np.intp], unlabelled: Array) -> float:
    """The temperature for pixels as frequent as they are, by a probe of all labels.

    Args:
        outcomes: By folds of the same labels, the most folds last; one will do.
        own: Classes of the labels, (n,).
        unlabelled: Scores of pixels of the same place without a label, (m, classes); of none, the
            labels are taken to be as frequent as their classes.
    """
    unseen, _ = outcomes[-1]
    even = np.bincount(own, minlength=unseen.shape[1]) / len(own)
    weights = np.ones(len(own))
    if len(unlabelled):
        probabilities = softmax(unlabelled / tune(unseen, own, weights)[0], axis=1)
        weights = (class_shares(probabilities, even) / np.where(even > 0.0, even, 1.0))[own]
    logarithms = [float(np.log(tune(scores, own, weights)[0])) for scores, _ in outcomes]
    found = logarithms[-1]
    (_, few), (_, many) = outcomes[0], outcomes[-1]
    if many > few:  # of n labels in k folds a probe has n (1 - 1 / k)
        below, above = 1.0 / (1.0 - 1.0 / few), 1.0 / (1.0 - 1.0 / many)
        found += (found - logarithms[0]) * (above - 1.0) / (below - above)
    return float(np.exp(found))


def tune(scores: Array, own: NDArray[np.intp], weights: Array) -> tuple[float, float]:
    """The temperature of the least weighted log loss of labels, and that loss in nats.

    As :meth:`~terralatent.pipeline.probes.probe.ClassProbe.tune` finds it, in a third of the
    time. A class that was not there to learn is no matter of temperature and left out.
    """
    known = np.isfinite(scores[np.arange(len(own)), own])
    if not (weights[known] > 0.0).any():
        return 1.0, np.inf
    scores = scores[known] - scores[known].max(axis=1, keepdims=True)
    wanted = scores[np.arange(len(scores)), own[known]]
    shares = weights[known] / weights[known].sum()

    def loss(logarithm: float) -> float:
        cold = np.exp(-logarithm)
        return float(shares @ (np.log(np.exp(scores * cold).sum(axis=1)) - wanted * cold))

    best = minimize_scalar(
        loss, bounds=TEMPERATURES, method="bounded", options={"xatol": TOLERANCE}
    )
    return float(np.exp(best.x)), float(best.fun)


def class_shares(probabilities: Array, learnt: Array, steps: int = STEPS) -> Array:
    """How frequent each class is among pixels, (classes,).

    Args:
        probabilities: Of their classes, by a probe of labels, (m, classes).
        learnt: How frequent each class is among these labels, (classes,); those of none stay none.
        steps: Of expectation and maximisation.
    """
    ratio = np.where(learnt > 0.0, 1.0 / np.where(learnt > 0.0, learnt, 1.0), 0.0)
    shares = learnt
    for _ in range(steps):
        joint = probabilities * (shares * ratio)
        shares = (joint / joint.sum(axis=1, keepdims=True)).mean(axis=0)
    return shares
