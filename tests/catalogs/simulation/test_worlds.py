"""Worlds that are drawn: places, satellites, and scenes that build into a cube as real ones do."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import rasterio
import xarray as xr
from distributed import Client

from terralatent.catalogs.errors import InputError
from terralatent.catalogs.scenes.search import search_scenes
from terralatent.catalogs.simulation.climates.climate import CLIMATES
from terralatent.catalogs.simulation.climates.ground import Ground
from terralatent.catalogs.simulation.climates.world import World, draw_world
from terralatent.catalogs.simulation.draws import Draws
from terralatent.catalogs.simulation.landsat import landsat_pixels, landsat_quality
from terralatent.catalogs.simulation.orbits import Track, passes, sun
from terralatent.catalogs.simulation.simulate import simulate
from terralatent.catalogs.simulation.sky import Sky, SkyClass, draw_sky
from terralatent.catalogs.sources.sensors import SENSORS
from terralatent.pipeline.cli.demo_scores import open_truth
from terralatent.pipeline.cube.opened import open_cube
from terralatent.pipeline.ingest.build import build_cube

SIZE, SEED = 32, 0
"""Of a random world with Landsat, whose second orbit of Sentinel-2 sees a part of it."""


@pytest.fixture(scope="module")
def world() -> World:
    return draw_world("random", SIZE, Draws(SEED))


@pytest.fixture(scope="module")
def region(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """It simulated; not to be changed."""
    folder = tmp_path_factory.mktemp("simulated") / "region"
    return simulate(folder, size=SIZE, seed=SEED, climate="random")


@pytest.fixture(scope="module")
def cube(region: Path, workers: Client, tmp_path_factory: pytest.TempPathFactory) -> xr.DataTree:
    return build(region, tmp_path_factory.mktemp("built") / "cube", workers)


def build(region: Path, cube: Path, workers: Client) -> xr.DataTree:
    outline = region / "region.geojson"
    scenes = search_scenes(region, outline, "2015-01-01", "2030-01-01")
    build_cube(scenes, outline, cube, block=SIZE, client=workers)
    return open_cube(cube)


def drawn_sensors(world: World) -> set[str]:
    names = {"sentinel-2-l2a"} | ({"landsat-c2-l2"} & set(world.tracks))
    directions = {track.direction for track in world.tracks["sentinel-1-rtc"]}
    return names | {f"sentinel-1-{direction.removesuffix('ending')}" for direction in directions}


@pytest.mark.soak  # the default world is built in every run
def test_a_drawn_world_builds_into_a_cube_with_every_sensor_that_it_has(
    region: Path, world: World, cube: xr.DataTree
) -> None:
    assert set(cube.children) - {"items"} == drawn_sensors(world)
    truth = open_truth(region)
    optical = cube["sentinel-2-l2a"]
    assert optical.sizes["x"] == optical.sizes["y"] == SIZE
    np.testing.assert_array_equal(optical["x"].values, truth["x"].values)
    for name in ("sentinel-2-l2a", "landsat-c2-l2"):
        times = truth[name]["time"].values
        assert len(times) == cube[name].sizes["time"]
        data, clear = cube[name]["data"].values, cube[name]["clear"].values
        assert np.isfinite(data).all(1)[clear].all()
        assert 0.1 < clear.mean() < 0.95


@pytest.mark.soak
def test_landsat_sees_the_same_surface_as_the_truth(region: Path, cube: xr.DataTree) -> None:
    """On clear dates, by its own bands: nearly those of Sentinel-2 in the red and infrared."""
    truth, landsat = open_truth(region), cube["landsat-c2-l2"]
    daily, left = truth["daily"]["reflectance"], []
    gain, offset = truth["landsat-c2-l2"]["gain"].values, truth["landsat-c2-l2"]["offset"]
    for n, time in enumerate(landsat["time"].values):
        clear = (truth["landsat-c2-l2"]["sky"].values[n] == SkyClass.CLEAR).mean()
        if clear < 0.95:
            continue
        day = daily.sel(time=time.astype("datetime64[D]"))
        for own, other in (("B04", "B04"), ("B05", "B8A"), ("B06", "B11")):
            seen = landsat["data"].sel(band=own).values[n]
            seen = (seen - offset.sel(band=own).values[n]) / (1 + gain[n])
            left.append(np.nanmedian(seen) / np.median(day.sel(band=other).values) - 1)
    assert len(left) > 12
    assert abs(np.median(left)) < 0.05


@pytest.mark.soak
def test_an_orbit_at_the_edge_of_its_swath_sees_its_part_and_no_more(
    world: World, cube: xr.DataTree
) -> None:
    optical = cube["sentinel-2-l2a"]
    quality = optical["quality"].values
    for track in world.tracks["sentinel-2-l2a"]:
        own = quality[optical["orbit"].values == track.orbit]
        within = track.swath(SIZE // 2).repeat(2, 0).repeat(2, 1)
        assert len(own) > 3
        assert (own[:, ~within] == 0).all()
        assert (own[:, within] > 0).all()
        assert within.all() == (track.edge is None)


def test_what_was_drawn_stands_with_the_catalogue_and_the_truth(region: Path, world: World) -> None:
    stated = json.loads((region / "catalog.json").read_text())["world"]
    assert stated == json.loads(json.dumps(world.to_json()))
    attributes = open_truth(region).attrs
    assert attributes["world"] == stated
    assert attributes["simulation"]["climate"] == "random"
    assert attributes["proj:code"] == stated["crs"]
    with pytest.raises(InputError, match="climate is random there, savanna here"):
        simulate(region, size=SIZE, seed=SEED, climate="savanna")
    with pytest.raises(InputError, match="climate is random there, temperate here"):
        simulate(region, size=SIZE, seed=SEED)


def test_any_seed_draws_a_place_of_its_climate_with_satellites_of_its_time() -> None:
    seen, sides = set(), set()
    for seed in range(150):
        draws = Draws(seed)
        world = draw_world("random", SIZE, draws)
        latitude, longitude = world.ground.middle
        low, high = world.climate.latitudes
        assert low - 0.01 <= abs(latitude) <= high + 0.01
        assert any(w - 0.02 <= longitude <= e + 0.02 for w, e in world.climate.longitudes)
        assert world.south == (latitude < 0)
        assert world.ground.left % 30 == world.ground.top % 30 == 0
        assert 166_000 < world.ground.left < 834_000
        seen.add(world.climate.name)
        sides.add(world.south)
        first = np.datetime64(f"{world.first_year}-01-01")
        for collection, tracks in world.tracks.items():
            taken = [
                one for one in passes(collection, first, first + 364, world.tracks)
                if world.acquired(one, collection, draws)
            ]  # fmt: skip
            assert len(taken) >= 8
            assert tracks[0].edge is None
            if collection == "sentinel-2-l2a":
                zenith = [sun(one.time, latitude, longitude)[0] for one in taken]
                assert min(zenith) < 65  # it is day when it passes
    assert seen == set(CLIMATES)
    assert sides == {True, False}


def test_an_early_year_has_one_satellite_and_fewer_dates() -> None:
    pair = ("sentinel-2a", "sentinel-2b")
    track = Track(pair, 7, "2018-01-03T10:30:00", 10, "descending", 5.0, 104.0, retired=True)
    tracks = {"sentinel-2-l2a": (track,)}
    platforms = {}
    for year in (2016, 2018):
        first = np.datetime64(f"{year}-01-01")
        taken = list(passes("sentinel-2-l2a", first, first + 364, tracks))
        platforms[year] = ({one.platform for one in taken}, len(taken))
    assert platforms == {2016: ({"sentinel-2a"}, 37), 2018: (set(pair), 73)}


@pytest.mark.parametrize(
    ("place", "tile"),
    [
        ((50.9, 3.55), "31UES"),
        ((-33.87, 151.2), "56HLH"),  # Sydney
        ((40.7, -74.0), "18TWL"),  # New York
        ((41.9, 12.5), "33TTG"),  # Rome
        ((-1.29, 36.82), "37MBU"),  # Nairobi
    ],
)
def test_tiles_are_those_of_the_real_grid(place: tuple[float, float], tile: str) -> None:
    assert Ground.at(SIZE, *place).mgrs_tile == tile


def test_pixels_of_30_m_average_and_lie_on_their_own_grid(region: Path) -> None:
    """A plane stays a plane: the mean of a pixel is its value at the pixel's centre."""
    y, x = np.mgrid[:48, :48] + 0.5
    coarse = landsat_pixels((3 * y + x).astype(np.float32))
    at = 3 * np.arange(len(coarse))  # centres on multiples of 30 m: 3 pixels of 10 m apart
    inside = slice(1, -1)
    wanted = 3 * at[:, None] + at[None, :]
    np.testing.assert_allclose(coarse[inside, inside], wanted[inside, inside], rtol=1e-6)
    item = next((region / "landsat-c2-l2").glob("*/qa_pixel.tif"))
    with rasterio.open(item) as file:
        assert file.res == (30.0, 30.0)
        assert (file.transform.c - 15) % 30 == (file.transform.f - 15) % 30 == 0
        stated = json.loads((region / "region.geojson").read_text())
        assert stated["type"] == "Polygon"
        assert file.bounds.right - file.bounds.left >= 10 * SIZE


def test_landsat_s_bits_mask_what_its_rule_takes_for_not_clear() -> None:
    """Where the processor notices all that there is; false alarms are what else it masks."""
    rng, size = np.random.default_rng(2), 48
    skies = [
        draw_sky(size, gloom, (40.0, 150.0), rng, (0.2, 0.8), hazy=0.0)
        for gloom in (0.1, 0.4, 0.5, 0.9)
    ]
    rule = SENSORS["landsat-c2-l2"].quality[0].rule
    water, snow = np.zeros((2 * size,) * 2, bool), np.zeros((2 * size,) * 2, np.float32)

    def clear(sky: Sky, snow: np.ndarray = snow) -> np.ndarray:
        return rule(landsat_quality(sky, -np.inf, water, snow))

    for sky in skies:
        cloudy = landsat_pixels((sky.cloud > 0.5).astype(np.float32).repeat(2, 0).repeat(2, 1))
        assert not clear(sky)[cloudy > 0.99].any()
    assert clear(skies[0]).mean() > 0.8
    assert clear(skies[-1]).mean() < 0.05
    assert clear(skies[0], np.ones_like(snow)).mean() < 0.15


@pytest.mark.soak
@pytest.mark.parametrize("name", CLIMATES)
def test_every_climate_builds_with_every_sensor(name: str, workers: Client, tmp_path: Path) -> None:
    simulate(tmp_path / "region", size=SIZE, seed=3, climate=name)
    cube = build(tmp_path / "region", tmp_path / "cube", workers)
    assert set(cube.children) - {"items"} == drawn_sensors(draw_world(name, SIZE, Draws(3)))


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(40))
def test_no_seed_fails(seed: int, tmp_path: Path) -> None:
    simulate(tmp_path / "region", size=SIZE, seed=seed, climate="random")
    truth = open_truth(tmp_path / "region")["daily/reflectance"].values
    assert truth.min() > 0
    assert truth.max() < 0.95


@pytest.mark.soak
def test_a_drawn_world_has_the_same_bytes_again(region: Path, tmp_path: Path) -> None:
    again = simulate(tmp_path / "again", size=SIZE, seed=SEED, climate="random")
    files = [path.relative_to(region) for path in region.rglob("*") if path.is_file()]
    assert len(files) > 500
    assert all((region / path).read_bytes() == (again / path).read_bytes() for path in files)
