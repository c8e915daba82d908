"""A world: a climate at a place, with its soils, and the satellites that pass over it.

The default world is the one in Flanders. Every other is drawn from the seed: the place within the
climate's range, two soils, the year in which it begins, and which satellites see it, from how many
orbits, whole or in part, and how many of their acquisitions there are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.random import Generator

from terralatent.catalogs.simulation.climates.climate import (
    CLIMATES,
    DEFAULT,
    Climate,
    pick_climate,
)
from terralatent.catalogs.simulation.climates.ground import Ground
from terralatent.catalogs.simulation.climates.tracks import draw_tracks
from terralatent.catalogs.simulation.draws import Draws, Key
from terralatent.catalogs.simulation.orbits import TRACKS, Pass, Track

__all__ = ["CAUGHT", "FIRST_YEAR", "RANDOM", "World", "draw_world"]

FIRST_YEAR = 2018
"""Calendar year in which the default world begins: both satellites of both pairs are in orbit."""

FIRST_YEARS = (2016, 2023)
"""Years between which others begin, the last one not included."""

RANDOM = "random"
"""Instead of a climate's name: draw it too."""

CAUGHT, OFTEN_CAUGHT = 0.95, (0.85, 0.97)
"""Share of what is not clear that masks catch, over all dates: in the default world, and the lowest
and highest in drawn ones. Real masks miss more than its: of their observations 5 to 8 % lie beyond
three standard deviations of what neighbours in time say."""

EARLY, SPARSE = "2017-07-01", 0.6
"""Until when Sentinel-2 was not taken everywhere, and the share of its passes that was."""


@dataclass(frozen=True)
class World:
    """Everything that is settled before the first day."""

    climate: Climate
    ground: Ground
    tracks: Mapping[str, tuple[Track, ...]] = field(default_factory=lambda: dict(TRACKS))
    """By collection."""
    first_year: int = FIRST_YEAR
    soils: tuple[str, str] = ("loam", "loam")
    """Names of the two that share the region."""
    complete: Mapping[str, float] = field(default_factory=dict)
    """Share of the passes of a collection that was acquired; all where it is silent."""
    overpass_minutes: int = 10 * 60 + 55
    """Minutes after 0:00 UTC at which the sun lights the daily surface."""
    sun_azimuth: float = 160.0
    """Where the sun stands when optical satellites pass, degrees from north, about."""

    caught: float = CAUGHT
    """Share of what is not clear that masks catch."""

    default: bool = False
    """Whether it is the one that is simulated where no climate is named."""

    @property
    def south(self) -> bool:
        """Whether it lies south of the equator."""
        return self.ground.crs.startswith("EPSG:327")

    @property
    def overpass(self) -> np.timedelta64:
        """Time of the day, UTC, at which the sun lights the daily surface."""
        return np.timedelta64(self.overpass_minutes, "m")

    @property
    def season_lag(self) -> np.timedelta64:
        """Days by which the seasons come later than north of the equator."""
        return np.timedelta64(183 if self.south else 0, "D")

    @property
    def first_crop_year(self) -> int:
        """The crop year to which the first summer's harvest belongs, in seasons of the north."""
        return self.first_year - int(self.south)

    def acquired(self, taken: Pass, collection: str, draws: Draws) -> bool:
        """Whether there is an acquisition of a pass."""
        share = self.complete.get(collection, 1.0)
        if share < 1 and collection.startswith("sentinel-2") and taken.time < np.datetime64(EARLY):
            share *= SPARSE
        return share >= 1 or bool(draws.of(Key.ACQUIRED, taken).random() < share)

    def to_json(self) -> dict[str, Any]:
        """What was drawn, for attributes."""
        latitude, longitude = self.ground.middle
        return {
            "climate": self.climate.name,
            "title": self.climate.title,
            "latitude": round(latitude, 4),
            "longitude": round(longitude, 4),
            "crs": self.ground.crs,
            "first_year": self.first_year,
            "soils": list(self.soils),
            "complete": {name: round(share, 3) for name, share in self.complete.items()},
            "mask_catches": round(self.caught, 3),
            "tracks": {name: [asdict(t) for t in tracks] for name, tracks in self.tracks.items()},
        }


def draw_world(name: str, size: int, draws: Draws) -> World:
    """The world of a climate called ``name``, or of any where that is :data:`RANDOM`.

    Raises:
        InputError: If there is no such climate.
    """
    if name == DEFAULT:
        return World(pick_climate(name), Ground(size), default=True)
    rng = draws.of(Key.WORLD)
    number = int(rng.integers(len(CLIMATES)))  # drawn always, so that all else is the same
    climate = list(CLIMATES.values())[number] if name == RANDOM else pick_climate(name)
    latitude, longitude = _place(climate, rng)
    soils = list(climate.soils)
    chances = np.array([climate.soils[soil] for soil in soils])
    first, second = rng.choice(soils, 2, p=chances / chances.sum())
    tracks = draw_tracks(latitude, longitude, rng)
    complete = {collection: float(rng.uniform(0.7, 1.0)) for collection in tracks}
    known = np.datetime64(tracks["sentinel-2-l2a"][0].known, "m")
    tropics = abs(latitude) < 20
    return World(
        climate,
        Ground.at(size, latitude, longitude),
        tracks,
        int(rng.integers(*FIRST_YEARS)),
        (str(first), str(second)),
        complete,
        int((known - known.astype("datetime64[D]")).astype(int)),
        90.0 if tropics else 160.0 if latitude > 0 else 30.0,
        float(rng.uniform(*OFTEN_CAUGHT)),
    )


def _place(climate: Climate, rng: Generator) -> tuple[float, float]:
    """Latitude and longitude within the climate's range, degrees."""
    widths = np.array([east - west for west, east in climate.longitudes])
    west, east = climate.longitudes[int(rng.choice(len(widths), p=widths / widths.sum()))]
    side = {"north": 1.0, "south": -1.0}[str(rng.choice(list(climate.hemispheres)))]
    return side * float(rng.uniform(*climate.latitudes)), float(rng.uniform(west, east))
