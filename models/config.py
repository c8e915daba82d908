"""What a model is made of, as one frozen, JSON-able description."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

MANIFEST = "model.json"
"""The file in the folder of a model that holds its config."""


class SensorConfig(BaseModel):
    """One sensor as the model knows it: its bands, their units, and their normalisation."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, Field(min_length=1, pattern=r"^[^./]+$")]
    """The sensor's name, the same as its group's in the cube."""

    bands: Annotated[tuple[str, ...], Field(min_length=1, max_length=1_000)]
    """Band names in the order of the last dim of ``Observations.values``."""

    units: str
    """Units of the bands' values, as the cube writes them (``reflectance``, ``dB``)."""

    centre: tuple[float, ...]
    """Subtracted from each band, in its units. Global: never computed from a tile."""

    spread: tuple[float, ...]
    """Each band is divided by it after centring, in its units, positive."""

    hidden: Annotated[int, Field(ge=1, le=4_096)] | None = None
    """Width of the two hidden layers of its encoder; the model's if None."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        count = len(self.bands)
        if len(set(self.bands)) != count:
            raise ValueError(f"{self.name}: bands must be unique, got {list(self.bands)}.")
        if len(self.centre) != count or len(self.spread) != count:
            raise ValueError(
                f"{self.name}: {count} bands need {count} values of centre and of spread, got "
                f"{len(self.centre)} and {len(self.spread)}."
            )
        if not all(map(math.isfinite, self.centre)):
            raise ValueError(f"{self.name}: centre must be finite, got {list(self.centre)}.")
        if not all(math.isfinite(spread) and spread > 0.0 for spread in self.spread):
            raise ValueError(
                f"{self.name}: spread must be positive and finite, got {list(self.spread)}."
            )
        return self

    def places(self, bands: Sequence[str]) -> list[int]:
        """Return where ``bands`` are in :attr:`bands`, in the order given.

        Raises:
            ValueError: If the sensor has no such band.
        """
        unknown = sorted(set(bands) - set(self.bands))
        if unknown:
            raise ValueError(
                f"{self.name} has no bands {unknown}; the model knows {list(self.bands)}."
            )
        return [self.bands.index(band) for band in bands]


class ModelConfig(BaseModel):
    """Sizes and choices of a model of pixel series; no learned number.

    Sizes are bounded far above what is of use: a file of others may state any.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    sensors: Annotated[tuple[SensorConfig, ...], Field(min_length=1)]
    """Sensors with an encoder and a decoder each; their order means nothing."""

    model: Annotated[str, Field(min_length=1)] = "gpvae"
    """The family, one of :data:`terralatent.models.families.MODELS`. What is said of kernels,
    posteriors and precisions is the GP-VAE's alone."""

    latents: Annotated[int, Field(ge=1, le=1_024)] = 16
    """Number of latent series L."""

    hidden: Annotated[int, Field(ge=1, le=4_096)] = 64
    """Width of the two hidden layers of the encoders and of the one of the decoders."""

    likelihood: Literal["student", "gaussian"] = "student"
    """Distribution of an observation around the decoder's location."""

    kernel: Annotated[str, Field(min_length=1)] = "constant+matern12"
    """Kinds of the kernel's parts joined by ``+``; their weights and lengthscales are learned. By
    default a pixel's own level, and rough paths around it: fields are ploughed and mown."""

    posterior: str = "markov"
    """How the posterior over the latent series is computed."""

    posterior_size: Annotated[int, Field(ge=1, le=10_000)] | None = None
    """Inducing points, basis functions or neighbours of the posterior; its own default if None."""

    start: Literal["regression", "joint", "random"] = "regression"
    """How training starts: from the linear solution, where sensors after the first count with
    one share of what a regression on the first claims (``regression``) or, if of its kind, with a
    precision for each latent fitted by evidence (``joint``); or from random networks."""

    season: bool = True
    """Whether encoders and decoders know the time of year."""

    nuisance: Annotated[int, Field(ge=0, le=64)] = 2
    """White latents of each sensor: what belongs to one acquisition alone, integrated over."""

    scene_errors: bool = False
    """Whether errors that an acquisition shares over a scene are subtracted before encoding."""

    refinements: Annotated[int, Field(ge=0, le=100)] = 0
    """Rounds in which precisions are lowered where an observation disagrees with the others. A
    start without training gains by one; encoders that are trained know haze when they see it."""

    precision_cap: Annotated[float, Field(gt=0.0, le=1e4)] = 100.0
    """Largest precision w that one observation gives a latent of unit prior variance."""

    fills_bands: bool | None = None
    """Whether encoders fill bands that an observation lacks by what the others say of them, see
    :class:`terralatent.models.sensor.band_fill.BandFill`. So are models that learn to do without
    bands; not a choice for itself."""

    local_widths: bool | None = None
    """Whether factors of one place stand beside those of training, see
    :mod:`terralatent.models.local_calibration`. Not a choice of training."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        names = [sensor.name for sensor in self.sensors]
        if len(set(names)) != len(names):
            raise ValueError(f"sensors must have unique names, got {names}.")
        return self

    def sensor(self, name: str) -> SensorConfig:
        """Return the sensor called ``name``.

        Raises:
            ValueError: If the model has no such sensor.
        """
        for sensor in self.sensors:
            if sensor.name == name:
                return sensor
        known = sorted(sensor.name for sensor in self.sensors)
        raise ValueError(f"the model has no sensor {name!r}; it knows {known}.")
