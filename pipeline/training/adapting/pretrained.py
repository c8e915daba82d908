"""A trained model that a training begins from: all of it learns, and the start is its prior.

The weights have a Gaussian prior centred on those of the model, so that few acquisitions of a new
place move them little: what the loss, a mean over values, gains by each must be worth half a
squared distance times :data:`PRIOR`. In the end the weights go halfway back: the mean of the
weights of a pretrained network and of the same trained further often predicts better than either
(Wortsman et al. 2022, Robust fine-tuning of zero-shot models, arXiv:2109.01903).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from terralatent.catalogs.errors import InputError
from terralatent.models.checkpoint import (
    CheckpointError,
    check_cube,
    hash_latents,
    load_model,
    model_hash,
    read_manifest,
)
from terralatent.models.config import ModelConfig
from terralatent.models.latent_model import LatentModel
from terralatent.models.local_calibration import without_local_widths
from terralatent.models.observations import Observations
from terralatent.models.shipped import model_folder
from terralatent.pipeline.cube.masking import MaskingRequest, Masks
from terralatent.pipeline.tables.columns import Columns
from terralatent.pipeline.training.cubes import Labels, mask, open_training_cubes
from terralatent.pipeline.training.holdout import Holdout
from terralatent.pipeline.training.sources import Bands, PixelSource
from terralatent.pipeline.training.validation import Guard, Validation

__all__ = ["PRIOR", "PretrainedModel", "latents_moved", "open_known", "read_pretrained"]

log = logging.getLogger(__name__)

PRIOR = 1e-3
"""Weight of half the squared distance of the weights from their start, in nats a value."""

BACK = 0.5
"""How far the weights go back to their start. On acquisitions hidden from Flanders, of which the
start knew nothing, all of what 240 steps learned left 1.032 of a reference's error (1.001 where no
haze was missed), half of it 1.025 and 1.002; the start has 1.028 and 1.024."""


@dataclass(frozen=True)
class PretrainedModel:
    """The trained model that is adapted."""

    folder: str
    """Where it lies, or its name."""

    hash: str
    """Its identity, see :func:`terralatent.models.checkpoint.model_hash`."""

    model: LatentModel
    """As it is there but for factors of a place, on the CPU; never changed."""

    masks: Masks
    """How its sensors were masked."""

    prior: float
    """Weight of the prior that its weights are."""

    @property
    def config(self) -> ModelConfig:
        """Its configuration, which stays."""
        return self.model.config

    @property
    def known(self) -> frozenset[str]:
        """The sensors it has."""
        return frozenset(sensor.name for sensor in self.config.sensors)

    @property
    def fixed(self) -> frozenset[str]:
        """The sensors that stay as they are: none."""
        return frozenset()

    def open_cubes(
        self,
        cubes: str | Path | Sequence[str | Path],
        sensors: Sequence[str] | None,
        *,
        seed: int,
        masking: MaskingRequest = None,
        columns: Columns = None,
        labels: Sequence[Labels | None] | None = None,
        carry: Sequence[str] = (),
    ) -> tuple[PixelSource, ...]:
        """Open the cubes with the sensors the model knows.

        Args:
            cubes: As for :func:`terralatent.pipeline.training.cubes.open_training_cubes`.
            sensors: Those to learn from; by default all that the model knows.
            seed: Of the choice of the blocks kept apart.
            masking: How they are masked; as the model was trained, where it leaves that open.
            columns: Where the tables have what.
            labels: For each of ``cubes``, classes of its pixels.
            carry: Further columns of pixels that are wanted of tables.

        Raises:
            InputError: If a cube cannot be read or shares no band with the model, if units differ
                from the model's, if one of ``sensors`` is none of it, or if they cannot be
                masked so.
        """
        return open_known(
            cubes, self.config, self.folder, self.masks, sensors,
            seed=seed, masking=masking, columns=columns, labels=labels, carry=carry,
        )  # fmt: skip

    def extend(self, config: ModelConfig, seed: int) -> LatentModel:
        """Return a copy, all of which learns."""
        return deepcopy(self.model)

    def guard(
        self, series: Sequence[dict[str, Observations]], holdouts: Sequence[Holdout]
    ) -> Guard | None:
        """No sensor is guarded beside the groups of bands, which every training guards."""
        return None

    def start(
        self,
        model: LatentModel,
        pools: Sequence[Mapping[str, Observations]],
        validation: Validation,
    ) -> None:
        """Nothing is to be set: the copy is the start."""

    def blend(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Weights on their way back to the start by :data:`BACK`; copies."""
        begun = self.model.state_dict()
        return {
            name: value.lerp(begun[name].to(value), BACK) if value.is_floating_point() else value
            for name, value in weights.items()
        }

    def record(self, sources: Sequence[PixelSource]) -> dict[str, Any]:
        """What a checkpoint records of where it comes from."""
        return {
            "from": {
                "model": self.folder,
                "hash": self.hash,
                "latents_hash": hash_latents(self.model),
                "prior": self.prior,
            }
        }


def open_known(
    cubes: str | Path | Sequence[str | Path],
    config: ModelConfig,
    folder: str,
    masks: Masks,
    sensors: Sequence[str] | None = None,
    *,
    seed: int,
    masking: MaskingRequest = None,
    columns: Columns = None,
    labels: Sequence[Labels | None] | None = None,
    carry: Sequence[str] = (),
) -> tuple[PixelSource, ...]:
    """Open cubes with those of their sensors that a trained model knows. Reads no pixels.

    Args:
        cubes: As for :func:`terralatent.pipeline.training.cubes.open_training_cubes`.
        config: The model's.
        folder: Where it lies, for messages.
        masks: How its sensors were masked.
        sensors: Those to read; by default all that the model knows.
        seed: Of the choice of the blocks kept apart.
        masking: How they are masked; as the model was trained, where it leaves that open.
        columns: Where the tables have what.
        labels: For each of ``cubes``, classes of its pixels.
        carry: Further columns of pixels that are wanted of tables.

    Returns:
        Sources whose series have the bands of the model; what one lacks is never valid there.

    Raises:
        InputError: As :meth:`PretrainedModel.open_cubes`.
    """
    known = sorted(sensor.name for sensor in config.sensors)
    if alien := sorted(set(sensors or ()) - set(known)):
        raise InputError(
            f"{folder} knows no {', '.join(alien)}; it knows {', '.join(known)}. Add sensors to "
            "it first, by a training with extend=."
        )
    opened = []
    given = open_training_cubes(
        cubes, sensors, seed=seed, columns=columns, labels=labels, carry=carry
    )
    for cube in given:
        there = {
            name: (own.names, own.units)
            for name, own in cube.sensors.items()
            if not sensors or name in sensors
        }
        try:
            shared = check_cube(config, there)
        except CheckpointError as error:
            raise InputError(f"{cube.name} does not fit {folder}: {error}") from error
        used = {name: Bands(config.sensor(name).bands, there[name][1]) for name in sorted(shared)}
        opened.append(cube.with_sensors(used))
    return mask(opened, masking, masks)


@torch.no_grad()
def latents_moved(
    before: LatentModel, after: LatentModel, series: Sequence[Mapping[str, Observations]]
) -> float:
    """By how much latents differ: the root mean square of the difference of their posterior means.

    Args:
        before: The model whose posterior standard deviations are the unit.
        after: One with latents of the same number.
        series: Pools of pixels, by sensor name; compared on all days of their sensors.
    """
    total, count = 0.0, 0
    for pool in series:
        days = torch.cat([own.days for own in pool.values()]).unique()
        mean, var = before.infer(pool, days)
        other, _ = after.infer(pool, days)
        moved = (other - mean).square() / var.clamp_min(1e-8)
        total += float(moved.double().sum())
        count += moved.numel()
    return float((total / max(count, 1)) ** 0.5)


def read_pretrained(given: str | Path) -> PretrainedModel:
    """Read the model that a training is to begin from: a folder, or a name of a shipped one.

    Raises:
        CheckpointError: If there is no model, or it is damaged.
        InputError: If its family learns nothing by steps.
    """
    folder = model_folder(given)
    model = load_model(folder)
    if not model.trainable:
        raise InputError(
            f"{given} is a {model.config.model} model, which takes no steps; train a new one on "
            "the cube."
        )
    manifest = read_manifest(folder)
    if manifest.get("training", {}).get("finished") is False:
        log.warning(
            "%s: its training is not finished; if it goes on, this one cannot be resumed", given
        )
    return PretrainedModel(
        str(given),
        model_hash(folder),
        without_local_widths(model),
        Masks.of_model(manifest),
        PRIOR,
    )
