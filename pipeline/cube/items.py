"""The cube's table of items: what became of each item of every search that made it."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr

from terralatent.catalogs.items.item import available_at, changed_at, own_href, sensed_at
from terralatent.catalogs.scenes.acquisition import Fate
from terralatent.pipeline.store.arrays import ArrayLayout, coordinate, time_array

if TYPE_CHECKING:
    from terralatent.catalogs.scenes.scenes import Scenes

__all__ = [
    "ItemRow",
    "in_order",
    "item_arrays",
    "items_hash",
    "rows_of",
    "stored_rows",
]

NO_TIME = np.datetime64("NaT", "us")


@dataclass(frozen=True)
class ItemRow:
    """One item of a search."""

    id: str
    """Its id."""

    sensor: str
    """Name of its sensor; empty where it has none."""

    time: np.datetime64
    """When it was sensed, datetime64[us]; NaT where it does not say."""

    fate: str
    """``used``, ``merged`` or ``dropped``."""

    reason: str
    """Why it was merged or dropped."""

    scale: float = math.nan
    """Units for one step of its digital numbers; NaN where it was dropped."""

    offset: float = math.nan
    """Units of its digital number 0; NaN where it was dropped."""

    offset_from: str = ""
    """Who stated its offset."""

    acquisition: np.datetime64 = NO_TIME
    """The date of the cube that it is part of; NaT where it was dropped."""

    updated: str = ""
    """When it was last changed, by its own word; empty where it does not say, where it was dropped,
    and in cubes that an older version made."""

    href: str = ""
    """URL of the item in its catalogue; empty where that is none of the web, and in cubes that an
    older version made. What it was of two searches does not make rows unlike."""

    available: str = ""
    """When its product could be had, by its own word; empty where it does not say, where it was
    dropped, and in cubes that an older version made. Catalogues differ: no more than ``href`` does
    it make rows unlike."""

    @property
    def key(self) -> tuple[str, str, str]:
        """What sets it apart from other items: a search finds each once."""
        return self.sensor, str(self.time), self.id

    @property
    def text(self) -> tuple[str, ...]:
        """All of it as text, so that equal rows are equal: a NaN equals none."""
        names = (field.name for field in fields(self) if field.name not in ("href", "available"))
        return tuple(str(getattr(self, name)) for name in names)


def rows_of(scenes: Scenes) -> tuple[ItemRow, ...]:
    """What became of every item of a search, ordered by sensor, time and id."""
    dates = {
        (name, item["id"], str(sensed_at(item))): {
            "acquisition": acquisition.time,
            "updated": changed_at(item),
            "available": available_at(item),
        }
        for name in scenes.sensors
        for acquisition in scenes.acquisitions(name)
        for item in acquisition.items
    }
    # Of items that were dropped an id may be anything.
    hrefs = {(str(item.get("id")), str(sensed_at(item))): own_href(item) for item in scenes.items}
    return in_order(
        ItemRow(
            fate.item_id,
            fate.sensor,
            fate.time,
            fate.fate,
            fate.reason,
            **_part(fate, dates),
            href=hrefs.get((fate.item_id, str(fate.time)), ""),
        )
        for fate in scenes.fates
    )


def _part(fate: Fate, dates: Mapping[tuple[str, str, str], Mapping[str, Any]]) -> dict[str, Any]:
    """What a row holds only where its item is part of a date."""
    if fate.scaling is None or fate.fate == "dropped":
        return {}
    scaling = {name: getattr(fate.scaling, name) for name in ("scale", "offset", "offset_from")}
    return {**scaling, **dates[fate.sensor, fate.item_id, str(fate.time)]}


def items_hash(cube: zarr.Group) -> str:
    """A sha256 over the ids of a cube's items and their fates, in any order; "" without items."""
    if "items" not in cube:
        return ""
    ids, fates = (np.asarray(cube[f"items/{name}"]) for name in ("id", "fate"))
    lines = sorted(f"{item}\t{fate}" for item, fate in zip(ids, fates, strict=True))
    return hashlib.sha256(json.dumps(lines).encode()).hexdigest()


def in_order(rows: Iterable[ItemRow]) -> tuple[ItemRow, ...]:
    """Return ``rows`` by sensor, time and id."""
    return tuple(sorted(rows, key=lambda row: (*row.key, row.reason)))


def stored_rows(table: zarr.Group) -> tuple[ItemRow, ...]:
    """Read the table of a cube; its group must have all columns but those that came later:
    ``updated``, ``href`` and ``available``."""
    columns: dict[str, np.ndarray] = {
        name: np.asarray(array[...]) for name, array in table.arrays()
    }
    for name in ("time", "acquisition"):
        columns[name] = columns[name].astype("datetime64[us]")
    names = [array.name for array in item_arrays(()) if array.name in columns]
    return tuple(
        ItemRow(
            **{
                name: value.item() if name in ("scale", "offset") else value
                for name, value in zip(names, row, strict=True)
            }
        )
        for row in zip(*(columns[name] for name in names), strict=True)
    )


def item_arrays(rows: Sequence[ItemRow]) -> tuple[ArrayLayout, ...]:
    """Lay the table out, one array for each column."""

    def text(name: str, about: str) -> ArrayLayout:
        values = np.array([getattr(row, name) for row in rows], dtype=object)
        return coordinate(name, ("item",), values, {"long_name": about})

    def number(name: str, about: str) -> ArrayLayout:
        values = np.array([getattr(row, name) for row in rows], "float64")
        return coordinate(name, ("item",), values, {"long_name": about})

    def time(name: str, about: str) -> ArrayLayout:
        return time_array(name, "item", [getattr(row, name) for row in rows], about)

    return (
        text("id", "item id"),
        text("sensor", "sensor, empty where it has none"),
        time("time", "when it was sensed"),
        text("fate", "used, merged or dropped"),
        text("reason", "why it was merged or dropped"),
        number("scale", "units for one step of its digital numbers, NaN where dropped"),
        number("offset", "units of its digital number 0, NaN where dropped"),
        text(
            "offset_from",
            "who stated its offset: the item's bands, its baseline, a flag, the product, the user",
        ),
        time("acquisition", "the date of the cube that it is part of"),
        text("updated", "when it was last changed, by its own word"),
        text("href", "URL of the item in its catalogue, empty where it has none"),
        text("available", "when its product could be had, by its own word"),
    )
