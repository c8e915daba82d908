"""When the Sentinels pass over the simulated region, and how they and the sun stand then.

A satellite repeats its orbits in a cycle of days, and the two of a pair are half a cycle apart, so
one pass gives all others of its relative orbit.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["TRACKS", "Pass", "Track", "passes", "sun"]

SERVICE = {
    "sentinel-2a": ("2015-11-01", "2100-01-01"),
    "sentinel-2b": ("2017-07-01", "2100-01-01"),
    "sentinel-1a": ("2014-10-01", "2100-01-01"),
    "sentinel-1b": ("2016-10-01", "2021-12-23"),
    "landsat-8": ("2013-04-11", "2100-01-01"),
    "landsat-9": ("2021-11-01", "2100-01-01"),
}
"""When each satellite began to serve, and when it ceased."""


@dataclass(frozen=True)
class Track:
    """One relative orbit of a satellite, or of a pair, over the region."""

    platforms: tuple[str, ...]
    """The satellite of :attr:`known`, and the one half a cycle later where there are two."""

    orbit: int
    """Relative orbit; of Landsat the path."""

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

    edge: tuple[float, float] | None = None
    """Where the swath ends within the region: at which share of its width, and how many degrees its
    edge leans from north to east; a share below 0 counts from the east. None: it sees all."""

    retired: bool = False
    """Whether its satellites serve in their real years only."""

    def swath(self, size: int) -> NDArray[np.bool_]:
        """What it sees of ``size`` x ``size`` pixels, (y, x)."""
        if self.edge is None:
            return np.ones((size, size), bool)
        share, leans = self.edge
        y, x = (np.mgrid[:size, :size] + 0.5) / size - 0.5
        across = x + np.tan(np.radians(leans)) * y
        return np.asarray(across < share - 0.5 if share > 0 else across > 0.5 + share)


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


def passes(
    collection: str,
    first: np.datetime64,
    last: np.datetime64,
    tracks: Mapping[str, Sequence[Track]] = TRACKS,
) -> Iterator[Pass]:
    """Yield the passes of ``collection`` from day ``first`` to ``last``, both included, by time."""
    begin, end = first.astype("datetime64[s]"), (last + 1).astype("datetime64[s]")
    taken = []
    for track in tracks.get(collection, ()):
        apart = np.timedelta64(track.cycle * 24 // len(track.platforms), "h")
        apart = apart.astype("timedelta64[s]")
        known = np.datetime64(track.known, "s")
        number = -int((known - begin) // apart)
        while (time := known + number * apart) < end:
            platform = track.platforms[number % len(track.platforms)]
            if not track.retired or _serves(platform, time):
                taken.append(Pass(track, platform, time))
            number += 1
    yield from sorted(taken, key=lambda passage: passage.time)


def _serves(platform: str, time: np.datetime64) -> bool:
    begun, ceased = (np.datetime64(day) for day in SERVICE[platform])
    return bool(begun <= time < ceased)


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
