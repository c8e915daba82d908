"""Models that come with the package, by name: pretrained on many places, ready for any cube.

From version 1 on a name stands for one recipe and one set of weights for ever: another recipe gets
another name, and the weights of old ones stay here.
"""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import torch

from terralatent.models.checkpoint import CheckpointError, load_model
from terralatent.models.config import MANIFEST
from terralatent.models.latent_model import LatentModel

__all__ = [
    "CARD",
    "DEFAULT",
    "model_folder",
    "pretrained",
    "reference_of",
    "shipped_as",
    "shipped_names",
]

SHIPPED = Path(__file__).resolve().parent / "weights"
"""A folder for each name, as :func:`terralatent.models.checkpoint.save_model` writes it."""

DEFAULT = "s1s2l8"
"""The one that is used where no model is named: Sentinel-1, Sentinel-2 and Landsat 8 and 9."""

CARD = "CARD.md"
"""Beside the weights: data, licences, scores and limits."""


def pretrained(name: str = DEFAULT, *, device: torch.device | str = "cpu") -> LatentModel:
    """Load a model that comes with the package, ready for inference (``eval``).

    Its folder, with the model card, is ``model_folder(name)``.

    Args:
        name: One of :func:`shipped_names`.
        device: Where its weights go, float32.

    Raises:
        CheckpointError: If there is no model of that name.
    """
    if name not in shipped_names():
        raise CheckpointError(
            f"no model {name!r} comes with this version; there are {', '.join(shipped_names())}. "
            "A model in a folder is read by terralatent.models.checkpoint.load_model."
        )
    return load_model(SHIPPED / name, device)


def shipped_names() -> tuple[str, ...]:
    """The names of the models that come with the package, sorted."""
    return tuple(sorted(path.parent.name for path in SHIPPED.glob(f"*/{MANIFEST}")))


def reference_of(model: str | PathLike[str] | None) -> str:
    """Return what names a model in every process, on other machines too.

    Args:
        model: A folder, or a name of :func:`shipped_names` where there is no folder of that name;
            None for :data:`DEFAULT`. What has a ``reference`` is taken by that.

    Returns:
        A name, or the absolute path of a folder, which need not be there.
    """
    if model is None:
        return DEFAULT
    if isinstance(known := getattr(model, "reference", None), str):
        return known
    path = Path(model).expanduser()
    if isinstance(model, str) and model in shipped_names() and not path.exists():
        return model
    return str(path.absolute())


def model_folder(model: str | PathLike[str] | None) -> Path:
    """Return the folder of a model; arguments as of :func:`reference_of`."""
    reference = reference_of(model)
    return SHIPPED / reference if reference in shipped_names() else Path(reference)


def shipped_as(manifest: Mapping[str, Any]) -> dict[str, str]:
    """The name under which a model is shipped, or that it was calibrated from; {} for others.

    Args:
        manifest: See :func:`terralatent.models.checkpoint.read_manifest`.

    Returns:
        ``model_name`` and ``model_version``, as results note them in their attributes.
    """
    record = manifest.get("training") or {}
    if "name" not in record:
        return {}
    return {"model_name": str(record["name"]), "model_version": str(record.get("version", ""))}
