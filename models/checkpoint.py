"""A model on disk: a folder with ``weights.safetensors`` and ``model.json``; never pickle."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load as parse_weights
from safetensors.torch import save as dump_weights

from terralatent.models.config import MANIFEST, ModelConfig
from terralatent.models.families import make_model
from terralatent.models.latent_model import LatentModel

FORMAT, VERSION = "terralatent-model", 2
"""What ``model.json`` says it is; the version rises when old code would misread the folder."""

OVERVIEW_CORRELATION = "overview_correlation"
"""Entry of ``model.json``: how far errors of near pixels are the same, see
:mod:`terralatent.models.shared_errors`. It moves no latent: no hash depends on it."""

READABLE = (1, VERSION)
"""Versions that this code reads: what the first had no choice of is the default still."""

WEIGHTS = "weights.safetensors"
"""The file beside :data:`~terralatent.models.config.MANIFEST`."""


class CheckpointError(ValueError):
    """A checkpoint that cannot be used: a file is missing, broken, or does not fit the cube.

    Examples:
        >>> import terralatent as tl
        >>> try:
        ...     tl.load_model("nowhere")
        ... except tl.CheckpointError as error:
        ...     print("no such file" in str(error), error.exit_code)
        True 2
    """

    exit_code = 2
    """With which the command line ends."""

    def _render_traceback_(self) -> list[str]:
        """What IPython shows instead of all frames, which are ours: what is wrong."""
        return [f"{type(self).__name__}: {self}"]


def save_model(model: LatentModel, folder: str | Path, training: Mapping[str, Any]) -> str:
    """Write ``model`` into ``folder``, made if need be; what was saved there before is replaced.

    Each file is replaced as a whole, the weights first. A run killed between the two leaves a
    folder that :func:`load_model` refuses by its hash, never one that it misreads.

    Args:
        model: Any device; the weights keep their dtype.
        folder: Files other than the two are left alone.
        training: JSON-able: what the model learned from (cube snapshots, period, bounding box,
            dates) and the seeds.

    Returns:
        The model's hash, as :func:`model_hash`.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    weights = dump_weights(
        {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    )
    manifest = {
        "format": FORMAT,
        "version": VERSION,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "code_version": code_version(),
        "torch_version": torch.__version__,
        "weights": {"file": WEIGHTS, "sha256": hashlib.sha256(weights).hexdigest()},
        # What was not chosen is left out, so that a choice added later changes no older model.
        "config": model.config.model_dump(mode="json", exclude_none=True),
        "latents_hash": hash_latents(model),
        "kernel_days": {
            name: [round(days, 3) if days < float("inf") else None for days in scale.tolist()]
            for name, scale in model.timescales().items()
        },
        "training": dict(training),
    }
    text = json.dumps(manifest, indent=2, allow_nan=False) + "\n"
    _replace(folder / WEIGHTS, weights)
    _replace(folder / MANIFEST, text.encode())
    return _hash(manifest)


def keep_overview_correlation(folder: str | Path, table: Mapping[str, Any] | None) -> None:
    """Write into ``model.json`` how far errors of near pixels are the same; its hashes stay.

    Args:
        folder: That :func:`save_model` wrote.
        table: Of :func:`terralatent.models.shared_errors.correlation_table`; None leaves the
            folder as it is.

    Raises:
        CheckpointError: As :func:`read_manifest`.
        ValueError: If the table has other than one row for each side, or values outside 0 to 1.
    """
    if table is None:
        return
    rows = table["rho"]
    if len(rows) != len(table["sides"]) or not all(
        0.0 <= rho <= 1.0 for row in rows for rho in row
    ):
        raise ValueError(f"a row of rho from 0 to 1 is wanted for each side, not {dict(table)}.")
    manifest = read_manifest(folder) | {OVERVIEW_CORRELATION: dict(table)}
    text = json.dumps(manifest, indent=2, allow_nan=False) + "\n"
    _replace(Path(folder) / MANIFEST, text.encode())


def load_model(folder: str | Path, device: torch.device | str = "cpu") -> LatentModel:
    """Read a model that :func:`save_model` wrote, ready for inference (``eval``).

    The same folder gives bit-equal output in every process on the same kind of device.

    Raises:
        CheckpointError: If a file is missing or broken, the weights are not those that
            ``model.json`` names or not all finite, or the folder was written by newer code.
    """
    folder = Path(folder)
    manifest = read_manifest(folder)
    path = folder / WEIGHTS
    data = _read(path)
    actual, wanted = hashlib.sha256(data).hexdigest(), manifest["weights"]["sha256"]
    if actual != wanted:
        raise CheckpointError(
            f"{path}: sha256 is {actual[:12]}…, but {MANIFEST} names {str(wanted)[:12]}…; the "
            "file was changed or cut short. Copy the folder again or train anew."
        )
    try:
        model = make_model(ModelConfig.model_validate(manifest["config"]))
        model.load_state_dict(_finite(parse_weights(data)))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "config"
        raise CheckpointError(
            f"{folder / MANIFEST}: config is not valid at {where}: {first['msg']}."
        ) from error
    except (SafetensorError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())[:300]
        raise CheckpointError(
            f"{folder}: the weights do not fit the config in {MANIFEST} ({reason}). "
            "Was one of the two files edited by hand?"
        ) from error
    return model.to(device).eval()


def read_manifest(folder: str | Path) -> dict[str, Any]:
    """Return ``model.json`` of a checkpoint, its format checked; reads no weights.

    Raises:
        CheckpointError: If the file is missing, is not JSON, or is not a checkpoint this code
            can read.
    """
    path = Path(folder) / MANIFEST
    try:
        manifest = json.loads(_read(path))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise CheckpointError(
            f"{path}: not valid JSON ({error}); copy the folder again."
        ) from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise CheckpointError(
            f"{path}: not a terralatent model (no format {FORMAT!r}); give the folder that "
            "`terralatent train` wrote."
        )
    if manifest.get("version") not in READABLE:
        raise CheckpointError(
            f"{path}: format version {manifest.get('version')!r}, this code reads up to {VERSION}; "
            f"it was written by terralatent {manifest.get('code_version')}. Use that version, or "
            "train anew."
        )
    weights = manifest.get("weights")
    if not isinstance(weights, dict) or "sha256" not in weights or "config" not in manifest:
        raise CheckpointError(f"{path}: 'weights' or 'config' is missing; copy the folder again.")
    return manifest


def model_hash(folder: str | Path) -> str:
    """Return the identity of a model: a sha256 over its config and weights; reads no weights.

    Two trainings that end in the same numbers have the same hash, whenever they ran.

    Raises:
        CheckpointError: As :func:`read_manifest`.
    """
    return _hash(read_manifest(folder))


def latents_hash(folder: str | Path) -> str:
    """Return the identity of what a model infers, see :func:`hash_latents`.

    Reads weights only of a model that was written before there was such a hash.

    Raises:
        CheckpointError: As :func:`load_model`.
    """
    stored = read_manifest(folder).get("latents_hash")
    return str(stored) if stored else hash_latents(load_model(folder))


def hash_latents(model: LatentModel) -> str:
    """Return a sha256 over all that moves posterior means of latents, and over nothing else.

    That is the config and the weights of encoders and kernels. Two models with the same one infer
    the same means, to the bit; widths of intervals may differ.
    """
    config = model.config.model_dump(mode="json", exclude_none=True, exclude={"local_widths"})
    digest = hashlib.sha256(json.dumps(config, sort_keys=True).encode())
    for name, tensor in sorted(model.state_dict().items()):
        if model.moves_means(name):
            values = tensor.detach().cpu().contiguous()
            digest.update(f"{name} {values.dtype} {tuple(values.shape)}".encode())
            digest.update(values.numpy().tobytes())
    return digest.hexdigest()


def check_cube(
    config: ModelConfig, cube: Mapping[str, tuple[Sequence[str], str]]
) -> dict[str, tuple[str, ...]]:
    """Check that a cube has something that a model reads, and say what they share.

    Sensors and bands of the cube that the model does not know are ignored. Those of the model that
    the cube lacks are as if fully masked: fine, as long as one band remains.

    Args:
        config: The model's.
        cube: Bands, in any order, and units for each sensor.

    Returns:
        For each sensor of which they share a band, by name, sorted: the bands that they share, in
        the model's order.

    Raises:
        CheckpointError: If they share no band of any sensor, or units of a shared sensor differ.
    """
    known = {sensor.name: sensor for sensor in config.sensors}
    names = sorted(known.keys() & cube.keys())
    if not names:
        raise CheckpointError(
            f"the model knows the sensors {sorted(known)}, the cube has {sorted(cube)}: none is "
            "shared. Build a cube with one of the model's sensors, or train on this one."
        )
    shared = {}
    for name in names:
        bands, units = cube[name]
        if both := tuple(band for band in known[name].bands if band in bands):
            shared[name] = both
        if units != known[name].units:
            raise CheckpointError(
                f"{name}: the model reads {known[name].units!r}, the cube has {units!r}. Build "
                "the cube in the model's units, or train on this one."
            )
    if not shared:
        unlike = "; ".join(
            f"{name}: the model reads the bands {list(known[name].bands)}, the cube has "
            f"{list(cube[name][0])}"
            for name in names
        )
        raise CheckpointError(
            f"{unlike}: none is shared. Build the cube with some of the model's bands, or train on "
            "this one."
        )
    return shared


def code_version() -> str:
    """Return the installed version of terralatent, ``unknown`` where it is not installed."""
    try:
        return version("terralatent")
    except PackageNotFoundError:
        return "unknown"


def _hash(manifest: Mapping[str, Any]) -> str:
    identity = {"config": manifest["config"], "weights": manifest["weights"]["sha256"]}
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()


def _finite(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The weights, all of them numbers: one that is none makes every latent none.

    The bounds of a learned lengthscale may be infinite, which GPyTorch keeps among the weights.

    Raises:
        ValueError: If one is not.
    """
    for name, tensor in weights.items():
        is_bound = name.endswith((".lower_bound", ".upper_bound"))
        if not (~tensor.isnan() if is_bound else tensor.isfinite()).all():
            raise ValueError(f"{name} is not finite")
    return weights


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        reason = "no such file" if isinstance(error, FileNotFoundError) else error.strerror
        raise CheckpointError(
            f"{path}: {reason}; a model is a folder with {MANIFEST} and {WEIGHTS}, as "
            "`terralatent train` writes it."
        ) from error


def _replace(path: Path, data: bytes) -> None:
    part = path.with_name(path.name + ".part")
    part.write_bytes(data)
    os.replace(part, path)
