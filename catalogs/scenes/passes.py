"""From items to acquisitions: duplicates are dropped, the items of one pass are merged."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import groupby, pairwise
from typing import Any, Literal, TypeVar

import numpy as np
from shapely.geometry import mapping

from terralatent.catalogs.documents.access import Access
from terralatent.catalogs.hrefs import HrefError
from terralatent.catalogs.items.georeference import GeoreferenceError, read_georeference
from terralatent.catalogs.items.item import (
    MALFORMED,
    baseline_key,
    cloud_cover,
    constellation,
    footprint,
    incidence,
    is_level_1,
    orbit,
    orbit_state,
    platform,
    processing_baseline,
    sensed_at,
    tile,
)
from terralatent.catalogs.items.scaling import ScalingError, read_scaling
from terralatent.catalogs.scenes.acquisition import Acquisition, Fate, no_asset_for
from terralatent.catalogs.scenes.duplicates import Scene, drop_duplicates
from terralatent.catalogs.sources.sensors import Sensor, find_key

__all__ = ["OF_NO_SENSOR", "ONE_PASS", "distinct", "group_items", "in_order"]

_T = TypeVar("_T")

OF_NO_SENSOR = "it belongs to none of"
"""How the reason begins why an item of some other sensor was dropped."""

ONE_PASS = np.timedelta64(15, "m")
"""Items this near belong to one pass where no orbit is given: the rows of one pass follow each
other by seconds, the next pass comes 98 minutes later."""

SAME_ORBIT = np.timedelta64(12, "h")
"""Items of one platform and relative orbit this near belong to one pass: it comes back after days.
"""

_KEPT = (
    *("type", "stac_version", "stac_extensions", "id", "collection"),
    *("geometry", "bbox", "properties"),
)

_PLAIN_ID = re.compile(r"[^/\\.\uFFFD][^/\\\uFFFD]{0,199}")
"""An id that could be the name of a file and of nothing else, though none is ever made of it."""


def group_items(
    items: Iterable[Mapping[str, Any]], sensors: Sequence[Sensor], access: Access | None = None
) -> tuple[dict[str, tuple[Acquisition, ...]], tuple[Fate, ...]]:
    """Sort items into acquisitions; the result does not depend on the order of ``items``.

    Of one acquisition that was processed several times (same platform, tile, data strip or
    footprint, within seconds) that with the most bands is used, of these that of the first
    collection of the source, then of the newest baseline, then the one made last; one that shows
    more fills what that leaves open. An item that lacks some bands is used for those that it has,
    and its fate names the others. What
    is left of one platform and relative orbit, near in time, is one acquisition: its tiles and the
    halves of them are merged. Reads no pixels.

    Args:
        items: STAC items with absolute hrefs.
        sensors: The requested sensors, as the source has them.
        access: What the items may name; by default public hosts.

    Returns:
        For each sensor that has any, its acquisitions in ascending, unique times; and what became
        of every item, ordered by sensor, time and id.
    """
    fates: list[Fate] = []
    scenes: list[Scene] = []
    by_id = sorted(distinct(items), key=lambda i: (str(i.get("id")), str(i.get("collection"))))
    for item in by_id:
        scene = _read(item, sensors, access or Access())
        if isinstance(scene, Fate):
            fates.append(scene)
        else:
            scenes.append(scene)

    acquisitions: dict[str, tuple[Acquisition, ...]] = {}
    for sensor in sensors:
        own = [scene for scene in scenes if scene.sensor == sensor]
        for rule in (_of_one_mask, drop_duplicates):
            own, lost = rule(own)
            fates += lost
        passes = tuple(_at_unique_times(_acquisition(group) for group in _passes(own)))
        if passes:
            acquisitions[sensor.name] = passes
        fates += [fate for acquisition in passes for fate in _fates(acquisition, sensor)]
    return acquisitions, in_order(fates)


def in_order(fates: Iterable[Fate]) -> tuple[Fate, ...]:
    """Return ``fates`` by sensor, time and id."""
    return tuple(sorted(fates, key=lambda f: (f.sensor, str(f.time), f.item_id, f.reason)))


def distinct(items: Iterable[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """Leave out items that a catalogue lists twice: pages overlap, links repeat, and a region on
    both sides of the 180th meridian is searched by two boxes."""
    by_id: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for item in items:
        same = by_id.setdefault((str(item.get("collection")), str(item.get("id"))), [])
        if item not in same:
            same.append(item)
            yield item


def _read(item: Mapping[str, Any], sensors: Sequence[Sensor], access: Access) -> Scene | Fate:
    time = sensed_at(item)
    name = item.get("id")
    shown = str(name)

    def dropped(reason: str, sensor: Sensor | None = None) -> Fate:
        when = np.datetime64("NaT", "us") if time is None else time
        called = shown if len(shown) <= 200 else f"{shown[:200]}..."
        return Fate(called, "" if sensor is None else sensor.name, when, "dropped", reason)

    if not isinstance(name, str) or not name:
        return dropped("it has no id" if not name else f"its id is a {type(name).__name__}")
    if _PLAIN_ID.fullmatch(name) is None or not name.isprintable():
        return dropped("its id is no plain name")
    sensor = _sensor_of(item, sensors)
    if isinstance(sensor, str):
        return dropped(sensor)
    if time is None:
        return dropped("it has no readable datetime", sensor)
    place = footprint(item)
    if place is None:
        return dropped("it has no readable geometry", sensor)
    assets = item.get("assets")
    if not isinstance(assets, Mapping) or not all(isinstance(a, Mapping) for a in assets.values()):
        return dropped("it has no readable assets", sensor)
    keys = sensor.asset_keys(assets)
    if not keys:
        return dropped(no_asset_for(sensor.bands), sensor)
    masks = [(b.asset, key) for b in sensor.quality if (key := find_key(b.keys, assets))]
    if sensor.quality and not masks:
        return dropped(f"it has no mask band {sensor.quality[0].asset}", sensor)
    quality = masks[0][0] if masks else None
    wanted = {**keys, **dict(masks[:1])}
    try:
        for band, key in wanted.items():
            _check_href(band, assets[key], access)
            read_georeference(item, assets[key])
        scaling = read_scaling(item, sensor, keys)
    except (HrefError, GeoreferenceError, ScalingError) as error:
        return dropped(str(error), sensor)
    except MALFORMED as error:
        return dropped(f"it cannot be read ({type(error).__name__}: {error})", sensor)
    kept = {name: item[name] for name in _KEPT if name in item}
    kept["geometry"] = mapping(place)
    kept["links"] = []
    kept["assets"] = {band: dict(assets[key]) for band, key in wanted.items()}
    baseline = processing_baseline(item)
    return Scene(kept, sensor, time, scaling, quality, orbit(item), baseline, tile(item))


def _check_href(band: str, asset: Mapping[str, Any], access: Access) -> None:
    try:
        access.check(asset.get("href"))
    except HrefError as error:
        raise HrefError(f"the href of its {band}: {error}") from error


def _sensor_of(item: Mapping[str, Any], sensors: Sequence[Sensor]) -> Sensor | str:
    """The sensor of an item among ``sensors``, or why it has none."""
    collection, own = str(item.get("collection") or ""), constellation(item)
    near = [s for s in sensors if collection in s.collections]
    if not near:
        near = [s for s in sensors if own == s.constellation and _has_bands(item, s)]
        if near and not near[0].decibel and is_level_1(item):
            return f"it is of processing level 1, {near[0].name} of level 2"
    if not near:
        return f"{OF_NO_SENSOR} {', '.join(sensor.name for sensor in sensors)}"
    state = orbit_state(item)
    for sensor in near:
        if sensor.orbit_state in (None, state):
            return sensor
    if state in ("ascending", "descending"):
        return f"it is {state}, not {near[0].orbit_state}"
    return "it does not state whether its orbit is ascending or descending"


def _has_bands(item: Mapping[str, Any], sensor: Sensor) -> bool:
    assets = item.get("assets")
    if not isinstance(assets, Mapping):
        return False
    masked = not sensor.quality or any(find_key(band.keys, assets) for band in sensor.quality)
    return masked and bool(sensor.asset_keys(assets))


def _of_one_mask(scenes: list[Scene]) -> tuple[list[Scene], list[Fate]]:
    """Keep the scenes that carry the most frequent mask band: the cube stores one kind of it."""
    counts = Counter(scene.quality for scene in scenes)
    if len(counts) < 2:
        return scenes, []
    common = max(counts, key=lambda quality: (counts[quality], str(quality)))
    kept = [scene for scene in scenes if scene.quality == common]
    lost = [
        scene.dropped(f"its mask band is {scene.quality}, that of the others {common}")
        for scene in scenes
        if scene.quality != common
    ]
    return kept, lost


def _passes(scenes: Sequence[Scene]) -> Iterator[list[Scene]]:
    """Part the scenes of one sensor into passes: of one platform and orbit, and near in time."""
    groups: list[list[Scene]] = []
    for of_orbit in _groups(scenes, lambda s: str(s.orbit)):
        apart = ONE_PASS if of_orbit[0].orbit < 0 else SAME_ORBIT
        for own in _by_platform(sorted(of_orbit, key=lambda s: (s.time, s.id))):
            group = [own[0]]
            for before, scene in pairwise(own):
                if scene.time - before.time > apart:
                    groups.append(group)
                    group = []
                group.append(scene)
            groups.append(group)
    # Groups of one platform that begin together are one pass, described in two ways.
    for same in _groups(groups, lambda g: str(g[0].time)):
        yield from _by_platform([scene for group in same for scene in group])


def _by_platform(scenes: Sequence[Scene]) -> Iterator[list[Scene]]:
    """Part scenes by their platform; one that does not state it goes with the one before it."""
    names = [platform(scene.item) for scene in scenes]
    last = next((name for name in names if name), "")
    groups: dict[str, list[Scene]] = {}
    for name, scene in zip(names, scenes, strict=True):
        last = name or last
        groups.setdefault(last, []).append(scene)
    yield from groups.values()


def _at_unique_times(passes: Iterable[Acquisition]) -> Iterator[Acquisition]:
    """Acquisitions in ascending time; of platforms at one instant one comes a millisecond later."""
    before: np.datetime64 | None = None
    for one in sorted(passes, key=lambda a: (a.time, a.platform, a.items[0]["id"])):
        if before is not None and one.time <= before:
            one = replace(one, time=before + np.timedelta64(1, "ms"))
        before = one.time
        yield one


def _groups(things: Iterable[_T], key: Callable[[_T], Any]) -> Iterator[list[_T]]:
    for _, group in groupby(sorted(things, key=key), key):
        yield list(group)


def _acquisition(scenes: Sequence[Scene]) -> Acquisition:
    def merge_order(scene: Scene) -> tuple[Any, ...]:
        major, minor = baseline_key(scene.baseline)
        return (scene.behind, len(scene.missing), -major, -minor, scene.time, scene.id)

    ordered = sorted(scenes, key=merge_order)
    return Acquisition(
        sensor=ordered[0].sensor.name,
        time=min(scene.time for scene in scenes),
        items=tuple(scene.item for scene in ordered),
        scalings=tuple(scene.scaling for scene in ordered),
        quality=ordered[0].quality,
        platform="+".join(sorted({platform(scene.item) for scene in scenes} - {""})),
        orbit=ordered[0].orbit,
        baseline="+".join(sorted({scene.baseline for scene in scenes} - {""})),
        cloud_cover=_mean(cloud_cover(scene.item) for scene in ordered),
        incidence=_mean(incidence(scene.item) for scene in ordered),
    )


def _mean(values: Iterable[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return sum(known) / len(known) if known else math.nan


def _fates(acquisition: Acquisition, sensor: Sensor) -> Iterator[Fate]:
    first = acquisition.items[0]
    for item, scaling in zip(acquisition.items, acquisition.scalings, strict=True):
        time = sensed_at(item)
        assert time is not None
        missing = sensor.missing(item["assets"])
        reasons = [no_asset_for(missing)] if missing else []
        if item is not first:
            reasons.insert(0, f"of one pass with {first['id']}")
        fate: Literal["used", "merged"] = "used" if item is first else "merged"
        yield Fate(item["id"], acquisition.sensor, time, fate, "; ".join(reasons), scaling)
