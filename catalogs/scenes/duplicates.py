"""Duplicates of an acquisition: which scenes show the same, and which of them is used."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np

from terralatent.catalogs.items.item import (
    baseline_key,
    centre_longitude,
    datastrip_start,
    footprint,
    processed_at,
    written_at,
)
from terralatent.catalogs.items.scaling import Scaling
from terralatent.catalogs.scenes.acquisition import Fate
from terralatent.catalogs.sources.sensors import Sensor

__all__ = ["Scene", "drop_duplicates"]

_ONE_STRIP = 10.0
"""Seconds by which the start of one data strip may differ between two processings of it."""

_ONE_TILE = 10.0
"""Seconds by which the time of one tile may differ between two processings of it."""

_ONE_PLACE = 0.5
"""Share of the area of two footprints that duplicates of a scene have in common at least. Halves of
a tile, and neighbours along a pass, share a seam."""


@dataclass(frozen=True)
class Scene:
    """An item that can be used, with what is needed to group it."""

    item: dict[str, Any]
    sensor: Sensor
    time: np.datetime64
    scaling: Scaling
    quality: str | None
    orbit: int
    baseline: str
    tile: str

    @property
    def id(self) -> str:
        return str(self.item["id"])

    @property
    def day(self) -> np.datetime64:
        """The mean solar day at the item's place."""
        seconds = round(centre_longitude(self.item) * 240.0)
        day: np.datetime64 = (self.time + np.timedelta64(seconds, "s")).astype("datetime64[D]")
        return day

    def dropped(self, reason: str) -> Fate:
        return Fate(self.id, self.sensor.name, self.time, "dropped", reason)


def drop_duplicates(scenes: list[Scene]) -> tuple[list[Scene], list[Fate]]:
    """Part the scenes of one sensor into those that are used and the fates of older duplicates.

    Duplicates show the same tile (or, where none is given, the same place) on one solar day,
    within seconds, from one data strip.
    """
    kept: list[Scene] = []
    lost: list[Fate] = []

    def place(scene: Scene) -> tuple[str, str]:
        return str(scene.day), scene.tile

    for _, day in groupby(sorted(scenes, key=place), place):
        for duplicates in _duplicates(list(day)):
            newest = max(duplicates, key=_newness)
            kept.append(newest)
            lost += [
                scene.dropped(f"the same acquisition as {newest.id}, {_why(newest, scene)}")
                for scene in duplicates
                if scene is not newest
            ]
    return kept, lost


def _newness(scene: Scene) -> tuple[Any, ...]:
    # Earth Search has the same products in two collections, of which the older is less reliable:
    # that which the source names first counts.
    collections, own = scene.sensor.collections, str(scene.item.get("collection"))
    place = collections.index(own) if own in collections else len(collections)
    made = processed_at(scene.item)
    return (-place, baseline_key(scene.baseline), made, *written_at(scene.item), scene.id)


def _why(used: Scene, other: Scene) -> str:
    """Why one of two duplicates is used and not the other."""
    if _newness(used)[0] != _newness(other)[0]:
        return f"which is of the collection {used.item.get('collection')}"
    return "which is newer" + (f" (baseline {used.baseline})" if used.baseline else "")


def _duplicates(scenes: Sequence[Scene]) -> Iterator[list[Scene]]:
    """Part the scenes of one tile and solar day into those that show the same."""
    groups: list[list[Scene]] = []
    for scene in sorted(scenes, key=lambda s: (s.time, s.id)):
        alike = next((group for group in groups if _same(group[0], scene)), None)
        if alike is None:
            groups.append([scene])
        else:
            alike.append(scene)
    yield from groups


def _same(scene: Scene, other: Scene) -> bool:
    """Whether two scenes of one tile and solar day are duplicates of one acquisition.

    The halves of a tile that lies on two data strips complete each other. Where the strips are
    unknown, the footprints distinguish halves from duplicates.
    """
    if abs((scene.time - other.time) / np.timedelta64(1, "s")) > _ONE_TILE:
        return False
    starts = datastrip_start(scene.item), datastrip_start(other.item)
    if not any(math.isnan(start) for start in starts):
        return abs(starts[0] - starts[1]) <= _ONE_STRIP
    shapes = footprint(scene.item), footprint(other.item)
    if shapes[0] is None or shapes[1] is None:
        return True
    common, both = shapes[0].intersection(shapes[1]).area, shapes[0].union(shapes[1]).area
    return bool(common >= _ONE_PLACE * both)
