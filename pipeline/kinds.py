"""Which of our stores a Dataset is opened from, by what is in it; methods refuse the others."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import xarray as xr

from terralatent.catalogs.errors import InputError

__all__ = ["KINDS", "kind_of", "known_kind", "listed", "provenance", "require"]

KINDS = {
    "sensor": "a sensor of a cube",
    "latents": "latents",
    "bands": "decoded bands",
    "annual": "annual vectors",
    "classes": "a map of classes",
    "numbers": "a map of numbers",
    "changes": "a map of changes",
}
"""What messages call each kind."""

ORIGIN = (
    "sensor", "sensors", "model_name", "model_version", "model_hash", "latents_hash",
    "cube_snapshot",
)  # fmt: skip
"""Attributes that say where numbers come from, whatever is made of them."""

OPENED = (
    "open_cube(...)[sensor], open_latents, open_bands, open_annual, open_landcover and open_changes"
)


def known_kind(data: xr.Dataset) -> str | None:
    """Which of :data:`KINDS` a Dataset is; None for any other. Reads no pixels.

    What was selected stays of its kind: a latent that is chosen is still a coordinate.
    """
    if "data" in data and "band" in data.coords:
        return "sensor"
    if "class" in data:
        return "classes"
    if "changed" in data:
        return "changes"
    if "mean" in data:
        named = {"latent": "latents", "component": "annual", "band": "bands"}
        for name, kind in named.items():
            if name in data.coords:
                return kind
        return "numbers" if set(data["mean"].dims) <= {"y", "x"} else None
    return None


def kind_of(data: xr.Dataset) -> str:
    """Which of :data:`KINDS` a Dataset is. Reads no pixels.

    Raises:
        InputError: If it is none of them.
    """
    kind = known_kind(data)
    if kind is None:
        raise InputError(
            f"This Dataset has the variables {listed(data.data_vars)} and the coordinates "
            f"{listed(data.coords)}, which is nothing of ours; {OPENED} give what is."
        )
    return kind


def require(data: xr.Dataset, method: str, *kinds: str) -> str:
    """Check that a method is for a Dataset of this kind, which is returned. Reads no pixels.

    Args:
        data: What was opened.
        method: Its name, for the message.
        kinds: For which it is.

    Raises:
        InputError: If it is for others.
    """
    kind = kind_of(data)
    if kind not in kinds:
        meant = [KINDS[name] for name in kinds]
        words = " and ".join([*([", ".join(meant[:-1])] if meant[1:] else []), meant[-1]])
        raise InputError(f"{method} is for {words}; this Dataset is {KINDS[kind]}.")
    return kind


def provenance(data: xr.Dataset) -> dict[str, Any]:
    """Of the attributes of what was opened those that hold for all that is made of it."""
    return {name: data.attrs[name] for name in ORIGIN if name in data.attrs}


def listed(names: Iterable[Any]) -> str:
    """Names for a message, the first few of many."""
    known = [str(name) for name in names]
    return ", ".join([*known[:8], *(["..."] if known[8:] else [])]) or "none"
