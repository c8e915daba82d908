r"""Where training starts: the linear solution, a Gaussian process over several outputs.

The first sensor (the one with most information) is split into components of independent noise
(:mod:`~terralatent.models.start.noise_fractions`); each has its own kernel, signal and noise,
fitted by evidence. Its encoder and decoder are those projections, and the networks beside them are
zero, so that step 0 is exact inference in

.. math:: x(t) = b + D z(t) + \epsilon, \quad z_l \sim GP(0, k_l), \quad \epsilon \sim N(0, R)

Every other sensor starts from a regression on the first one's latents
(:mod:`~terralatent.models.start.regression`). A sensor of another kind (radar beside reflectance)
also gets latents of its own for what the regression leaves, as long as there are any.

A sensor that a trained model is given later starts from the same regression, on the latents
given all the old sensors: :func:`start_sensor`.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import cast

import torch
from torch import Tensor

from terralatent.models.gpvae import GPVAE
from terralatent.models.kernels.matern import LONGEST, SHORTEST, Matern
from terralatent.models.latent_model import LatentModel
from terralatent.models.start.components import Components, fit_components
from terralatent.models.start.covariances import lifted, robust_scatter
from terralatent.models.start.noise_fractions import (
    minimum_noise_fractions,
    neighbour_differences,
    signal_to_noise,
)
from terralatent.models.start.regression import (
    Regression,
    damp,
    regress,
    set_sensor,
    start_sensor,
)
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
    set_noise,
    set_precision,
)

__all__ = ["linear_start", "start_model", "start_sensor"]

log = logging.getLogger(__name__)

SPARE = 0.03
"""Size of the projections of latents that no sensor needs at the start."""

WEIGH_STEPS = 30
"""Steps of the fit of a sensor's precisions by evidence."""


def start_model(model: LatentModel, pools: Sequence[Pool], *, seed: int = 0) -> None:
    """Set from data what can be set before training, in place, as the model's family does.

    Args:
        model: Not started yet.
        pools: Series of some hundred pixels, one pool for each calendar, by sensor name.
        seed: Of random draws.

    Raises:
        TooFewObservationsError: If a sensor has too few clear observations to start from.
    """
    if not model.linear_start:
        model.start(pools, seed=seed)
        return
    for name in model.sensors:
        relate_bands(model, name, normalised_pools(model, name, pools))
    if model.config.start != "random":
        linear_start(cast(GPVAE, model), pools, seed=seed)


def linear_start(model: GPVAE, pools: Sequence[Pool], *, seed: int = 0) -> None:
    """Set kernels, encoders and decoders of ``model`` to the linear solution, in place.

    Args:
        model: Its normalisation is used; its networks must still be zero at their last layer.
        pools: Series of some hundred pixels, one pool for each calendar, by sensor name.
        seed: Of the small random projections of latents that nothing needs yet.

    Raises:
        TooFewObservationsError: If a sensor has too few clear observations to start from.
    """
    normalised = {
        name: normalised_pools(model, name, pools)
        for name in sorted(sensor.name for sensor in model.config.sensors)
    }
    order = sorted(normalised, key=lambda name: -_clear_values(normalised[name]))
    information = {name: _information(normalised[name]) for name in order}
    first = max(order, key=information.__getitem__)
    order = [first, *(name for name in order if name != first)]
    log.info("the linear start begins with %s", first)
    log.debug("information of each sensor's clear observations, in nats: %s", information)
    for name in order[1:]:
        set_precision(model, name, torch.zeros(model.config.latents))
    used = _start_first(model, first, normalised[first])
    of_first = pools_of(first, pools)
    _judge_noise(model, first, [{first: pool[first]} for pool in of_first])
    for name in order[1:]:
        if not _clear_values(normalised_pools(model, name, of_first)):
            log.warning(
                "%s has no clear observation beside %s in the sample; it starts at random",
                name,
                first,
            )
            continue
        regression = regress(model, [first], name, of_first, used)
        if not _alike(model, name, first):
            regression = _with_own_latents(model, regression)
            used = regression.linear.shape[1]
        set_sensor(model, name, regression)
        if model.config.start == "joint" and _alike(model, name, first):
            _weigh(model, first, name, of_first)
        else:
            damp(model, [first], name, of_first)
        _judge_noise(model, name, pools_of(name, of_first))
    _fill_spare(model, used, seed)


def _alike(model: GPVAE, name: str, other: str) -> bool:
    """Whether two sensors measure the same quantity."""
    return model.config.sensor(name).units == model.config.sensor(other).units


def _clear_values(pools: Sequence[NormalisedPool]) -> int:
    """How many numbers a sensor has in the pools where all its bands are clear."""
    return sum(int(pool.whole.sum()) * pool.values.shape[-1] for pool in pools)


def _information(pools: Sequence[NormalisedPool]) -> float:
    """How much a sensor's clear observations say of the surface, in nats.

    Each says half the log of one plus the signal-to-noise ratio, of each component of independent
    noise: what a Gaussian channel carries. Numbers alone would let dense radar with its speckle go
    before few clear optical dates. 0 where there are too few observations to say.
    """
    rows = torch.cat([pool.rows() for pool in pools]) if pools else torch.zeros(0, 1)
    if len(rows) <= rows.shape[-1]:
        return 0.0
    each = series_of_each(pools)
    some = [NormalisedPool(pool.days, pool.values[:each], pool.whole[:each]) for pool in pools]
    differences = torch.cat(
        [neighbour_differences(pool.values, pool.whole, pool.days) for pool in some]
    )
    if len(differences) <= rows.shape[-1]:
        return 0.0
    centre, scatter = robust_scatter(torch.cat([pool.rows() for pool in some]))
    _, noise = robust_scatter(differences, torch.zeros_like(centre))
    return 0.5 * len(rows) * float(signal_to_noise(scatter, noise).log1p().sum())


def _start_first(model: GPVAE, name: str, pools: Sequence[NormalisedPool]) -> int:
    """Set the first sensor and its latents' kernels; return how many latents it took."""
    rows = torch.cat([pool.rows() for pool in pools])
    centre, scatter = robust_scatter(rows)
    count = min(scatter.shape[-1], model.config.latents)
    forward, backward, components = _split(model, pools, centre, scatter, count)
    _set_kernels(model, components, slice(0, count))
    linear = backward[:, :count] * components.signal.sqrt()
    noise = backward[:, :count] * components.noise @ backward[:, :count].T
    lost = backward[:, count:]
    noise = noise + lost @ (forward[count:] @ scatter @ forward[count:].T) @ lost.T
    set_decoder(model, name, centre, linear, noise)
    project = forward[:count] / components.signal.sqrt()[:, None]
    set_encoder(model, name, project, centre, components.signal / components.noise, linear, noise)
    return count


def _split(
    model: GPVAE, pools: Sequence[NormalisedPool], centre: Tensor, scatter: Tensor, count: int
) -> tuple[Tensor, Tensor, Components]:
    """Return the transform, its inverse, and the first ``count`` components fitted."""
    noise = torch.cat([neighbour_differences(pool.values, pool.whole, pool.days) for pool in pools])
    _, inner = robust_scatter(noise, torch.zeros_like(centre))
    split = minimum_noise_fractions(scatter, inner)
    each = series_of_each(pools)
    series = [
        (
            pool.days,
            ((pool.values[:each].double() - centre) @ split.forward[:count].T).float(),
            pool.whole[:each],
        )
        for pool in pools
    ]
    return split.forward, split.backward, fit_components(series, model.config.kernel)


def _with_own_latents(model: GPVAE, regression: Regression) -> Regression:
    """Give a sensor latents of its own for what a regression leaves, if any are left."""
    used = regression.linear.shape[1]
    count = min(len(regression.centre), model.config.latents - used)
    if count <= 0:
        return regression
    _, scatter = robust_scatter(
        torch.cat([pool.rows() for pool in regression.rest]), regression.centre
    )
    _, backward, components = _split(model, regression.rest, regression.centre, scatter, count)
    _set_kernels(model, components, slice(used, used + count))
    own = backward[:, :count] * components.signal.sqrt()
    return replace(
        regression,
        linear=torch.cat([regression.linear, own], dim=1),
        noise=lifted(regression.noise - own @ own.T, 0.2 * regression.noise.diagonal()),
    )


def _judge_noise(model: GPVAE, name: str, pools: Sequence[Pool]) -> None:
    """Set a sensor's scale matrix to what it misses hidden dates by.

    The evidence takes noise as Gaussian: what few bad dates add to it all dates would pay for.
    """
    sensor = model.sensor(name)
    errors, signals = [], []
    for pool in pools:
        seen, held = hide_dates(model, name, pool, series_of_each(pools))
        whole = held.valid.all(-1)
        errors.append(held.error[whole].double())
        signals.append(model.infer(seen, held.days)[1][whole].double())
    linear = sensor.decoder.linear.detach().double()
    ratio = float(sensor.likelihood.variance_ratio().detach())
    dof = 2.0 * ratio / (ratio - 1.0) if ratio > 1.0 else 1e6
    rows = torch.cat(errors)
    if len(rows) <= rows.shape[-1]:
        log.warning("%s has too few clear dates to judge its noise by; it stays the fit's", name)
        return
    _, scatter = robust_scatter(rows, torch.zeros_like(rows[0]), dof)
    surface = linear * torch.cat(signals).mean(0) @ linear.T
    set_noise(model, name, lifted(scatter - surface, 0.2 * scatter.diagonal()))


def _set_kernels(model: GPVAE, components: Components, where: slice) -> None:
    """Copy the kernels of fitted components; every parameter has the latents in its first dim."""
    with torch.no_grad():
        mine = dict(model.kernel.named_parameters())
        for name, value in components.kernel.named_parameters():
            mine[name][where] = value


def _weigh(model: GPVAE, first: str, name: str, pools: Sequence[Pool]) -> None:
    """Fit the precision of a sensor for each latent by the evidence of both sensors' series.

    The first one's sites stay; robust factors are those of the start of the fit.
    """
    cap = model.sensor(name).encoder.precision_cap
    full = full_precision(model, name)
    parts = []
    with torch.no_grad():
        for pool in pools_of(name, pools):
            both = {
                sensor: series.select(slice(0, series_of_each(pools)))
                for sensor, series in seen_by([first, name], pool).items()
            }
            sites = model.sites(both)
            its = torch.zeros(len(sites.days), 1)
            its[sites.places[name]] = 1.0
            parts.append((sites, its))
    logs = torch.zeros(model.config.latents, requires_grad=True)
    optimiser = torch.optim.Adam([logs], lr=0.15)
    for _ in range(WEIGH_STEPS):
        optimiser.zero_grad()
        total = torch.zeros(())
        for sites, its in parts:
            factor = torch.exp(its * logs)
            total = total - model.inference.log_evidence(
                model.kernel, sites.days, sites.w * factor, sites.eta * factor
            ).sum() / len(sites.w)
        total.backward()
        optimiser.step()
    factor = logs.detach().exp()
    log.info("%s counts with these shares of its precision: %s", name, factor)
    set_precision(model, name, (full * factor).clamp_max(cap))


def _fill_spare(model: GPVAE, used: int, seed: int) -> None:
    """Give latents that nothing needs small random projections and spread lengthscales."""
    spare = model.config.latents - used
    if spare <= 0:
        return
    generator = torch.Generator().manual_seed(seed)
    scales = torch.logspace(math.log10(2 * SHORTEST), math.log10(LONGEST / 10), spare)
    with torch.no_grad():
        for module in model.kernel.modules():
            if isinstance(module, Matern):
                days = module.lengthscale.clone()
                days[used:] = scales
                module.set_lengthscale(days)
        for sensor in model.config.sensors:
            decoder = model.sensor(sensor.name).decoder
            shape = decoder.linear[:, used:].shape
            decoder.linear[:, used:] = SPARE * torch.randn(shape, generator=generator)
