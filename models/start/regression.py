r"""Where a sensor starts that joins others: a regression of its bands on the others' latents.

.. math:: x_s(t) = b + D\, E[z(t) \,|\, x_{others}] + \epsilon, \quad \epsilon \sim N(0, R)

Two sensors that see combinations of the latents say less than the sites of both add up to. So the
new sensor's precisions are damped by the factor that predicts hidden dates of the others best.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from terralatent.models.latent_model import LatentModel
from terralatent.models.start.covariances import TooFewObservationsError, robust_regression
from terralatent.models.start.sensor import (
    NormalisedPool,
    Pool,
    full_precision,
    hide_dates,
    normalised_pools,
    pools_of,
    relate_bands,
    seen_by,
    series_of_each,
    set_decoder,
    set_encoder,
    set_precision,
)

__all__ = ["Regression", "damp", "regress", "set_sensor", "start_sensor"]

log = logging.getLogger(__name__)

DAMPING = (0.0, 0.03, 0.1, 0.3, 0.6)
"""Factors tried for the precisions of a sensor that starts from a regression."""

KNOWN = 0.1
"""Least share of a latent's prior variance that the others explain, for bands to be regressed on
it: slopes on what hardly moves are noise."""


@dataclass(frozen=True)
class Regression:
    """The bands of a sensor given K latents, normalised units, float64."""

    centre: Tensor
    """b, shape (B,)."""

    linear: Tensor
    """D, shape (B, K)."""

    noise: Tensor
    """R, shape (B, B)."""

    rest: tuple[NormalisedPool, ...]
    """What D and the latents' means leave of each pool; the centre is still in it."""


def start_sensor(model: LatentModel, name: str, pools: Sequence[Pool]) -> None:
    """Set encoder and decoder of a sensor that a trained model was given, in place.

    Its bands are regressed on the latents given all other sensors, and it counts with the share
    of its precision that predicts hidden dates of the others best. Nothing else changes:
    it takes no latent for its own, so that the others' latents stay what they are without it.

    Args:
        model: Its other sensors are trained, or at least started where the pools have them. The
            networks of this one must still be zero at their last layer, as
            :meth:`~terralatent.models.gpvae.GPVAE.add_sensor` leaves them.
        name: The sensor that was added.
        pools: Series of some hundred pixels, one pool for each calendar, by sensor name. Those
            that lack the sensor, or all others, are passed over.

    Raises:
        ValueError: If the model has no such sensor.
        TooFewObservationsError: If no pool has the sensor together with another, or if there are
            too few clear observations to start from.
    """
    new = model.sensor(name).config
    others = sorted({sensor.name for sensor in model.config.sensors} - {name})
    shared = [pool for pool in pools_of(name, pools) if seen_by(others, pool)]
    normalised = normalised_pools(model, name, shared)
    clear = sum(int(pool.whole.sum()) for pool in normalised)
    if clear <= len(new.bands):
        raise TooFewObservationsError(
            f"{name} starts from a regression on {', '.join(others) or 'other sensors'}, but only "
            f"{clear} of its observations of the same pixels are clear; train on a cube where both "
            "have clear dates."
        )
    relate_bands(model, name, normalised)
    regression = regress(model, others, name, shared, model.config.latents, known=KNOWN)
    set_sensor(model, name, regression)
    damp(model, others, name, shared)


def regress(
    model: LatentModel,
    given: Sequence[str],
    name: str,
    pools: Sequence[Pool],
    latents: int,
    *,
    known: float = 0.0,
) -> Regression:
    """Regress the bands of a sensor on the first latents given other sensors.

    Args:
        model: Its sensors ``given`` are set.
        given: Sensors whose posterior is used; every pool of the sensor needs one of them.
        name: The sensor.
        pools: As for :func:`start_sensor`.
        latents: How many latents K are used.
        known: Latents of whose prior variance the others explain a smaller share get no slope.
    """
    normalised = normalised_pools(model, name, pools)
    means, variances = [], []
    for pool, own in zip(pools_of(name, pools), normalised, strict=True):
        mean, var = model.infer(seen_by(given, pool), own.days)
        means.append(mean[..., :latents].double())
        variances.append(var[..., :latents].double())
    rows = torch.cat([pool.rows().double() for pool in normalised])
    mean = torch.cat([mean[pool.whole] for mean, pool in zip(means, normalised, strict=True)])
    var = torch.cat([var[pool.whole] for var, pool in zip(variances, normalised, strict=True)])
    used = mean.square().mean(0) >= known
    centre, linear, noise = robust_regression(rows, mean * used, var * used)
    rest = tuple(
        replace(pool, values=(pool.values - mean @ linear.T).float())
        for pool, mean in zip(normalised, means, strict=True)
    )
    return Regression(centre, linear, noise, rest)


def set_sensor(model: LatentModel, name: str, regression: Regression) -> None:
    """Set a sensor's decoder to a regression, and its encoder to what one observation then says."""
    linear, noise = regression.linear, regression.noise
    set_decoder(model, name, regression.centre, linear, noise)
    # One observation's posterior under unit priors, as one site a latent.
    precision = linear.T @ torch.linalg.inv(noise)
    eye = torch.eye(linear.shape[1], dtype=torch.float64)
    cov = torch.linalg.inv(precision @ linear + eye)
    kept = (1.0 - cov.diagonal()).clamp_min(1e-6)
    project = cov @ precision / kept[:, None]
    set_encoder(model, name, project, regression.centre, kept / cov.diagonal(), linear, noise)


def damp(model: LatentModel, judges: Sequence[str], name: str, pools: Sequence[Pool]) -> None:
    """Choose the factor on a sensor's precisions that predicts the judges' hidden dates best."""
    full = full_precision(model, name)
    scores: dict[float, float] = {}
    for factor in DAMPING:
        set_precision(model, name, factor * full)
        scores[factor] = sum(
            float(
                hide_dates(model, judge, pool, series_of_each(pools))[1].log_density.double().sum()
            )
            for judge in judges
            for pool in pools_of(judge, pools)
        )
    best = max(scores, key=scores.__getitem__)
    log.info("%s counts with %g of its precision", name, best)
    log.debug("%s: log predictive density by share of precision %s", name, scores)
    set_precision(model, name, best * full)
