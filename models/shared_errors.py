r"""How far errors of near pixels are the same, from means of nested halves of their observations.

A posterior mean m_h given half of the observations and m_a given all of them differ by what the
other half taught: if the model is right, d = m_h - m_a has the variance :math:`s^2 = v_h - v_a` of
a pixel, the posterior variances' difference. Pixels that are seen through the same haze, or whose
model is wrong in the same way, share a part of it. With the correlation rho of two pixels of a
square of n pixels,

.. math:: E (\textstyle\sum d)^2 = c \, [\rho \, (\sum s)^2 + (1 - \rho) \sum s^2], \quad
    E \sum d^2 = c \sum s^2,

where c is how far the variances are off, which does not matter here. Solved for rho over all
squares of a size:

.. math:: \rho = \frac{\sum_q [(\sum d)^2 - \sum d^2]}{c \sum_q [(\sum s)^2 - \sum s^2]}
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

__all__ = ["SIDES", "correlation_table", "error_correlation"]

SIDES = (2, 4, 8, 16, 32, 64)
"""Pixels along the squares whose pixels' errors are compared."""


def error_correlation(difference: Tensor, variance: Tensor, sides: Sequence[int] = SIDES) -> Tensor:
    """Estimate how far errors of two pixels of a square are the same, latent by latent.

    Args:
        difference: Mean given half of the observations less mean given all, (..., L, y, x), any
            unit, NaN where there is none; leading dimensions (dates, halves, places) count
            together.
        variance: Posterior variance given half less that given all, the same dims and unit squared;
            below 0, where rounding is all there is, it counts as 0.
        sides: Pixels along a square; squares that edges cut count as they are.

    Returns:
        rho, (side, L), float64, from 0 to 1; 1 where no square has two pixels.
    """
    valid = difference.isfinite() & variance.isfinite()
    d = torch.where(valid, difference, 0.0).double()
    var = torch.where(valid, variance, 0.0).double().clamp(min=0.0)
    other = [dim for dim in range(d.ndim) if dim != d.ndim - 3]
    scale = (d**2).sum(other) / var.sum(other)
    found = []
    for side in sides:
        shared = _squares(d, side) ** 2 - _squares(d**2, side)
        wanted = _squares(var.sqrt(), side) ** 2 - _squares(var, side)
        rho = shared.sum(other) / (scale * wanted.sum(other))
        found.append(torch.where(rho.isfinite(), rho, 1.0).clamp(0.0, 1.0))
    return torch.stack(found)


def correlation_table(rho: Tensor, sides: Sequence[int] = SIDES) -> dict[str, Any]:
    """What a model's folder and its results keep of :func:`error_correlation`; JSON values.

    See :func:`terralatent.models.checkpoint.keep_overview_correlation`.
    """
    return {
        "sides": [int(side) for side in sides],
        "rho": [[round(value, 4) for value in row] for row in rho.tolist()],
    }


def _squares(values: Tensor, side: int) -> Tensor:
    """Sums over squares, (..., ceil(y / side), ceil(x / side))."""
    flat = values.flatten(0, -3)
    sums = avg_pool2d(flat, side, ceil_mode=True, divisor_override=1)
    return sums.reshape(*values.shape[:-2], *sums.shape[-2:])
