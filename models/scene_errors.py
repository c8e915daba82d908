r"""Errors that one acquisition shares over a scene, estimated from series of many of its pixels.

Each observation of N pixels is predicted from all others of its pixel (the cavity, see
:mod:`terralatent.models.refinement`). What acquisition t misses band b by, averaged over the pixels
with the weights tau of the refinement, is

.. math:: m_t = \frac{\sum_n \tau_{nt} r_{nt}}{\sum_n \tau_{nt}} = o_t + e_t, \quad
    o_t \sim N(0, c), \quad e_t \sim N(0, u_t), \quad
    u_t = \frac{\sum_n \tau_{nt}^2 (r_{nt} - m_t)^2}{(\sum_n \tau_{nt})^2}
        + \frac{\sum_n \tau_{nt} v_{nt}}{\sum_n \tau_{nt}}

with the offset o that is wanted. The error e has two parts: that of a mean of so many pixels, and
that of the predicted surface, of variance v, which pixels of one place may all have in common and
are taken to. The variance c of offsets over acquisitions follows from the data (empirical Bayes),
by the estimator of Paule and Mandel with far values cut at k, and the offset is the posterior mean:

.. math:: \sum_t \min(z_t^2, k^2) = T, \quad z_t = \frac{m_t}{\sqrt{c + u_t}}, \quad
    \hat o_t = \frac{c}{c + u_t} \, m_t \min(1, \max(0, 2 k / |z_t| - 1))

So nothing is subtracted where what a scene misses is no more than what the model expects to miss.
Beyond k standard deviations less and less is, and beyond 2k nothing: that is a missed cloud, whose
precision the refinement lowers as long as it disagrees.

The cavity of a common offset is that of the model: its noise holds the offset, so that the model
already leans on neighbours as far as the offset's size asks for. What subtracting it adds is the
difference between one scene and the next; slow errors of many scenes look like the land.

References:
    | Consensus values and weighting factors (Paule & Mandel, 1982)
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from terralatent.models.gpvae import GPVAE
from terralatent.models.observations import Observations
from terralatent.models.refinement import agreement, cavities
from terralatent.models.sensor.networks import season

__all__ = ["scene_offsets", "shrunk"]

FEWEST_PIXELS = 16
"""Clear pixels of an acquisition below which it is left as it is."""

FEWEST_DATES = 8
"""Acquisitions with so many pixels, below which a variance over them means nothing."""

FAR = 3.0
"""Standard deviations k within which a mean counts whole."""

HALVINGS = 50
"""Of the interval in which the variance of offsets lies."""


@torch.no_grad()
def scene_offsets(model: GPVAE, observations: Mapping[str, Observations]) -> dict[str, Tensor]:
    """Estimate what each acquisition is off by over pixels of one place.

    Args:
        model: Trained; on the observations' device.
        observations: By sensor name, all of the same N pixels.

    Returns:
        To be subtracted, physical units, by sensor name, shape (T, B), float32, on the
        observations' device; 0 for acquisitions with fewer than 16 clear pixels, and in all of a
        sensor with fewer than 8 others.
    """
    sites = model.sites(observations)
    posterior = model.inference.infer(model.kernel, sites.days, sites.w, sites.eta)
    sensors = {name: model.sensor(name) for name in observations}
    factors = agreement(sites, posterior.mean, posterior.var, observations, sensors).reshape(-1)
    offsets = {}
    for name, rest in cavities(sites, posterior.mean, posterior.var, observations):
        seen, sensor, at = observations[name], sensors[name], (rest.pixel, rest.date)
        missed = sensor.miss(
            rest.mean, rest.var, seen.values[at], seen.valid[at], season(seen.days)[rest.date]
        )
        residual, surface = torch.zeros(
            2, *seen.values.shape, device=posterior.mean.device
        ).double()
        weight = torch.zeros_like(residual)
        residual[at] = missed.residual.double()
        surface[at] = (sensor.signal_factor * missed.surface).double()
        weight[at] = (factors[rest.row].unsqueeze(-1) * seen.valid[at]).double()
        offsets[name] = (sensor.spread * shrunk(residual, surface, weight)).float()
    return offsets


def shrunk(residual: Tensor, surface: Tensor, weight: Tensor) -> Tensor:
    """Average residuals over pixels and shrink them towards 0, each band alone.

    Args:
        residual: shape (N, T, B), float64.
        surface: Variance of the predicted surface, shape (N, T, B).
        weight: 0 where there is no residual, shape (N, T, B).

    Returns:
        shape (T, B).
    """
    total = weight.sum(0)
    safe = total.where(total > 0, 1.0)
    mean = (weight * residual).sum(0) / safe
    sampling = (weight * (residual - mean)).square().sum(0) / safe.square()
    error = sampling + (weight * surface).sum(0) / safe
    used = (weight > 0).sum(0) >= FEWEST_PIXELS
    used &= used.sum(0) >= FEWEST_DATES
    error = error.where(used, 1.0).clamp_min(1e-12)
    variance = _variance_over_dates(mean, error, used)
    size = mean.abs() / (variance + error).sqrt()
    trust = (2.0 * FAR / size.clamp_min(FAR) - 1.0).clamp_min(0.0)
    return (trust * variance / (variance + error) * mean).where(used, 0.0)


def _variance_over_dates(mean: Tensor, error: Tensor, used: Tensor) -> Tensor:
    """Solve for the variance c of each band, shape (B,), by halving: the sum falls with c."""
    square = mean.square().where(used, 0.0)
    count = used.sum(0)
    low, high = torch.zeros_like(square[0]), square.amax(0)
    for _ in range(HALVINGS):
        middle = 0.5 * (low + high)
        total = (square / (middle + error)).clamp_max(FAR**2).sum(0)
        above = total > count
        low, high = middle.where(above, low), high.where(above, middle)
    return low
