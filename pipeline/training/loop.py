"""The training loop: step by step from the start, validated on what was held out, best one kept."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from terralatent.models.latent_model import LatentModel
from terralatent.models.observations import Observations
from terralatent.pipeline.interrupts import Interrupts
from terralatent.pipeline.progress import Progress
from terralatent.pipeline.training.dropout import (
    BandGroups,
    drop_bands,
    drop_observations,
    seeded,
)
from terralatent.pipeline.training.holdout import Holdout
from terralatent.pipeline.training.labelled.head import RATE as HEAD_RATE
from terralatent.pipeline.training.labelled.head import Head
from terralatent.pipeline.training.sampler import PixelSampler
from terralatent.pipeline.training.state import (
    Tensors,
    TrainingFolder,
    TrainingState,
    copy_tensors,
    optimiser_tensors,
    restore_optimiser,
)
from terralatent.pipeline.training.validation import Score, Validation

if TYPE_CHECKING:
    from lightning.fabric import Fabric

__all__ = ["Schedule", "describe_timescales", "fit", "fit_all"]

log = logging.getLogger(__name__)

LAST_STEPS = 60
"""Steps at most on all acquisitions, once the best model is known without those held out. On the
real scenes they took the error on acquisitions of neither kind from 0.809 to 0.802 of a
reference's; 120 steps and larger rates gave less."""

LAST_RATE = 1.0 / 3.0
"""Share of the learning rates with which these steps begin."""

LEAST_SHARE = 0.25
"""The shortest way from the best weights towards others on which some are tried."""

DROPOUT_KEY, NOISE_KEY, BANDS_KEY = 100, 101, 102
"""Keys of the random draws of a step, so that none depends on how often another was drawn."""


@dataclass(frozen=True)
class Schedule:
    """How many steps, how large, and when to stop."""

    steps: int
    """Steps at most."""

    validate_every: int
    """Steps between two validations."""

    patience: int
    """Validations without a better one after which training stops."""

    rate: float = 3e-3
    """Learning rate. Of the networks, which are zero at the start: on acquisitions hidden from the
    real scenes, the same time of training left 0.837 of a reference's error at 4e-4 in batches of
    128 (the start: 0.839), 0.814 at 1.2e-3, and in batches of 64 0.808, 0.797 and 0.796 at 8e-4,
    2e-3 and 4e-3."""

    beta: float = 1.0
    """Weight of the KL divergence; with 1 the objective is a bound on the evidence."""

    prior: float = 0.0
    """Weight of half the squared distance of the weights from where the training begins."""

    hide: bool = True
    """Whether the encoders see a random part of the observations, or all that are counted."""

    bands: BandGroups | None = None
    """By which bands are dropped as well; None: none are."""

    warm_up: int = 20
    """Steps over which the rates rise from zero."""

    last_share: float = 0.05
    """The rates fall along a cosine to this share."""

    largest_norm: float = 5.0
    """Gradients are clipped to this norm."""

    def share(self, step: int) -> float:
        """The share of the learning rates at a step, counted from 0."""
        rise = min(1.0, (step + 1) / max(1, self.warm_up))
        fall = 0.5 * (1.0 + math.cos(math.pi * step / max(1, self.steps)))
        return rise * (self.last_share + (1.0 - self.last_share) * fall)


def fit(
    model: LatentModel,
    sampler: PixelSampler,
    holdouts: list[Holdout],
    validation: Validation,
    schedule: Schedule,
    state: TrainingState,
    *,
    folder: TrainingFolder,
    fabric: Fabric,
    progress: Progress,
    centre: Mapping[str, Tensor] | None = None,
) -> None:
    """Train ``model`` from where ``state`` stands until the last step or until it stops improving.

    Each step depends on the state before it, the sampler's seed and its own number only, so a
    training that is interrupted and taken up again ends with the same bytes (on the same machine).
    Ctrl-C is heeded between two steps: the state is written, then KeyboardInterrupt raised.

    Args:
        model: Changed in place; the best weights are in ``state`` at the end.
        sampler: Its batches are on the CPU and moved to the device of ``fabric``.
        holdouts: One for each cube of the sampler.
        validation: Judges the weights.
        schedule: Steps and rates.
        state: Changed in place, and written at every validation.
        folder: Where state and log are written.
        fabric: Device and precision.
        progress: Shown every step.
        centre: Of the prior of the weights, by name, where the schedule has one.
    """
    optimiser = _optimiser(model, schedule)
    wrapped, stepper = fabric.setup(model, optimiser)
    wrapped.mark_forward_method("elbo")
    prior = _Prior(model, schedule, centre)
    model.load_state_dict(state.weights)
    restore_optimiser(optimiser, state.optimiser)

    state.finished = state.finished or state.step >= schedule.steps

    progress.start(schedule.steps, "train")
    try:
        progress.advance(state.step)
        with Interrupts() as interrupts:
            while not state.finished:
                begun = time.monotonic()
                _set_rates(optimiser, schedule, state.step)
                entry = _step(
                    wrapped, stepper, sampler, holdouts, schedule, fabric, state.step, prior
                )
                state.step += 1
                if state.step % schedule.validate_every == 0 or state.step == schedule.steps:
                    entry["validation"] = _judge(model, validation, schedule, state)
                    entry["timescales"] = describe_timescales(model)
                folder.log(step=state.step, **entry, seconds=round(time.monotonic() - begun, 4))
                if "validation" in entry or interrupts.heard():
                    state.weights = copy_tensors(model.state_dict())
                    state.optimiser = copy_tensors(optimiser_tensors(optimiser))
                    folder.save(state)
                    if interrupts.heard():
                        raise KeyboardInterrupt
                progress.advance(loss=entry["loss"], best=state.best_score)
    finally:
        progress.close()


def fit_all(
    model: LatentModel,
    sampler: PixelSampler,
    schedule: Schedule,
    state: TrainingState,
    *,
    fabric: Fabric,
    centre: Mapping[str, Tensor] | None = None,
    head: Head | None = None,
) -> dict[str, Tensor]:
    """Take a few last steps from the best weights on all acquisitions, those held out as well.

    Validation costs a fifth of the clear acquisitions; which weights are best is known by now, and
    what was held out for that may teach as well. The steps depend on the weights and the sampler's
    seed only. Nothing is written, so that an interruption costs these steps again.

    Args:
        model: Changed in place.
        sampler: As for :func:`fit`.
        schedule: Its rates.
        state: Its best weights are where the steps begin.
        fabric: Device and precision.
        centre: As for :func:`fit`.
        head: Of labelled pixels, where there are any: then there are as many steps as it wants,
            and its cross-entropy stands beside the bound. It learns and is left behind.

    Returns:
        The weights in the end, the head's not among them.

    Raises:
        KeyboardInterrupt: On Ctrl-C.
    """
    optimiser = _optimiser(model, schedule)
    if head is not None and head.weight:
        head = head.to(fabric.device)
        optimiser.add_param_group({"params": list(head.parameters()), "rate": HEAD_RATE})
    wrapped, stepper = fabric.setup(model, optimiser)
    for method in ("elbo", "marginals"):
        wrapped.mark_forward_method(method)
    prior = _Prior(model, schedule, centre)
    model.load_state_dict(state.best)
    steps = min(LAST_STEPS, state.best_step) if head is None else head.steps
    last = replace(schedule, steps=steps, warm_up=1)
    with Interrupts() as interrupts:
        for step in range(last.steps):
            _set_rates(optimiser, last, step, LAST_RATE)
            _step(wrapped, stepper, sampler, None, last, fabric, state.step + step, prior, head)
            if interrupts.heard():
                raise KeyboardInterrupt
    return copy_tensors(model.state_dict())


class _Prior:
    """The Gaussian prior of the weights that learn; none where its weight is 0.

    Args:
        model: Whose.
        schedule: It has the weight.
        centre: Where the training begins, by name.
    """

    def __init__(
        self, model: LatentModel, schedule: Schedule, centre: Mapping[str, Tensor] | None
    ) -> None:
        self._weight = schedule.prior
        self._pairs = [
            (values, (centre or {})[name].to(values))
            for name, values in model.named_parameters()
            if schedule.prior and values.requires_grad
        ]

    def cost(self) -> Tensor | float:
        """What the distance from the centre costs, in nats a value."""
        away = ((values - middle).square().sum() for values, middle in self._pairs)
        return 0.5 * self._weight * sum(away) if self._pairs else 0.0


def _step(
    wrapped: LatentModel,
    stepper: torch.optim.Optimizer,
    sampler: PixelSampler,
    holdouts: list[Holdout] | None,
    schedule: Schedule,
    fabric: Fabric,
    step: int,
    prior: _Prior,
    head: Head | None = None,
) -> dict[str, Any]:
    """One step on the batch of ``step``; its entry of the log, per counted value."""
    batch = sampler.batch(step)
    counted = batch.observations
    if holdouts is not None:
        counted = holdouts[batch.cube].training(counted)
    seen = counted
    if schedule.hide:
        seen = drop_observations(counted, seeded(sampler.seed, DROPOUT_KEY, step))
    if schedule.bands is not None:
        seen = drop_bands(seen, schedule.bands, seeded(sampler.seed, BANDS_KEY, step))
    values = max(1, sum(int(series.valid.sum()) for series in counted.values()))

    wrapped.train()
    elbo = wrapped.elbo(
        _move(seen, fabric.device),
        _move(counted, fabric.device),
        seeded(sampler.seed, NOISE_KEY, step),
    )
    loss = (schedule.beta * elbo.kl - elbo.loglik).sum() / values + prior.cost()
    if head is not None and head.weight:
        loss = loss + head.loss(wrapped, step, lambda seen: _move(seen, fabric.device))
    fabric.backward(loss)
    norm: Any = fabric.clip_gradients(
        wrapped, stepper, max_norm=schedule.largest_norm, error_if_nonfinite=False
    )
    finite = bool(torch.isfinite(loss)) and bool(torch.isfinite(norm))
    if finite:
        stepper.step()
    else:
        log.warning(
            "step %d: the loss or its gradient is not finite; the step is skipped", step + 1
        )
    stepper.zero_grad(set_to_none=True)
    return {
        "loss": float(loss.detach()),
        "loglik": float(elbo.loglik.detach().sum()) / values,
        "kl": float(elbo.kl.detach().sum()) / values,
        "gradient": float(norm),
        "skipped": not finite,
        "cube": batch.cube,
    }


def _judge(
    model: LatentModel, validation: Validation, schedule: Schedule, state: TrainingState
) -> dict[str, object]:
    """Validate, keep the weights if they are the best so far, and say whether to stop.

    Weights that predict more than the best ones, but lose in some group of bands to the start, are
    tried again half and a quarter of the way from the best: those are what the training may keep.
    """
    score = kept = validation.score(model)
    weights, share = copy_tensors(model.state_dict()), 1.0
    candidate = weights
    while kept.log_density > state.best_score and kept.loses(state.start_groups):
        share *= 0.5
        if share < LEAST_SHARE:
            break
        candidate = _between(state.best, weights, share)
        model.load_state_dict(candidate)
        kept = validation.score(model)
    model.load_state_dict(weights)
    better = kept.log_density > state.best_score and not kept.worse
    if better and not kept.loses(state.start_groups):
        state.best_score, state.best_step, state.stale = kept.log_density, state.step, 0
        state.best, state.best_share = candidate, share
        return _ended(schedule, state, score, kept, share)
    state.stale += 1
    return _ended(schedule, state, score, None, share)


def _ended(
    schedule: Schedule, state: TrainingState, score: Score, kept: Score | None, share: float
) -> dict[str, object]:
    """Say whether to stop, and what the log says of a validation."""
    state.finished = state.step >= schedule.steps or state.stale >= schedule.patience
    values = score.to_json()
    if score.loses(state.start_groups):
        values["loses"] = True
    if kept is not None and share < 1.0:
        values["kept"] = {"share": share, **kept.to_json()}
    return values


def _between(start: Mapping[str, Tensor], end: Mapping[str, Tensor], share: float) -> Tensors:
    """Weights a share of the way from some to others."""
    return {
        name: value.lerp(end[name], share) if value.is_floating_point() else end[name]
        for name, value in start.items()
    }


def describe_timescales(model: LatentModel) -> dict[str, list[float]]:
    """The time-scales of every latent in days, by name; constants have none."""
    return {
        name: [round(days, 2) for days in scale.tolist()]
        for name, scale in model.timescales().items()
        if bool(torch.isfinite(scale).all())
    }


def _optimiser(model: LatentModel, schedule: Schedule) -> torch.optim.Optimizer:
    """Adam for all that takes a gradient; a family that states its own rate has that."""
    named = [(name, values) for name, values in model.named_parameters() if values.requires_grad]
    # Networks first: so a state that was kept before there was one rate for all lists its moments.
    ordered = sorted(named, key=lambda entry: ".network." not in entry[0])
    rate = schedule.rate if model.rate is None else model.rate
    return torch.optim.Adam([{"params": [values for _, values in ordered], "rate": rate}], lr=rate)


def _set_rates(
    optimiser: torch.optim.Optimizer, schedule: Schedule, step: int, scale: float = 1.0
) -> None:
    for group in optimiser.param_groups:
        group["lr"] = scale * group["rate"] * schedule.share(step)


def _move(series: dict[str, Observations], device: torch.device) -> dict[str, Observations]:
    return {name: observations.to(device) for name, observations in series.items()}
