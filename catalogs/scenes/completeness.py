"""What the items of a search lack: some bands of their sensor, or all that it needs."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from terralatent.catalogs.scenes.acquisition import Fate, no_asset_for
from terralatent.catalogs.scenes.scenes import Scenes

__all__ = ["Unusable", "bands_there", "incomplete", "unusable"]


@dataclass(frozen=True)
class Unusable:
    """A sensor of which a search found items, none of which can be used."""

    sensor: str
    """Its name."""

    items: int
    """How many there are."""

    first: str
    """Id of the first one."""

    reason: str
    """Why that cannot be used."""


def bands_there(scenes: Scenes, sensor: str) -> tuple[str, ...]:
    """Return the bands of a sensor that some item of its acquisitions has, in its own order."""
    there = {
        band
        for acquisition in scenes.acquisitions(sensor)
        for item in acquisition.items
        for band in item["assets"]
    }
    return tuple(band for band in scenes.sensor(sensor).bands if band in there)


def incomplete(scenes: Scenes) -> tuple[str, ...]:
    """Say in a line for each set of bands how many items that are used lack it, with an example.

    The most frequent come first.
    """
    lacking: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    for name in scenes.sensors:
        sensor = scenes.sensor(name)
        for acquisition in scenes.acquisitions(name):
            for item in acquisition.items:
                if missing := sensor.missing(item["assets"]):
                    lacking[name, no_asset_for(missing)].append(str(item["id"]))
    kinds = sorted(lacking.items(), key=lambda kind: (-len(kind[1]), kind[0]))
    return tuple(
        f"incomplete: {len(items)} items of {sensor}, such as {items[0]}: {reason}"
        for (sensor, reason), items in kinds
    )


def unusable(scenes: Scenes) -> tuple[Unusable, ...]:
    """Return the sensors of which there are items, but none that can be used."""
    dropped: defaultdict[str, list[Fate]] = defaultdict(list)
    for fate in scenes.fates:
        if fate.sensor and fate.sensor not in scenes.sensors:
            dropped[fate.sensor].append(fate)
    return tuple(
        Unusable(name, len(fates), fates[0].item_id, fates[0].reason)
        for name, fates in dropped.items()
    )
