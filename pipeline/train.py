"""Cubes -> a trained model: the linear start, and what training adds to it."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import torch

from terralatent.catalogs.errors import InputError
from terralatent.models.checkpoint import MANIFEST, save_model
from terralatent.models.config import ModelConfig, SensorConfig
from terralatent.models.covariances import TooFewObservationsError
from terralatent.models.gpvae import GPVAE
from terralatent.models.observations import Observations
from terralatent.models.start import linear_start
from terralatent.pipeline.damage import telling_damage
from terralatent.pipeline.fitting import Schedule, describe_timescales, fit
from terralatent.pipeline.holdout import FEWEST_CLEAR, Holdout, hold_out
from terralatent.pipeline.interrupts import Interrupts
from terralatent.pipeline.normalisation import centre_and_spread
from terralatent.pipeline.progress import Progress
from terralatent.pipeline.sample import PixelSampler
from terralatent.pipeline.training_cubes import TrainingCube, open_training_cubes
from terralatent.pipeline.training_state import TrainingFolder, TrainingState, copy_tensors
from terralatent.pipeline.validation import Validation

if TYPE_CHECKING:
    from lightning.fabric import Fabric

__all__ = ["TrainReport", "train"]

log = logging.getLogger(__name__)

POOL_PIXELS = 2048
"""Pixels of each cube for the normalisation, the start and the choice of clear acquisitions."""
VALIDATION_PIXELS = 512
LIKELIHOODS: tuple[str, ...] = get_args(ModelConfig.model_fields["likelihood"].annotation)


@dataclass(frozen=True)
class TrainReport:
    """How a training ended. Scores are log predictive densities by held-out value, in nats."""

    steps: int
    """Steps done."""

    best_step: int
    """Steps done when the model that is kept was reached; 0 is the linear start."""

    score: float
    """Score of the model that is kept."""

    start_score: float
    """Score of the linear start."""

    repeated: bool
    """Whether the model was there before and nothing was done."""

    def __str__(self) -> str:
        before = "already trained, nothing done: " if self.repeated else ""
        return (
            f"{before}best of {self.steps} steps is step {self.best_step}, "
            f"held-out log density {self.score:.3f} (linear start {self.start_score:.3f})"
        )


def train(
    cubes: str | Path | Sequence[str | Path],
    out: str | Path,
    *,
    latents: int = 16,
    steps: int = 800,
    seed: int = 0,
    device: str = "auto",
    batch: int = 256,
    sensors: Sequence[str] | None = None,
    likelihood: str = "student",
    validate_every: int = 20,
    patience: int = 6,
    progress: Progress | None = None,
) -> TrainReport:
    """Train a model on pixel series of one or more cubes; computes.

    Whole acquisitions (and blocks, where a cube has several) are held out. The linear start is the
    first candidate, and the model that predicts what was held out best is kept at ``out``. The same
    call again goes on where it was interrupted and ends with the same bytes as without; when it is
    done it does nothing.

    Args:
        cubes: Path or URL of a cube, or of several, each read at its newest snapshot.
        out: Local folder of the model; its folder ``training`` holds settings, log and state.
        latents: Latent series of a pixel.
        steps: Steps at most; 0 keeps the linear start.
        seed: Of every random draw, at least 0.
        device: ``auto``, ``cpu`` or ``cuda``, with a number for one of several: ``cuda:1``.
        batch: Pixel series in a step.
        sensors: Groups of the cubes to learn from; all by default.
        likelihood: ``student`` or ``gaussian``.
        validate_every: Steps between two validations.
        patience: Validations without a better one after which training stops.
        progress: Told of every step, with loss and best score.

    Raises:
        InputError: If a cube cannot be read, lacks every sensor asked for or disagrees with another
            about a sensor's bands; if too few acquisitions are clear; if an argument is no such
            thing; or if ``out`` holds something else than a part of the same training.
        KeyboardInterrupt: On Ctrl-C, after the state is written.
    """
    _check_counts(1, latents=latents, batch=batch, validate_every=validate_every, patience=patience)
    _check_counts(0, steps=steps, seed=seed)
    if likelihood not in LIKELIHOODS:
        raise InputError(f"likelihood {likelihood!r} is unknown; give {' or '.join(LIKELIHOODS)}.")
    accelerator, devices = _find_device(device)
    sources = open_training_cubes(cubes, sensors, seed=seed)
    settings = {
        "cubes": [source.snapshot or source.store for source in sources],
        "sensors": sorted({name for source in sources for name in source.sensors}),
        "latents": latents,
        "likelihood": likelihood,
        "steps": steps,
        "seed": seed,
        "batch": batch,
        "validate_every": validate_every,
        "patience": patience,
    }
    folder = TrainingFolder(out)
    with folder.claim(settings) as lock, telling_damage(folder.out):
        state = folder.load()
        if state is not None and state.published and (folder.out / MANIFEST).exists():
            log.info("%s: this training is done; nothing is left to do", folder.out)
            return _report(state, repeated=True)

        sampler = PixelSampler(sources, seed=seed, batch=batch)
        looks = sampler.pool(POOL_PIXELS)
        holdouts = _hold_out(looks, sources, seed)
        validation = Validation(sampler.validation(VALIDATION_PIXELS), holdouts)

        if state is None:
            pools = [held.training(look) for held, look in zip(holdouts, looks, strict=True)]
            config = _configure(sources, pools, latents=latents, likelihood=likelihood)
            state = _start(config, pools, validation, folder, seed)
            model = GPVAE(config, seed=seed)
        else:
            log.info("%s: going on after step %d", folder.out, state.step)
            folder.trim_log(state.step)
            model = GPVAE(ModelConfig.model_validate(state.config), seed=seed)

        try:
            fit(
                model,
                sampler,
                holdouts,
                validation,
                Schedule(steps, validate_every, patience),
                state,
                folder=folder,
                fabric=_fabric(accelerator, devices),
                progress=lock.telling(progress),
            )
        finally:
            with Interrupts():
                _publish(state, folder, _origin(sources, settings, looks, holdouts, state))
    return _report(state, repeated=False)


def _hold_out(
    looks: Sequence[dict[str, Observations]], sources: Sequence[TrainingCube], seed: int
) -> list[Holdout]:
    """The acquisitions kept from training, by cube; at least one among all cubes."""
    holdouts = [hold_out(look, seed) for look in looks]
    if all(one.empty for one in holdouts):
        raise InputError(
            f"{', '.join(source.store for source in sources)}: no sensor has "
            f"{FEWEST_CLEAR} acquisitions that are clear over half of the pixels, too few to train "
            "and to validate; build the cube for a longer period."
        )
    return holdouts


def _configure(
    sources: Sequence[TrainingCube],
    pools: Sequence[dict[str, Observations]],
    *,
    latents: int,
    likelihood: str,
) -> ModelConfig:
    """Describe the model: bands as the cubes have them, normalised by the pools."""
    known = {name: bands for source in sources for name, bands in source.sensors.items()}
    sensors = []
    for name, bands in sorted(known.items()):
        centre, spread = centre_and_spread([pool[name] for pool in pools if name in pool])
        sensors.append(
            SensorConfig(
                name=name,
                bands=bands.names,
                units=bands.units,
                centre=tuple(centre.tolist()),
                spread=tuple(spread.tolist()),
            )
        )
    return ModelConfig.model_validate(
        {"sensors": sensors, "latents": latents, "likelihood": likelihood}
    )


def _start(
    config: ModelConfig,
    pools: Sequence[dict[str, Observations]],
    validation: Validation,
    folder: TrainingFolder,
    seed: int,
) -> TrainingState:
    """The linear start, judged: the first candidate for the best model."""
    model = GPVAE(config, seed=seed)
    try:
        linear_start(model, pools, seed=seed)
    except TooFewObservationsError as error:
        raise InputError(f"The cube tells too little: {error}") from error
    score = validation.score(model)
    log.info("the linear start has a held-out log density of %.3f", score.log_density)
    weights = copy_tensors(model.state_dict())
    state = TrainingState(
        config=config.model_dump(mode="json"),
        start_score=score.log_density,
        best_score=score.log_density,
        weights=weights,
        best=weights,
    )
    folder.trim_log(-1)
    folder.log(step=0, validation=score.told(), timescales=describe_timescales(model))
    folder.save(state)
    return state


def _publish(state: TrainingState, folder: TrainingFolder, origin: dict[str, Any]) -> None:
    """Put the best model so far into its folder, and note it when it is the last one."""
    model = GPVAE(ModelConfig.model_validate(state.config))
    model.load_state_dict(state.best)
    save_model(model, folder.out, origin)
    if state.finished:
        state.published = True
        folder.save(state)


def _origin(
    sources: Sequence[TrainingCube],
    settings: dict[str, Any],
    looks: Sequence[dict[str, Observations]],
    holdouts: Sequence[Holdout],
    state: TrainingState,
) -> dict[str, Any]:
    """What the checkpoint tells of its training, JSON values."""
    return {
        "cubes": [
            {
                "store": source.store,
                "snapshot": source.snapshot,
                "identity": source.identity,
                "held_out_days": {
                    name: look[name].days[held].tolist()
                    for name, held in holdout.acquisitions.items()
                },
            }
            for source, look, holdout in zip(sources, looks, holdouts, strict=True)
        ],
        "settings": settings,
        "finished": state.finished,
        "step": state.best_step,
        "score": _finite(state.best_score),
        "start_score": _finite(state.start_score),
    }


def _report(state: TrainingState, *, repeated: bool) -> TrainReport:
    return TrainReport(state.step, state.best_step, state.best_score, state.start_score, repeated)


def _finite(score: float) -> float | None:
    """JSON has no word for a score that is not a number."""
    return score if math.isfinite(score) else None


def _check_counts(at_least: int, **counts: int) -> None:
    for name, count in counts.items():
        if count < at_least:
            raise InputError(f"{name} is {count}; it must be at least {at_least}.")


def _find_device(device: str) -> tuple[str, int | list[int]]:
    """Accelerator and devices in the words of Fabric."""
    kind, _, number = device.partition(":")
    if device == "auto":
        kind = "cuda" if torch.cuda.is_available() else "cpu"
    if kind not in ("cpu", "cuda") or (number and not number.isdigit()):
        raise InputError(f"device {device!r} is unknown; give auto, cpu, cuda or cuda:N.")
    if kind == "cuda" and int(number or 0) >= torch.cuda.device_count():
        raise InputError(
            f"device {device!r} is not here: torch {torch.__version__} sees "
            f"{torch.cuda.device_count()} CUDA devices."
        )
    return kind, [int(number)] if kind == "cuda" and number else 1


def _fabric(accelerator: str, devices: int | list[int]) -> Fabric:
    """One device in full float32; imported here because it takes seconds."""
    from lightning.fabric import Fabric

    return Fabric(accelerator=accelerator, devices=devices, precision="32-true")
