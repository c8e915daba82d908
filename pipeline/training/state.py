"""What a training leaves: a state to go on from, replaced as a whole, its log, and its record."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from terralatent.catalogs.errors import InputError
from terralatent.models.observations import Observations
from terralatent.pipeline.command import command_line
from terralatent.pipeline.store.location import is_url, locate
from terralatent.pipeline.store.lock.writer import Writer, writer_lock
from terralatent.pipeline.training.adapting.extend import BaseModel
from terralatent.pipeline.training.adapting.familiarity import value_ranges
from terralatent.pipeline.training.adapting.pretrained import PretrainedModel
from terralatent.pipeline.training.files import (
    DIGEST,
    FOLDER,
    LOG,
    METADATA,
    SETTINGS,
    STAND,
    STATE,
    differences,
    read_settings,
    split_stand,
)
from terralatent.pipeline.training.holdout import Holdout
from terralatent.pipeline.training.sources import PixelSource

__all__ = ["TrainingFolder", "TrainingState", "training_record"]

Tensors = dict[str, Tensor]

EARLIER: Mapping[str, Any] = {
    "model": "gpvae",
    "kernel": "constant+matern32",
    "posterior": "markov",
    "start": "regression",
    "season": True,
    "nuisance": 2,
    "refinements": 0,
    "scene_errors": False,
    "beta": 1.0,
    "hide": True,
    "calibrated": False,
    "masking": None,
}
"""What trainings did before these were settings of theirs."""


@dataclass
class TrainingState:
    """Where a training stands after ``step`` steps. Everything else follows from the settings."""

    config: dict[str, Any]
    """The model's configuration, JSON values."""

    start_score: float
    """Validation score of the start."""

    weights: Tensors
    """The model as it is now."""

    best: Tensors
    """The model as it was at its best validation."""

    optimiser: Tensors = field(default_factory=dict)
    """Moments of the optimiser, named ``{parameter's place}/{moment}``."""

    step: int = 0
    """Steps done."""

    best_step: int = 0
    """Steps done when the validation was best."""

    best_score: float = float("-inf")
    """Validation score of :attr:`best`."""

    best_share: float = 1.0
    """How far :attr:`best` went from the best before it towards the weights of its step."""

    start_groups: dict[str, float] = field(default_factory=dict)
    """Errors of the start by group of bands, see :class:`Score`; empty in states of before they
    were guarded, which go on without."""

    stale: int = 0
    """Validations since the best one."""

    finished: bool = False
    """Whether the last step is done or validation stopped it before."""

    published: bool = False
    """Whether the finished model lies in its folder."""


class TrainingFolder:
    """``OUT/training``: settings, state and log of the one training that fills OUT.

    Args:
        out: The model's folder, local.

    Raises:
        InputError: If ``out`` is a URL or a file.
    """

    def __init__(self, out: str | Path) -> None:
        if is_url(out):
            raise InputError(f"{out}: a model is a local folder; choose a path.")
        path = locate(out)
        assert isinstance(path, Path)
        if path.exists() and not path.is_dir():
            raise InputError(f"{path} is a file; a model is a folder. Choose another one.")
        self.out = path
        self.path = path / FOLDER
        self._settings: dict[str, Any] = {}

    @contextmanager
    def claim(self, settings: Mapping[str, Any]) -> Iterator[Writer]:
        """Be the one training that writes here for the time of a ``with`` block.

        Args:
            settings: JSON values on which the result depends. The same ones again go on with what
                is there.

        Raises:
            InputError: If something else is there: other settings (each difference is named), or
                files of no training. Nothing of it is changed. Also if another process trains here.

        Yields:
            The lock, through which others learn how far the training is.
        """
        wanted = json.loads(json.dumps(settings))
        self._refuse_other(wanted)
        with writer_lock(self.out, command_line()) as lock:
            self.path.mkdir(parents=True, exist_ok=True)
            self._refuse_other(wanted)
            self._settings = wanted
            try:
                yield lock
            finally:
                # A training that failed before it had a state leaves nothing behind.
                with suppress(OSError):
                    self.path.rmdir()
                    self.out.rmdir()

    def _refuse_other(self, settings: Mapping[str, Any]) -> None:
        file = self.path / SETTINGS
        if not file.exists():
            if self.out.is_dir() and any(item.name != FOLDER for item in self.out.iterdir()):
                raise InputError(
                    f"{self.out} exists and holds no training; choose another folder, or remove it."
                )
            return
        there = {**EARLIER, **(read_settings(self.out) or {})}
        if unlike := differences(there, settings):
            raise InputError(
                f"{self.out} exists and holds another training: {unlike}. "
                "Choose another folder, or train with what it holds."
            )

    def load(self) -> TrainingState | None:
        """Read the state, None if the training never got as far as writing one.

        Raises:
            InputError: If the file is not as it was written; one of a version before digests is
                taken as it is.
        """
        file = self.path / STATE
        if not file.exists():
            return None
        try:
            with safe_open(file, framework="pt") as stored:
                stand, digest = split_stand(stored.metadata())
                tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
            if digest not in (None, _digest(stand, tensors)):
                raise ValueError("it was changed since it was written")
            parts: dict[str, Tensors] = {"weights": {}, "best": {}, "optimiser": {}}
            for name, tensor in tensors.items():
                part, _, rest = name.partition("/")
                parts[part][rest] = tensor
            fields = json.loads(stand)
            return TrainingState(
                weights=parts["weights"], best=parts["best"], optimiser=parts["optimiser"], **fields
            )
        except (SafetensorError, KeyError, TypeError, ValueError, AttributeError) as error:
            reason = " ".join(str(error).split())
            raise InputError(
                f"{file} is damaged ({reason}); remove {self.out} and train again."
            ) from error

    def save(self, state: TrainingState) -> None:
        """Write the state. A kill at any moment leaves this one or the one before, whole.

        The first call also writes the settings: a training that fails before it has a state
        leaves the folder to any other.
        """
        if not (self.path / SETTINGS).exists():
            _replace(self.path / SETTINGS, json.dumps(self._settings, indent=2).encode())
        fields = dict(vars(state))
        tensors = {
            f"{part}/{name}": tensor.detach().cpu().clone().contiguous()
            for part in ("weights", "best", "optimiser")
            for name, tensor in fields.pop(part).items()
        }
        aside = self.path / f"{STATE}.new"
        stand = json.dumps(fields)
        written = json.dumps({STAND: stand, DIGEST: _digest(stand, tensors)})
        save_file(tensors, aside, metadata={METADATA: written})
        _settle(aside, self.path / STATE)

    def trim_log(self, step: int) -> None:
        """Forget the lines of steps after ``step``: they will be done again."""
        file = self.path / LOG
        lines = file.read_text().splitlines() if file.exists() else []
        kept = [line for line in lines if _step_of(line) <= step]
        _replace(file, "".join(f"{line}\n" for line in kept).encode())

    def log(self, **fields: object) -> None:
        """Append one line of JSON to ``log.jsonl``."""
        with open(self.path / LOG, "a") as file:
            file.write(json.dumps(fields) + "\n")


def training_record(
    sources: Sequence[PixelSource],
    settings: Mapping[str, Any],
    pools: Sequence[dict[str, Observations]],
    holdouts: Sequence[Holdout],
    state: TrainingState,
    base: BaseModel | PretrainedModel | None,
    *,
    final: bool,
) -> dict[str, Any]:
    """What a checkpoint records of its training, JSON values.

    Args:
        sources: The cubes.
        settings: Of the training.
        pools: For each cube, series by sensor, for their calendars.
        holdouts: For each cube, what was held out.
        state: Where the training stands.
        base: The model that it extends or begins from, if any; it says what is recorded of it.
        final: Whether the weights are those that the training ends with.
    """
    record: dict[str, Any] = {
        "cubes": [
            {
                "store": source.name,
                "snapshot": source.snapshot,
                "identity": source.identity,
                "held_out_days": {
                    name: pool[name].days[held].tolist()
                    for name, held in holdout.acquisitions.items()
                },
            }
            for source, pool, holdout in zip(sources, pools, holdouts, strict=True)
        ],
        "settings": settings,
        "finished": final,
        "step": state.best_step,
        "score": _finite(state.best_score),
        "start_score": _finite(state.start_score),
        "values": value_ranges(pools),
    }
    return record if base is None else {**record, **base.record(sources)}


def copy_tensors(tensors: Mapping[str, Tensor]) -> Tensors:
    """Copies on the CPU that later steps do not change."""
    return {name: tensor.detach().to("cpu", copy=True) for name, tensor in tensors.items()}


def optimiser_tensors(optimiser: torch.optim.Optimizer) -> Tensors:
    """The moments of an optimiser by parameter, in the order of its groups."""
    state = optimiser.state_dict()["state"]
    return {
        f"{place}/{name}": value
        for place, moments in state.items()
        for name, value in moments.items()
    }


def restore_optimiser(optimiser: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Set the moments that :func:`optimiser_tensors` gave; the groups stay as they are."""
    state: dict[int, Tensors] = {}
    for name, value in tensors.items():
        place, _, moment = name.partition("/")
        state.setdefault(int(place), {})[moment] = value
    groups = optimiser.state_dict()["param_groups"]
    optimiser.load_state_dict({"state": state, "param_groups": groups})


def _digest(about: str, tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of a state, in hexadecimal: of what is no tensor, then of each by its name."""
    digest = hashlib.sha256(about.encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()


def _finite(score: float) -> float | None:
    """JSON has no word for a score that is not a number."""
    return score if math.isfinite(score) else None


def _step_of(line: str) -> float:
    """The step of a line of the log; infinite for a line that a kill cut short."""
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return float("inf")


def _replace(file: Path, content: bytes) -> None:
    aside = file.with_name(f"{file.name}.new")
    aside.write_bytes(content)
    _settle(aside, file)


def _settle(aside: Path, file: Path) -> None:
    """Put ``aside`` in the place of ``file``, on the disk, at once."""
    with open(aside, "rb") as written:
        os.fsync(written.fileno())
    os.replace(aside, file)
