"""The clear-sky mask may come from another asset of the items than the sensor's best."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import rasterio
from distributed import Client
from rasterio import Affine

from terralatent.catalogs.errors import InputError
from terralatent.catalogs.scenes.scenes import Scenes
from terralatent.catalogs.scenes.search import search_scenes
from terralatent.catalogs.sources.clear import ClearRule
from terralatent.catalogs.sources.sensors import SENSORS, mask_by
from terralatent.pipeline.cube.masking import Masking
from terralatent.pipeline.cube.opened import open_cube
from terralatent.pipeline.ingest.build import build_cube
from tests.made.catalogue import CRS, LEFT, SIDE, TOP, add_sentinel_2, optical, region

S2, ASSET = "sentinel-2-l2a", "CLDPRB"
PERIOD = ("2018-05-01", "2018-05-31")


OWN = """
[sensors.sentinel-2-l2a]
like = "sentinel-2-l2a"

[[sensors.sentinel-2-l2a.quality]]
asset = "SCL"
rule = { codes = [4, 5, 6, 7] }
fill_value = 0
dtype = "uint8"

[[sensors.sentinel-2-l2a.quality]]
asset = "CLDPRB"
aliases = ["cloud"]
rule = { at_most = 40 }
fill_value = 255
dtype = "uint8"
"""


@pytest.fixture
def _with_probability(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user's own description of Sentinel-2, with a probability of cloud beside the classes."""
    (tmp_path / "config" / "terralatent").mkdir(parents=True)
    (tmp_path / "config" / "terralatent" / "own.toml").write_text(OWN)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three items, of which the last has no such asset; the second names it otherwise."""
    tmp_path = tmp_path / "catalogue"
    rng = np.random.default_rng(3)
    for name, day, key in (("A", 1, ASSET), ("B", 6, "cloud"), ("C", 11, None)):
        add_sentinel_2(tmp_path, f"2018-05-{day:02d}T10:50:00Z", optical(rng), name=name)
        place = tmp_path / S2 / name
        if key is None:
            continue
        with rasterio.open(
            place / "probability.tif", "w", driver="GTiff", dtype="uint8", count=1, crs=CRS,
            height=SIDE // 2, width=SIDE // 2, transform=Affine(20, 0, LEFT, 0, -20, TOP),
        ) as file:  # fmt: skip
            file.write(probability(name), 1)
        item = json.loads((place / f"{name}.json").read_text())
        item["assets"][key] = {"href": "./probability.tif"}
        (place / f"{name}.json").write_text(json.dumps(item))
    return tmp_path


def probability(name: str) -> np.ndarray:
    """Percent, (y, x), pixels of 20 m."""
    return np.random.default_rng(ord(name)).integers(0, 101, (SIDE // 2, SIDE // 2), np.uint8)


@pytest.mark.usefixtures("_with_probability")
def test_a_probability_of_cloud_can_stand_for_the_classes(
    folder: Path, workers: Client, tmp_path: Path
) -> None:
    searched = search_scenes(folder, region(), *PERIOD, [S2], mask=ASSET)
    searched.to_parquet(tmp_path / "scenes.parquet")
    again = Scenes.from_parquet(tmp_path / "scenes.parquet")
    assert again.mask == ASSET
    for scenes in (searched, again):
        fates = {fate.item_id: (fate.fate, fate.reason) for fate in scenes.fates}
        assert fates["C"] == ("dropped", f"it has no mask band {ASSET}")
        assert {a.quality for a in scenes.acquisitions(S2)} == {ASSET}

    build_cube(again, region(), tmp_path / "cube", block=16, client=workers)
    cube = open_cube(tmp_path / "cube")[S2]
    wanted = np.stack([probability(name) for name in "AB"]).repeat(2, axis=1).repeat(2, axis=2)

    np.testing.assert_array_equal(cube["quality"].values, wanted)
    np.testing.assert_array_equal(cube["clear"].values, wanted <= 40)
    strict = open_cube(tmp_path / "cube", masking=Masking(ClearRule(at_most=5)))[S2]
    np.testing.assert_array_equal(strict["clear"].values, wanted <= 5)
    with pytest.raises(InputError, match=r"mask.band is \"CLDPRB\" there, \"SCL\" here"):
        build_cube(
            search_scenes(folder, region(), "2018-05-01", "2018-05-06", [S2]),
            region(), tmp_path / "cube", block=16, client=workers,
        )  # fmt: skip


@pytest.mark.usefixtures("_with_probability")
def test_without_a_wish_the_best_mask_is_taken(folder: Path) -> None:
    searched = search_scenes(folder, region(), *PERIOD, [S2])
    assert [a.quality for a in searched.acquisitions(S2)] == ["SCL"] * 3


def test_a_mask_is_chosen_for_the_sensors_that_may_have_it(folder: Path) -> None:
    chosen = mask_by(tuple(SENSORS.values()), "pixel_qa")
    masks = {sensor.name: [band.asset for band in sensor.quality] for sensor in chosen}
    assert masks["landsat-c2-l2"] == ["pixel_qa"]
    assert masks[S2] == ["SCL"]
    assert masks["sentinel-1-asc"] == []
    words = r"No sensor has a mask band 'CLDPRB'; there are SCL \(sentinel-2-l2a\); qa_pixel, pix"
    with pytest.raises(InputError, match=words):
        search_scenes(folder, region(), *PERIOD, [S2], mask=ASSET)
