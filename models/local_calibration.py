r"""A model at a place that it was not trained on: how far its intervals are to be trusted there.

Three kinds of factors stand beside those of training, and move no mean. The variance of a new
observation becomes, for each band,

.. math:: a \cdot \text{noise} + c\, (u / u_0)^{-p} \cdot \text{signal}

where u is the share of the surface's prior variance that the latents leave open at that date (its
posterior variance over that of the prior). A model that is too sure where it has just seen
something, and right where it has seen nothing, has p > 0. As p < 1, what is less known is never
called more certain. The latents' own variances v are tempered: what the observations add to the
prior, 1 / v - 1, counts with the share 1 / f^2, so that a latent that nothing informs keeps it.

All are fitted to acquisitions of the place, hidden as at the end of a training: c and p by second
moments, a by the density given those, and f by how far the posterior mean moves when what was
hidden is seen. By the law of total variance it moves by v_without - v_with, in the mean square.
Each factor is believed to be 1, and p to be 0, as strongly as a few acquisitions would have it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from terralatent.models.calibration import (
    STRENGTH,
    Missed,
    hidden_dates,
    mixture_nodes,
    predict_hidden,
    thinned,
)
from terralatent.models.families import make_model
from terralatent.models.latent_model import LatentModel
from terralatent.models.observations import Observations
from terralatent.models.sensor.model import SensorModel
from terralatent.models.sensor.predictive import quantile_table, upper_quantile
from terralatent.models.sensor.widths import LARGEST_POWER, LOCAL_RANGE, is_local, tempered

__all__ = [
    "Coverage",
    "LocalFit",
    "calibrate_locally",
    "mean_squared_residual",
    "with_local_widths",
    "without_local_widths",
]

ROWS = 5_000
"""Rows that are fitted to at most, drawn from all: of few acquisitions more say nothing new."""

STEPS = 25
"""Of the quasi-Newton iteration at most."""

POWER_SCALE = 0.5
"""A power as large as this is as unlikely beforehand as a factor of e in one band."""

COMMON = 0.25
"""Share of that belief against factors that all bands have in common: places differ in their haze
and their variety more than bands of one place do."""

LATENT_RANGE = (0.25, 4.0)
"""Bounds of the factors of the latents' standard deviations."""

LATENT_STEPS = 49
"""Factors that are tried between the two, evenly in their logarithms."""

LEAST_MOVE = 1e-4
"""Of a latent's prior variance: observations that should add less than this say nothing of f."""

INTERVAL = 0.95
"""Upper end of the 90 % intervals."""

LARGEST_RESIDUAL = 5.0
"""Standardised residuals count as this large at most: some clouds escape every mask."""


@dataclass(frozen=True)
class Coverage:
    """What 90 % intervals hold of a sensor's hidden observations, all bands together."""

    acquisitions: int
    """Acquisitions that were hidden, each in several ways."""

    before: float
    """Share that they held."""

    after: float
    """Share that they hold by the new factors, of the same observations."""


@dataclass(frozen=True)
class LocalFit:
    """What a calibration at a place came to."""

    coverage: Mapping[str, Coverage]
    """By sensor; those without enough acquisitions are left out and keep factors of 1."""

    latent_factor: float
    """Geometric mean of the factors f of the latents' standard deviations."""


@torch.no_grad()
def calibrate_locally(
    model: LatentModel, pools: Sequence[Mapping[str, Observations]]
) -> tuple[LatentModel, LocalFit]:
    """Return the same model with factors of one place, and what they came to.

    Args:
        model: Trained, on the CPU; stays as it is. Factors that it has of another place are
            forgotten: the fit begins from training's.
        pools: Series of some hundred pixels of the place, one pool for each calendar, by sensor
            name, of sensors of the model.
    """
    local = with_local_widths(model).eval()
    coverage: dict[str, Coverage] = {}
    moves: list[_Move] = []
    hidden_count = 0
    for name in sorted({name for pool in pools for name in pool}):
        parts = []
        count = 0
        for pool in pools:
            if name not in pool:
                continue
            count += int(pool[name].observed.any(0).sum())
            seen_all = local.infer(pool, pool[name].days)
            for hidden in hidden_dates(pool[name]):
                missed = predict_hidden(local, name, pool, hidden)
                parts.append(missed)
                moves.append(_Move.of(missed, *seen_all))
        if not any(bool(part.valid.any()) for part in parts):
            continue
        sensor, sample = local.sensor(name), thinned(parts, ROWS)
        before = _covered(sensor, sample)
        _fit_sensor(sensor, sample, count)
        coverage[name] = Coverage(count, before, _covered(sensor, sample))
        hidden_count += count
    if moves:
        local.local_std.copy_(_fit_latents(moves, hidden_count))
    return local, LocalFit(coverage, float(local.local_std.log().mean().exp()))


def with_local_widths(model: LatentModel) -> LatentModel:
    """Return a copy of a model that can have factors of a place; they are 1."""
    return _copied(model, True)


def without_local_widths(model: LatentModel) -> LatentModel:
    """Return a copy of a model that has forgotten the factors of any place."""
    return _copied(model, None)


def mean_squared_residual(
    model: LatentModel, pools: Sequence[Mapping[str, Observations]]
) -> dict[str, float]:
    """Hide every fourth acquisition of each sensor, and compare what is missed with what is meant.

    Args:
        model: On the CPU.
        pools: As for :func:`calibrate_locally`.

    Returns:
        For each sensor that has enough acquisitions, the mean over bands and observations of the
        squared residual, divided by its predictive variance: 1 where the model is right. Residuals
        of more than 5 standard deviations count as 5.
    """
    squares: dict[str, float] = {}
    for name in sorted({name for pool in pools for name in pool}):
        total, count = 0.0, 0
        for pool in pools:
            if name not in pool or (hidden := next(hidden_dates(pool[name]), None)) is None:
                continue
            missed = predict_hidden(model, name, pool, hidden)
            sensor = model.sensor(name)
            signal, noise = _variances(sensor, missed)
            variance = signal + sensor.likelihood.variance_ratio() * noise
            square = (missed.error.square() / variance).detach().clamp_max(LARGEST_RESIDUAL**2)
            total += float(square[missed.valid].double().sum())
            count += int(missed.valid.sum())
        if count:
            squares[name] = total / count
    return squares


@dataclass(frozen=True)
class _Move:
    """How far the posterior moved when what was hidden was seen, M rows of L latents."""

    square: Tensor
    """Squared difference of the means."""

    without: Tensor
    """Variance without."""

    seen: Tensor
    """Variance with all."""

    @classmethod
    def of(cls, missed: Missed, mean: Tensor, var: Tensor) -> _Move:
        """Compare predictions with what is inferred from all, (N, T, L) on the sensor's days."""
        at = missed.pixel, missed.date
        return cls((mean[at] - missed.mean).square(), missed.var, var[at])


def _copied(model: LatentModel, local: bool | None) -> LatentModel:
    copied = make_model(model.config.model_copy(update={"local_widths": local}))
    weights = copied.state_dict()
    known = model.state_dict()
    kept = {name: value for name, value in known.items() if not is_local(name)}
    copied.load_state_dict({**weights, **kept})
    return copied.to(model.device)


def _variances(sensor: SensorModel, missed: Missed) -> tuple[Tensor, Tensor]:
    """Variance of the surface and squared scale of the noise with all factors, (M, B) each."""
    return sensor.signal_scale(missed.var) * missed.signal, sensor.noise_scale * missed.noise


def _covered(sensor: SensorModel, missed: Missed) -> float:
    """The share of the hidden values inside their 90 % intervals."""
    table = quantile_table(sensor.likelihood.mixture(), INTERVAL)
    inside = missed.error.abs() <= upper_quantile(table, *_variances(sensor, missed))
    return float(inside[missed.valid].double().mean())


def _fit_sensor(sensor: SensorModel, missed: Missed, acquisitions: int) -> None:
    """Set the factors of one sensor, in place."""
    bands = missed.error.shape[-1]
    belief = STRENGTH / max(acquisitions, 1)
    start = torch.zeros(2 * bands + 1)
    # By second moments, then by density: see terralatent.models.calibration.
    ratio = sensor.likelihood.variance_ratio().detach().reshape(1).to(start)
    every = torch.ones(len(start), dtype=torch.bool)
    gaussian = 1.0 / ratio, torch.zeros(1)
    moments = _maximise(sensor, missed, gaussian, start, belief, every)
    mixture = mixture_nodes(sensor.likelihood, start)
    only_noise = torch.arange(len(start)) < bands
    noise, signal, power = _unpacked(
        _maximise(sensor, missed, mixture, moments, belief, only_noise)
    )
    sensor.local_noise.copy_(noise.clamp(*LOCAL_RANGE))
    sensor.local_signal.copy_(signal.clamp(*LOCAL_RANGE))
    sensor.local_power.copy_(power)


def _unpacked(numbers: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Factors of noise and signal, (B,) each, and the power, from unbounded numbers (2 B + 1,)."""
    bands = len(numbers) // 2
    power = LARGEST_POWER * torch.tanh(numbers[-1] / LARGEST_POWER)
    return numbers[:bands].exp(), numbers[bands:-1].exp(), power


@torch.enable_grad()
def _maximise(
    sensor: SensorModel,
    missed: Missed,
    mixture: tuple[Tensor, Tensor],
    start: Tensor,
    belief: float,
    free: Tensor,
) -> Tensor:
    """Return the numbers of :func:`_unpacked` under which what was hidden is likeliest.

    Args:
        sensor: Whose factors of training hold beside them.
        missed: What was hidden.
        mixture: Nodes and log weights of the noise.
        start: Where to begin, (2 B + 1,).
        belief: Weight of the belief that the factors are 1 and the power 0.
        free: Which of the numbers may change, (2 B + 1,), bool.
    """
    tau, log_weight = mixture
    numbers = start.clone().requires_grad_()
    optimiser = torch.optim.LBFGS(
        [numbers], max_iter=STEPS, tolerance_change=1e-7, line_search_fn="strong_wolfe"
    )
    square = missed.error.square().unsqueeze(-1)
    openness = sensor.openness(missed.var).detach()
    trained_noise = sensor.noise_factor * missed.noise
    trained_signal = sensor.signal_factor * missed.signal
    count = missed.valid.sum(0).clamp_min(1)

    def cost() -> Tensor:
        optimiser.zero_grad()
        used = torch.where(free, numbers, start)
        noise, signal, power = _unpacked(used)
        open_signal = signal * openness.pow(-power) * trained_signal
        variance = open_signal.unsqueeze(-1) + (noise * trained_noise).unsqueeze(-1) / tau
        density = torch.logsumexp(log_weight - 0.5 * (variance.log() + square / variance), dim=-1)
        fit = (torch.where(missed.valid, density, 0.0).sum(0) / count).sum()
        loss = belief * _doubt(used, power) - fit
        loss.backward()
        return loss

    optimiser.step(cost)
    return torch.where(free, numbers, start).detach()


def _doubt(numbers: Tensor, power: Tensor) -> Tensor:
    """How little the numbers of :func:`_unpacked` are believed beforehand."""
    logs = numbers[:-1].reshape(2, -1)
    common = logs.mean(1, keepdim=True)
    return (
        (logs - common).square().sum()
        + COMMON * logs.shape[1] * common.square().sum()
        + logs.shape[1] * (power / POWER_SCALE).square()
    )


def _fit_latents(moves: Sequence[_Move], acquisitions: int) -> Tensor:
    """The factor f of each latent, (L,), by the Gaussian density of how far its mean moved."""
    count = sum(len(move.square) for move in moves)
    kept = torch.randperm(count, generator=torch.Generator().manual_seed(0))[:ROWS]
    square, without, seen = (
        torch.cat([getattr(move, name) for move in moves])[kept].double()
        for name in ("square", "without", "seen")
    )
    informed = without - seen > LEAST_MOVE
    rows = informed.sum(0).clamp_min(1)
    low, high = (torch.tensor(bound).log().item() for bound in LATENT_RANGE)
    tried = torch.linspace(low, high, LATENT_STEPS, dtype=torch.float64)
    costs = []
    for log_factor in tried:
        factor = log_factor.exp()
        moved = (tempered(without, factor) - tempered(seen, factor)).clamp_min(0.1 * LEAST_MOVE)
        cost = torch.where(informed, 0.5 * (moved.log() + square / moved), 0.0).sum(0) / rows
        costs.append(cost + STRENGTH / max(acquisitions, 1) * (2.0 * log_factor).square())
    return tried[torch.stack(costs).argmin(0)].exp().float()
