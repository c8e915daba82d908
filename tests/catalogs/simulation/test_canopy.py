"""Canopies of the simulated crops: their seasons, and what optics and radar see of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from prosail import run_prosail

from terralatent.catalogs.simulation import canopy, radar
from terralatent.catalogs.simulation.canopy import BANDS, CanopyTable, over_bands, soil_reflectance
from terralatent.catalogs.simulation.climates import backscatter
from terralatent.catalogs.simulation.climates.backscatter import WaterCloud
from terralatent.catalogs.simulation.climates.climate import CLIMATES
from terralatent.catalogs.simulation.climates.covers import LandCover, Plant
from terralatent.catalogs.simulation.climates.world import draw_world
from terralatent.catalogs.simulation.crops import CROPS, season
from terralatent.catalogs.simulation.draws import Draws
from terralatent.catalogs.simulation.landscape import Landscape
from terralatent.catalogs.simulation.orbits import TRACKS
from terralatent.catalogs.simulation.radar import Radar, speckle
from terralatent.catalogs.simulation.seasons import Canopies, grow
from terralatent.catalogs.simulation.surface import Surface
from terralatent.catalogs.simulation.weather import Weather, make_weather

DAYS = np.arange("2018-01-01", "2019-01-01", dtype="datetime64[D]")
TEMPERATE = CLIMATES["temperate"]
RED, INFRARED = list(BANDS).index("B04"), list(BANDS).index("B08")


@pytest.fixture(scope="module")
def table() -> CanopyTable:
    """Canopies under a sun at 40 degrees, seen 8 degrees off."""
    return CanopyTable.compute(40.0, 8.0, 100.0)


def seen(
    table: CanopyTable, plant: Plant, area: float, aged: float = 0.06, soil: float = 0.2
) -> np.ndarray:
    pixel = np.ones((1, 1), np.float32)
    grounds = np.full((len(BANDS), 1, 1), soil, np.float32)
    kind = np.full((1, 1), plant, np.int8)
    return table.reflectance(kind, aged * pixel, area * pixel, grounds)[:, 0, 0]


@pytest.mark.parametrize("plant", [Plant.WHEAT, Plant.BEET])
@pytest.mark.parametrize("soil", [0.0, 0.15, 0.6])
@pytest.mark.parametrize("area", [0.0, 1.0, 5.5])
def test_the_table_holds_what_prosail_gives(
    table: CanopyTable, plant: Plant, soil: float, area: float
) -> None:
    """PROSAIL's own way over the soil, where the table puts the soil below by SAIL's terms."""
    leaf = canopy.LEAVES[plant]
    spectrum = run_prosail(
        leaf.layers, leaf.chlorophyll, leaf.chlorophyll / 5, 0.0, leaf.water, leaf.dry_matter,
        area, leaf.angle, canopy.HOT_SPOT, 40.0, 8.0, 100.0, prospect_version="D",
        rsoil0=np.full(2101, soil),
    )  # fmt: skip
    wanted = (1 - canopy.GAPS) * over_bands(spectrum) + canopy.GAPS * soil
    reflectance = seen(table, plant, area, aged=0.0, soil=soil)
    np.testing.assert_allclose(reflectance, wanted, atol=2e-6)


def test_between_nodes_the_table_is_near_to_prosail(table: CanopyTable) -> None:
    leaf = canopy.LEAVES[Plant.MAIZE]
    spectrum = run_prosail(
        leaf.layers, leaf.chlorophyll, leaf.chlorophyll / 5, 0.0, leaf.water, leaf.dry_matter,
        2.6, leaf.angle, canopy.HOT_SPOT, 40.0, 8.0, 100.0, prospect_version="D",
        rsoil0=np.full(2101, 0.25),
    )  # fmt: skip
    wanted = (1 - canopy.GAPS) * over_bands(spectrum) + canopy.GAPS * 0.25
    np.testing.assert_allclose(seen(table, Plant.MAIZE, 2.6, 0.0, 0.25), wanted, atol=0.006)


def test_an_even_spectrum_stays_even_over_the_bands_and_a_line_falls_into_one() -> None:
    np.testing.assert_allclose(over_bands(np.full(2101, 0.3)), 0.3)
    line = np.zeros(2101)
    line[665 - 400] = 1.0
    assert list(BANDS)[int(np.argmax(over_bands(line)))] == "B04"


def test_vegetation_indices_lie_where_they_do_on_real_fields(table: CanopyTable) -> None:
    def ndvi(values: np.ndarray) -> float:
        return float((values[INFRARED] - values[RED]) / (values[INFRARED] + values[RED]))

    for plant in set(Plant) - {Plant.STUBBLE}:
        full = ndvi(seen(table, plant, 4.0))
        assert 0.7 < full < 0.95, plant
        by_area = [ndvi(seen(table, plant, area)) for area in (0.0, 0.3, 0.8, 1.5, 3.0)]
        assert by_area == sorted(by_area)
        by_age = [ndvi(seen(table, plant, 3.0, aged)) for aged in (0.0, 0.3, 0.6, 1.0)]
        assert by_age == sorted(by_age, reverse=True)
        assert by_age[-1] < 0.4
    dry, wet = (
        soil_reflectance(np.full((1, 1), 0.5, np.float32), moisture)[:, 0, 0]
        for moisture in (0.0, 1.0)
    )
    assert 0.05 < ndvi(dry) < 0.35
    assert (wet < dry).all()


@pytest.mark.parametrize("cover", CROPS)
def test_a_crop_grows_ages_and_is_gone(cover: LandCover) -> None:
    crop = CROPS[cover]
    day = np.arange(1.0, 366.0)
    area, aged = season(crop, day)
    green = area * (1 - aged)
    peak = int(np.argmax(green))
    came, gone = np.searchsorted(day, [crop.emergence, crop.harvest])
    assert (np.diff(green[came : peak + 1]) >= 0).all()
    assert (np.diff(green[peak:gone]) <= 0).all()
    assert (np.diff(aged) >= 0).all()
    assert (area[gone:] == 0).all()
    assert (area[:came] == 0).all()
    assert 3.0 < green[peak] < 6.0
    assert crop.growth < day[peak] < crop.senescence


def test_crops_have_their_seasons_and_fields_differ() -> None:
    kinds = [LandCover.WINTER_WHEAT, LandCover.MAIZE, LandCover.GRASS, LandCover.FOREST]
    cover = np.repeat(np.array(kinds, np.int8), 30)[None].repeat(2, 0)
    weather = make_weather(DAYS, TEMPERATE, np.random.default_rng(0), np.random.default_rng(0))
    grown = grow(cover, DAYS, 2018, TEMPERATE, weather, 51.0, np.random.default_rng(3))
    green = {kind: grown.green_area[:, cover[0] == kind] for kind in kinds}
    peak = {kind: np.argmax(values, 0) for kind, values in green.items()}
    assert 125 < np.median(peak[LandCover.WINTER_WHEAT]) < 175
    assert 190 < np.median(peak[LandCover.MAIZE]) < 250
    assert 3 < np.argmax(green[LandCover.MAIZE][130:280], 0).std() < 15
    assert (green[LandCover.GRASS] > 0.3).all()
    forest = green[LandCover.FOREST]
    assert (forest[180] > forest[30]).all()
    assert (grown.senescence <= 1).all()
    assert (grown.senescence >= 0).all()
    assert (grown.leaf_area >= 0).all()
    # What covers a field in the next year changes nothing before its harvest in this one.
    other = cover.copy()
    other[1, :30] = LandCover.MAIZE
    again = grow(other, DAYS, 2018, TEMPERATE, weather, 51.0, np.random.default_rng(3))
    np.testing.assert_array_equal(again.leaf_area[60:180, :30], grown.leaf_area[60:180, :30])


@pytest.fixture
def field() -> Radar:
    """One field of wheat of 8 x 8 pixels, bare on day 0 and closed on day 1; wet from day 2 on."""
    flat = np.ones((8, 8), np.float32)
    land = Landscape(
        np.zeros((8, 8), np.int32), np.full((2, 1), LandCover.WINTER_WHEAT, np.int8),
        flat, flat, flat, flat, flat, flat,
    )  # fmt: skip
    canopies = Canopies(
        np.full((3, 1), Plant.WHEAT, np.int8),
        np.array([[0.0], [40.0], [0.0]], np.float32),
        np.zeros((3, 1), np.float32),
        np.zeros((3, 1), np.float32),
    )
    none = np.zeros(3)
    weather = Weather(none, none, np.array([0.1, 0.1, 0.35]), none, none, none, none)
    world = draw_world("temperate", 8, Draws(0))
    surface = Surface(world, land, canopies, weather, DAYS[:3], {})
    flat = np.zeros((8, 8))
    usual = WaterCloud.usual()
    return Radar(surface, np.zeros(1), flat, usual, {"ascending": np.zeros((2, 8, 8), np.float32)})


def test_radar_sees_the_soil_or_the_canopy_or_both(
    field: Radar, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(radar, "FIELD_NOISE", 0.0)
    track = replace(TRACKS["sentinel-1-rtc"][0], zenith=radar.USUAL_INCIDENCE)
    bare, closed, wet = (
        10 * np.log10(field.backscatter(day, track, np.random.default_rng(0))) for day in range(3)
    )
    for band in range(2):
        soil = backscatter.SOIL[band] + backscatter.MOIST[band] * 0.1
        np.testing.assert_allclose(bare[band], soil, atol=1e-4)
        np.testing.assert_allclose(
            closed[band], backscatter.CANOPY[Plant.WHEAT][0][band], atol=1e-3
        )
        np.testing.assert_allclose(wet[band], soil + backscatter.MOIST[band] * 0.25, atol=1e-4)


def test_places_that_are_drawn_scatter_back_otherwise_and_levels_of_both_bands_rise_together() -> (
    None
):
    usual = WaterCloud.usual()
    drawn = [usual.drawn(np.random.default_rng(seed)) for seed in range(400)]
    away = np.stack([place.alone - usual.alone for place in drawn])
    assert away.mean((0, 2)) == pytest.approx(0.0, abs=0.1)
    assert away.std((0, 2)) == pytest.approx(backscatter.PLACE_LEVEL, rel=0.05)
    both = np.corrcoef(away[:, 0].ravel(), away[:, 1].ravel())[0, 1]
    assert both == pytest.approx(backscatter.LEVELS_TOGETHER, abs=0.05)
    assert all((place.weakens > 0).all() and (place.moist > 0).all() for place in drawn)


def test_speckle_has_unit_mean_and_its_number_of_looks() -> None:
    drawn = speckle(400, np.random.default_rng(5)).astype(float)
    assert drawn.mean() == pytest.approx(1.0, abs=0.01)
    assert 1 / drawn.var() == pytest.approx(radar.LOOKS, rel=0.1)
    assert np.corrcoef(drawn[0].ravel(), drawn[1].ravel())[0, 1] == pytest.approx(
        radar.SPECKLE_SHARED, abs=0.04
    )
    assert np.corrcoef(drawn[0][:, :-8].ravel(), drawn[0][:, 8:].ravel())[0, 1] < 0.05
