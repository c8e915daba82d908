"""A cube, a model that fits it and dates: checked here, then used on workers block by block."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
import zarr
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
from terralatent.pipeline.cube.items import items_hash
from terralatent.pipeline.cube.masking import AS_STORED, Masks
from terralatent.pipeline.cube.reading import NEWEST, Reading
from terralatent.pipeline.cube.series import SeriesBlock, read_series
from terralatent.pipeline.dates import Times, When, days_since_1970, parse_when
from terralatent.pipeline.device import DEVICES
from terralatent.pipeline.mapping.bands import SensorBands, share_bands
from terralatent.pipeline.mapping.batches import infer_batches
from terralatent.pipeline.mapping.scene_errors import SceneErrors, estimate_scene_errors
from terralatent.pipeline.region import Block, grid_of
from terralatent.pipeline.store.damage import translated_errors
from terralatent.pipeline.store.repository import ABOUT, Store

__all__ = ["MappingJob", "plan_job"]

ENCODERS = ("float32", "bfloat16")
"""In what the networks of the encoders can compute."""


@dataclass(frozen=True)
class MappingJob:
    """A cube at one snapshot, a model that fits it, and the requested dates.

    Small and picklable: tasks carry this and never pixels or weights.
    """

    cube: Store
    """Where it lies."""

    snapshot: str
    """The cube's Icechunk snapshot; empty for plain Zarr."""

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

    device: str
    """``auto``, ``cpu``, ``cuda``, ...; ``auto`` is decided on the worker."""

    encoder: str = "float32"
    """In what the encoders' networks compute, ``float32`` or ``bfloat16``."""

    corrects: bool = False
    """Whether the model wants errors over scenes taken off what it sees."""

    masks: Masks = AS_STORED
    """How the sensors are masked."""

    def open_cube(self) -> zarr.Group:
        """The cube's root at the snapshot; opened once a process. Reads no pixels."""
        return _open(self.cube, self.snapshot)

    def config(self) -> ModelConfig:
        """The model's sizes, sensors and bands. Reads no weights."""
        return ModelConfig.model_validate(read_manifest(model_folder(self.model))["config"])

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
        return _load(self.model, self.model_hash, self.device, self.encoder)

    @property
    def block(self) -> int:
        """Pixels along y and x of the cube's blocks. Reads no table: every block needs it."""
        return int(_about(self.open_cube())["identity"]["block"])

    @property
    def grid(self) -> GeoBox:
        """The grid that all sensors of the cube share."""
        return grid_of(self.open_cube()[self.sensors[0]])

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

    def read(self, block: Block, errors: SceneErrors | None = None) -> SeriesBlock:
        """Read the series of a block, as the integers the cube holds.

        Args:
            block: Which pixels.
            errors: Errors over scenes, for a model that wants them taken off; estimated on first
                need if None.

        Raises:
            OSError: If the cube is damaged there; other blocks may be whole.
        """
        with translated_errors(self.cube, OSError):
            series = read_series(
                self.open_cube(), self.sensors, block.y, block.x, self.masks, self.model_bands
            )
            if not self.corrects:
                return series
            return (errors or self.scene_errors()).corrected(series, block.y, block.x)

    def scene_errors(self) -> SceneErrors:
        """Errors over scenes, by this cube and model alone; estimated once a process. Computes.

        Raises:
            InputError: If the model is of a family that cannot estimate them.
        """
        return _scene_errors(replace(self, times=()))

    def infer(
        self,
        series: SeriesBlock,
        pixels: NDArray[np.intp],
        *,
        dates: slice = slice(None),
        most: int | None = None,
    ) -> Iterator[tuple[NDArray[np.intp], Tensor, Tensor]]:
        """Infer ``pixels`` (row-major places within ``series``) at some of the requested ``dates``.

        See :func:`terralatent.pipeline.mapping.batches.infer_batches`.
        """
        days = torch.from_numpy(days_since_1970(self.dates[dates]))
        return infer_batches(self.load(), series, pixels, days, most)

    def identity(self) -> dict[str, Any]:
        """What must be equal for a store of results to be gone on with; JSON values.

        The model is added by who knows which part of it the results depend on.
        """
        about = _about(self.open_cube())
        return {
            "cube": {
                "snapshot": self.snapshot,
                "items": items_hash(self.open_cube()),
                "grid": about["identity"]["grid"],
            },
            "sensors": list(self.sensors),
            "dates": [str(date) for date in self.dates],
            "block": about["identity"]["block"],
            # Results from before there was a choice stay what they were.
            **({} if self.encoder == "float32" else {"encoder": self.encoder}),
            **({"bands": self._used_bands()} if self._lacks_bands() else {}),
            **self._masking(),
        }

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
            "cube_snapshot": self.snapshot,
            "cube_items_hash": items_hash(self.open_cube()),
            "kernel_days": manifest.get("kernel_days", {}),
            **{name: manifest[name] for name in (OVERVIEW_CORRELATION,) if name in manifest},
            "sensors": list(self.sensors),
            "bands": self._used_bands(),
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


def plan_job(
    cube: str | Path,
    model: str | Path | None,
    dates: When,
    reading: Reading = NEWEST,
    *,
    acquisitions_of: str | None = None,
    device: str = "auto",
    encoder: str = "float32",
) -> MappingJob:
    """Check that ``model`` is whole and fits ``cube``, and settle the dates. Reads no pixels.

    Args:
        cube: Path or URL of a cube.
        model: Folder of a model, or the name of one that comes with the package, see
            :mod:`terralatent.models.shipped`; the default of those if None.
        dates: See :func:`terralatent.pipeline.dates.parse_when`.
        reading: How the cube is read; by default its newest snapshot, masked as the model was
            trained.
        acquisitions_of: The sensor that the dates ``acquisitions`` mean; all by default.
        device: Where the model runs.
        encoder: In what the encoders' networks compute.

    Raises:
        InputError: If there is no cube or it is damaged, the dates mean nothing, it cannot be
            masked so, or there is no such kind of device or of encoder, or the model no encoder of
            that kind.
        CheckpointError: If there is no model, or it does not fit the cube.
    """
    if device.partition(":")[0] not in DEVICES:
        raise InputError(f"Device {device!r} is unknown; give {', '.join(DEVICES)} or cuda:N.")
    if encoder not in ENCODERS:
        raise InputError(f"Encoder {encoder!r} is unknown; give {' or '.join(ENCODERS)}.")
    store = Store.of(cube)
    with translated_errors(store):
        job = _plan_job(store, model, dates, reading, acquisitions_of, encoder)
    return replace(job, device=device, encoder=encoder)


def _plan_job(
    cube: Store,
    model: str | Path | None,
    dates: When,
    reading: Reading,
    acquisitions_of: str | None,
    encoder: str,
) -> MappingJob:
    root, snapshot = reading.open(cube)
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
    bands = share_bands(config, root, _sensors(root))
    masks = reading.masks(
        root, [own.sensor for own in bands], Masks.of_model(read_manifest(folder))
    )
    masks.to_json()  # a function without a name is refused before anything is laid out
    of = [acquisitions_of] if acquisitions_of in _sensors(root) else _sensors(root)
    acquisitions = np.concatenate([np.asarray(root[f"{name}/time"]) for name in of])
    first, last = _about(root)["identity"]["period"]
    period = (np.datetime64(first, "D"), np.datetime64(last, "D"))
    times = parse_when(dates, period, acquisitions.astype("datetime64[us]"))
    return MappingJob(
        cube=cube,
        snapshot=snapshot,
        model=reference,
        model_hash=model_hash(folder),
        latents_hash=latents_hash(folder),
        std_factors=tuple(loaded.local_std.tolist()) if config.local_widths else (),
        bands=bands,
        times=tuple(int(time) for time in times.astype(np.int64)),
        device="auto",
        corrects=config.scene_errors,
        masks=masks,
    )


def _sensors(root: zarr.Group) -> list[str]:
    return sorted(name for name, group in root.groups() if "data" in group)


def _about(root: zarr.Group) -> Mapping[str, Any]:
    return root.attrs[ABOUT]


@lru_cache(maxsize=4)
def _open(cube: Store, snapshot: str) -> zarr.Group:
    return cube.group(kind="cube", snapshot=snapshot or None)


@lru_cache(maxsize=2)
def _scene_errors(job: MappingJob) -> SceneErrors:
    return estimate_scene_errors(job.open_cube(), job.sensors, job.load(), masks=job.masks)


@lru_cache(maxsize=2)
def _load(model: str, wanted: str, device: str, encoder: str) -> LatentModel:
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
