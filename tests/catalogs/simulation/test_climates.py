"""Climates: what is drawn from their tables follows the laws of seasons, water, snow and light."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import pytest

from terralatent.catalogs.errors import InputError
from terralatent.catalogs.simulation.climates.climate import (
    CLIMATES,
    Climate,
    Curve,
    Rotation,
    pick_climate,
)
from terralatent.catalogs.simulation.climates.covers import LandCover
from terralatent.catalogs.simulation.climates.ground import Ground
from terralatent.catalogs.simulation.climates.spectra import MSI
from terralatent.catalogs.simulation.climates.world import World, draw_world
from terralatent.catalogs.simulation.crops import onsets
from terralatent.catalogs.simulation.draws import Draws, Key
from terralatent.catalogs.simulation.landscape import Landscape, lay_out_land
from terralatent.catalogs.simulation.radar import Radar
from terralatent.catalogs.simulation.seasons import grow
from terralatent.catalogs.simulation.sky import SkyClass, draw_sky
from terralatent.catalogs.simulation.surface import NADIR, Surface
from terralatent.catalogs.simulation.weather import Weather, make_weather
from terralatent.catalogs.simulation.wild import day_length

SIZE = 40
OTHERS = [name for name in CLIMATES if name != "temperate"]
BANDS = list(MSI.bands)


@dataclass(frozen=True)
class Drawn:
    """Two years of a climate, without any satellite."""

    surface: Surface
    month: np.ndarray

    @property
    def green(self) -> np.ndarray:
        """Mean green leaf area of every day."""
        return np.array([self.surface.green_area(n).mean() for n in range(len(self.month))])

    def ndvi(self, days: np.ndarray) -> np.ndarray:
        """Mean over the land, by day."""
        land = self.surface.cover(0) != LandCover.WATER
        seen = np.stack([self.surface.reflectance(n)[:, land] for n in days])
        red, infrared = seen[:, BANDS.index("B04")], seen[:, BANDS.index("B08")]
        return ((infrared - red) / (infrared + red)).mean(1)

    def pixels(self, *kinds: LandCover) -> np.ndarray:
        """Where the land is of some kinds, on the first day."""
        return np.isin(self.surface.cover(0), kinds)


@lru_cache
def drawn(name: str, seed: int = 1, place: tuple[float, float] | None = None) -> Drawn:
    world = draw_world(name, SIZE, Draws(seed))
    return of_world(replace(world, ground=Ground.at(SIZE, *place)) if place else world, seed)


def of_world(world: World, seed: int) -> Drawn:
    draws, first = Draws(seed), np.datetime64(f"{world.first_year}-01-01")
    days = np.arange(first, first + 730)
    around = np.arange(days[0] - 400, days[-1] + 401) - world.season_lag
    climate = world.climate
    land = lay_out_land(SIZE, 3, climate, draws.of(Key.LAND), draws.of(Key.SOILS))
    weather = make_weather(around, climate, draws.of(Key.WEATHER), draws.of(Key.YEARS))
    canopies = grow(
        land.cover, around, world.first_crop_year, climate, weather,
        abs(world.ground.middle[0]), draws.of(Key.SEASONS),
    )  # fmt: skip
    part = slice(400, 400 + len(days))
    weather, canopies = weather.within(part), canopies.within(part)
    surface = Surface.lit(world, land, canopies, weather, days, [(MSI, NADIR)])
    return Drawn(surface, days.astype("datetime64[M]").astype(int) % 12 + 1)


@pytest.mark.parametrize("name", OTHERS)
def test_what_is_seen_of_any_climate_is_reflectance_and_every_class_may_occur(name: str) -> None:
    world = drawn(name).surface
    for day in range(20, 380, 60):
        seen = world.reflectance(day)
        assert seen.min() > 0
        assert seen.max() < 0.95
    possible = {int(kind) for kind in CLIMATES[name].covers}
    assert set(np.unique(world.cover(0))) <= possible
    large = lay_out_land(160, 8, CLIMATES[name], *(np.random.default_rng(n) for n in range(2)))
    assert set(np.unique(large.cover)) == possible


def test_one_seed_gives_one_world_and_another_climate_another() -> None:
    first, again = (draw_world("savanna", SIZE, Draws(3)).to_json() for _ in range(2))
    assert first == again
    assert draw_world("rice", SIZE, Draws(3)).to_json() != first
    assert draw_world("savanna", SIZE, Draws(4)).to_json() != first
    parcels = [drawn(name).surface.land.cover for name in ("savanna", "rice")]
    assert parcels[0].shape != parcels[1].shape or (parcels[0] != parcels[1]).any()


def lag(first: np.ndarray, second: np.ndarray, most: int) -> int:
    """Steps by which ``second`` comes after ``first``, by their highest correlation."""
    best = [
        np.corrcoef(first[: len(first) - n], second[n:])[0, 1] if n else
        np.corrcoef(first, second)[0, 1] for n in range(most)
    ]  # fmt: skip
    return int(np.argmax(best))


def test_the_southern_twin_of_a_climate_of_warmth_is_half_a_year_late() -> None:
    days = np.arange(0, 730, 10)
    north, south = (
        drawn("double-cropping", 1, (latitude, 20.0)).ndvi(days) for latitude in (36.0, -36.0)
    )
    assert abs(10 * lag(north, south, 37) - 183) <= 30
    assert np.ptp(north) > 0.15


def test_rains_lead_the_green_and_not_the_calendar() -> None:
    for name in ("savanna", "semi-arid", "savanna-two-rains"):
        found = drawn(name)
        month = np.ones(30) / 30
        rain = np.convolve(found.surface.weather.rain, month, "same")
        assert 5 <= lag(rain, found.green, 100) <= 75, name
    # The same place under rains that come two months later is green two months later.
    climate, place = CLIMATES["savanna"], (11.0, 10.0)

    def later(curve: Curve, days: float) -> Curve:
        return Curve(curve.mean, tuple((a, peak + days, n) for a, peak, n in curve.waves))

    moved = replace(
        climate, gloom=later(climate.gloom, 60), rain=later(climate.rain, 60),
        rains=(climate.rains[0] + 60,),
    )  # fmt: skip
    world = draw_world("savanna", SIZE, Draws(1))
    world = replace(world, ground=Ground.at(SIZE, *place))
    usual, after = (of_world(replace(world, climate=c), 1).green for c in (climate, moved))
    assert abs(lag(usual, after, 150) - 60) <= 15


def test_rains_begin_where_the_dry_season_ends() -> None:
    """Rain of 6 mm a day between two days, and next to none outside: known onsets."""
    days = np.arange("2019-01-01", "2021-12-31", dtype="datetime64[D]")
    climate = CLIMATES["savanna"]
    begins = {2019: 150, 2020: 171, 2021: 139}
    rain = np.full(len(days), 0.1)
    for year, begin in begins.items():
        new_year = int((np.datetime64(f"{year}-01-01") - days[0]).astype(int))
        rain[new_year + begin : new_year + begin + 100] = 6.0
    none = np.zeros(len(days))
    found = onsets(days, climate, Weather(none, rain, none, none, none, none, none))
    for year, begin in begins.items():
        new_year = int((np.datetime64(f"{year}-01-01") - days[0]).astype(int))
        assert abs(found[year][0] - (new_year + begin)) <= 1


def test_a_drought_leaves_less_green() -> None:
    climate = CLIMATES["semi-arid"]
    world = draw_world("semi-arid", SIZE, Draws(2))
    wet, dry = (
        of_world(replace(world, climate=replace(climate, drought=share)), 2) for share in (0.0, 1.0)
    )
    assert dry.surface.weather.rain.sum() < 0.7 * wet.surface.weather.rain.sum()
    assert dry.green.mean() < 0.85 * wet.green.mean()


def test_two_cycles_are_two_peaks_a_year() -> None:
    found = drawn("double-cropping")
    parcels = np.flatnonzero((found.surface.land.cover == LandCover.TWO_CROPS).all(0))
    green = found.surface.canopies.green_area[:365, parcels]
    single = np.flatnonzero((found.surface.land.cover == LandCover.MAIZE).any(0))
    assert len(parcels)
    peaks = ((green[1:-1] > green[:-2]) & (green[1:-1] >= green[2:]) & (green[1:-1] > 2)).sum(0)
    assert np.median(peaks) >= 2
    assert len(single)


def test_snow_is_bright_in_the_green_and_dark_in_the_infrared_and_less_seen_in_forests() -> None:
    surface = drawn("boreal").surface
    assert surface.weather.temperature[surface.weather.snow > 0.9].mean() < 0
    white = int(np.argmax(surface.weather.snow))
    summer = int(np.argmax(surface.weather.temperature))
    fields = drawn("boreal").pixels(LandCover.SPRING_WHEAT, LandCover.FALLOW, LandCover.BARE_SOIL)
    seen = surface.reflectance(white)
    assert surface.weather.snow[summer] == 0
    assert np.median(seen[BANDS.index("B03")][fields]) > 0.6
    assert np.median(seen[BANDS.index("B11")][fields]) < 0.2
    shows = surface.snow(white)
    forest = drawn("boreal").pixels(LandCover.CONIFER_FOREST)
    assert np.median(shows[forest]) < 0.5 * np.median(shows[fields])


def test_a_flooded_field_is_dark_in_the_infrared_and_for_radar() -> None:
    surface = drawn("rice").surface
    radar = Radar.over(surface, Draws(1).of(Key.RADAR))
    track = replace(surface.world.tracks["sentinel-1-rtc"][0], edge=None)
    parcel = surface.land.parcel
    wet_vv, dry_vv, wet_band, dry_band = [], [], [], []
    for day in range(10, 730, 12):
        bare = surface.canopies.leaf_area[day][parcel] < 0.25
        flooded = surface.canopies.flooded[day][parcel]
        crops = np.isin(surface.cover(day), (LandCover.RICE, LandCover.TWO_CROPS)) & bare
        power = radar.backscatter(day, track, np.random.default_rng(day))[0]
        seen = surface.reflectance(day)[[BANDS.index("B11"), BANDS.index("B8A")]]
        for where, of_radar, of_bands in (
            (crops & (flooded == 1), wet_vv, wet_band), (crops & (flooded == 0), dry_vv, dry_band),
        ):  # fmt: skip
            of_radar += list(10 * np.log10(power[where]))
            of_bands += list(seen[:, where].T)
    assert len(wet_vv) > 100
    assert np.median(wet_vv) < np.median(dry_vv) - 2
    assert (np.median(wet_band, 0) < 0.5 * np.median(dry_band, 0)).all()


def test_months_of_the_monsoon_have_few_clear_dates() -> None:
    climate = CLIMATES["rice"]
    days = np.arange("2010-01-01", "2015-12-31", dtype="datetime64[D]")
    weather = make_weather(days, climate, *(np.random.default_rng(n) for n in range(2)))
    month = days.astype("datetime64[M]").astype(int) % 12 + 1
    clear = {}
    for name, months in (("dry", (1, 2)), ("monsoon", (7, 8))):
        skies = [
            draw_sky(24, weather.gloom[n], (40.0, 120.0), np.random.default_rng(n), climate.broken)
            for n in np.flatnonzero(np.isin(month, months))[::5]
        ]
        clear[name] = np.mean([(sky.classes == SkyClass.CLEAR).mean() for sky in skies])
    assert clear["monsoon"] < 0.2 < 0.5 < clear["dry"]


def test_haze_has_its_season() -> None:
    rng = np.random.default_rng(5)
    depth = [
        np.mean([draw_sky(24, 0.1, (40.0, 120.0), rng, (0.4, 0.7), hazy).haze.mean() for _ in
        range(60)]) for hazy in (0.5, 1.0, 3.0)
    ]  # fmt: skip
    assert depth[0] < depth[1] < depth[2]


def test_days_are_as_long_as_almanacs_have_them() -> None:
    """By the sun's upper limb they are some minutes longer; here its centre counts."""
    day = np.array([172.0, 355.0, 80.0])
    np.testing.assert_allclose(day_length(day, 50.0), [16.2, 7.8, 12.0], atol=0.2)
    np.testing.assert_allclose(day_length(day, 0.0), 12.0, atol=1e-9)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"arable": 0.9}, "add up to"),
        ({"soils": {"chalk": 1.0}}, "are none of loam, sand"),
        ({"scattered": {"oats": 0.18}}, "'oats' is no land cover"),
        ({"scattered": {"rice": 0.18}}, "'rice' is a crop"),
        ({"crops": {}}, "fields and crops go together"),
        ({"broken": (0.7, 0.4)}, "does not rise"),
    ],
)
def test_a_climate_that_does_not_fit_is_refused(change: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        replace(CLIMATES["temperate"], **change)


def test_an_unknown_climate_is_refused_by_name() -> None:
    with pytest.raises(InputError, match="Unknown climate lunar; known are temperate, boreal"):
        pick_climate("lunar")
    assert isinstance(pick_climate("steppe"), Climate)
    assert Rotation(0.5).cycles == ()


def test_soils_differ_as_their_names_say() -> None:
    """Bare, dry, and side by side: sand is bright, clay dark, and laterite red."""
    drawn_of = drawn("semi-arid").surface
    world = drawn_of.world
    bare = replace(drawn_of.canopies, leaf_area=0 * drawn_of.canopies.leaf_area)
    land: Landscape = drawn_of.land
    seen = {}
    for soil in ("loam", "sand", "dark", "laterite"):
        surface = replace(
            drawn_of, world=replace(world, soils=(soil, soil)), canopies=bare, land=land
        )
        where = surface.cover(0) == LandCover.BARE_SOIL
        seen[soil] = np.median(surface.sharp(0, MSI)[:, where], 1)
    blue, red, short = (BANDS.index(band) for band in ("B02", "B04", "B11"))
    assert seen["sand"][short] > seen["loam"][short] > seen["dark"][short]
    assert seen["laterite"][red] / seen["laterite"][blue] > 1.5 * (
        seen["loam"][red] / seen["loam"][blue]
    )
