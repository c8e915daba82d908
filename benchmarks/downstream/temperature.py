r"""The temperature of a probe's probabilities: that of the pixels of a map, by a few labels.

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

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import softmax

from terralatent.pipeline.landcover.probe import TEMPERATURES

__all__ = ["Unseen", "class_shares", "map_temperature", "tune"]

Array = NDArray[np.float64]
Unseen = tuple[Array, int]
"""Scores of labels by probes that did not see them, (n, classes), -inf of classes that were not
there to learn; and the number of folds."""

STEPS = 50
"""Of expectation and maximisation."""

TOLERANCE = 1e-3
"""Of the logarithm of a temperature."""


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

    As :meth:`~terralatent.pipeline.landcover.probe.ClassProbe.tune` finds it, in a third of the
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
