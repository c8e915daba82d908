"""Radar: noise along the edges of old scenes goes and fields stay; power and amplitude agree."""

from __future__ import annotations

import json
from collections import deque
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from distributed import Client
from odc.geo.geobox import GeoBox
from rasterio import Affine

from terralatent.catalogs.items.scaling import Scaling, read_scaling
from terralatent.catalogs.scenes.scenes import Scenes
from terralatent.catalogs.scenes.search import search_scenes
from terralatent.catalogs.sources.sensors import SENSORS, Border, Sensor
from terralatent.catalogs.sources.sources import SOURCES
from terralatent.pipeline.ingest.border_noise import border_halo, border_noise
from terralatent.pipeline.ingest.build import build_cube
from terralatent.pipeline.ingest.harmonise import linear_power, pack_item
from terralatent.pipeline.ingest.pixels import read_pixels
from terralatent.pipeline.store.repository import Store
from tests.made.catalogue import CRS, LEFT, SIDE, TOP, add_sentinel_1, region
from tests.made.recorded import changed, recorded

S1 = SENSORS["sentinel-1-asc"]
NARROW = replace(S1, border=replace(S1.border, width=80.0)) if S1.border else S1
"""A rule of eight pixels of 10 m."""


def scene(side: int = SIDE) -> dict[str, np.ndarray]:
    """Fields with a lake, no data in the left columns, and noise beside it, three pixels wide.

    One pixel in ten of the noise is brighter; the lake is as dark as the noise.
    """
    rng = np.random.default_rng(2)
    bands = {b: rng.gamma(4.0, 0.03, (side, side)).astype(np.float32) for b in ("vv", "vh")}
    for pixels in bands.values():
        np.maximum(pixels, 0.002, out=pixels)
        pixels[:, 4:7] = rng.uniform(1e-7, 9e-4, (side, 3))
        pixels[20:26, 20:26] = 2e-4
        pixels[:, :4] = np.nan
    bands["vv"][::10, 5] = 0.02
    return bands


def farthest(power: np.ndarray, below: float, steps: int) -> np.ndarray:
    """The rule again, pixel by pixel: a walk from where there is no data, over low pixels."""
    rows, columns = power.shape[1:]
    missing = np.isnan(power)
    outside, low = missing.all(0), (missing | (power < below)).all(0)
    noise = np.zeros((rows, columns), bool)
    waiting = deque((r, c, 0) for r, c in zip(*np.nonzero(outside), strict=True))
    seen = outside.copy()
    while waiting:
        row, column, done = waiting.popleft()
        for r in range(max(row - 1, 0), min(row + 2, rows)):
            for c in range(max(column - 1, 0), min(column + 2, columns)):
                if done < steps and low[r, c] and not seen[r, c]:
                    seen[r, c] = noise[r, c] = True
                    waiting.append((r, c, done + 1))
    return noise


@pytest.mark.parametrize("steps", [1, 2, 5, 30])
def test_noise_is_what_a_walk_over_low_pixels_reaches(steps: int) -> None:
    power = np.stack(list(scene().values())).astype(float)
    noise = border_noise(power, 1e-3, steps)
    np.testing.assert_array_equal(noise, farthest(power, 1e-3, steps))
    if steps >= 3:
        assert noise[:, 4:7].mean() > 0.9
    assert not noise[:, 7:].any(), "the lake and the fields stay"
    assert not noise[::10, 5].any(), "one band above is no noise"


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two scenes of the same pixels: before and after the processor left no noise."""
    folder = tmp_path_factory.mktemp("radar")
    add_sentinel_1(folder, "2017-05-03T17:30:00Z", scene(), name="old")
    add_sentinel_1(folder, "2018-05-03T17:30:00Z", scene(), name="new")
    return folder


def cubed(scenes: Scenes, out: Path, workers: Client, block: int) -> np.ndarray:
    assert build_cube(scenes, region(), out, block=block, client=workers).losses == ()
    return np.asarray(Store.of(out).group()["sentinel-1-asc/data"][...])


def test_noise_of_old_scenes_goes_fields_stay_and_tilings_agree(
    old: Path, workers: Client, tmp_path: Path
) -> None:
    own = tmp_path / "own.toml"
    own.write_text(
        '[sensors.sentinel-1-asc]\nlike = "sentinel-1-asc"\n[sensors.sentinel-1-asc.border]\n'
        'below = 1e-3\nwidth = 80.0\nsoftware = "Sentinel-1 IPF"\nversion = "002.90"\n'
        "until = 2018-03-13\n"
    )
    scenes = search_scenes(old, region(), "2017-01-01", "2018-12-31", described=[own])
    before, after = cubed(scenes, tmp_path / "whole", workers, 64)
    for block in (8, 16):
        tiles = cubed(scenes, tmp_path / str(block), workers, block)
        np.testing.assert_array_equal(tiles, np.stack([before, after]))

    fill = S1.packing.fill_value
    power = np.stack(list(scene().values())).astype(float)
    noise = farthest(power, 1e-3, 8)
    assert noise.sum() > 100
    np.testing.assert_array_equal(before == fill, np.isnan(power) | noise)
    np.testing.assert_array_equal(after == fill, np.isnan(power))
    np.testing.assert_array_equal(before[:, ~noise], after[:, ~noise])


GRID = GeoBox((64, 64), Affine(10, 0, LEFT, 0, -10, TOP), CRS)


def dated(**properties: Any) -> dict[str, Any]:
    item = recorded("planetary-computer/sentinel-1-rtc-1")
    return changed(item, **{"datetime": "2017-01-01T00:00:00Z", **properties})


@pytest.mark.parametrize(
    ("properties", "is_old"),
    [
        ({}, True),
        ({"datetime": "2018-03-13T00:00:00Z"}, False),
        ({"processing__software": {"Sentinel-1 IPF": "002.84"}}, True),
        ({"processing__software": {"Sentinel-1 IPF": "002.90"}}, False),
        ({"processing__software": {"Sentinel-1 IPF": "003.10"}}, False),
        (
            {
                "processing__software": {"Sentinel-1 IPF": "002.84"},
                "datetime": "2018-04-01T00:00:00Z",
            },
            True,
        ),
        ({"processing__software": {"another": "1.0"}}, True),
    ],
)
def test_the_version_of_the_processor_counts_and_the_day_where_it_is_not_stated(
    properties: dict[str, Any], is_old: bool
) -> None:
    assert (border_halo(dated(**properties), S1.border, GRID) > 0) is is_old


def test_far_inside_of_a_scene_nothing_more_is_read() -> None:
    item = dated()
    assert isinstance(S1.border, Border)
    west, south, east, north = GRID.extent.to_crs("EPSG:4326").boundingbox
    for margin, halo in ((0.2, 0), (0.01, 200)):
        edges = (west - margin, south - margin, east + margin, north + margin)
        w, s, e, n = edges
        ring = [[w, s], [e, s], [e, n], [w, n], [w, s]]
        item["geometry"] = {"type": "Polygon", "coordinates": [ring]}
        item["bbox"] = list(edges)
        assert border_halo(item, S1.border, GRID) == halo
    assert border_halo(item, None, GRID) == 0


# -- power, amplitude, decibels --------------------------------------------------------------------


def test_power_and_amplitude_and_decibels_of_one_scene_agree() -> None:
    rng = np.random.default_rng(0)
    power = rng.gamma(2.0, 0.05, 1000)
    power[:10] = 0.0
    wanted = pack_item(power, Scaling(1.0, 0.0, None), S1)
    assert (wanted[:10] == S1.packing.fill_value).all()
    amplitude = pack_item(np.sqrt(power), Scaling(1.0, 0.0, None, "amplitude"), S1)
    with np.errstate(divide="ignore"):
        decibel = np.where(power > 0, 10 * np.log10(power), np.nan)
    already = pack_item(decibel, Scaling(1.0, 0.0, None, "decibel"), S1)
    assert np.abs(amplitude.astype(int) - wanted).max() <= 1
    assert np.abs(already.astype(int) - wanted).max() <= 1
    scaled = pack_item(np.sqrt(power) / 0.01, Scaling(0.01, 0.0, None, "amplitude"), S1)
    assert np.abs(scaled.astype(int) - wanted).max() <= 1
    for values, scaling in ((np.sqrt(power), "amplitude"), (decibel, "decibel")):
        linear = linear_power(values, Scaling(1.0, 0.0, None, scaling), S1)
        np.testing.assert_allclose(linear[10:], power[10:])
        assert np.isnan(linear[:10]).all()
    negative = pack_item(np.array([-0.5]), Scaling(1.0, 0.0, None, "amplitude"), S1)
    assert list(negative) == [S1.packing.fill_value]


@pytest.mark.parametrize(
    ("unit", "quantity"),
    [(None, None), ("dB", "decibel"), ("amplitude", "amplitude"), ("linear power", "power")],
)
def test_the_item_says_what_its_numbers_are_and_else_the_source_or_the_sensor(
    unit: str | None, quantity: str | None
) -> None:
    item = recorded("planetary-computer/sentinel-1-rtc-1")
    for asset in item["assets"].values():
        if unit is not None:
            asset["raster:bands"][0]["unit"] = unit
    sensor = SENSORS["sentinel-1-desc"]
    assert read_scaling(item, sensor, sensor.asset_keys(item["assets"])).quantity == quantity
    place = SOURCES["planetary-computer"]
    offers = tuple(replace(offer, quantity="amplitude") for offer in place.sensors or ())
    assert replace(place, sensors=offers).adapt(sensor).quantity == "amplitude"


def test_a_cube_of_amplitude_is_the_cube_of_power(workers: Client, tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    power = {b: rng.gamma(2.0, 0.05, (SIDE, SIDE)).astype(np.float32) for b in ("vv", "vh")}
    amplitude = {band: np.sqrt(pixels) for band, pixels in power.items()}
    add_sentinel_1(tmp_path / "power", "2018-05-03T17:30:00Z", power, name="one")
    add_sentinel_1(tmp_path / "amplitude", "2018-05-03T17:30:00Z", amplitude, name="one")
    (file,) = (tmp_path / "amplitude").rglob("one.json")
    item = json.loads(file.read_text())
    for asset in item["assets"].values():
        asset["raster:bands"][0]["unit"] = "amplitude"
    file.write_text(json.dumps(item))
    cubes = []
    for name in ("power", "amplitude"):
        scenes = search_scenes(tmp_path / name, region(), "2018-05-01", "2018-05-31")
        cubes.append(cubed(scenes, tmp_path / f"{name}-cube", workers, 64).astype(int))
    assert np.abs(cubes[0] - cubes[1]).max() <= 1


def test_a_window_gets_the_same_pixels_alone_and_within_a_larger_one(old: Path) -> None:
    scenes = search_scenes(old, region(), "2017-01-01", "2017-12-31")
    acquisitions, grid = scenes.acquisitions("sentinel-1-asc"), GRID[:SIDE, :SIDE]
    whole = pixels(acquisitions, NARROW, grid, grid, scenes)
    part = pixels(acquisitions, NARROW, grid[9:30, 3:18], grid, scenes)
    np.testing.assert_array_equal(part, whole[..., 9:30, 3:18])


def pixels(
    acquisitions: Any, sensor: Sensor, window: GeoBox, grid: GeoBox, scenes: Scenes
) -> np.ndarray:
    return read_pixels(acquisitions, sensor, window, access=scenes.access, grid=grid).data
