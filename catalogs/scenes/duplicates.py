"""Duplicates of an acquisition: which scenes show the same, and which of them is used."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

import numpy as np
import shapely

from terralatent.catalogs.items.item import (
    baseline_key,
    datastrip_start,
    footprint,
    platform,
    processed_at,
    written_at,
)
from terralatent.catalogs.items.scaling import Scaling
from terralatent.catalogs.scenes.acquisition import Fate
from terralatent.catalogs.sources.sensors import Sensor

__all__ = ["SAME_ACQUISITION", "Scene", "drop_duplicates"]

SAME_ACQUISITION = "the same acquisition as"
"""How the reason begins why a duplicate was dropped."""

_ONE_STRIP = 10.0
"""Seconds by which the start of one data strip may differ between two processings of it."""

_ONE_TILE = 10.0
"""Seconds by which the time of one tile may differ between two processings of it."""

_ONE_PLACE = 0.5
"""Share of the area of two footprints that duplicates of a scene have in common at least. Halves of
a tile, and neighbours along a pass, share a seam."""

_OWN_PART = 0.01
"""Share of its footprint that a duplicate has for itself at least to be used beside the newer ones:
outlines of one scene that was processed twice differ by some metres."""


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
    behind: int = 0
    """How many newer duplicates come before it; it fills what they leave open."""

    @property
    def id(self) -> str:
        return str(self.item["id"])

    @property
    def missing(self) -> tuple[str, ...]:
        """Bands that it lacks."""
        return self.sensor.missing(self.item["assets"])

    def dropped(self, reason: str) -> Fate:
        return Fate(self.id, self.sensor.name, self.time, "dropped", reason)


def drop_duplicates(scenes: list[Scene]) -> tuple[list[Scene], list[Fate]]:
    """Part the scenes of one sensor into those that are used and the fates of older duplicates.

    Duplicates show the same tile (or, where none is given, the same place) from one platform,
    within seconds, from one data strip. That with the most bands is used, of these the newest. One
    that has a part which all before it lack, as two receiving stations make them, is used behind
    these.
    """
    kept: list[Scene] = []
    lost: list[Fate] = []

    def place(scene: Scene) -> str:
        return scene.tile

    for _, there in groupby(sorted(scenes, key=place), place):
        for duplicates in _duplicates(list(there)):
            newest, *older = sorted(duplicates, key=_newness, reverse=True)
            used = [newest]
            for scene in older:
                if _has_own_part(scene, used):
                    used.append(replace(scene, behind=len(used)))
                else:
                    reason = f"{SAME_ACQUISITION} {newest.id}, {_why(newest, scene)}"
                    lost.append(scene.dropped(reason))
            kept += used
    return kept, lost


def _has_own_part(scene: Scene, newer: Sequence[Scene]) -> bool:
    """Whether a scene shows a place that newer duplicates of it do not."""
    own, others = footprint(scene.item), [footprint(other.item) for other in newer]
    if own is None or not all(others):
        return False
    return bool(own.difference(shapely.union_all(others)).area > _OWN_PART * own.area)


def _newness(scene: Scene) -> tuple[Any, ...]:
    # Earth Search has the same products in two collections, of which the older is less reliable:
    # that which the source names first counts.
    collections, own = scene.sensor.collections, str(scene.item.get("collection"))
    place = collections.index(own) if own in collections else len(collections)
    newness = baseline_key(scene.baseline), processed_at(scene.item), *written_at(scene.item)
    return (-len(scene.missing), -place, *newness, scene.id)


def _why(used: Scene, other: Scene) -> str:
    """Why one of two duplicates is used and not the other."""
    if len(used.missing) < len(other.missing):
        return "which has more bands"
    if _newness(used)[1] != _newness(other)[1]:
        return f"which is of the collection {used.item.get('collection')}"
    return "which is newer" + (f" (baseline {used.baseline})" if used.baseline else "")


def _duplicates(scenes: Sequence[Scene]) -> Iterator[list[Scene]]:
    """Part the scenes of one tile into those that show the same."""
    near: list[list[Scene]] = []
    for scene in sorted(scenes, key=lambda s: (s.time, s.id)):
        over = [group for group in near if _seconds(group[0], scene) > _ONE_TILE]
        yield from over
        near = [group for group in near if group not in over]
        alike = next((group for group in near if _same(group[0], scene)), None)
        if alike is None:
            near.append([scene])
        else:
            alike.append(scene)
    yield from near


def _seconds(scene: Scene, other: Scene) -> float:
    return float((other.time - scene.time) / np.timedelta64(1, "s"))


def _same(scene: Scene, other: Scene) -> bool:
    """Whether two scenes of one tile, within seconds, are duplicates of one acquisition.

    The halves of a tile that lies on two data strips complete each other. Where the strips are
    unknown, the footprints distinguish halves from duplicates.
    """
    platforms = {platform(scene.item), platform(other.item)} - {""}
    if len(platforms) > 1:
        return False
    starts = datastrip_start(scene.item), datastrip_start(other.item)
    if not any(math.isnan(start) for start in starts):
        return abs(starts[0] - starts[1]) <= _ONE_STRIP
    shapes = footprint(scene.item), footprint(other.item)
    if shapes[0] is None or shapes[1] is None:
        return True
    common, both = shapes[0].intersection(shapes[1]).area, shapes[0].union(shapes[1]).area
    return bool(common >= _ONE_PLACE * both)
