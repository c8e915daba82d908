"""Which bands of each sensor a cube keeps: those requested, those it has, those that items have."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from terralatent.catalogs.errors import InputError
from terralatent.catalogs.scenes.completeness import bands_there, incomplete
from terralatent.catalogs.scenes.scenes import Scenes
from terralatent.pipeline.store.repository import NotLaidOutError, Store

__all__ = ["BandRequest", "choose_bands", "parse_bands"]

log = logging.getLogger(__name__)

ALL = ""
"""In a mapping by sensor: every sensor that has some of the bands."""

BandRequest: TypeAlias = Sequence[str] | Mapping[str, Sequence[str]] | None
"""Bands of every sensor that has some of them, or by sensor; None: all."""


def choose_bands(scenes: Scenes, store: Store, request: BandRequest = None) -> Scenes:
    """Leave of the sensors of a search the bands that a cube keeps. Reads no pixels.

    They are those requested; where nothing is, those that the cube has, and in a new cube all. What
    no item has is left out of a new cube. The mask band always stays.

    Args:
        scenes: What a search found.
        store: Of the cube, which need not be there.
        request: A sensor of which it names no band keeps all.

    Returns:
        The scenes, grouped anew where a sensor has fewer bands. What some items lack is logged.

    Raises:
        InputError: If a sensor is named that was not requested, or a band that none has.
    """
    kept = _stored(store)
    chosen = scenes.with_bands(kept if request is None else _requested(scenes, request))
    bands = {name: bands_there(chosen, name) for name in chosen.sensors if name not in kept}
    for name, there in bands.items():
        if lacking := chosen.sensor(name).missing(dict.fromkeys(there)):
            log.warning(
                "%s: none of the items of its %d acquisitions has %s, and neither has the cube",
                name,
                len(chosen.acquisitions(name)),
                ", ".join(lacking),
            )
    chosen = chosen.with_bands(bands)
    for line in incomplete(chosen):
        log.info(line)
    return chosen


def parse_bands(texts: Sequence[str]) -> BandRequest:
    """Read bands as they are typed, ``[SENSOR=]BAND,BAND``.

    >>> parse_bands(["B02,B03", "sentinel-1-asc=vv"])
    {'': ['B02', 'B03'], 'sentinel-1-asc': ['vv']}

    Raises:
        InputError: If one names no band.
    """
    request: dict[str, list[str]] = {}
    for text in texts:
        sensor, equals, bands = text.rpartition("=")
        names = [band.strip() for band in bands.split(",") if band.strip()]
        if not names or (equals and not sensor):
            raise InputError(f"{text!r} names no band; give B02,B03 or sentinel-2-l2a=B02,B03.")
        request.setdefault(sensor.strip() or ALL, []).extend(names)
    return request or None


def _stored(store: Store) -> dict[str, tuple[str, ...]]:
    """The bands of each sensor of a cube that is there."""
    try:
        about: Mapping[str, Any] = store.about() if store.exists() else {}
    except NotLaidOutError:
        return {}
    sensors = about.get("identity", {}).get("sensors") if about.get("kind") == "cube" else None
    return {name: tuple(kept["bands"]) for name, kept in (sensors or {}).items()}


def _requested(
    scenes: Scenes, request: Sequence[str] | Mapping[str, Sequence[str]]
) -> dict[str, list[str]]:
    """The bands that are requested of each sensor, of which some are."""
    named = dict(request) if isinstance(request, Mapping) else {ALL: request}
    everywhere = list(named.pop(ALL, ()))
    known = {sensor.name: sensor.bands for sensor in scenes.wanted}
    if unknown := sorted(named.keys() - known.keys()):
        raise InputError(
            f"Bands are named of {', '.join(unknown)}, but requested are {', '.join(known)}."
        )
    unheard = [band for band in everywhere if not any(band in own for own in known.values())]
    if unheard:
        there = "; ".join(f"{name} {', '.join(bands)}" for name, bands in known.items())
        raise InputError(f"No sensor has a band {', '.join(unheard)}; there are {there}.")
    chosen = {name: [band for band in bands if band in everywhere] for name, bands in known.items()}
    return {name: bands for name, bands in chosen.items() if bands} | {
        name: list(bands) for name, bands in named.items()
    }
