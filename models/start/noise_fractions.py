r"""Bands split into signal and noise: the minimum noise fraction transform of pixel series.

Neighbouring dates share the land and not the haze, so that what a date differs in from its
neighbours has the covariance :math:`N` of the noise, and all dates together have :math:`S`, that
of noise and signal. The transform diagonalises both,

.. math:: P N P^T = I, \quad P S P^T = \mathrm{diag}(\rho), \quad \rho_1 \ge \rho_2 \ge \dots

so that its components have independent noise (what an encoder of one latent at a time needs), and
the first have the largest share of signal. Principal components, which see :math:`S` alone, put
the haze of all visible bands first.

References:
    | A transformation for ordering multispectral data in terms of image quality with
    | implications for noise removal (Green, Berman, Switzer & Craig, 1988)
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

NEIGHBOURS_DAYS = 16.0
"""Dates this far apart show the same land, but for a few; sparser series use their closest."""


@dataclass(frozen=True)
class NoiseFractions:
    """A minimum noise fraction transform of B bands, components by falling share of signal."""

    forward: Tensor
    """P, from centred bands to components, shape (B, B), float64."""

    backward: Tensor
    """The inverse of P, shape (B, B), float64."""


def neighbour_differences(values: Tensor, valid: Tensor, days: Tensor) -> Tensor:
    """Return what dates differ in from the line between their neighbours, scaled to noise of one.

    Args:
        values: Normalised bands, shape (N, T, B); not read where not valid.
        valid: Dates with all bands, shape (N, T), bool.
        days: shape (T,), float64.

    Returns:
        One row for each date with a neighbour on both sides, close enough, shape (M, B).
    """
    series, count = valid.shape
    index = torch.arange(count, device=valid.device).expand(series, -1)
    last = torch.where(valid, index, -1).cummax(1).values
    first = torch.where(valid, index, count).flip(1).cummin(1).values.flip(1)
    edge = index.new_full((series, 1), -1)
    before = torch.cat([edge, last[:, :-1]], 1)
    after = torch.cat([first[:, 1:], edge + 1 + count], 1)
    pixel, date = (valid & (before >= 0) & (after < count)).nonzero(as_tuple=True)
    left, right = before[pixel, date], after[pixel, date]
    span = days[right] - days[left]
    if span.numel():
        near = span <= max(NEIGHBOURS_DAYS, float(torch.quantile(span[:1_000_000], 0.2)))
        pixel, date, left, right, span = (index[near] for index in (pixel, date, left, right, span))
    share = torch.where(span > 0, (days[date] - days[left]) / span.clamp_min(1e-9), 0.5)
    share = share.to(values)[:, None]
    line = (1.0 - share) * values[pixel, left] + share * values[pixel, right]
    scale = (1.0 + share.square() + (1.0 - share).square()).sqrt()
    return (values[pixel, date] - line) / scale


def signal_to_noise(scatter: Tensor, noise: Tensor) -> Tensor:
    """Return rho - 1 of each component, not negative, falling; shape (B,), float64.

    Args:
        scatter: S, of signal and noise, shape (B, B), float64.
        noise: N, the same shape.
    """
    forward = minimum_noise_fractions(scatter, noise).forward
    return ((forward @ scatter @ forward.T).diagonal() - 1.0).clamp_min(0.0)


def minimum_noise_fractions(scatter: Tensor, noise: Tensor) -> NoiseFractions:
    """Return the transform that diagonalises both covariances, shape (B, B) each, float64."""
    root = torch.linalg.cholesky(noise)
    whitener = torch.linalg.inv(root)
    _, axes = torch.linalg.eigh(whitener @ scatter @ whitener.T)
    axes = axes.flip(-1)
    # Of the two signs of an axis, the one with a positive sum: the same on every machine.
    axes = axes * torch.where((root @ axes).sum(0) < 0.0, -1.0, 1.0)
    return NoiseFractions(axes.T @ whitener, root @ axes)
