"""The satellites that pass over a place: which orbits, when, and how much of the region they see.

Cycles and local times are the real ones: Sentinel-2 repeats after 10 days and crosses the equator
at 10:30, Sentinel-1 after 12 days at 6:00 and 18:00, Landsat after 16 days at 10:12. Which orbits
see a place, and on which days, is drawn.
"""

from __future__ import annotations

import numpy as np
from numpy.random import Generator

from terralatent.catalogs.simulation.orbits import Track

__all__ = ["draw_tracks"]

VIEWS = ((5.2, 104.0), (8.9, 287.0))
"""Zenith and azimuth of Sentinel-2 in degrees where a place lies west, or east, of its track."""

TWO_ORBITS = {"sentinel-2-l2a": 0.45, "landsat-c2-l2": 0.3}
"""How likely a second orbit sees the place: more orbits overlap far from the equator."""

IN_PART = 0.35
"""How likely an orbit beside the first sees the region in part only."""

EDGES_LEAN = {"descending": 12.0, "ascending": -12.0}
"""Degrees by which the edges of a swath lean."""

RADAR = {"ascending": (18.0, 259.0), "descending": (6.0, 101.0)}
"""Local time in hours, and where the satellite stands, degrees from north."""


def draw_tracks(latitude: float, longitude: float, rng: Generator) -> dict[str, tuple[Track, ...]]:
    """Tracks by collection: Sentinel-2 always, Sentinel-1 always in one or both directions, and
    Landsat 8, or 8 and 9, or neither.
    """
    # A sun-synchronous satellite that flies down to the south-west crosses the north later.
    morning = 10.5 + 0.75 * np.sin(np.radians(latitude))
    second = rng.random() < TWO_ORBITS["sentinel-2-l2a"] * (0.6 + abs(latitude) / 60)
    orbits = _orbits(1 + int(second), 143, 10, rng)
    order = rng.permutation(len(VIEWS))
    pair = ("sentinel-2a", "sentinel-2b")
    tracks = {
        "sentinel-2-l2a": tuple(
            Track(
                pair, orbit, _known(day, morning + 0.12 * (-1) ** view, longitude), 10,
                "descending", *VIEWS[view], _edge("descending", number, rng), retired=True,
            )
            for number, ((orbit, day), view) in enumerate(zip(orbits, order, strict=False))
        )
    }  # fmt: skip
    directions = (("ascending",), ("descending",), ("ascending", "descending"))[rng.integers(3)]
    radar = ("sentinel-1a", "sentinel-1b") if rng.random() < 0.5 else ("sentinel-1a",)
    tracks["sentinel-1-rtc"] = tuple(
        Track(
            radar, orbit, _known(day, RADAR[direction][0], longitude), 12, direction,
            round(float(rng.uniform(32.0, 44.0)), 1), RADAR[direction][1],
            _edge(direction, number, rng), retired=True,
        )
        for number, (direction, (orbit, day)) in enumerate(
            zip(directions, _orbits(len(directions), 175, 12, rng), strict=True)
        )
    )  # fmt: skip
    landsat: tuple[tuple[str, ...], ...] = ((), ("landsat-8",), ("landsat-8", "landsat-9"))
    if platforms := landsat[rng.choice(3, p=[0.4, 0.35, 0.25])]:
        paths = _orbits(1 + int(rng.random() < TWO_ORBITS["landsat-c2-l2"]), 233, 16, rng)
        tracks["landsat-c2-l2"] = tuple(
            Track(
                platforms, path, _known(day, morning - 0.3, longitude), 16, "descending", 0.0,
                104.0, _edge("descending", number, rng), retired=True,
            )
            for number, (path, day) in enumerate(paths)
        )  # fmt: skip
    return tracks


def _orbits(count: int, of: int, cycle: int, rng: Generator) -> list[tuple[int, int]]:
    """Numbers of ``count`` of all orbits, and on which day of the cycle each passes."""
    numbers = rng.choice(of, count, replace=False) + 1
    # Half a cycle later the pair's other satellite passes: no two orbits on one day.
    days = rng.choice(cycle // 2, count, replace=False)
    return [(int(number), int(day)) for number, day in zip(numbers, days, strict=True)]


def _known(day: int, local: float, longitude: float) -> str:
    """A time, UTC, at which it is ``local`` hours by the sun."""
    first = np.datetime64("2018-01-01") + day
    seconds = round(3600 * (local - longitude / 15))
    return str(first.astype("datetime64[s]") + np.timedelta64(seconds, "s"))


def _edge(direction: str, number: int, rng: Generator) -> tuple[float, float] | None:
    """Where the swath of orbit ``number`` ends within the region; the first sees all of it."""
    share, side, cut = rng.uniform(0.3, 0.8), rng.choice([-1.0, 1.0]), rng.random() < IN_PART
    return (float(side * share), EDGES_LEAN[direction]) if number and cut else None
