r"""How unlikely a distance is where nothing moved, as :math:`-\log_{10} p`.

p itself is below what any float holds long before a change is so clear that nobody asks (a distance
of 40 with 16 latents: 1e-333), so its logarithm is computed, and kept.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaincc, gammaln

__all__ = ["minus_log10_p"]

SMALLEST = 1e-280
"""Above it the tail itself is computed; below it, its logarithm by a continued fraction."""

TERMS = 60
"""Of the fraction. There x > 640 and a < 33, where 20 give all digits of float64."""


def minus_log10_p(squared: NDArray[np.float64], degrees: NDArray[np.int64]) -> NDArray[np.float64]:
    r"""Return :math:`-\log_{10} P(\chi^2_k > d^2)`, at least 0; NaN where there are no degrees.

    Args:
        squared: Distances d^2, any shape, not negative.
        degrees: k, the same shape.
    """
    known = degrees > 0
    a, x = 0.5 * np.where(known, degrees, 1), 0.5 * squared
    tail = gammaincc(a, x)
    logs = np.log(np.maximum(tail, SMALLEST))
    far = tail < SMALLEST
    if far.any():
        logs[far] = _log_tail(a[far], x[far])
    return np.where(known, np.maximum(-logs / np.log(10.0), 0.0), np.nan)


def _log_tail(a: NDArray[np.float64], x: NDArray[np.float64]) -> NDArray[np.float64]:
    r"""Log of the upper tail of a Gamma by Legendre's continued fraction, from its far end.

    .. math:: \Gamma(a, x) = e^{-x} x^a \cfrac{1}{x + 1 - a - \cfrac{1 (1 - a)}{x + 3 - a - \dots}}
    """
    rest = np.zeros_like(x)
    for n in range(TERMS, 0, -1):
        rest = n * (n - a) / (x + 2 * n + 1 - a - rest)
    return a * np.log(x) - x - gammaln(a) - np.log(x + 1.0 - a - rest)
