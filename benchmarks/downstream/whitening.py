r"""Standardised and whitened features, and linear discriminants at many shrinkages at once.

Features are standardised by training pixels without labels, rotated to the axes of their
correlation matrix with eigenvalues :math:`\lambda`, and scaled,

.. math:: z_i = \frac{v_i^T x}{\sqrt{(1 - \gamma) \lambda_i + \gamma}},

where :math:`\gamma = 1` leaves them standardised and 0 makes them white. Which :math:`\gamma` is
chosen, and with it the shrinkage of the discriminant, is a matter of the labels of the budget.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Rotated", "discriminant_scores", "rotate"]

Array = NDArray[np.float64]

LEAST_VARIANCE = 1e-6
"""Of an axis beside a standardised feature's; less is rounding."""


@dataclass(frozen=True, eq=False)
class Rotated:
    """Features of all pixels on the axes of those of the training cells."""

    values: Array
    """(N, F)."""

    variance: Array
    """Over training pixels, (F,)."""

    def white(self, gamma: float) -> Array:
        """Scaled by a shrunk variance, (N, F)."""
        return self.values / np.sqrt((1.0 - gamma) * self.variance + gamma)


def rotate(features: Array, training: NDArray[np.intp], *, standardised: bool = True) -> Rotated:
    """Standardise by training pixels and rotate; features that do not vary there are left out.

    Args:
        features: Of all pixels, (N, F).
        training: Places of those that are known to begin with.
        standardised: Whether each is brought to a standard deviation of 1.
    """
    centre, spread = features[training].mean(axis=0), features[training].std(axis=0)
    varies = spread > 1e-9 * (1.0 + np.abs(centre))
    scaled = features[:, varies] - centre[varies]
    if standardised:
        scaled /= spread[varies]
    variance, axes = np.linalg.eigh(scaled[training].T @ scaled[training] / len(training))
    kept = variance > LEAST_VARIANCE * (1.0 if standardised else variance.max())
    return Rotated(scaled @ axes[:, kept], variance[kept])


def discriminant_scores(
    features: Array, target: NDArray[np.intp], others: Array, shrinkages: Sequence[float]
) -> list[Array]:
    """Scores of a shrunk linear discriminant at several shrinkages, all by one decomposition.

    As :class:`~terralatent.pipeline.probes.discriminant.ShrunkDiscriminant` gives them.

    Args:
        features: Of labelled pixels, (n, F).
        target: Their classes, (n,).
        others: Of those to score, (m, F).
        shrinkages: Above 0, (s,).

    Returns:
        For each shrinkage (m, classes there).
    """
    _, own = np.unique(target, return_inverse=True)
    total = np.bincount(own).astype(np.float64)
    means = np.eye(len(total))[own].T @ features / total[:, None]
    within = features - means[own]
    count, width = within.shape
    if count < width:  # eigenvectors of the covariance by those of the smaller Gram matrix
        squares, left = np.linalg.eigh(within @ within.T)
        there = squares > 1e-10 * max(squares.max(), 1e-300)
        axes = within.T @ left[:, there] / np.sqrt(squares[there])
        variance = squares[there] / count
    else:
        variance, axes = np.linalg.eigh(within.T @ within / count)
    level = float(np.square(within).sum() / count / width)
    along, projected = means @ axes, others @ axes
    inner, outer = others @ means.T, np.square(means).sum(axis=1)
    scores = []
    for shrinkage in shrinkages:
        beside = shrinkage * level or 1.0
        gain = 1.0 / ((1.0 - shrinkage) * variance + beside) - 1.0 / beside
        products = inner / beside + (projected * gain) @ along.T
        squares_of = outer / beside + (np.square(along) * gain).sum(axis=1)
        scores.append(products - 0.5 * squares_of + np.log(total / total.sum()))
    return scores
