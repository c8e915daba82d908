"""A trained model and the sensors that a training adds to it.

Everything the model had stays as it was, to the bit: only encoder, decoder and likelihood of the
added sensors learn, from series that the old sensors saw as well.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch

from terralatent.catalogs.errors import InputError
from terralatent.models.checkpoint import (
    CheckpointError,
    check_cube,
    load_model,
    model_hash,
    read_manifest,
)
from terralatent.models.config import ModelConfig
from terralatent.models.families import families_that
from terralatent.models.gpvae import GPVAE
from terralatent.models.latent_model import LatentModel
from terralatent.models.observations import Observations
from terralatent.models.shipped import model_folder
from terralatent.models.start.linear import start_sensor
from terralatent.models.start.sensor import set_precision
from terralatent.pipeline.cube.masking import MaskingRequest, Masks
from terralatent.pipeline.tables.columns import Columns
from terralatent.pipeline.training.cubes import Labels, mask, open_training_cubes
from terralatent.pipeline.training.holdout import Holdout
from terralatent.pipeline.training.sources import Bands, PixelSource
from terralatent.pipeline.training.validation import Guard, Validation

__all__ = ["BaseModel", "read_base"]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class BaseModel:
    """The trained model that is extended."""

    folder: str
    """Where it lies."""

    hash: str
    """Its identity, see :func:`terralatent.models.checkpoint.model_hash`."""

    model: GPVAE
    """As it is there, on the CPU; never changed."""

    masks: Masks
    """How its sensors were masked."""

    @property
    def config(self) -> ModelConfig:
        """Its configuration."""
        return self.model.config

    @property
    def known(self) -> frozenset[str]:
        """The sensors it has."""
        return frozenset(sensor.name for sensor in self.config.sensors)

    @property
    def fixed(self) -> frozenset[str]:
        """The sensors that stay as they are: all it has."""
        return self.known

    def record(self, sources: Sequence[PixelSource]) -> dict[str, Any]:
        """What a checkpoint records of what was extended, and by which sensors."""
        there = {name for source in sources for name in source.sensors}
        added = sorted(there - self.known)
        return {"extends": {"model": self.folder, "hash": self.hash, "added": added}}

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
        """Open the cubes with the sensors the model knows and those it is to learn.

        Args:
            cubes: As for :func:`terralatent.pipeline.training.cubes.open_training_cubes`.
            sensors: Those to learn; by default all that the model does not know.
            seed: Of the choice of the blocks kept apart.
            masking: How those to learn are masked; the model's own stay as they were.
            columns: Where the tables have what.
            labels: For each of ``cubes``, classes of its pixels.
            carry: Further columns of pixels that are wanted of tables.

        Raises:
            InputError: If a cube cannot be read or shares no band with the model, if units differ
                from the model's, if the model knows one of ``sensors``, if a cube has
                nothing to learn, or if it cannot be masked so.
        """
        again = sorted(self.known & set(sensors or ()))
        if again:
            raise InputError(
                f"{self.folder} has {', '.join(again)} already, and what it has stays as it is; "
                "name sensors that it does not have, or train a new model."
            )
        opened = open_training_cubes(cubes, seed=seed, columns=columns, labels=labels, carry=carry)
        there = sorted({name for cube in opened for name in cube.sensors})
        absent = sorted(set(sensors or ()) - set(there))
        if absent:
            raise InputError(
                f"no cube has acquisitions of {', '.join(absent)}; there are {', '.join(there)}."
            )
        used = [self._use(cube, sensors) for cube in opened]
        return mask(used, masking, self.masks, self.known)

    def _use(self, cube: PixelSource, sensors: Sequence[str] | None) -> PixelSource:
        """Keep of a cube what the model knows, in its bands, and what it is to learn."""
        bands = {name: (own.names, own.units) for name, own in cube.sensors.items()}
        try:
            shared = check_cube(self.config, bands)
        except CheckpointError as error:
            raise InputError(f"{cube.name} cannot extend {self.folder}: {error}") from error
        learned = sorted(set(sensors or cube.sensors) & set(cube.sensors) - self.known)
        if not learned:
            raise InputError(
                f"{cube.name} has no sensor for {self.folder} to learn: it has "
                f"{', '.join(sorted(cube.sensors))}, the model knows "
                f"{', '.join(sorted(self.known))}; give a cube with "
                f"{' or '.join(sensors or ['another sensor'])} as well."
            )
        known = {
            name: Bands(self.config.sensor(name).bands, cube.sensors[name].units) for name in shared
        }
        used = known | {name: cube.sensors[name] for name in learned}
        return cube.with_sensors({name: used[name] for name in sorted(used)})

    def extend(self, config: ModelConfig, seed: int) -> GPVAE:
        """Return a copy with the sensors of ``config`` that it lacks; only these learn."""
        if not self.model.inference.calendar_free:
            log.warning(
                "the posterior %s lays what it approximates with by the calendar: where a cube has "
                "the new sensors too, their dates change latents of series that these never saw; "
                "those of markov, exact and banded stay.",
                self.config.posterior,
            )
        model = deepcopy(self.model)
        added = [sensor for sensor in config.sensors if sensor.name not in self.known]
        for sensor in added:
            model.add_sensor(sensor, seed=seed)
        for sensor in added:  # each froze those added before it
            model.sensor(sensor.name).requires_grad_(True)
        return model

    def guard(
        self, series: Sequence[dict[str, Observations]], holdouts: Sequence[Holdout]
    ) -> Guard | None:
        """Judge the model as it is on held-out acquisitions of its own sensors.

        Args:
            series: For each cube, the series to validate on.
            holdouts: For each cube, what is held out.

        Returns:
            What an extension has to reach; None where nothing of these sensors is held out.
        """
        own = [
            {name: observations for name, observations in pool.items() if name in self.known}
            for pool in series
        ]
        if not any(
            bool(holdout.acquisitions[name].any())
            for pool, holdout in zip(own, holdouts, strict=True)
            for name in pool
        ):
            return None
        return Guard(self.known, Validation(own, holdouts).score(self.model).log_density)

    def start(
        self, model: LatentModel, pools: Sequence[dict[str, Observations]], validation: Validation
    ) -> None:
        """Start the added sensors of ``model`` from the latents that its own give, in place.

        One after the other, the one with most clear values first; each sees those before it.
        Should held-out acquisitions of the model's own be predicted worse, all start with
        precision zero.

        Raises:
            TooFewObservationsError: If an added sensor has too few clear observations.
        """
        clear = {
            sensor.name: sum(
                int(pool[sensor.name].valid.sum()) for pool in pools if sensor.name in pool
            )
            for sensor in model.config.sensors
            if sensor.name not in self.known
        }
        added = sorted(clear, key=lambda name: (-clear[name], name))
        started = set(self.known)
        for name in added:
            started.add(name)
            seen = [{name: pool[name] for name in pool if name in started} for pool in pools]
            start_sensor(model, name, seen)
        if validation.score(model).worse:
            log.warning(
                "held-out acquisitions of %s are predicted worse with %s; its encoder starts with "
                "precisions of 0",
                ", ".join(sorted(self.known)),
                " and ".join(added),
            )
            for name in added:
                set_precision(model, name, torch.zeros(model.config.latents))


def read_base(given: str | Path) -> BaseModel:
    """Read the model that a training is to extend: a folder, or a name of a shipped one.

    Raises:
        CheckpointError: If there is no model, or it is damaged.
        InputError: If the model is of a family that takes no further sensors.
    """
    folder = model_folder(given)
    model = load_model(folder)
    if not model.takes_sensors:
        able = families_that(lambda family: family.takes_sensors)
        raise InputError(
            f"{given} is a {model.config.model} model; only a {able} takes further sensors. Train "
            "a new model on cubes with all of them."
        )
    manifest = read_manifest(folder)
    if manifest.get("training", {}).get("finished") is False:
        log.warning(
            "%s: its training is not finished; if it goes on, this extension cannot be resumed",
            given,
        )
    return BaseModel(str(given), model_hash(folder), cast(GPVAE, model), Masks.of_model(manifest))
