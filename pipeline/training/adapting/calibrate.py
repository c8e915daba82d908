"""A cube and a model -> the same model with intervals that hold there; no mean is moved."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from terralatent.catalogs.errors import InputError
from terralatent.models.annual import AnnualMap
from terralatent.models.checkpoint import (
    OVERVIEW_CORRELATION,
    WEIGHTS,
    keep_overview_correlation,
    load_model,
    model_hash,
    read_manifest,
    save_model,
)
from terralatent.models.config import MANIFEST, ModelConfig
from terralatent.models.local_calibration import Coverage, calibrate_locally
from terralatent.models.shipped import model_folder, reference_of
from terralatent.pipeline.command import command_line
from terralatent.pipeline.cube.masking import MaskingRequest, Masks
from terralatent.pipeline.sentence import Sentence
from terralatent.pipeline.store.damage import translated_errors
from terralatent.pipeline.store.history import find_snapshot
from terralatent.pipeline.store.location import is_url, locate
from terralatent.pipeline.store.lock.writer import writer_lock
from terralatent.pipeline.training.adapting.pretrained import open_known
from terralatent.pipeline.training.cubes import TrainingCube
from terralatent.pipeline.training.files import differences
from terralatent.pipeline.training.sampler import PixelSampler

__all__ = ["CalibrationReport", "calibrate_beside", "calibrate_model", "open_place"]

PIXELS = 512
"""Of the cube, from all over it."""

SUFFIX = ".model"
"""What the name of a result ends in where the model lies that was calibrated for it."""


@dataclass(frozen=True, repr=False)
class CalibrationReport(Sentence):
    """How a calibration ended."""

    coverage: Mapping[str, Coverage]
    """What 90 % intervals hold of hidden observations, by sensor."""

    latent_factor: float
    """By how much the latents' standard deviations grew where they are small, on average."""

    repeated: bool
    """Whether the model was there before and nothing was done."""

    def __str__(self) -> str:
        before = "already calibrated, nothing done: " if self.repeated else ""
        held = "; ".join(
            f"{name} {fit.before:.1%} before, {fit.after:.1%} now"
            for name, fit in self.coverage.items()
        )
        return (
            f"{before}90 % intervals of hidden observations hold of {held or 'no sensor any'}; "
            f"the latents' standard deviations are {self.latent_factor:.2f} times as wide"
        )


def calibrate_model(
    cube: str | Path,
    model: str | Path | None = None,
    out: str | Path | None = None,
    *,
    seed: int = 0,
    masking: MaskingRequest = None,
    at: str | None = None,
) -> CalibrationReport:
    """Fit a model's intervals to a cube that it was not trained on; computes, for seconds.

    Acquisitions of every sensor are hidden from some hundred pixels, one by one and in windows,
    and predicted from the rest, see :mod:`terralatent.models.local_calibration`. The means of
    latents and bands stay equal to the bit: the model's latents hash is that of before. The same
    call again does nothing.

    Args:
        cube: Path or URL of a cube, read at its newest snapshot.
        model: Folder of a model that fits the cube, or the name of one that comes with the
            package, whose default it is; it is only read. Factors that it has of another place are
            not kept.
        out: Local folder of the calibrated model; must be given.
        seed: Of the choice of the pixels.
        masking: How the sensors are masked; as the model was trained, where it leaves that open.
        at: An earlier snapshot of the cube, see
            :func:`terralatent.pipeline.store.history.find_snapshot`.

    Raises:
        InputError: If the cube cannot be read, does not fit the model or has no clear observation,
            or if ``out`` holds anything else.
        CheckpointError: If the model cannot be read.

    Examples:
        >>> import terralatent as tl
        >>> tl.calibrate_model("cube", "model", out="calibrated")  # doctest: +SKIP
        >>> latents = tl.embed("cube", "calibrated")  # doctest: +SKIP
    """
    if out is None:
        raise InputError("a calibration needs a folder for the model that it makes; give out=PATH.")
    folder, source = _local_folder(out), model_folder(model)
    trained = load_model(source)
    manifest = read_manifest(source)
    place = open_place(cube, reference_of(model), manifest, seed=seed, masking=masking, at=at)
    settings = {
        "model": model_hash(source),
        "cube": place.version,
        "sensors": sorted(place.sensors),
        "masking": place.masks.to_json() or None,
        "seed": seed,
        "pixels": PIXELS,
    }
    with writer_lock(folder, command_line()), translated_errors(folder):
        if (done := _read_done(folder, settings)) is not None:
            return done
        pools = PixelSampler([place], seed=seed).pool(PIXELS)
        calibrated, fit = calibrate_locally(trained, pools)
        if not fit.coverage:
            raise InputError(
                f"{place.name}: no sensor has enough clear acquisitions to hide some of them; "
                "build it for a longer period."
            )
        place.keep_for(str(folder))
        record = {
            "settings": settings,
            "store": place.name,
            "snapshot": place.snapshot,
            "identity": place.identity,
            "coverage": {name: asdict(its) for name, its in fit.coverage.items()},
            "latent_factor": fit.latent_factor,
        }
        training = dict(manifest.get("training") or {})
        save_model(calibrated, folder, {**training, "calibration": record})
        if AnnualMap.is_in(source):
            AnnualMap.load(source).save(folder)
        keep_overview_correlation(folder, manifest.get(OVERVIEW_CORRELATION))
    return CalibrationReport(fit.coverage, fit.latent_factor, repeated=False)


def calibrate_beside(
    cube: str | Path,
    model: str | Path | None,
    result: str | Path,
    *,
    masking: MaskingRequest = None,
    at: str | None = None,
) -> tuple[Path, CalibrationReport]:
    """Calibrate a model for one result, and keep it beside that: ``RESULT.model``.

    Returns:
        Its folder, and how it ended.

    Raises:
        InputError: As :func:`calibrate_model`; also if the result is a URL.
        CheckpointError: If the model cannot be read.
    """
    if is_url(result):
        raise InputError(
            f"{result}: the calibrated model is a local folder beside the result, which is a URL; "
            "calibrate first, with `terralatent calibrate`, and give that model."
        )
    path = Path(result).expanduser().absolute()
    beside = path.with_name(path.name + SUFFIX)
    return beside, calibrate_model(cube, model, beside, masking=masking, at=at)


def open_place(
    cube: str | Path,
    folder: str | Path,
    manifest: Mapping[str, Any],
    *,
    seed: int,
    masking: MaskingRequest = None,
    at: str | None = None,
) -> TrainingCube:
    """Open a cube with the sensors that a model knows, masked as it was trained.

    Reads no pixels.

    Args:
        cube: Its path or URL.
        folder: Of the model, for messages.
        manifest: Of the model, see :func:`terralatent.models.checkpoint.read_manifest`.
        seed: Of the choice of the blocks kept apart.
        masking: What is to be masked otherwise.
        at: An earlier snapshot.

    Raises:
        InputError: If it is a table; and as
            :func:`terralatent.pipeline.training.adapting.pretrained.open_known`.
    """
    config = ModelConfig.model_validate(manifest["config"])
    place, *_ = open_known(
        cube, config, str(folder), Masks.of_model(manifest), seed=seed, masking=masking
    )
    if not isinstance(place, TrainingCube):
        raise InputError(f"{cube} is a table; give a cube.")
    if at is None:
        return place
    with translated_errors(place.store):
        snapshot = find_snapshot(place.store, at) or place.snapshot
        group = place.store.group(kind="cube", snapshot=snapshot or None)
    there = {name: its for name, its in place.sensors.items() if f"{name}/data" in group}
    return replace(place, snapshot=snapshot, group=group, sensors=there)


def _local_folder(out: str | Path) -> Path:
    if is_url(out):
        raise InputError(f"{out}: a model is a local folder; choose a path.")
    path = locate(out)
    assert isinstance(path, Path)
    if path.exists() and not path.is_dir():
        raise InputError(f"{path} is a file; a model is a folder. Choose another one.")
    return path


def _read_done(folder: Path, settings: Mapping[str, Any]) -> CalibrationReport | None:
    """What the same calibration came to that is there already; None if there is none.

    Raises:
        InputError: If something else is there.
    """
    if not (folder / MANIFEST).exists():
        ours = {WEIGHTS, f"{WEIGHTS}.part", f"{MANIFEST}.part"}  # what a kill leaves
        if folder.is_dir() and any(entry.name not in ours for entry in folder.iterdir()):
            raise InputError(f"{folder} exists and holds no model; choose another folder.")
        return None
    record = (read_manifest(folder).get("training") or {}).get("calibration")
    if record is None:
        raise InputError(
            f"{folder} holds a model that was not calibrated to a place; it stays as it is. Choose "
            "another folder."
        )
    if unlike := differences(record["settings"], settings):
        raise InputError(
            f"{folder} exists and holds another calibration: {unlike}. Choose another folder, or "
            "remove it."
        )
    coverage = {name: Coverage(**its) for name, its in record["coverage"].items()}
    return CalibrationReport(coverage, record["latent_factor"], repeated=True)
