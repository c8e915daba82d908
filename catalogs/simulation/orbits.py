"""When the Sentinels pass over the simulated region, and how they and the sun stand then.

A satellite repeats its orbits in a cycle of days, and the two of a pair are half a cycle apart, so
one pass that really was gives all others of its relative orbit.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

__all__ = ["TRACKS", "Pass", "Track", "passes", "sun"]


@dataclass(frozen=True)
class Track:
    """One relative orbit of a pair of satellites over the region."""

    platforms: tuple[str, str]
    """The satellite of :attr:`known`, and the one half a cycle later."""

    orbit: int
    """Relative orbit."""

    known: str
    """When the first platform passed, UTC."""

    cycle: int
    """Days after which a platform passes again."""

    direction: str
    """``ascending`` or ``descending``."""

    zenith: float
    """Of the satellite as the region sees it, degrees; for radar the angle of incidence."""

    azimuth: float
    """Where the satellite stands, degrees from north."""


@dataclass(frozen=True)
class Pass:
    """One passage."""

    track: Track
    platform: str
    time: np.datetime64
    """UTC, whole seconds."""


_S1, _S2 = ("sentinel-1a", "sentinel-1b"), ("sentinel-2a", "sentinel-2b")

TRACKS = {
    "sentinel-2-l2a": (
        Track(_S2, 51, "2018-04-01T10:50:31", 10, "descending", 5.2, 104.0),
        Track(_S2, 94, "2019-01-09T11:04:31", 10, "descending", 8.9, 287.0),
    ),
    "sentinel-1-rtc": (
        Track(_S1, 161, "2018-02-09T17:32:36", 12, "ascending", 41.0, 259.0),
        Track(_S1, 37, "2018-04-14T05:50:02", 12, "descending", 37.0, 101.0),
    ),
}
"""Tracks by collection: days and times of the real ones over Flanders."""


def passes(collection: str, first: np.datetime64, last: np.datetime64) -> Iterator[Pass]:
    """Yield the passes of ``collection`` from day ``first`` to ``last``, both included, by time."""
    begin, end = first.astype("datetime64[s]"), (last + 1).astype("datetime64[s]")
    taken = []
    for track in TRACKS[collection]:
        half = np.timedelta64(track.cycle * 12, "h").astype("timedelta64[s]")
        known = np.datetime64(track.known, "s")
        number = -int((known - begin) // half)
        while (time := known + number * half) < end:
            taken.append(Pass(track, track.platforms[number % 2], time))
            number += 1
    yield from sorted(taken, key=lambda passage: passage.time)


def sun(time: np.datetime64, latitude: float, longitude: float) -> tuple[float, float]:
    """Return zenith and azimuth of the sun in degrees; good to half a degree.

    Declination and equation of time after Spencer (1971), "Fourier series representation of the
    position of the sun".
    """
    year = time.astype("datetime64[Y]").astype("datetime64[s]")
    seconds = float((time.astype("datetime64[s]") - year) / np.timedelta64(1, "s"))
    day = 2 * np.pi * (seconds / 86400 - 0.5) / 365
    terms = np.array([1, np.cos(day), np.sin(day), np.cos(2 * day), np.sin(2 * day)])
    of_declination = np.array([0.006918, -0.399912, 0.070257, -0.006758, 0.000907])
    of_time = np.array([0.000075, 0.001868, -0.032077, -0.014615, -0.040849])
    declination = float(terms @ of_declination)
    minutes = 229.18 * float(terms @ of_time) + 4 * longitude + (seconds % 86400) / 60
    hour = np.radians(minutes / 4 - 180)
    place = np.radians(latitude)
    height = np.sin(place) * np.sin(declination) + np.cos(place) * np.cos(declination) * np.cos(
        hour
    )
    east = -np.cos(declination) * np.sin(hour)
    north = np.sin(declination) * np.cos(place) - np.cos(declination) * np.sin(place) * np.cos(hour)
    return float(np.degrees(np.arccos(height))), float(np.degrees(np.arctan2(east, north)) % 360)
