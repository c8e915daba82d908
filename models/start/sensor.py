r"""One sensor of a model as a linear Gaussian: how its encoder and decoder are set before training.

While the networks beside them are zero, decoder and encoder of a sensor with bands x are

.. math:: x = b + D z + \epsilon, \quad \epsilon \sim N(0, R), \quad
    \tilde y_l = P_l (x - b), \quad 1 / w_l = \operatorname{var}(\tilde y_l - z_l)

in normalised units.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from terralatent.models.latent_model import HeldOut, LatentModel
from terralatent.models.observations import Observations
from terralatent.models.start.covariances import diagonal_plus_factor, robust_scatter

__all__ = [
    "NormalisedPool",
    "Pool",
    "full_precision",
    "hide_dates",
    "normalised_pools",
    "pools_of",
    "relate_bands",
    "seen_by",
    "series_of_each",
    "set_decoder",
    "set_encoder",
    "set_noise",
    "set_precision",
]

Pool = Mapping[str, Observations]
"""Series of the same pixels, by sensor name."""

SERIES, FEWEST_SERIES = 256, 32
"""Series of each pool that evidence and predictions are computed on: of one or two, and of many."""

SILENT = 1e-4
"""Precision of what says nothing at the start: a gradient still reaches it."""

HIDE_EVERY = 4
"""Every so many dates of a sensor are hidden when it is judged how well they are predicted."""


@dataclass(frozen=True)
class NormalisedPool:
    """One sensor's observations in a pool, in normalised units."""

    days: Tensor
    """shape (T,), float64."""

    values: Tensor
    """shape (N, T, B), 0 where a band is missing."""

    whole: Tensor
    """Dates on which every band is valid, shape (N, T), bool."""

    def rows(self) -> Tensor:
        """The whole observations, shape (M, B)."""
        return self.values[self.whole]


def pools_of(name: str, pools: Sequence[Pool]) -> list[Pool]:
    """Those of the pools in which a sensor has dates."""
    return [pool for pool in pools if name in pool and len(pool[name].days)]


def seen_by(names: Sequence[str], pool: Pool) -> Pool:
    """The part of a pool that some sensors saw."""
    return {name: pool[name] for name in names if name in pool and len(pool[name].days)}


def normalised_pools(model: LatentModel, name: str, pools: Sequence[Pool]) -> list[NormalisedPool]:
    """One sensor's observations in every pool in which it has dates, normalised."""
    normalised = []
    for pool in pools_of(name, pools):
        observed = pool[name]
        values = model.sensor(name).normalise(observed.values, observed.valid)
        normalised.append(NormalisedPool(observed.days, values, observed.valid.all(-1)))
    return normalised


def relate_bands(model: LatentModel, name: str, pools: Sequence[NormalisedPool]) -> None:
    """Set by what an encoder that fills missing bands does so; others stay as they are.

    A sensor of which the pools have too few whole observations keeps bands that say nothing of each
    other.
    """
    fill = model.sensor(name).encoder.fill
    rows = torch.cat([pool.rows() for pool in pools]) if pools else torch.zeros(0, 1)
    if fill is not None and len(rows) > rows.shape[-1]:
        fill.relate(*robust_scatter(rows))


def series_of_each(pools: Sequence[object]) -> int:
    """How many series of each pool evidence and predictions are computed on."""
    return min(SERIES, max(FEWEST_SERIES, 2 * SERIES // max(len(pools), 1)))


def hide_dates(
    model: LatentModel, name: str, pool: Pool, series: int = SERIES
) -> tuple[Pool, HeldOut]:
    """Hide dates of a sensor and predict them; return what was seen, and the scores."""
    some = {sensor: own.select(slice(0, series)) for sensor, own in pool.items()}
    dates = torch.arange(len(some[name].days))
    # Single dates, and windows of a few: short gaps and long ones.
    hidden = (dates % HIDE_EVERY == 1) | ((dates // 8) % HIDE_EVERY == 2)
    seen = {**some, name: some[name].hide(hidden)}
    return seen, model.log_predictive(seen, {name: some[name].hide(~hidden)})[name]


def set_decoder(
    model: LatentModel, name: str, centre: Tensor, linear: Tensor, noise: Tensor
) -> None:
    """Set x = centre (B,) + linear (B, K) z + noise of a covariance (B, B); float64.

    The latents beyond the first K get no weight.
    """
    sensor = model.sensor(name)
    scale = noise / sensor.likelihood.variance_ratio().detach().double()
    diagonal, factor = diagonal_plus_factor(scale, sensor.decoder.factor.shape[-1])
    sensor.decoder.set_linear(
        centre.float(), _wide(model, linear).float(), diagonal.log().float(), factor.float()
    )


def set_noise(model: LatentModel, name: str, scale: Tensor) -> None:
    """Set the scale matrix (B, B) of the decoder's likelihood, float64; all else stays."""
    decoder = model.sensor(name).decoder
    diagonal, factor = diagonal_plus_factor(scale, decoder.factor.shape[-1])
    bias, linear = decoder.bias.detach(), decoder.linear.detach()
    decoder.set_linear(bias, linear, diagonal.log().float(), factor.float())


def set_encoder(
    model: LatentModel,
    name: str,
    project: Tensor,
    centre: Tensor,
    precision: Tensor,
    linear: Tensor,
    noise: Tensor,
) -> None:
    """Set y = project (x - centre) with a precision for each latent; float64.

    Args:
        model: Changed in place.
        name: The sensor.
        project: P, shape (K, B); later latents hear nothing.
        centre: shape (B,).
        precision: shape (K,).
        linear: D, which says how the bands share a latent's precision, shape (B, K).
        noise: R, the same, shape (B, B).
    """
    encoder = model.sensor(name).encoder
    information = linear.square().T / noise.diagonal() + 1e-9
    share = _wide(model, (information / information.sum(-1, keepdim=True)).T).T
    share[len(information) :] = 1.0 / share.shape[-1]
    wide = _wide(model, project.T).T
    encoder.set_linear(
        wide.float(), encoder.log_precision.detach(), share.float(), (-wide @ centre).float()
    )
    set_precision(model, name, _wide(model, precision[None])[0])


def full_precision(model: LatentModel, name: str) -> Tensor:
    """The precision (L,) that a whole observation of a sensor has while the networks are 0."""
    encoder = model.sensor(name).encoder
    return torch.sigmoid(encoder.log_precision.detach()) * encoder.precision_cap


def set_precision(model: LatentModel, name: str, precision: Tensor) -> None:
    """Set what :func:`full_precision` gives, within what a gradient can move."""
    encoder = model.sensor(name).encoder
    cap = encoder.precision_cap
    with torch.no_grad():
        encoder.log_precision.copy_(torch.logit(precision.clamp(SILENT, 0.95 * cap) / cap))


def _wide(model: LatentModel, linear: Tensor) -> Tensor:
    """Lay (B, K) into (B, L), zero beyond."""
    wide = linear.new_zeros(len(linear), model.config.latents)
    wide[:, : linear.shape[1]] = linear
    return wide
