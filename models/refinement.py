r"""Precisions lowered where an observation disagrees with all others of its series.

One date alone cannot distinguish thin haze from bright soil; the series can. Each observation is
predicted from the others (the cavity: the posterior without its own site), and as in the E-step of
a Student-t with :math:`\nu` degrees of freedom its precision is multiplied by

.. math:: \tau = \frac{\nu + B}{\nu + d^2}, \quad
    d^2 = r^T (\Sigma + \operatorname{diag}(D V D^T))^{-1} r

where r is what the cavity's prediction misses the B valid bands by, :math:`\Sigma` the scale matrix
of the sensor's likelihood and V the cavity's variances. What is masked stays exactly so.

References:
    | ML estimation of the t distribution using EM and its extensions (Liu & Rubin, 1995)
    | Robust Gaussian process regression with a Student-t likelihood (Jylanki et al., 2011)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from terralatent.models.kernels import TemporalKernel
from terralatent.models.observations import Observations, Sites
from terralatent.models.posteriors.contract import Inference
from terralatent.models.sensor.model import SensorModel
from terralatent.models.sensor.networks import season

__all__ = ["Cavity", "agreement", "cavities", "refine"]


class Cavity(NamedTuple):
    """Latents at M observations of a sensor as all other observations predict them."""

    pixel: Tensor
    """Of each observation, shape (M,), int64."""

    date: Tensor
    """Among the sensor's own days, shape (M,), int64."""

    row: Tensor
    """Of its site, ``pixel * T + place``, shape (M,), int64."""

    mean: Tensor
    """shape (M, L)."""

    var: Tensor
    """shape (M, L), at most 1."""


@torch.no_grad()
def agreement(
    sites: Sites,
    mean: Tensor,
    var: Tensor,
    observations: Mapping[str, Observations],
    sensors: Mapping[str, SensorModel],
) -> Tensor:
    """Return the factor tau on the precision of every site, shape (N, T); 1 where nothing is.

    Args:
        sites: As they entered the posterior, shape (N, T, L).
        mean: Of the posterior on the sites' days, shape (N, T, L).
        var: The same shape.
        observations: What the sites were encoded from, by sensor name.
        sensors: Their models.
    """
    factor = mean.new_ones(sites.w.shape[0] * sites.w.shape[1])
    for name, rest in cavities(sites, mean, var, observations):
        seen, at = observations[name], (rest.pixel, rest.date)
        tau = sensors[name].agreement(
            rest.mean, rest.var, seen.values[at], seen.valid[at], season(seen.days)[rest.date]
        )
        factor.index_copy_(0, rest.row, tau)
    return factor.reshape(sites.w.shape[:2])


def cavities(
    sites: Sites, mean: Tensor, var: Tensor, observations: Mapping[str, Observations]
) -> Iterator[tuple[str, Cavity]]:
    """Yield for each sensor what its observations are predicted by, each from all others.

    Args:
        sites: As they entered the posterior, shape (N, T, L).
        mean: Of the posterior on the sites' days, shape (N, T, L).
        var: The same shape.
        observations: What the sites were encoded from, by sensor name.
    """
    total, latents = sites.w.shape[1:]
    flat = [tensor.reshape(-1, latents) for tensor in (sites.w, sites.eta, mean, var)]
    for name, seen in observations.items():
        pixel, date = seen.observed.nonzero(as_tuple=True)
        row = pixel * total + sites.places[name][date]
        w, eta, m, v = (tensor.index_select(0, row) for tensor in flat)
        # Priors have unit variance, so that no cavity knows less than a precision of 1.
        precision = (1.0 / v - w).clamp_min(1.0)
        yield name, Cavity(pixel, date, row, (m / v - eta) / precision, 1.0 / precision)


def refine(
    sites: Sites,
    inference: Inference,
    kernel: TemporalKernel,
    observations: Mapping[str, Observations],
    sensors: Mapping[str, SensorModel],
    rounds: int,
) -> Sites:
    """Lower the precisions of observations that the others do not bear out, ``rounds`` times.

    The factors take no gradient: whatever they are, q is a posterior, and its ELBO a bound.

    Args:
        sites: As the encoders gave them; every round starts from these.
        inference: How the posterior is computed.
        kernel: The prior.
        observations: What the sites were encoded from, by sensor name.
        sensors: Their models.
        rounds: 0 leaves the sites as they are.
    """
    refined = sites
    for _ in range(rounds):
        with torch.no_grad():
            w, eta = refined.w.detach(), refined.eta.detach()
            mean, var = inference.marginals(kernel, sites.days, w, eta)
        factor = agreement(refined, mean, var, observations, sensors).unsqueeze(-1)
        refined = Sites(sites.days, sites.w * factor, sites.eta * factor, sites.places)
    return refined
