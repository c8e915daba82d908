r"""Where the decoders of the learned baselines start: components of the bands, no series model.

The sensor with most clear values is split into components with the least share of noise
(:mod:`~terralatent.models.start.noise_fractions`), which become latents of unit variance,

.. math:: x = b + D z + \epsilon, \quad z \sim N(0, I), \quad \epsilon \sim N(0, R).

Every other sensor is regressed on what the first one's nearest observation of the same pixel says,
and takes latents of its own for what that leaves if it is of another kind. The GP-VAE's start
fits kernels by evidence beside; these families have none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from terralatent.models.latent_model import LatentModel
from terralatent.models.observations import Observations
from terralatent.models.sensor.model import SensorModel
from terralatent.models.start.covariances import (
    TooFewObservationsError,
    diagonal_plus_factor,
    lifted,
    robust_regression,
    robust_scatter,
)
from terralatent.models.start.noise_fractions import minimum_noise_fractions, neighbour_differences
from terralatent.models.start.sensor import NormalisedPool, normalised_pools

__all__ = ["posterior_of_one", "start_decoders"]

NEAREST_DAYS = 8.0
"""Observations of two sensors this far apart are taken to be of the same surface."""

LEAST_SIGNAL = 0.05
"""Least signal of a component, in variances of its noise."""

SPARE = 0.03
"""Share of their random loadings that latents keep which nothing needs at the start."""


def start_decoders(model: LatentModel, pools: Sequence[Mapping[str, Observations]]) -> None:
    """Set decoders of ``model``, in place; those of sensors without data stay random.

    Args:
        model: Its normalisation is used; its networks must still be zero at their last layer.
        pools: Series of some hundred pixels, one pool for each calendar, by sensor name.

    Raises:
        TooFewObservationsError: If no sensor has enough clear observations.
    """
    names = sorted(sensor.name for sensor in model.config.sensors)
    normalised = {name: normalised_pools(model, name, pools) for name in names}
    clear = {name: sum(int(pool.whole.sum()) for pool in normalised[name]) for name in names}
    order = sorted(names, key=lambda name: -clear[name] * len(model.sensor(name).config.bands))
    first, total = order[0], model.config.latents
    if clear[first] <= len(model.sensor(first).config.bands) + 1:
        raise TooFewObservationsError(
            f"{first} has {clear[first]} clear observations in the sample, too few to start from; "
            "train on a cube with more clear dates."
        )
    centre, linear, noise, forward = _components(normalised[first], total)
    _set(model.sensor(first), centre, linear, noise)
    shared = used = linear.shape[1]
    for name in order[1:]:
        sensor = model.sensor(name)
        rows, scores = _paired(model, name, first, pools, centre, forward)
        if len(rows) <= 2 * (len(sensor.config.bands) + shared):
            continue
        offset, slopes, left = robust_regression(rows, scores, torch.zeros_like(scores))
        if sensor.config.units != model.sensor(first).config.units and used < total:
            _, mine, rest, _ = _components(normalised[name], total - used)
            # Of the sensor's own components only what the regression left.
            scale = (left.diagonal() / (mine @ mine.T + rest).diagonal()).clamp_max(1.0)
            mine = scale.sqrt()[:, None] * mine
            left = lifted(left - mine @ mine.T, 0.2 * left.diagonal())
            apart = slopes.new_zeros(len(slopes), used - shared)
            slopes = torch.cat([slopes, apart, mine], dim=1)
            used = slopes.shape[1]
        _set(sensor, offset, slopes, left)


def posterior_of_one(sensor: SensorModel) -> tuple[Tensor, Tensor, Tensor]:
    r"""Return what one whole observation says of latents of unit prior variance.

    Returns:
        P (L, B) and c (L,) of the posterior mean P x + c, with x in normalised units, and the
        posterior variance (L,); float32.
    """
    decoder = sensor.decoder
    linear = decoder.linear.detach().double()
    factor = decoder.factor.detach().double()
    noise = decoder.log_diag.detach().double().exp().diag() + factor @ factor.T
    precision = linear.T @ torch.linalg.inv(noise)
    eye = torch.eye(linear.shape[1], dtype=torch.float64, device=linear.device)
    cov = torch.linalg.inv(precision @ linear + eye)
    project = cov @ precision
    shift = -project @ decoder.bias.detach().double()
    return project.float(), shift.float(), cov.diagonal().float()


def _components(
    pools: Sequence[NormalisedPool], most: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Split a sensor: centre (B,), loadings (B, K), noise (B, B), and scores' projection (K, B)."""
    rows = torch.cat([pool.rows() for pool in pools])
    centre, scatter = robust_scatter(rows)
    away = torch.cat([neighbour_differences(pool.values, pool.whole, pool.days) for pool in pools])
    if len(away) > len(centre):
        _, inner = robust_scatter(away, torch.zeros_like(centre))
    else:
        inner = 0.3 * scatter
    split = minimum_noise_fractions(scatter, inner)
    strength = (split.forward @ scatter @ split.forward.T).diagonal() - 1.0
    count = min(len(centre), most)
    signal = strength[:count].clamp_min(LEAST_SIGNAL)
    linear = split.backward[:, :count] * signal.sqrt()
    noise = lifted(scatter - linear @ linear.T, 0.05 * scatter.diagonal())
    # Shrunk, so that scores have the variance of what they say of a latent.
    shrink = signal.sqrt() / (signal + 1.0)
    return centre, linear, noise, shrink[:, None] * split.forward[:count]


def _paired(
    model: LatentModel,
    name: str,
    first: str,
    pools: Sequence[Mapping[str, Observations]],
    centre: Tensor,
    forward: Tensor,
) -> tuple[Tensor, Tensor]:
    """Bands of a sensor (M, B), and scores (M, K) of the first's nearest observation; float64."""
    rows = [forward.new_zeros(0, len(model.sensor(name).config.bands))]
    scores = [forward.new_zeros(0, len(forward))]
    for pool in pools:
        for own in normalised_pools(model, name, [pool]):
            for other in normalised_pools(model, first, [pool]):
                for date, day in enumerate(own.days):
                    apart = (other.days - day).abs()
                    near = apart.argsort()[: int((apart <= NEAREST_DAYS).sum())]
                    if not len(near):
                        continue
                    both = own.whole[:, date] & other.whole[:, near].any(1)
                    nearest = near[other.whole[both][:, near].to(torch.uint8).argmax(1)]
                    rows.append(own.values[both, date].double())
                    scores.append((other.values[both, nearest].double() - centre) @ forward.T)
    return torch.cat(rows), torch.cat(scores)


def _set(sensor: SensorModel, centre: Tensor, linear: Tensor, noise: Tensor) -> None:
    """Set a decoder; latents beyond those of ``linear`` keep a little of their random loadings."""
    decoder = sensor.decoder
    wide = SPARE * decoder.linear.detach().clone()
    wide[:, : linear.shape[1]] = linear.float()
    diagonal, factor = diagonal_plus_factor(noise, sensor.decoder.factor.shape[-1])
    decoder.set_linear(centre.float(), wide, diagonal.log().float(), factor.float())
