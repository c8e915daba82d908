"""A model and the dates it is asked for: what is inferred from series of pixels, block by block."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from torch import Tensor

from terralatent.catalogs.errors import InputError
from terralatent.models.checkpoint import (
    OVERVIEW_CORRELATION,
    CheckpointError,
    latents_hash,
    load_model,
    model_hash,
    read_manifest,
)
from terralatent.models.config import ModelConfig
from terralatent.models.families import families_that, find_family
from terralatent.models.latent_model import LatentModel
from terralatent.models.shipped import model_folder, reference_of, shipped_as
from terralatent.pipeline.cluster.workers import this_process
from terralatent.pipeline.cube.masking import AS_STORED, Masks
from terralatent.pipeline.cube.series import SeriesBlock
from terralatent.pipeline.dates import Times, days_since_1970
from terralatent.pipeline.device import DEVICES
from terralatent.pipeline.mapping.bands import SensorBands, share_bands
from terralatent.pipeline.mapping.scene_errors import SceneErrors
from terralatent.pipeline.pixels.batches import infer_batches
from terralatent.pipeline.pixels.model import ModelSource, kept_model
from terralatent.pipeline.region import Block

__all__ = [
    "InferenceJob",
    "config_of",
    "fit_model",
    "loaded_once",
]

ENCODERS = ("float32", "bfloat16")
"""In what the networks of the encoders can compute."""


@dataclass(frozen=True, kw_only=True)
class InferenceJob(ABC):
    """A model that fits some cube, and the requested dates.

    Small and picklable: tasks carry this and never weights. Where the series of pixels come from
    is a subclass's: a stored cube, or Datasets in memory.
    """

    model: str
    """What names the model in every process, see :mod:`terralatent.models.shipped`: the absolute
    path of its folder, or the name of one that comes with the package."""

    model_hash: str
    """Of the model as it was when the work began."""

    latents_hash: str
    """Of what moves the means of its latents, see
    :func:`terralatent.models.checkpoint.latents_hash`."""

    std_factors: tuple[float, ...]
    """Of the latents' standard deviations at a place; empty where the model has none."""

    bands: tuple[SensorBands, ...]
    """Sensors of which cube and model share a band, sorted, and these bands."""

    times: tuple[int, ...]
    """The requested dates, microseconds since 1970-01-01 UTC, ascending."""

    device: str = "auto"
    """``auto``, ``cpu``, ``cuda``, ...; ``auto`` is decided on the worker."""

    encoder: str = "float32"
    """In what the encoders' networks compute, ``float32`` or ``bfloat16``."""

    corrects: bool = False
    """Whether the model wants errors over scenes taken off what it sees."""

    masks: Masks = AS_STORED
    """How the sensors are masked."""

    snapshot: str = ""
    """The cube's Icechunk snapshot; empty for plain Zarr, and for Datasets in memory."""

    @property
    @abstractmethod
    def grid(self) -> GeoBox:
        """The grid that all sensors share, and that results lie on."""

    @property
    @abstractmethod
    def block(self) -> int:
        """Pixels along y and x of the blocks of a result."""

    @property
    @abstractmethod
    def series_bytes(self) -> tuple[int, int]:
        """What the series of a pixel take while they are read, and how many dates they have."""

    @property
    @abstractmethod
    def period(self) -> tuple[np.datetime64, np.datetime64]:
        """First and last day of the cube."""

    @property
    @abstractmethod
    def acquisitions(self) -> Times:
        """Times of all acquisitions of :attr:`sensors`, datetime64[us], in any order."""

    @abstractmethod
    def read(self, block: Block, errors: SceneErrors | None = None) -> SeriesBlock:
        """Read the series of a block of :attr:`grid`, as the integers the cube holds.

        Args:
            block: Which pixels.
            errors: Errors over scenes, for a model that wants them taken off; estimated on first
                need if None.

        Raises:
            OSError: If the cube is damaged there; other blocks may be whole.
        """

    @abstractmethod
    def identity(self) -> dict[str, Any]:
        """What must be equal for a store of results to be gone on with; JSON values.

        The model is added by who knows which part of it the results depend on.
        """

    def config(self) -> ModelConfig:
        """The model's sizes, sensors and bands. Reads no weights."""
        return config_of(self.model)

    def require_sensor(self, sensor: str) -> None:
        """Check that the model knows a sensor; the cube need not have it.

        Raises:
            InputError: If it does not.
        """
        known = [config.name for config in self.config().sensors]
        if sensor not in known:
            raise InputError(f"Sensor {sensor!r} is not one of the model's: {', '.join(known)}.")

    def load(self) -> LatentModel:
        """The model on its device; loaded once a process.

        Raises:
            InputError: If a file is missing or broken, the folder holds another model by now, or
                there is no such device.
        """
        return loaded_once(self.model, self.model_hash, self.device, self.encoder)

    @property
    def sensors(self) -> tuple[str, ...]:
        """Sensors that cube and model share, sorted."""
        return tuple(own.sensor for own in self.bands)

    @property
    def model_bands(self) -> dict[str, tuple[str, ...]]:
        """The model's bands of each of these sensors, which series have."""
        return {own.sensor: own.model for own in self.bands}

    @property
    def dates(self) -> Times:
        """The requested dates, datetime64[us], shape (Q,)."""
        return np.array(self.times, dtype="datetime64[us]")

    def infer(
        self,
        series: SeriesBlock,
        pixels: NDArray[np.intp],
        *,
        dates: slice = slice(None),
        most: int | None = None,
    ) -> Iterator[tuple[NDArray[np.intp], Tensor, Tensor]]:
        """Infer ``pixels`` (row-major places within ``series``) at some of the requested ``dates``.

        See :func:`terralatent.pipeline.pixels.batches.infer_batches`.
        """
        days = torch.from_numpy(days_since_1970(self.dates[dates]))
        return infer_batches(self.load(), series, pixels, days, most)

    def latents_identity(self) -> dict[str, Any]:
        """Of the model, what latents depend on: what moves their means, and their widths."""
        factors = {"std_factors": list(self.std_factors)} if self.std_factors else {}
        return {"latents_hash": self.latents_hash, **factors}

    def attributes(self) -> dict[str, Any]:
        """Where results come from, for the attributes of their store; JSON values."""
        manifest = read_manifest(model_folder(self.model))
        return {
            **shipped_as(manifest),
            "model_hash": self.model_hash,
            "latents_hash": self.latents_hash,
            "model_sensors": [sensor.name for sensor in self.config().sensors],
            **self._origin(),
            "kernel_days": manifest.get("kernel_days", {}),
            **{name: manifest[name] for name in (OVERVIEW_CORRELATION,) if name in manifest},
            "sensors": list(self.sensors),
            "bands": self._used_bands(),
            **self._masking(),
        }

    def _origin(self) -> dict[str, Any]:
        """What the series came from, for the attributes of results."""
        return {}

    def _choices(self) -> dict[str, Any]:
        """The part of :meth:`identity` that does not depend on where series come from."""
        return {
            # Results from before there was a choice stay what they were.
            **({} if self.encoder == "float32" else {"encoder": self.encoder}),
            **({"bands": self._used_bands()} if self._lacks_bands() else {}),
            **self._masking(),
        }

    def _used_bands(self) -> dict[str, list[str]]:
        """By sensor, the bands that latents are inferred from."""
        return {own.sensor: list(own.shared) for own in self.bands}

    def _lacks_bands(self) -> bool:
        return any(own.shared != own.model for own in self.bands)

    def _masking(self) -> dict[str, Any]:
        """The entry ``masking`` of identity and attributes; none where all is as the cube says."""
        masking = self.masks.to_json()
        return {"masking": masking} if masking else {}


def fit_model(
    model: ModelSource,
    cube: Mapping[str, tuple[Sequence[str], str]],
    *,
    device: str = "auto",
    encoder: str = "float32",
) -> dict[str, Any]:
    """Check that a model is whole and fits pixels: the fields of a job that come of it.

    Args:
        model: See :data:`ModelSource`.
        cube: Bands and units of each sensor that there is.
        device: Where the model runs.
        encoder: In what the encoders' networks compute.

    Raises:
        InputError: If there is no such kind of device or of encoder, or the model no encoder of
            that kind.
        CheckpointError: If there is no model, or it shares no band with the pixels.
    """
    if device.partition(":")[0] not in DEVICES:
        raise InputError(f"Device {device!r} is unknown; give {', '.join(DEVICES)} or cuda:N.")
    if encoder not in ENCODERS:
        raise InputError(f"Encoder {encoder!r} is unknown; give {' or '.join(ENCODERS)}.")
    if isinstance(model, LatentModel):
        model = kept_model(model)
    # A broken model is refused here, before anything is laid out.
    reference, folder = reference_of(model), model_folder(model)
    loaded = load_model(folder)
    config = loaded.config
    family = find_family(config.model)
    if encoder not in family.encoder_dtypes:
        able = families_that(lambda other: encoder in other.encoder_dtypes)
        raise InputError(
            f"{reference} is a {config.model} model; only a {able} has encoders that compute in "
            f"{encoder}. Leave encoder= out."
        )
    if config.scene_errors and not family.has_scene_errors:
        able = families_that(lambda other: other.has_scene_errors)
        raise InputError(
            f"{reference} is a {config.model} model with scene_errors, which only a {able} "
            "estimates; train it without."
        )
    return {
        "model": reference,
        "model_hash": model_hash(folder),
        "latents_hash": latents_hash(folder),
        "std_factors": tuple(loaded.local_std.tolist()) if config.local_widths else (),
        "bands": share_bands(config, cube),
        "device": device,
        "encoder": encoder,
        "corrects": config.scene_errors,
    }


def config_of(model: str) -> ModelConfig:
    """The sizes, sensors and bands of the model that a reference names. Reads no weights."""
    return ModelConfig.model_validate(read_manifest(model_folder(model))["config"])


@lru_cache(maxsize=2)
def loaded_once(
    model: str, wanted: str, device: str = "auto", encoder: str = "float32"
) -> LatentModel:
    """A model on its device; loaded once a process.

    Args:
        model: What names it.
        wanted: Its hash, as it was when the work began.
        device: ``auto`` is a GPU where there is one.
        encoder: In what the encoders' networks compute.

    Raises:
        InputError: If a file is missing or broken, the folder holds another model by now, or there
            is no such device.
    """
    folder = model_folder(model)
    if model_hash(folder) != wanted:
        raise InputError(
            f"{model} is another model for {this_process()} than where the work began "
            f"({wanted[:12]}…); workers must see the same folder, or have the same version of the "
            "package, and it must not change under them."
        )
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        loaded = load_model(folder, device)
        loaded.encode_in(getattr(torch, encoder))
        return loaded
    except CheckpointError as error:
        raise InputError(str(error)) from error
    except (RuntimeError, AssertionError) as error:  # what torch says of a device it lacks
        raise InputError(f"Device {device!r} cannot be used: {error}") from error
