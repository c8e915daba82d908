"""Passes of the simulated satellites: the days of the real ones, and the sun above them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from terralatent.catalogs.simulation.orbits import TRACKS, passes, sun

FIRST, LAST = np.datetime64("2017-08-01"), np.datetime64("2018-11-30")


@pytest.mark.parametrize("collection", TRACKS)
def test_a_platform_passes_again_after_its_cycle(collection: str) -> None:
    taken = list(passes(collection, FIRST, LAST))
    assert [p.time for p in taken] == sorted(p.time for p in taken)
    for track in TRACKS[collection]:
        for platform in track.platforms:
            times = np.array([p.time for p in taken if (p.track, p.platform) == (track, platform)])
            assert set(np.diff(times)) == {np.timedelta64(track.cycle * 86400, "s")}
        both = np.array([p.time for p in taken if p.track is track])
        assert set(np.diff(both)) == {np.timedelta64(track.cycle * 43200, "s")}
        assert np.datetime64(track.known) in both or not FIRST <= np.datetime64(track.known) <= LAST


def test_part_of_a_period_has_the_passes_of_the_whole() -> None:
    middle = np.datetime64("2018-03-07")
    whole = list(passes("sentinel-2-l2a", FIRST, LAST))
    parts = [*passes("sentinel-2-l2a", FIRST, middle), *passes("sentinel-2-l2a", middle + 1, LAST)]
    assert parts == whole


@pytest.mark.parametrize(
    ("collection", "hour", "track"),
    [("sentinel-2-l2a", 10.95, 0), ("sentinel-1-rtc", 17.6, 0)],
)
def test_the_days_are_those_of_the_real_satellites(
    scenes: Path, collection: str, hour: float, track: int
) -> None:
    """The real place has two tracks a collection; the earlier one of a day is the first of ours."""
    names = [path.stem for path in (scenes / collection).glob("*/*.json")]
    stamps = [json.loads((scenes / collection / n / f"{n}.json").read_text()) for n in names]
    times = np.array([s["properties"]["datetime"].rstrip("Z") for s in stamps], "datetime64[s]")
    hours = (times - times.astype("datetime64[D]")).astype(float) / 3600
    real = set(times[hours < hour].astype("datetime64[D]"))
    ours = {
        passage.time.astype("datetime64[D]")
        for passage in passes(collection, FIRST, LAST)
        if passage.track is TRACKS[collection][track]
    }
    assert len(real) > 60
    assert real <= ours


def test_the_sun_stands_where_almanacs_have_it() -> None:
    """At noon of the solstices and of an equinox, and at its rise at an equinox."""
    noon = {"2018-06-21T12:02": 50 - 23.44, "2018-12-21T11:58": 50 + 23.44, "2018-03-20T12:07": 50}
    for time, zenith in noon.items():
        position = sun(np.datetime64(time), 50.0, 0.0)
        assert position[0] == pytest.approx(zenith, abs=0.5)
        assert position[1] == pytest.approx(180.0, abs=1.5)
    zenith, azimuth = sun(np.datetime64("2018-03-20T06:07"), 50.0, 0.0)
    assert zenith == pytest.approx(90.0, abs=1.0)
    assert azimuth == pytest.approx(90.0, abs=1.5)
    # Twenty degrees east, it is there an hour and twenty minutes earlier.
    east = sun(np.datetime64("2018-03-20T10:47"), 50.0, 20.0)
    assert east == pytest.approx(sun(np.datetime64("2018-03-20T12:07"), 50.0, 0.0), abs=0.5)
