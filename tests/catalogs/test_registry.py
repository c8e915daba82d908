"""Sensors and sources are data: a user adds one in TOML, and hears what is wrong with it."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
from distributed import Client

from terralatent.catalogs.errors import InputError
from terralatent.catalogs.scenes.scenes import Scenes
from terralatent.catalogs.scenes.search import search_scenes
from terralatent.catalogs.sources.registry import read_registry
from terralatent.catalogs.sources.sensors import SENSORS
from terralatent.catalogs.sources.sources import SOURCES, Source, resolve_source
from terralatent.pipeline.cube.opened import open_cube
from terralatent.pipeline.ingest.build import build_cube
from terralatent.pipeline.store.repository import Store
from tests.made.catalogue import region

MAY = ("2018-05-01", "2018-05-31")

ARCHIVE = """
[sources.my-archive]
where = "catalogue"
needs = "the disk of the office"

[sources.my-archive.sensors.my-sentinel-2]
collections = ["reflectance"]
assets = { B02 = "blue_of_ours", SCL = "classes_of_ours" }
offset = 0.0

[sensors.my-sentinel-2]
like = "sentinel-2-l2a"
title = "Two bands of Sentinel-2"
collections = []

[sensors.my-sentinel-2.bands]
B02 = []
B12 = ["swir22"]
"""


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


@pytest.fixture
def archive(catalogue: Path, tmp_path: Path) -> Path:
    """The tiny catalogue as a user's own: other names, items without scale or baseline."""
    shutil.copytree(catalogue / "sentinel-2-l2a", tmp_path / "catalogue")
    for path in (tmp_path / "catalogue").rglob("*.json"):
        item = json.loads(path.read_text())
        if item["properties"]["s2:processing_baseline"] != "02.07":
            path.unlink()
            continue
        del item["properties"]["s2:processing_baseline"], item["properties"]["constellation"]
        item["collection"] = "reflectance"
        assets = {name: item["assets"][name] for name in ("B02", "B03", "B12", "SCL")}
        for asset in assets.values():
            del asset["raster:bands"]
        item["assets"] = {
            "blue_of_ours": assets["B02"], "B02": assets["B03"],
            "swir22": assets["B12"], "classes_of_ours": assets["SCL"],
        }  # fmt: skip
        path.write_text(json.dumps(item))
    own = tmp_path / "own.toml"
    own.write_text(ARCHIVE)
    return own


def test_a_table_of_a_user_s_own_builds_a_cube(
    archive: Path, cube: Path, workers: Client, tmp_path: Path
) -> None:
    found = search_scenes("my-archive", region(), *MAY, described=[archive])
    found.to_parquet(tmp_path / "scenes.parquet")
    again = Scenes.from_parquet(tmp_path / "scenes.parquet", [archive])
    assert again.wanted == found.wanted
    assert again.digest == found.digest

    report = build_cube(again, region(), tmp_path / "cube", block=16, client=workers)
    assert report.losses == ()
    assert report.sensors == {"my-sentinel-2": 4}
    ours, theirs = Store.of(tmp_path / "cube").group()["my-sentinel-2"], Store.of(cube).group()
    bands = SENSORS["sentinel-2-l2a"].bands
    wanted = theirs["sentinel-2-l2a/data"][:, [bands.index("B02"), bands.index("B12")]]
    # The last date of the other cube is the same, from the duplicate that is raised.
    np.testing.assert_array_equal(ours["data"][...], wanted)
    np.testing.assert_array_equal(ours["quality"][...], theirs["sentinel-2-l2a/quality"][...])
    opened = open_cube(tmp_path / "cube")["my-sentinel-2"]
    assert set(opened["offset_from"].values) == {"stated"}
    assert bool(opened["clear"].any())


def test_without_its_table_the_sensor_of_a_search_is_not_known(
    archive: Path, tmp_path: Path
) -> None:
    found = search_scenes("my-archive", region(), *MAY, described=[archive])
    found.to_parquet(tmp_path / "scenes.parquet")
    with pytest.raises(InputError, match="Unknown sensor my-sentinel-2; known are sentinel-2-l2a"):
        Scenes.from_parquet(tmp_path / "scenes.parquet")


def test_files_in_the_users_folder_are_known_anyway(archive: Path, tmp_path: Path) -> None:
    folder = tmp_path / "config" / "terralatent"
    folder.mkdir(parents=True)
    shutil.move(archive, folder / "own.toml")
    (tmp_path / "catalogue").rename(folder / "catalogue")
    assert search_scenes("my-archive", region(), *MAY).sensors == ("my-sentinel-2",)
    with pytest.raises(InputError, match=r"my-archive has no landsat-c2-l2; it has my-sentinel-2"):
        search_scenes("my-archive", region(), *MAY, ["landsat-c2-l2"])


def test_the_built_in_sensors_and_sources_are_values() -> None:
    assert read_registry().sensors is SENSORS
    for entry in (*SENSORS.values(), *SOURCES.values()):
        assert pickle.loads(pickle.dumps(entry)) == entry
        assert hash(pickle.loads(pickle.dumps(entry))) == hash(entry)
    for source in SOURCES.values():
        assert source.where.startswith("https://")
        assert {offer.sensor for offer in source.sensors or ()} <= set(SENSORS)


def test_a_source_is_known_by_its_address_too() -> None:
    assert resolve_source("https://earth-search.aws.element84.com/v1/") is SOURCES["earth-search"]


def test_a_table_may_change_parts_of_one_that_is_there(tmp_path: Path) -> None:
    own = tmp_path / "own.toml"
    own.write_text('[sensors.sentinel-1-asc]\nlike = "sentinel-1-asc"\nresampling = "bilinear"\n')
    changed = read_registry([own]).sensors
    assert changed["sentinel-1-asc"].resampling == "bilinear"
    assert changed["sentinel-1-asc"].bands == ("vv", "vh")
    assert changed["sentinel-1-desc"].resampling == "bilinear", "which is like it"
    assert changed["landsat-c2-l2"] == SENSORS["landsat-c2-l2"]


def test_a_key_of_older_files_is_still_read(tmp_path: Path) -> None:
    own = tmp_path / "own.toml"
    own.write_text('[sensors.sentinel-2-l2a]\nlike = "sentinel-2-l2a"\ntaken_off = ["own:flag"]\n')
    assert read_registry([own]).sensors["sentinel-2-l2a"].offset_applied == ("own:flag",)


SENSOR = """
[sensors.mine]
title = "Mine"
constellation = "mine"
collections = ["mine"]
resolution = 10.0
units = "1"
scale = 1e-4
offset = 0.0
packing = {{ scale_factor = 1e-4, add_offset = -0.1, fill_value = 0, dtype = "uint16" }}
bands = {{ red = ["B4"] }}
{more}
"""
MINE = SENSOR.format(more="")
PLACE = '[sources.mine]\nwhere = "https://stac.example.org/v1"\n'

WRONG = {
    "no toml": ("[sources", r"own\.toml: is no TOML \("),
    "another kind": ("[model]\nx = 1", r"own\.toml: model is not known; wanted tables \[sensors"),
    "no table": ("sources = 5", r"own\.toml: sources is 5; wanted tables \[sources\.NAME\]"),
    "no table either": ("[sources]\nmine = 5", r"own\.toml: sources\.mine is 5; wanted a table"),
    "a name that is none": ("[sources.'../x']", r"sources\.\.\./x cannot be a name; wanted small"),
    "taken": (
        '[sources.copernicus]\nwhere = "x"',
        r"own\.toml: sources\.copernicus stands in .*sources\.toml already; .* say like",
    ),
    "like nobody": ('[sources.mine]\nlike = "you"', r"sources\.mine\.like is 'you'; wanted .* cop"),
    "nothing said": ("[sources.mine]", r"own\.toml: sources\.mine\.where is missing"),
    "a key too many": (f"{PLACE}colour = 'red'", r"sources\.mine\.colour is not known; wanted one"),
    "of another type": (
        f"{PLACE}page = 'many'",
        r"own\.toml: sources\.mine\.page is 'many'; wanted an? .*integer",
    ),
    "unknown signing": (f"{PLACE}signing = 'rsa'", r"mine\.signing is 'rsa'; wanted 'planetary-c"),
    "unknown sensor": (
        f"{PLACE}sensors = {{ sentinel-9 = {{ collections = [] }} }}",
        r"sources\.mine\.sensors\.sentinel-9 is 'sentinel-9'; wanted 'sentinel-2-l2a', 'sent",
    ),
    "unknown band": (
        f"{PLACE}[sources.mine.sensors.landsat-c2-l2]\ncollections=['x']\nassets = {{ B99 = 'x' }}",
        r"mine\.sensors\.landsat-c2-l2\.assets is 'B99'; wanted 'B02', 'B03'",
    ),
    "a word that is none": (
        f"{PLACE}[sources.mine.sensors.landsat-c2-l2]\ncollections=['x']\nbelieve = ['date']",
        r"landsat-c2-l2\.believe\.0 is 'date'; wanted 'flag', 'bands' or 'baseline'",
    ),
    "an endpoint that is none": (
        f"{PLACE}buckets = [{{ name = 'b', endpoint = 'host' }}]",
        r"sources\.mine\.buckets\.0 does not fit: the endpoint 'host' is not the URL of a host",
    ),
    "no such bucket": (
        f"{PLACE}sensors.landsat-c2-l2 = {{ collections = ['x'], bucket = 'b' }}",
        r"sources\.mine does not fit: landsat-c2-l2 is in the bucket b, none of \[\]",
    ),
    "a scale that is none": (
        MINE.replace("scale = 1e-4\n", "scale = 'much'\n", 1),
        r"own\.toml: sensors\.mine\.scale is 'much'; wanted a number",
    ),
    "bands as a list": (
        MINE.replace('bands = { red = ["B4"] }', 'bands = ["red"]'),
        r"sensors\.mine\.bands is \['red'\]; wanted a dictionary",
    ),
    "keys of a band": (
        MINE.replace('["B4"]', "4"),
        r"own\.toml: sensors\.mine\.bands\.red is 4; wanted a list",
    ),
    "no band": (MINE.replace('{ red = ["B4"] }', "{}"), r"sensors\.mine does not fit: .*got \(\)"),
    "a kernel that is none": (
        SENSOR.format(more="resampling = 'magic'"),
        r"sensors\.mine\.resampling is 'magic'; wanted 'nearest', 'bilinear', 'cubic' or 'average'",
    ),
    "a packing that loses no data": (
        MINE.replace("fill_value = 0", "fill_value = 7"),
        r"sensors\.mine\.packing does not fit: the fill value 7 is not the lowest, 0",
    ),
    "a baseline that is none": (
        SENSOR.format(more="offset_since = { new = -0.1 }"),
        r"sensors\.mine does not fit: mine: 'new' is no processing baseline like 04\.00",
    ),
    "backscatter not in dB": (
        SENSOR.format(more="quantity = 'power'"),
        r"sensors\.mine does not fit: mine: power is kept in dB, not in '1'",
    ),
    "a rule of both kinds": (
        SENSOR.format(
            more='quality = [{ asset = "m", fill_value = 0, dtype = "uint8", rule = { codes = [1], '
            "no_bits = [1] } }]"
        ),
        r"sensors\.mine\.quality\.0\.rule does not fit: A clear-sky rule needs either",
    ),
}


@pytest.mark.parametrize("mistake", WRONG)
def test_a_wrong_table_names_file_key_what_was_found_and_wanted(
    mistake: str, tmp_path: Path
) -> None:
    text, words = WRONG[mistake]
    own = tmp_path / "own.toml"
    own.write_text(text)
    with pytest.raises(InputError, match=words) as caught:
        read_registry([own])
    assert str(caught.value).startswith(str(own))
    assert "\n" not in str(caught.value)


def test_a_good_table_of_each_kind_is_read(tmp_path: Path) -> None:
    own = tmp_path / "own.toml"
    own.write_text(f"{MINE}\n{PLACE}")
    known = read_registry([own])
    assert known.sensors["mine"].keys == (("red", "B4"),)
    assert known.sources["mine"] == Source("mine", "https://stac.example.org/v1")
    assert known.files == {"sensors.mine": own, "sources.mine": own}


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"There is no TOML file .* of sources and sensors"):
        read_registry([tmp_path / "none.toml"])
