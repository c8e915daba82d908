"""The simulated region: what is written agrees with the truth beside it and follows the seed."""

from __future__ import annotations

import filecmp
import hashlib
import json
import sys
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import rasterio
import xarray as xr

from terralatent.catalogs import search_scenes
from terralatent.catalogs.errors import InputError
from terralatent.catalogs.scenes.aoi import read_aoi
from terralatent.catalogs.scenes.scenes import Scenes
from terralatent.catalogs.simulation.climates.climate import CLIMATES
from terralatent.catalogs.simulation.climates.covers import LandCover
from terralatent.catalogs.simulation.climates.world import CAUGHT
from terralatent.catalogs.simulation.draws import Draws, Key
from terralatent.catalogs.simulation.landscape import lay_out_land
from terralatent.catalogs.simulation.orbits import passes
from terralatent.catalogs.simulation.simulate import simulate
from terralatent.catalogs.simulation.sky import FALSE_ALARMS, SkyClass
from terralatent.catalogs.sources.sensors import SENSORS
from terralatent.pipeline.cli.demo_scores import open_truth
from terralatent.pipeline.region import grid

SIZE = 64

LAND_BEFORE = "151611dd411a5367e46ace81d8335aceda2ae4f8fee36413fcd5a75e456d54f1"
"""SHA-256 of parcels and land cover of the region below, as int32."""

MEANS_BEFORE = {
    "sentinel-2-l2a/S2A_MSIL2A_20180121T105031_N0207*/B02.tif": 428.2890625,
    "sentinel-2-l2a/S2A_MSIL2A_20180121T105031_N0207*/B8A.tif": 2636.0224609375,
    "sentinel-2-l2a/S2A_MSIL2A_20180121T105031_N0207*/SCL.tif": 4.400390625,
    "sentinel-2-l2a/S2A_MSIL2A_20180809T105031_N0207*/B02.tif": 540.267333984375,
    "sentinel-2-l2a/S2A_MSIL2A_20180809T105031_N0207*/B12.tif": 1128.3984375,
    "sentinel-2-l2a/S2A_MSIL2A_20180819T105031_N0207*/B8A.tif": 6901.1064453125,
    "sentinel-1-rtc/S1A_IW_GRDH_1SDV_20180901T173236*/vv.tif": 0.09937225724672771,
    "sentinel-1-rtc/S1B_IW_GRDH_1SDV_20180502T055002*/vh.tif": 0.02245789677218113,
}
"""Means of some of its files, in digital numbers, classes and power."""

DAY = np.datetime64("2018-12-31")


@pytest.fixture(scope="module")
def region(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A simulated region of 64 x 64 pixels; not to be changed."""
    return simulate(tmp_path_factory.mktemp("simulated") / "region", size=SIZE, seed=4)


@pytest.fixture(scope="module")
def truth(region: Path) -> xr.DataTree:
    """Its truth."""
    return open_truth(region)


@pytest.fixture(scope="module")
def found(region: Path) -> Scenes:
    """What a search finds of it."""
    return search_scenes(region, region / "region.geojson", "2018-01-01", "2018-12-31")


def read(href: str) -> np.ndarray:
    with rasterio.open(href) as file:
        return file.read(1)


def test_the_default_world_is_what_it_always_was(region: Path, truth: xr.DataTree) -> None:
    """As simulated before there were climates: the land to the bit; pixel values nearly, since the
    last digit of a sine differs from machine to machine.
    """
    land = hashlib.sha256()
    for name in ("parcel", "land_cover"):
        land.update(truth[name].values.astype("<i4").tobytes())
    assert land.hexdigest() == LAND_BEFORE
    attributes = json.loads((region / "truth.zarr" / "zarr.json").read_text())["attributes"]
    assert attributes == {
        "proj:code": "EPSG:32631",
        "simulation": {"size": SIZE, "years": 1, "seed": 4, "version": 1},
    }
    for path, mean in MEANS_BEFORE.items():
        (file,) = region.glob(path)
        assert read(str(file)).mean() == pytest.approx(mean, rel=1e-3), path


def test_a_search_finds_each_pass_once_on_the_region_s_own_grid(
    region: Path, found: Scenes, truth: xr.DataTree
) -> None:
    assert set(found.sensors) == {"sentinel-2-l2a", "sentinel-1-asc", "sentinel-1-desc"}
    optical = found.acquisitions("sentinel-2-l2a")
    times = np.array([acquisition.time for acquisition in optical])
    np.testing.assert_array_equal(times, truth["sentinel-2-l2a"].time.values.astype(times.dtype))
    dropped = [fate for fate in found.fates if fate.fate == "dropped"]
    assert 3 <= len(dropped) <= 8
    assert all("N0207" in fate.item_id for fate in dropped)
    assert {acquisition.orbit for acquisition in optical} == {51, 94}
    assert {acquisition.platform for acquisition in optical} == {"sentinel-2a", "sentinel-2b"}
    radar = found.acquisitions("sentinel-1-asc")
    assert {(acquisition.orbit, acquisition.incidence) for acquisition in radar} == {(161, 41.0)}
    pixels = grid(read_aoi(region / "region.geojson"), 10.0, None)
    assert tuple(pixels.shape) == (SIZE, SIZE)
    np.testing.assert_array_equal(truth["x"].values, pixels.coordinates["x"].values)
    np.testing.assert_array_equal(truth["y"].values, pixels.coordinates["y"].values)


def test_files_are_cloud_optimised_and_items_state_what_is_in_them(region: Path) -> None:
    item = json.loads(next((region / "sentinel-2-l2a").glob("*/*N0500*.json")).read_text())
    assert item["properties"]["s2:processing_baseline"] == "05.00"
    assert item["assets"]["B02"]["raster:bands"][0]["offset"] == -0.1
    place = region / "sentinel-2-l2a" / item["id"]
    for band, size in (("B02", SIZE), ("B11", SIZE // 2), ("SCL", SIZE // 2)):
        with rasterio.open(place / f"{band}.tif") as file:
            assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
            assert file.shape == (size, size)
            assert list(file.transform)[:6] == item["assets"][band]["proj:transform"]


def test_a_reprocessed_duplicate_has_the_same_reflectance(region: Path) -> None:
    duplicates = sorted((region / "sentinel-2-l2a").glob("*N0500*"))
    assert duplicates
    for duplicate in duplicates:
        first = duplicate.with_name(duplicate.name.replace("N0500", "N0207"))
        raised, plain = (read(str(item / "B08.tif")).astype(int) for item in (duplicate, first))
        # The older baseline cannot hold what lies below zero.
        assert np.abs((raised - 1000).clip(1) - plain).max() <= 1


def test_the_mask_catches_its_share_of_what_truly_was_not_clear(
    found: Scenes, truth: xr.DataTree
) -> None:
    sky = truth["sentinel-2-l2a"]["sky"].values
    rule = SENSORS["sentinel-2-l2a"].quality[0].rule
    quality = np.stack(
        [
            read(acquisition.items[0]["assets"]["SCL"]["href"])
            for acquisition in found.acquisitions("sentinel-2-l2a")
        ]
    )
    masked, cloudy = ~rule(quality), sky != SkyClass.CLEAR
    assert masked[cloudy].mean() == pytest.approx(CAUGHT, abs=0.002)
    assert masked[~cloudy].mean() == pytest.approx(FALSE_ALARMS, abs=0.008)
    assert 0.3 < (~masked).mean() < 0.65
    # Thick clouds are seen by any mask; it is haze and rims that get past it.
    assert masked[sky == SkyClass.CLOUD].mean() > 0.99
    assert masked[sky == SkyClass.HAZE].mean() < 0.95


def test_clouds_move_and_days_are_clear_or_not(truth: xr.DataTree) -> None:
    sky = truth["sentinel-2-l2a"]["sky"].values != SkyClass.CLEAR
    share = sky.mean((1, 2))
    assert (share < 0.2).mean() > 0.25
    assert (share > 0.95).mean() > 0.25
    mixed = sky[(share > 0.15) & (share < 0.85)].reshape(-1, sky[0].size).astype(float)
    together = np.corrcoef(mixed)[np.triu_indices(len(mixed), 1)]
    assert abs(together.mean()) < 0.25


def test_clear_observations_are_the_surface_beside_their_date_s_residual(
    found: Scenes, truth: xr.DataTree
) -> None:
    """Taking offset and gain back, what is left has the size of the stated noise."""
    dates, noise = truth["sentinel-2-l2a"], truth["sentinel-2-l2a"].attrs["noise"]
    left = []
    for n, acquisition in enumerate(found.acquisitions("sentinel-2-l2a")):
        clear = (dates["sky"].values[n] == SkyClass.CLEAR).repeat(2, 0).repeat(2, 1)
        if clear.mean() < 0.9:
            continue
        scaling = acquisition.scalings[0]
        seen = scaling.scale * read(acquisition.items[0]["assets"]["B08"]["href"]) + scaling.offset
        day = acquisition.time.astype("datetime64[D]")
        wanted = truth["daily/reflectance"].sel(band="B08", time=day).values
        place = list(dates.band.values).index("B08")
        surface = (seen - dates["offset"].values[n, place]) / (1 + dates["gain"].values[n])
        left.append(((surface - wanted) / wanted)[clear])
    assert len(left) > 30
    expected = np.hypot(noise["fields"], noise["patches"])
    assert abs(np.median(np.concatenate(left))) < 0.03
    # By the median: at edges and on water little light or a small shift is a large share.
    spread = [1.4826 * np.median(np.abs(part - np.median(part))) for part in left]
    assert 0.7 * expected < np.median(spread) < 1.7 * expected


def test_the_truth_of_each_class_has_its_season(truth: xr.DataTree) -> None:
    cover = truth["land_cover"].values[0]
    kinds = CLIMATES["temperate"].covers
    assert set(np.unique(cover)) == {int(kind) for kind in kinds}
    months = truth["daily/reflectance"].isel(time=slice(14, None, 30))
    red, infrared = (months.sel(band=band).values for band in ("B04", "B08"))
    ndvi = (infrared - red) / (infrared + red)
    typical = {kind: np.median(ndvi[:, cover == kind], 1) for kind in kinds}
    assert typical[LandCover.WATER].max() < 0.1
    assert typical[LandCover.GRASS].min() > 0.45
    assert typical[LandCover.FOREST][6] > 0.75
    assert np.ptp(typical[LandCover.BUILT_UP]) < 0.35
    wheat, maize = typical[LandCover.WINTER_WHEAT], typical[LandCover.MAIZE]
    assert wheat[4] > 0.7 > wheat[7]
    assert maize[7] > 0.7 > maize[4]
    assert truth["daily/reflectance"].values.min() >= 0
    assert truth["daily/reflectance"].values.max() < 0.8
    green = truth["daily/leaf_area"].values
    assert green.max() < 9
    assert (green[:, cover == LandCover.WATER] == 0).all()


def test_truth_of_coarse_bands_has_one_value_for_four_pixels(truth: xr.DataTree) -> None:
    swir = truth["daily/reflectance"].sel(band="B11").isel(time=100).values
    blocks = swir.reshape(SIZE // 2, 2, SIZE // 2, 2)
    assert np.ptp(blocks, axis=(1, 3)).max() == 0


@pytest.mark.soak
def test_the_same_seed_gives_the_same_bytes(region: Path, tmp_path: Path) -> None:
    again = simulate(tmp_path / "again", size=SIZE, seed=4)
    names = sorted(str(path.relative_to(region)) for path in region.rglob("*") if path.is_file())
    assert names == sorted(str(p.relative_to(again)) for p in again.rglob("*") if p.is_file())
    assert len(names) > 2000
    same, unlike, missing = filecmp.cmpfiles(region, again, names, shallow=False)
    assert (len(same), unlike, missing) == (len(names), [], [])


def test_another_seed_gives_another_region_and_each_pass_its_own_noise() -> None:
    lands = [
        lay_out_land(SIZE, 2, CLIMATES["temperate"], *map(Draws(seed).of, (Key.LAND, Key.SOILS)))
        for seed in (4, 4, 5)
    ]
    np.testing.assert_array_equal(lands[0].parcel, lands[1].parcel)
    assert not np.array_equal(lands[0].parcel, lands[2].parcel)
    one, other = islice(passes("sentinel-1-rtc", np.datetime64("2018-01-01"), DAY), 2)
    drawn = {
        (key, taken): Draws(4).of(key, taken).random()
        for key in Key
        for taken in (None, one, other)
    }
    assert len(set(drawn.values())) == len(drawn)


def test_the_same_call_again_writes_nothing_and_another_is_refused(region: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in region.rglob("*")}
    simulate(region, size=SIZE, seed=4)
    assert {path: path.stat().st_mtime_ns for path in region.rglob("*")} == before
    with pytest.raises(InputError, match="holds another simulation: seed is 4 there, 5 here"):
        simulate(region, size=SIZE, seed=5)


def test_a_folder_of_something_else_is_refused_and_a_broken_off_run_leaves_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(InputError, match="is no simulated region; choose another out="):
        simulate(tmp_path / "mine", size=32)
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years of work"

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(sys.modules["terralatent.catalogs.simulation.simulate"], "grow", stop)
    with pytest.raises(KeyboardInterrupt):
        simulate(tmp_path / "region", size=32)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"size": 33}, "Size 33 cannot be: give an even number of pixels"),
        ({"size": 16}, "Size 16 cannot be"),
        ({"years": 0}, "0 years cannot be simulated"),
        ({"seed": -1}, "Seed -1 is below zero"),
    ],
)
def test_bad_arguments_are_refused(tmp_path: Path, arguments: dict[str, int], words: str) -> None:
    with pytest.raises(InputError, match=words):
        simulate(tmp_path / "region", **arguments)
    assert not any(tmp_path.iterdir())
