r"""What latents and surfaces differ by between two dates, under their joint posterior.

.. math:: E \Delta_l = m_{B,l} - m_{A,l}, \quad
    V \Delta_l = V_{A,l} + V_{B,l} - 2 \, C_l

where :math:`C_l` is the covariance of a latent at A and B. Latents are independent given the
observations, so that these are all of the joint posterior of the differences, and

.. math:: d^2 = \sum_l (E \Delta_l)^2 / V \Delta_l

is the squared Mahalanobis distance of no difference from what is believed: chi-squared with L
degrees where the truth is drawn from the posterior.

The variance is what is left of numbers that are nearly equal where A lies near B or a latent hardly
moves. So sites are smoothed in float64, which leaves an error of 1e-13 of the prior's variance over
hundreds of dates; below :data:`LEAST` a latent is taken as one that does not move.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from terralatent.models.gpvae import GPVAE
from terralatent.models.observations import AnyObservations
from terralatent.models.sensor.model import ROWS
from terralatent.models.sensor.networks import season
from terralatent.models.sensor.predictive import hadamard_nodes

__all__ = [
    "LEAST",
    "Differences",
    "latent_differences",
    "latents_at_two",
    "prior_at_two",
    "surfaces_at_two",
]

LEAST = 1e-9
"""Variance of a difference, in units of the prior's variance of a latent, below which the latent
does not move: 10,000 times what float64 leaves of an error, and a seventh of what a Matern-1/2 of
ten thousand days moves by in a minute."""


class Differences(NamedTuple):
    """Latents at B less latents at A, (N, L) each, float64."""

    mean: Tensor
    variance: Tensor
    """0 where a latent does not move."""

    def standardised(self) -> Tensor:
        """Means in units of their standard deviations; 0 where a latent does not move."""
        moves = self.variance > 0
        return torch.where(moves, self.mean / self.variance.where(moves, 1.0).sqrt(), 0.0)


@torch.no_grad()
def latents_at_two(
    model: GPVAE, observations: Mapping[str, AnyObservations], days: Tensor
) -> tuple[Tensor, Tensor]:
    """Return mean (N, 2, L) and covariance (N, L, 2, 2) of the latents on two days, float64.

    As they hold at the place of calibration, see
    :meth:`terralatent.models.latent_model.LatentModel.latent_covariance`.

    Args:
        model: In ``eval``.
        observations: By sensor name, all of the same N pixels.
        days: A and B, days since 1970-01-01, in any order, (2,), float64.
    """
    sites = model.sites(observations)
    mean, covariance = model.inference.joint(
        model.kernel, sites.days, sites.w.double(), sites.eta.double(), days
    )
    return mean, model.latent_covariance(covariance)


def latent_differences(mean: Tensor, covariance: Tensor) -> Differences:
    """Return what latents differ by.

    Args:
        mean: Of :func:`latents_at_two`.
        covariance: Likewise.
    """
    variance = covariance[..., 0, 0] + covariance[..., 1, 1] - 2.0 * covariance[..., 0, 1]
    return Differences(mean[:, 1] - mean[:, 0], variance.where(variance > LEAST, 0.0))


@torch.no_grad()
def prior_at_two(model: GPVAE, days: Tensor) -> Tensor:
    """Return the covariance of the latents on two days before anything is seen, (1, L, 2, 2).

    Their mean is 0. Float64, as :func:`latents_at_two` gives it.

    Args:
        model: In ``eval``.
        days: A and B, (2,), float64.
    """
    lags = days[:, None] - days
    return model.kernel.covariance(lags).double().movedim(-1, 0)[None]


@torch.no_grad()
def surfaces_at_two(
    model: GPVAE, sensor: str, mean: Tensor, covariance: Tensor, days: Tensor, bands: list[int]
) -> tuple[Tensor, Tensor]:
    """Return mean (N, 2, B) and covariance (N, 2 B, 2 B) of a surface on two days, float64.

    By deterministic nodes, as :meth:`terralatent.models.sensor.model.SensorModel.moments` has them
    for one date, over the latents of both dates together; exact where the decoder is linear. A band
    is as uncertain on each day as calibration says. Noise of an observation has no part in it.
    Physical units; in the covariance the bands of A come first, then those of B.

    Args:
        model: In ``eval``.
        sensor: One of its sensors.
        mean: Of :func:`latents_at_two`.
        covariance: Likewise.
        days: A and B, (2,), float64.
        bands: Places of the B bands that are wanted among the sensor's.
    """
    parts = [
        _surfaces(model, sensor, mean[first : first + ROWS], covariance[first : first + ROWS],
                  days, bands)
        for first in range(0, max(len(mean), 1), ROWS)
    ]  # fmt: skip
    means, covariances = zip(*parts, strict=True)
    return torch.cat(means), torch.cat(covariances)


def _surfaces(
    model: GPVAE, sensor: str, mean: Tensor, covariance: Tensor, days: Tensor, bands: list[int]
) -> tuple[Tensor, Tensor]:
    own = model.sensor(sensor)
    seasons = season(days).to(mean.device)
    centre, spread = own.centre[bands].double(), own.spread[bands].double()
    variance = covariance.diagonal(dim1=-2, dim2=-1).clamp_min(0.0)
    root = variance[..., 0].sqrt()  # of the Cholesky factor of each latent's 2 x 2
    along = covariance[..., 0, 1] / root.clamp_min(1e-12)
    beside = (variance[..., 1] - along.square()).clamp_min(0.0).sqrt()
    latents = mean.shape[-1]

    def decoded(day: int, moved: Tensor | float) -> Tensor:
        at = (mean[:, day] + moved).float()
        return own.location(at, seasons[day].expand(len(at), 2))[:, bands].double()

    centres = [decoded(day, 0.0) for day in range(2)]
    first = mean.new_zeros(len(mean), 2 * len(bands))
    second = mean.new_zeros(len(mean), 2 * len(bands), 2 * len(bands))
    nodes = hadamard_nodes(2 * latents).to(mean)
    for node in nodes:
        one, other = node[:latents], node[latents:]
        moved = (root * one, along * one + beside * other)
        away = torch.cat([decoded(day, moved[day]) - centres[day] for day in range(2)], -1)
        first += away
        second += away[:, :, None] * away[:, None, :]
    first, second = first / len(nodes), second / len(nodes)
    factor = torch.cat(
        [own.signal_scale(variance[..., day].float())[:, bands] for day in range(2)], -1
    )
    scale = factor.double().sqrt() * torch.cat([spread, spread])
    scattered = second - first[:, :, None] * first[:, None, :]
    means = torch.stack(centres, 1) + first.unflatten(-1, (2, len(bands)))
    return centre + spread * means, scattered * scale[:, :, None] * scale[:, None, :]
