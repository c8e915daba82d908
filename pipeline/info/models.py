"""What the folder of a model says of it and of its training, finished or not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from terralatent.models.config import MANIFEST
from terralatent.models.families import DEFAULT
from terralatent.pipeline.training.files import FOLDER as TRAINING
from terralatent.pipeline.training.files import SETTINGS, read_rmse, read_settings, read_stand

__all__ = ["ModelSensor", "ModelStatus", "TrainedOn", "holds_model", "model_status"]


@dataclass(frozen=True)
class TrainedOn:
    """A cube that a model learned from."""

    store: str | None
    """Its path or URL as it was given; None until the training has published a model."""

    snapshot: str | None
    """Its snapshot; None for plain Zarr."""


@dataclass(frozen=True)
class ModelSensor:
    """A sensor that a model knows."""

    bands: tuple[str, ...]
    """Its bands."""

    units: str
    """Of the bands' values; ``1`` for reflectance."""


@dataclass(frozen=True)
class ModelStatus:
    """A model, and how far its training is. Scores are log densities by held-out value, in nats."""

    hash: str | None
    """Of the model in the folder; results name it. None while there is none."""

    latents_hash: str | None
    """Of all that moves means of its latents; None of models from before it was recorded."""

    created: str | None
    """When that model was written."""

    sensors: Mapping[str, ModelSensor] | None
    """By name; None until the training has kept something."""

    model: str | None
    """Its family; None until the training has kept something."""

    latents: int | None
    """Latent series of a pixel."""

    kernel: str | None
    """Of each latent over time; None where the family has none."""

    likelihood: str | None
    """Of the bands."""

    posterior: str | None
    """How latent series are inferred, with its size if that was chosen; None where the family has
    one way only."""

    cubes: tuple[TrainedOn, ...]
    """What it learned from."""

    calibrated_on: TrainedOn | None
    """The cube that its intervals were fitted to, if it was calibrated to a place."""

    steps: int | None
    """Steps at most."""

    step: int | None
    """Steps done and kept; None before the start."""

    best_step: int | None
    """Steps done when the model that is kept was reached; 0 is the start."""

    score: float | None
    """Of the model that is kept."""

    start_score: float | None
    """Of the start."""

    rmse: Mapping[str, float]
    """Held-out error of each sensor at the best step, in its units; empty where not known."""

    finished: bool
    """Whether the training is done."""

    settings: Mapping[str, Any]
    """Of the training: what its result depends on."""


def holds_model(folder: Path) -> bool:
    """Whether there is a model in ``folder``, or a training that has kept something."""
    return (folder / MANIFEST).is_file() or (folder / TRAINING / SETTINGS).is_file()


def model_status(folder: Path) -> tuple[ModelStatus, str | None]:
    """Read what ``folder`` says of its model, and the version of the code that wrote it.

    Reads no tensors.

    Raises:
        CheckpointError: If ``model.json`` is none of ours.
        InputError: If a file of the training is damaged.
    """
    manifest: dict[str, Any] = {}
    identity = None
    if (folder / MANIFEST).is_file():
        from terralatent.models.checkpoint import model_hash, read_manifest  # it brings torch

        manifest, identity = read_manifest(folder), model_hash(folder)
    trained: dict[str, Any] = manifest.get("training") or {}
    stand = read_stand(folder) or {}
    settings: dict[str, Any] = read_settings(folder) or trained.get("settings") or {}
    config: dict[str, Any] = manifest.get("config") or stand.get("config") or {}
    family = config.get("model", settings.get("model", DEFAULT))
    own = family == DEFAULT  # the only one with kernel and posterior
    best = stand.get("best_step", trained.get("step"))
    cubes = trained.get("cubes") or [{"snapshot": cube} for cube in settings.get("cubes", ())]
    fitted: dict[str, Any] = trained.get("calibration") or {}
    model = ModelStatus(
        hash=identity,
        latents_hash=manifest.get("latents_hash"),
        created=manifest.get("created"),
        sensors={
            sensor["name"]: ModelSensor(tuple(sensor["bands"]), str(sensor.get("units", "")))
            for sensor in config["sensors"]
        }
        if config
        else None,
        model=family if config else settings.get("model"),
        latents=config.get("latents", settings.get("latents")),
        kernel=config.get("kernel") if own else None,
        likelihood=config.get("likelihood", settings.get("likelihood")),
        posterior=_posterior({**settings, **config}) if own else None,
        cubes=tuple(TrainedOn(cube.get("store"), cube.get("snapshot") or None) for cube in cubes),
        calibrated_on=TrainedOn(fitted.get("store"), fitted.get("snapshot") or None)
        if fitted
        else None,
        steps=settings.get("steps"),
        step=stand.get("step"),
        best_step=best,
        score=stand.get("best_score", trained.get("score")),
        start_score=stand.get("start_score", trained.get("start_score")),
        rmse=read_rmse(folder, best) if best is not None else {},
        finished=bool(stand.get("published", trained.get("finished", False))),
        settings=settings,
    )
    return model, manifest.get("code_version")


def _posterior(choices: Mapping[str, Any]) -> str | None:
    """Name the form of the posterior, and its size where it was chosen."""
    name, size = choices.get("posterior"), choices.get("posterior_size")
    return f"{name} ({size})" if name and size else name
