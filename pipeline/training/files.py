"""The files of a training, and what they say of it without a tensor being read."""

from __future__ import annotations

import json
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
    "STATE",
    "read_rmse",
    "read_settings",
    "read_stand",
]

FOLDER, STATE, SETTINGS, LOG = "training", "state.safetensors", "settings.json", "log.jsonl"
"""The folder within that of the model, and its files."""

METADATA = "terralatent"
"""Where the header of :data:`STATE` keeps everything of the state that is no tensor."""

DIGEST = "sha256"
"""Where it keeps the digest of all of them, by which damage is found."""


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
            stand: dict[str, Any] = json.loads(stored.metadata()[METADATA])
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{file} is damaged ({error}); remove {model} and train again.") from error
    return stand


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
