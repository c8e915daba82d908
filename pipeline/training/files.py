"""The files of a training, and what they say of it without a tensor being read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from terralatent.catalogs.errors import InputError

__all__ = [
    "DIGEST",
    "FOLDER",
    "LOG",
    "METADATA",
    "SETTINGS",
    "STAND",
    "STATE",
    "differences",
    "read_rmse",
    "read_settings",
    "read_stand",
    "split_stand",
]

FOLDER, STATE, SETTINGS, LOG = "training", "state.safetensors", "settings.json", "log.jsonl"
"""The folder within that of the model, and its files."""

METADATA = "terralatent"
"""Where the header of :data:`STATE` keeps everything of the state that is no tensor."""

STAND, DIGEST = "stand", "sha256"
"""What is kept there: all that is no tensor, as JSON, and the digest of the whole state. One entry
of the header holds both, because several are written in any order, and the same training is to
leave the same bytes."""


def differences(there: Mapping[str, Any], here: Mapping[str, Any]) -> str:
    """Name each setting that differs, with both values as JSON; empty where none does."""
    return "; ".join(
        f"{name} is {json.dumps(there.get(name))} there, {json.dumps(here.get(name))} here"
        for name in dict.fromkeys([*there, *here])
        if there.get(name) != here.get(name)
    )


def read_settings(model: Path) -> dict[str, Any] | None:
    """The settings of the training in the folder ``model``; None if there is none.

    Raises:
        InputError: If the file cannot be read.
    """
    file = model / FOLDER / SETTINGS
    try:
        settings: dict[str, Any] = dict(json.loads(file.read_text()))
    except FileNotFoundError:
        return None
    except (TypeError, ValueError) as error:
        raise InputError(f"{file} is damaged ({error}); remove {model} and train again.") from error
    return settings


def read_stand(model: Path) -> dict[str, Any] | None:
    """How far the training is whose state was last written: step, scores, whether it is finished.

    Returns:
        The fields of :class:`terralatent.pipeline.training.state.TrainingState` that are no
        tensors; None if no state was written yet.

    Raises:
        InputError: If the file cannot be read.
    """
    file = model / FOLDER / STATE
    if not file.exists():
        return None
    try:
        with safe_open(file, framework="numpy") as stored:
            stand: dict[str, Any] = json.loads(split_stand(stored.metadata())[0])
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{file} is damaged ({error}); remove {model} and train again.") from error
    return stand


def split_stand(metadata: Mapping[str, str]) -> tuple[str, str | None]:
    """Return what the header of a state says of it as JSON, and the digest.

    Args:
        metadata: Of the header. In states of before the digest is an entry of its own, or absent.
    """
    written = json.loads(metadata[METADATA])
    if written.keys() == {STAND, DIGEST}:
        return written[STAND], written[DIGEST]
    return metadata[METADATA], metadata.get(DIGEST)


def read_rmse(model: Path, step: int) -> dict[str, float]:
    """The held-out error of each sensor, in its units, when ``step`` was validated.

    Returns:
        Empty where the log does not say.
    """
    file = model / FOLDER / LOG
    for line in file.read_text().splitlines() if file.exists() else ():
        try:
            entry = json.loads(line)
        except ValueError:  # the last line, cut short by a kill
            continue
        if entry.get("step") == step and "validation" in entry:
            return dict(entry["validation"].get("rmse", {}))
    return {}
