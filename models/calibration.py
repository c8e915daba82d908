r"""How wide credible and predictive intervals must be, from acquisitions hidden after training.

For each band of a sensor the variance of a new observation is

.. math:: a \cdot \text{noise} + c \cdot \text{signal}

where the signal's is what the latents leave open. Both are fitted to hidden acquisitions: c by
their second moments, a by their predictive density given c. Single observations say little of c
where noise is much of what is missed, and a density least of all: it takes the largest errors of
the surface for tails of the noise. On a simulated region, whose surface is known, density alone
left 72 % of the truth in 90 % credible intervals of the surface. Acquisitions are hidden one by
one, and in windows as long as a cloudy winter: short gaps fix a, long ones c. Training has counted
most of them, so that what it has learned by heart does not show; those that it never counted are
among them where the model is that of before the last steps.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from terralatent.models.latent_model import LatentModel
from terralatent.models.observations import Observations
from terralatent.models.sensor.likelihoods import Likelihood
from terralatent.models.sensor.networks import season

__all__ = [
    "STRENGTH",
    "Missed",
    "calibrate",
    "hidden_dates",
    "mixture_nodes",
    "predict_hidden",
    "thinned",
]

FOLDS = 4
"""Turns in which single acquisitions are hidden, each every so many-th."""

WINDOWS_DAYS = (20.0, 60.0, 120.0)
"""Lengths of the windows; every other one is hidden at a time."""

STEPS = 60
RATE = 0.1
ROWS = 10_000
"""Hidden observations of a sensor that the factors are fitted to at most, drawn from all."""
NODES = 3
"""Of the mixture's nodes every so many-th is used: they lie far closer than a density needs."""
STRENGTH = 2.0
"""Acquisitions' worth of belief that the factors are 1; errors of one are not independent."""


@dataclass(frozen=True)
class Missed:
    """By what hidden observations were missed, M rows of B bands, normalised units."""

    error: Tensor
    valid: Tensor
    signal: Tensor
    """Variance of the surface."""
    noise: Tensor
    """Squared scale of the noise."""

    mean: Tensor
    """Of the latents as predicted, (M, L)."""

    var: Tensor
    """Of the latents, (M, L)."""

    pixel: Tensor
    """Along the pixels of the pool, (M,), int64."""

    date: Tensor
    """Along the sensor's own days, (M,), int64."""


@torch.no_grad()
def calibrate(
    model: LatentModel,
    pools: Sequence[Mapping[str, Observations]],
    sensors: Sequence[str] | None = None,
) -> None:
    """Set ``noise_factor`` and ``signal_factor`` of sensors of ``model``, in place.

    Args:
        model: Trained.
        pools: Series of some hundred pixels, one pool for each calendar, by sensor name. A sensor
            that is in none keeps its factors.
        sensors: Names of the sensors; all by default.
    """
    model.eval()
    for name in sorted(model.sensors) if sensors is None else sensors:
        parts = [
            predict_hidden(model, name, pool, hidden)
            for pool in pools
            if name in pool
            for hidden in hidden_dates(pool[name])
        ]
        if parts:
            whole = thinned(parts, ROWS)
            count = sum(len(pool[name].days) for pool in pools if name in pool)
            noise, signal = _fit(whole, model.sensor(name).likelihood, count)
            model.sensor(name).noise_factor.copy_(noise)
            model.sensor(name).signal_factor.copy_(signal)


def hidden_dates(observations: Observations) -> Iterator[Tensor]:
    """Ways to hide dates of a sensor, each shape (T,), bool; nothing where it has too few."""
    days, some = observations.days, observations.observed.any(0)
    place = some.cumsum(0) - 1
    for fold in range(FOLDS):
        yield some & (place % FOLDS == fold)
    for length in WINDOWS_DAYS:
        window = ((days - days[:1]) / length).floor() % 2
        for turn in (0, 1):
            hidden = some & (window == turn)
            if bool((some & ~hidden).any()):  # of a short calendar a window may be all there is
                yield hidden


def predict_hidden(
    model: LatentModel, name: str, pool: Mapping[str, Observations], hidden: Tensor
) -> Missed:
    """Hide dates of a sensor, (T,) bool, and predict them from all else; no factor is applied."""
    sensor = model.sensor(name)
    held = pool[name].at(hidden)
    mean, var = model.infer({**pool, name: pool[name].hide(hidden)}, held.days)
    pixel, date = held.observed.nonzero(as_tuple=True)
    valid = held.valid[pixel, date]
    mean, var = mean[pixel, date], var[pixel, date]
    moments = sensor.moments(mean, var, season(held.days)[date])
    error = sensor.normalise(held.values[pixel, date], valid) - moments.location
    scale = moments.log_diag.exp() + sensor.decoder.factor.square().sum(-1)
    signal = moments.covariance.clamp_min(0.0)
    return Missed(error, valid, signal, scale, mean, var, pixel, hidden.nonzero()[date, 0])


def thinned(parts: Sequence[Missed], rows: int) -> Missed:
    """Join parts, and keep so many of their rows at most, drawn from all."""
    count = sum(len(part.error) for part in parts)
    # Drawn, because every so many-th row of a pixel's dates would be of the same few dates.
    kept = torch.randperm(count, generator=torch.Generator().manual_seed(0))[:rows]
    kept = kept.to(parts[0].error.device)
    return Missed(
        *(
            torch.cat([getattr(part, field.name) for part in parts])[kept]
            for field in fields(Missed)
        )
    )


def mixture_nodes(likelihood: Likelihood, like: Tensor) -> tuple[Tensor, Tensor]:
    """Return the nodes tau and log weights that a fit needs of a likelihood's mixture, (K,) each.

    Args:
        likelihood: Whose.
        like: Of the dtype and on the device wanted.
    """
    tau, log_weight = (part.to(like)[::NODES] for part in likelihood.mixture())
    log_weight = log_weight.log_softmax(0)
    kept = log_weight > log_weight.max() - 12.0  # the others weigh nothing
    return tau[kept], log_weight[kept]


def _fit(missed: Missed, likelihood: Likelihood, acquisitions: int) -> tuple[Tensor, Tensor]:
    """Return the factors of noise and signal of each band, shape (B,) each."""
    belief = STRENGTH / max(acquisitions, 1)
    start = missed.error.new_zeros(2, missed.error.shape[-1])
    # By second moments, as a Gaussian has it: heavy tails of noise would take the signal's errors
    # too, which are a mixture themselves, over fields and seasons.
    ratio = likelihood.variance_ratio().detach().to(start).reshape(1)
    moments = _maximise(missed, (1.0 / ratio, torch.zeros_like(ratio)), start, belief)
    known = torch.stack([start[0], moments[1]])
    nodes, among = mixture_nodes(likelihood, start), torch.tensor([[1.0], [0.0]])
    density = _maximise(missed, nodes, known, belief, among=among)
    return density[0].exp(), moments[1].exp()


@torch.enable_grad()
def _maximise(
    missed: Missed,
    mixture: tuple[Tensor, Tensor],
    start: Tensor,
    belief: float,
    among: Tensor | None = None,
) -> Tensor:
    """Return the logs of both factors, shape (2, B), under which what was hidden is likeliest.

    Args:
        missed: What was hidden.
        mixture: Nodes and log weights of the noise.
        start: The logs to begin from.
        belief: Weight of the belief that the factors are 1.
        among: 1 for the factors to change, 0 for those to keep, shape (2, 1); all change if None.
    """
    tau, log_weight = mixture
    logs = start.clone().requires_grad_()
    optimiser = torch.optim.Adam([logs], lr=RATE)
    count = missed.valid.sum(0).clamp_min(1)
    for _ in range(STEPS):
        optimiser.zero_grad()
        noise, signal = logs.exp()
        variance = (signal * missed.signal).unsqueeze(-1) + (noise * missed.noise).unsqueeze(
            -1
        ) / tau
        density = torch.logsumexp(
            log_weight - 0.5 * (variance.log() + missed.error.square().unsqueeze(-1) / variance),
            dim=-1,
        )
        fit = torch.where(missed.valid, density, 0.0).sum(0) / count
        (belief * logs.square().sum(0) - fit).sum().backward()
        if among is not None:
            assert logs.grad is not None
            logs.grad *= among.to(logs)
        optimiser.step()
    return logs.detach()
