"""Where a store's origin and model lie, noted so that both may be moved together."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from terralatent.pipeline.store.arrays import Layout
from terralatent.pipeline.store.location import is_url
from terralatent.pipeline.store.repository import Store

__all__ = ["MADE_FROM", "MODEL_FOLDER", "noted", "place_beside", "resolve_beside"]

MADE_FROM = "made_from"
"""Attribute of a result: the store that it is made from, see :func:`place_beside`."""

MODEL_FOLDER = "model_folder"
"""Attribute of a result: the folder of its model, where that does not come with the package."""


def place_beside(store: Store, other: str | Path) -> str:
    """Name a place as seen from a store: a URL as it is, a path relative to the store's own.

    No path of this machine ends up in what is published. Empty where neither way leads there: from
    an object store to a local path.
    """
    if is_url(other):
        return str(other)
    if store.path is None:
        return ""
    return Path(os.path.relpath(Path(other).absolute(), store.path)).as_posix()


def resolve_beside(store: Store, place: str) -> str | None:
    """Undo :func:`place_beside`; None where nothing was noted, or the store has no path now."""
    if not place or is_url(place):
        return place or None
    return None if store.path is None else os.path.normpath(store.path / place)


def noted(layout: Layout, attrs: Mapping[str, str]) -> Layout:
    """Add attributes to the root of a store to be, those that are not empty."""
    root, *others = layout.groups
    more = {name: value for name, value in attrs.items() if value}
    return replace(layout, groups=(replace(root, attrs={**root.attrs, **more}), *others))
