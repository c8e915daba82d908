"""Where a store comes from: its cube at the snapshot it was made of, and that cube's scenes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from terralatent.catalogs.errors import InputError
from terralatent.catalogs.publication.product import Input
from terralatent.pipeline.cube.items import items_hash, stored_rows
from terralatent.pipeline.cube.reading import Known
from terralatent.pipeline.store.repository import ABOUT, Store
from terralatent.pipeline.store.whereabouts import MADE_FROM, resolve_beside

__all__ = ["Lineage", "find_lineage", "instant"]

GROWS = {"cube": ("period", "sensors"), "annual": ("cube", "dates", "windows", "sensors")}
"""Of an identity, what changes while a store goes on being the same one."""

MOST_STEPS = 4
"""From a map to latents to a cube are two."""


@dataclass(frozen=True, eq=False)
class Lineage:
    """A store at a snapshot, and the cube below it."""

    store: Store
    snapshot: str
    root: zarr.Group
    cube: Store
    """The store itself, where it is a cube."""

    @property
    def kind(self) -> str:
        """Of the store."""
        return str(self.about["kind"])

    @property
    def about(self) -> Mapping[str, Any]:
        """What the store's root says: kind, identity, code version."""
        return dict(self.root.attrs[ABOUT])

    @property
    def attrs(self) -> Mapping[str, Any]:
        """Attributes of the store's root."""
        return self.root.attrs.asdict()

    @property
    def digest(self) -> str:
        """What sets the store apart from others, whatever it has grown to: a sha256."""
        identity = self.about["identity"]
        kept = {key: identity[key] for key in identity if key not in GROWS.get(self.kind, ())}
        text = json.dumps({"kind": self.kind, "identity": kept}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def sensors(self) -> tuple[str, ...]:
        """Whose scenes went in."""
        if self.kind == "cube":
            return tuple(sorted(name for name, group in self.root.groups() if "data" in group))
        return tuple(str(name) for name in self.attrs.get("sensors", ()))

    def inputs(self, snapshot: str | None = None) -> tuple[Input, ...]:
        """The scenes that were used or merged, of the store's sensors, once each; of a result of
        what was known by a day those that were there.

        Args:
            snapshot: Of the cube; the one that the store was made of by default.
        """
        root = self.root
        if self.kind != "cube":
            snapshot = snapshot or str(self.attrs.get("cube_snapshot", "")) or None
            root = self.cube.group(kind="cube", snapshot=snapshot)
        if "items" not in root:
            return ()
        table = root["items"]
        assert isinstance(table, zarr.Group)
        rows = [
            row
            for row in stored_rows(table)
            if row.fate in ("used", "merged") and row.sensor in self.sensors
        ]
        known = Known.from_attrs(self.attrs)
        if known is not None:
            dates = {name: set(known.times(root, name).tolist()) for name in self.sensors}
            rows = [row for row in rows if row.acquisition.tolist() in dates[row.sensor]]
        scenes = {
            (row.sensor, row.id): Input(row.id, row.sensor, instant(row.time), row.href)
            for row in rows
        }
        return tuple(scenes.values())


def find_lineage(store: Store, snapshot: str, cube: str | Path | None = None) -> Lineage:
    """Open a store and find its cube: the one that is given, or the one it was made from.

    Raises:
        InputError: If there is no cube to be found, or another one.
    """
    root = store.group(snapshot=snapshot or None)
    if root.attrs[ABOUT]["kind"] == "cube":
        return Lineage(store, snapshot, root, store)
    found = Store.of(cube) if cube is not None else _follow(store, root)
    if found is None or not found.exists():
        where = f" (it was at {found})" if found is not None else ""
        raise InputError(
            f"The cube that {store} is made from cannot be found{where}; give it with cube=."
        )
    _require_same_cube(store, root, found)
    return Lineage(store, snapshot, root, found)


def instant(time: np.datetime64) -> str:
    """A time in ISO form as STAC has it, UTC."""
    return f"{time.astype('datetime64[s]')}Z"


def _follow(store: Store, root: zarr.Group) -> Store | None:
    """The cube at the end of what a result was made from."""
    for _ in range(MOST_STEPS):
        place = resolve_beside(store, str(root.attrs.get(MADE_FROM, "")))
        if place is None:
            return None
        store = Store.of(place)
        if not store.exists():
            return store
        root = store.group()
        if root.attrs[ABOUT]["kind"] == "cube":
            return store
    return None


def _require_same_cube(store: Store, root: zarr.Group, cube: Store) -> None:
    """Check that a cube holds the state that a result was made of."""
    snapshot = str(root.attrs.get("cube_snapshot", ""))
    wanted = root.attrs.get("cube_items_hash")
    try:
        there = cube.group(kind="cube", snapshot=snapshot or None)
    except InputError as error:
        raise InputError(
            f"{cube} is not the cube that {store} is made from: {error} Give that one with cube=."
        ) from error
    if wanted is not None and items_hash(there) != wanted:
        raise InputError(
            f"{cube} is not the cube that {store} is made from: its items are others. Give that "
            "one with cube=."
        )
