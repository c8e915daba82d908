r"""Where training starts: the linear solution, a Gaussian process over several outputs.

The first sensor (the one that tells most) is split into components of independent noise
(:mod:`~terralatent.models.fractions`); each has its own kernel, signal and noise, fitted by
evidence. Its encoder and decoder are those projections, and the networks beside them are zero, so
that step 0 is exact inference in

.. math:: x(t) = b + D z(t) + \epsilon, \quad z_l \sim GP(0, k_l), \quad \epsilon \sim N(0, R)

Every other sensor starts from a regression on the first one's latents. A sensor of another kind
(radar beside reflectance) also gets latents of its own for what the regression leaves, as long as
there are any.

Two sensors that see combinations of the latents tell less than their sites claim one by one. So
their precisions are damped by the factor that predicts hidden dates of the first sensor best.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from terralatent.models.components import Components, fit_components
from terralatent.models.covariances import (
    diagonal_plus_factor,
    lifted,
    robust_regression,
    robust_scatter,
)
from terralatent.models.fractions import minimum_noise_fractions, neighbour_differences
from terralatent.models.gpvae import GPVAE, HeldOut
from terralatent.models.kernels.matern import LONGEST, SHORTEST, Matern
from terralatent.models.networks import RANK
from terralatent.models.observations import Observations

log = logging.getLogger(__name__)

Pool = Mapping[str, Observations]

SERIES = 256
"""Series of each pool that the evidence is computed on."""

DAMPING = (0.0, 0.03, 0.1, 0.3, 0.6)
"""Factors tried for the precisions of a sensor that starts from a regression."""

SILENT = 1e-4
"""Precision of what tells nothing at the start: a gradient still reaches it."""

HIDE_EVERY = 4
"""Every so many dates of the first sensor are hidden when a damping factor is judged."""

SPARE = 0.03
"""Size of the projections of latents that no sensor needs at the start."""


@dataclass(frozen=True)
class Looks:
    """One sensor's pool in normalised units."""

    days: Tensor
    """shape (T,), float64."""

    values: Tensor
    """shape (N, T, B), 0 where a band is missing."""

    whole: Tensor
    """Dates on which every band is valid, shape (N, T), bool."""

    def rows(self) -> Tensor:
        """The whole observations, shape (M, B)."""
        return self.values[self.whole]


def linear_start(model: GPVAE, pools: Sequence[Pool], *, seed: int = 0) -> None:
    """Set kernels, encoders and decoders of ``model`` to the linear solution, in place.

    Args:
        model: Its normalisation is used; its networks must still be zero at their last layer.
        pools: Series of some hundred pixels, one pool for each calendar, by sensor name.
        seed: Of the small random projections of latents that nothing needs yet.

    Raises:
        TooFewObservationsError: If a sensor has too few clear observations to start from.
    """
    looks = {
        name: _looks(model, name, pools)
        for name in sorted(sensor.name for sensor in model.config.sensors)
    }
    order = sorted(looks, key=lambda name: -_told(looks[name]))
    first = order[0]
    log.info("the linear start begins with %s", first)
    for name in order[1:]:
        _set_precision(model, name, torch.zeros(model.config.latents))
    used = _start_first(model, first, looks[first])
    _judge_noise(model, first, pools)
    for name in order[1:]:
        if not _told(looks[name]):
            log.warning("%s has no clear observation in the sample; it starts at random", name)
            continue
        used = _start_other(model, first, name, pools, looks[name], used)
        _damp(model, first, name, pools)
    _fill_spare(model, used, seed)


def _looks(model: GPVAE, name: str, pools: Sequence[Pool]) -> list[Looks]:
    found = []
    for pool in pools:
        if name in pool and len(pool[name].days):
            each = pool[name]
            values = model.sensor(name).normalise(each.values, each.valid)
            found.append(Looks(each.days, values, each.valid.all(-1)))
    return found


def _told(looks: Sequence[Looks]) -> int:
    """How many numbers a sensor tells about the pools."""
    return sum(int(each.whole.sum()) * each.values.shape[-1] for each in looks)


def _start_first(model: GPVAE, name: str, looks: Sequence[Looks]) -> int:
    """Set the first sensor and its latents' kernels; return how many latents it took."""
    rows = torch.cat([each.rows() for each in looks])
    centre, scatter = robust_scatter(rows)
    count = min(scatter.shape[-1], model.config.latents)
    forward, backward, parts = _split(model, looks, centre, scatter, count)
    _set_kernels(model, parts, slice(0, count))
    linear = backward[:, :count] * parts.signal.sqrt()
    noise = backward[:, :count] * parts.noise @ backward[:, :count].T
    lost = backward[:, count:]
    noise = noise + lost @ (forward[count:] @ scatter @ forward[count:].T) @ lost.T
    _set_decoder(model, name, centre, _wide(model, linear), noise)
    project = forward[:count] / parts.signal.sqrt()[:, None]
    _set_encoder(model, name, project, centre, parts.signal / parts.noise, linear, noise)
    return count


def _split(
    model: GPVAE, looks: Sequence[Looks], centre: Tensor, scatter: Tensor, count: int
) -> tuple[Tensor, Tensor, Components]:
    """Return the transform, its inverse, and the first ``count`` components fitted."""
    noise = torch.cat([neighbour_differences(each.values, each.whole, each.days) for each in looks])
    _, inner = robust_scatter(noise, torch.zeros_like(centre))
    split = minimum_noise_fractions(scatter, inner)
    series = [
        (
            each.days,
            ((each.values[:SERIES].double() - centre) @ split.forward[:count].T).float(),
            each.whole[:SERIES],
        )
        for each in looks
    ]
    return split.forward, split.backward, fit_components(series, model.config.kernel)


def _start_other(
    model: GPVAE,
    first: str,
    name: str,
    pools: Sequence[Pool],
    looks: Sequence[Looks],
    used: int,
) -> int:
    """Set a sensor by regression on the latents; return how many latents are used then."""
    means, variances, rows = [], [], []
    left = []
    for pool, each in zip(
        (p for p in pools if name in p and len(p[name].days)), looks, strict=True
    ):
        mean, var = model.infer({first: pool[first]}, each.days)
        means.append(mean[each.whole][:, :used].double())
        variances.append(var[each.whole][:, :used].double())
        rows.append(each.rows().double())
        left.append(mean[..., :used].double())
    centre, linear, noise = robust_regression(
        torch.cat(rows), torch.cat(means), torch.cat(variances)
    )
    taken = used
    if model.config.sensor(name).units != model.config.sensor(first).units:
        count = min(len(centre), model.config.latents - used)
        if count > 0:
            rest = [
                Looks(each.days, (each.values - mean @ linear.T).float(), each.whole)
                for each, mean in zip(looks, left, strict=True)
            ]
            _, scatter = robust_scatter(torch.cat([each.rows() for each in rest]), centre)
            _, backward, parts = _split(model, rest, centre, scatter, count)
            _set_kernels(model, parts, slice(used, used + count))
            own = backward[:, :count] * parts.signal.sqrt()
            linear = torch.cat([linear, own], dim=1)
            noise = lifted(noise - own @ own.T, 0.2 * noise.diagonal())
            taken = used + count
    _set_decoder(model, name, centre, _wide(model, linear), noise)
    # One observation's posterior under unit priors, as one site a latent.
    precision = linear.T @ torch.linalg.inv(noise)
    cov = torch.linalg.inv(precision @ linear + torch.eye(taken, dtype=torch.float64))
    kept = (1.0 - cov.diagonal()).clamp_min(1e-6)
    project = cov @ precision / kept[:, None]
    _set_encoder(model, name, project, centre, kept / cov.diagonal(), linear, noise)
    return taken


def _damp(model: GPVAE, first: str, name: str, pools: Sequence[Pool]) -> None:
    """Choose the factor on a sensor's precisions that predicts the first sensor's dates best."""
    encoder = model.sensor(name).encoder
    full = torch.sigmoid(encoder.log_precision.detach()) * encoder.precision_cap
    scores: dict[float, float] = {}
    for factor in DAMPING:
        _set_precision(model, name, factor * full)
        scores[factor] = sum(_hidden_score(model, first, pool) for pool in pools)
    best = max(scores, key=scores.__getitem__)
    log.info("%s is heard with %g of its precision", name, best)
    log.debug("%s: log predictive density by share of precision %s", name, scores)
    _set_precision(model, name, best * full)


def _judge_noise(model: GPVAE, first: str, pools: Sequence[Pool]) -> None:
    """Set the first sensor's scale matrix to what it misses hidden dates by.

    The evidence takes noise as Gaussian: what few bad dates add to it all dates would pay for.
    """
    sensor = model.sensor(first)
    errors, signals = [], []
    for pool in pools:
        seen, held = _hide(model, first, {first: pool[first]})
        whole = held.valid.all(-1)
        errors.append(held.error[whole].double())
        signals.append(model.infer(seen, held.days)[1][whole].double())
    linear = sensor.decoder.linear.detach().double()
    ratio = float(sensor.likelihood.variance_ratio().detach())
    dof = 2.0 * ratio / (ratio - 1.0) if ratio > 1.0 else 1e6
    rows = torch.cat(errors)
    _, scatter = robust_scatter(rows, torch.zeros_like(rows[0]), dof)
    surface = linear * torch.cat(signals).mean(0) @ linear.T
    scale = lifted(scatter - surface, 0.2 * scatter.diagonal())
    diagonal, factor = diagonal_plus_factor(scale, RANK)
    bias = sensor.decoder.bias.detach()
    sensor.decoder.set_linear(bias, linear.float(), diagonal.log().float(), factor.float())


def _hide(model: GPVAE, first: str, pool: Pool) -> tuple[Pool, HeldOut]:
    """Hide dates of the first sensor and predict them; give what was seen, and how it went."""
    some = {name: each.select(slice(0, SERIES)) for name, each in pool.items()}
    dates = torch.arange(len(some[first].days))
    # Single dates, and windows of a few: short gaps and long ones.
    hidden = (dates % HIDE_EVERY == 1) | ((dates // 8) % HIDE_EVERY == 2)
    seen = {**some, first: some[first].hide(hidden)}
    return seen, model.log_predictive(seen, {first: some[first].hide(~hidden)})[first]


def _hidden_score(model: GPVAE, first: str, pool: Pool) -> float:
    """Sum of the log predictive density of hidden dates of the first sensor."""
    return float(_hide(model, first, pool)[1].log_density.double().sum())


def _set_precision(model: GPVAE, name: str, precision: Tensor) -> None:
    """Set the precision (L,) that a whole observation of a sensor has while the networks are 0."""
    encoder = model.sensor(name).encoder
    cap = encoder.precision_cap
    with torch.no_grad():
        encoder.log_precision.copy_(torch.logit(precision.clamp(SILENT, 0.95 * cap) / cap))


def _wide(model: GPVAE, linear: Tensor) -> Tensor:
    """Lay (B, K) into (B, L), zero beyond."""
    wide = linear.new_zeros(len(linear), model.config.latents)
    wide[:, : linear.shape[1]] = linear
    return wide


def _set_kernels(model: GPVAE, parts: Components, where: slice) -> None:
    with torch.no_grad():
        mine = dict(model.kernel.named_parameters())
        for name, value in parts.kernel.named_parameters():
            mine[name][where] = value


def _set_decoder(model: GPVAE, name: str, centre: Tensor, linear: Tensor, noise: Tensor) -> None:
    sensor = model.sensor(name)
    scale = noise / sensor.likelihood.variance_ratio().detach().double()
    diagonal, factor = diagonal_plus_factor(scale, RANK)
    sensor.decoder.set_linear(
        centre.float(), linear.float(), diagonal.log().float(), factor.float()
    )


def _set_encoder(
    model: GPVAE,
    name: str,
    project: Tensor,
    centre: Tensor,
    precision: Tensor,
    linear: Tensor,
    noise: Tensor,
) -> None:
    """Set y = project (x - centre) with ``precision`` (K,), and the shares of the bands."""
    encoder = model.sensor(name).encoder
    told = linear.square().T / noise.diagonal() + 1e-9
    share = _wide(model, (told / told.sum(-1, keepdim=True)).T).T
    share[len(told) :] = 1.0 / share.shape[-1]
    wide = _wide(model, project.T).T
    encoder.set_linear(
        wide.float(), encoder.log_precision.detach(), share.float(), (-wide @ centre).float()
    )
    _set_precision(model, name, _wide(model, precision[None])[0])


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
