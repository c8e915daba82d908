"""Malformed and hostile items are refused by name; the good ones go in as if they were alone."""

from __future__ import annotations

import copy
import hashlib
import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from distributed import Client
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from rasterio import Affine

from terralatent.catalogs.documents.access import Access
from terralatent.catalogs.printable import printable_json
from terralatent.catalogs.scenes.passes import group_items
from terralatent.catalogs.scenes.scenes import Scenes
from terralatent.catalogs.scenes.search import search_scenes
from terralatent.catalogs.sources.sensors import SENSORS
from terralatent.pipeline.cube.losses import losses_of
from terralatent.pipeline.ingest.build import build_cube
from terralatent.pipeline.store.repository import Store
from tests.commands.plans import WHERE
from tests.commands.processes import ROOT, Ended, Launcher
from tests.made.catalogue import CRS, LEFT, SIDE, TOP, region
from tests.servers.scripted import LOG_IN

GOOD = (
    *("sentinel-2-l2a/S2_A/S2_A.json", "sentinel-2-l2a/S2_C/S2_C.json"),
    "sentinel-1-rtc/S1_3/S1_3.json",
)
"""Items of the tiny catalogue of which hostile ones are made."""

ITEMS = 20
"""Items of one build."""

FIXED = settings(
    derandomize=True,
    deadline=None,
    database=None,
    phases=[Phase.explicit, Phase.generate],  # one build takes seconds: what fails is not shrunk
    suppress_health_check=list(HealthCheck),
)

DATA = Path(__file__).parents[2] / "data"
MAY = ("--start", "2018-05-01", "--end", "2018-05-31")

# -- what is wrong with an item -------------------------------------------------------------------

IDS = ["../../x", "..", ".", "/etc/x", "a/../b", "a\\b", "\x1b[2J\x1b]0;x\x07", "a\nb", "", None, 5]
IDS += [["x"], {"a": 1}, "x" * 10_000, "\ud800", "\u202etxt.exe"]

HREFS = [
    *("file:///etc/passwd", "/etc/passwd", "/vsicurl/http://127.0.0.1:9/a.tif", "/vsimem/a"),
    *(
        "../outside.tif",
        "../../../../etc/passwd",
        "http:///vsicurl/a.tif",
        "zip+https://a.b/c.zip!d",
    ),
    *("http://169.254.169.254/latest", "http://localhost:9/a.tif", "http://2130706433/a.tif"),
    *("GTIFF_RAW:OUTSIDE", "vrt://OUTSIDE", "OUTSIDE", "file://OUTSIDE", "link.tif", "a\x00.tif"),
    *("https://me:pw@host.org/a.tif", "gs://bucket/a.tif", "", None, 5, {"href": "a"}, ["a"]),
]
"""Where ``OUTSIDE`` is the path of a raster beside the catalogue's folder."""

FILES = ["vrt.tif", "page.tif", "cut.tif", "empty.tif", "complex.tif", "bands.tif", "half.tif"]
FILES += ["moved.tif", "zone.tif", "nowhere.tif", "overviews.tif", "huge.tif", "absent.tif"]

DATES = ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "2018-02-30T00:00:00Z", "soon", "", 5]
DATES += [None, [2018], "2018-05-20T10:00:00+99:00", "1e400", "0" * 5000]

NUMBERS = [("scale", 0), ("scale", "x"), ("scale", 1e300), ("scale", float("inf")), ("scale", {})]
NUMBERS += [("offset", float("nan")), ("offset", [1]), ("nodata", 1e300), ("nodata", "zero")]

PLACES = [("proj:code", 5), ("proj:shape", "x"), ("proj:transform", [1, 2]), ("proj:shape", [0, 1])]
OTHER_PLACES = [
    ("proj:code", "EPSG:32632"),
    ("proj:epsg", 4326),
    ("proj:code", "EPSG:0"),
    ("proj:code", "EPSG:3035"),
]
MENDED = [
    ("proj:shape", [80, 80]),
    ("proj:transform", [10, 0, LEFT + 100, 0, -10, TOP]),
]
"""What an item may say of a file that lies in its footprint: the file is read where it lies."""

GARBAGE = [
    *(None, True, 0, -1, 10**30, 10**400, 1e300, float("nan"), float("inf"), "", "x", "\x1b[31m"),
    *("../../x", "\ud800", "\u202e", [], {}, [[]], [None], ["x"], {"x": "y"}, {"": {}}, "9" * 5000),
]


@dataclass(frozen=True, repr=False)
class Hostile:
    """An item, and what must become of it."""

    item: dict[str, Any]
    end: str
    """``dropped``, ``lost`` or, where something odd may do no harm, ``any``."""

    what: str
    """What is wrong with it."""

    def __repr__(self) -> str:
        return f"{str(self.item.get('id'))[:30]!r} {self.what}: {self.end}"


def paths(value: Any, here: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in a JSON value."""
    if not isinstance(value, dict | list):
        return
    for key, part in value.items() if isinstance(value, dict) else enumerate(value):
        yield (*here, key)
        yield from paths(part, (*here, key))


class Spoiler:
    """Makes good items hostile, each in another way: one build meets every way there is."""

    def __init__(self, data: st.DataObject, outside: Path) -> None:
        self._data = data
        self._outside = str(outside)
        self._count = 0

    def spoil(self, good: list[dict[str, Any]]) -> Hostile:
        """A copy of one of the good items, with something wrong, at a time without others."""
        number, self._count = self._count, self._count + 1
        item = copy.deepcopy(self._one_of(good))
        item["id"] = f"hostile-{number}"
        day, hour = divmod(number, 10)
        item["properties"]["datetime"] = f"2018-05-{18 + day}T{2 * hour:02d}:00:00Z"
        asset = item["assets"][self._one_of(sorted(item["assets"]))]
        ways = (self._odd, self._id, self._href, self._file, self._date, self._number)
        ways += (self._place, self._file, self._other_place, self._href)
        return ways[number % len(ways)](item, asset)

    def _one_of(self, values: Sequence[Any]) -> Any:
        """Another value for each item, even where hypothesis draws the least of everything."""
        return values[
            (self._data.draw(st.integers(0, len(values) - 1)) + self._count) % len(values)
        ]

    def odd(self, item: dict[str, Any], most: int) -> dict[str, Any]:
        """Change up to ``most`` things in an item, at any depth, into others or into none."""
        for _ in range(self._data.draw(st.integers(1, most))):
            *way, last = self._one_of(list(paths(item)))
            inner: Any = item
            for key in way:
                inner = inner[key]
            if self._data.draw(st.booleans()) and isinstance(inner, dict):
                del inner[last]
            else:
                inner[last] = self._one_of(GARBAGE)
        return item

    def _odd(self, item: dict[str, Any], _: dict[str, Any]) -> Hostile:
        return Hostile(self.odd(item, 3), "any", "odd")

    def _id(self, item: dict[str, Any], _: dict[str, Any]) -> Hostile:
        return Hostile({**item, "id": self._one_of(IDS)}, "dropped", "id")

    def _href(self, item: dict[str, Any], asset: dict[str, Any]) -> Hostile:
        href = self._one_of(HREFS)
        asset["href"] = href.replace("OUTSIDE", self._outside) if isinstance(href, str) else href
        return Hostile(item, "dropped", f"href {href!r}")

    def _file(self, item: dict[str, Any], asset: dict[str, Any]) -> Hostile:
        asset["href"] = f"./{self._one_of(FILES)}"
        asset["proj:shape"] = [SIDE, SIDE]
        asset["proj:transform"] = [10, 0, LEFT, 0, -10, TOP]
        item["properties"]["proj:code"] = CRS
        return Hostile(item, "lost", asset["href"])

    def _date(self, item: dict[str, Any], _: dict[str, Any]) -> Hostile:
        item["properties"]["datetime"] = date = self._one_of(DATES)
        return Hostile(item, "dropped", f"date {str(date)[:30]!r}")

    def _number(self, item: dict[str, Any], _: dict[str, Any]) -> Hostile:
        name, value = self._one_of(NUMBERS)
        next(iter(item["assets"].values()))["raster:bands"][0][name] = value
        return Hostile(item, "dropped", f"{name} {value!r}")

    def _place(self, item: dict[str, Any], asset: dict[str, Any]) -> Hostile:
        name, asset[name] = self._one_of(PLACES)
        return Hostile(item, "dropped", f"{name} {asset[name]!r}")

    def _other_place(self, item: dict[str, Any], asset: dict[str, Any]) -> Hostile:
        asset["proj:transform"] = [20, 0, LEFT, 0, -20, TOP]
        asset["proj:shape"] = [SIDE // 2, SIDE // 2]
        name, asset[name] = self._one_of([*OTHER_PLACES, *MENDED])
        end = "any" if (name, asset[name]) in MENDED else "lost"
        return Hostile(item, end, f"{name} {asset[name]!r}")


@pytest.fixture(scope="module")
def traps(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a catalogue's folder in it, of files that are not what they are called."""
    base = tmp_path_factory.mktemp("traps")
    folder = base / "catalogue"
    folder.mkdir()
    plain = {"driver": "GTiff", "count": 1, "height": SIDE, "width": SIDE, "crs": CRS}
    plain |= {"dtype": "uint16", "nodata": 0, "transform": Affine(10, 0, LEFT, 0, -10, TOP)}

    def write(path: Path, **change: Any) -> None:
        with rasterio.open(path, "w", **{**plain, **change}) as file:
            file.write(np.full((file.count, file.height, file.width), 4242, file.dtypes[0]))

    write(base / "outside.tif")
    write(folder / "complex.tif", dtype="complex64")
    write(folder / "bands.tif", count=2)
    write(folder / "half.tif", width=SIDE // 2)
    write(folder / "moved.tif", transform=Affine(10, 0, LEFT + 50, 0, -10, TOP))
    write(folder / "zone.tif", crs="EPSG:32632")
    write(folder / "nowhere.tif", crs=None)
    write(folder / "cut.tif")
    (folder / "cut.tif").write_bytes((folder / "cut.tif").read_bytes()[:1000])
    (folder / "empty.tif").touch()
    (folder / "page.tif").write_bytes(LOG_IN)
    (folder / "link.tif").symlink_to(base / "outside.tif")
    bounds = "".join(f"{edge}," for edge in plain["transform"].to_gdal()).strip(",")
    (folder / "vrt.tif").write_text(
        f"""<VRTDataset rasterXSize="{SIDE}" rasterYSize="{SIDE}"><SRS>{CRS}</SRS>
        <GeoTransform>{bounds}</GeoTransform><VRTRasterBand dataType="UInt16" band="1">
        <SimpleSource><SourceFilename>{base / "outside.tif"}</SourceFilename>
        <SourceBand>1</SourceBand></SimpleSource></VRTRasterBand></VRTDataset>"""
    )
    write(folder / "overviews.tif")
    with rasterio.open(folder / "overviews.tif", "r+") as file:
        file.update_tags(ns="OVERVIEWS", OVERVIEW_FILE=str(folder / "vrt.tif"))
    tiles = {"tiled": True, "blockxsize": 4096, "blockysize": 4096, "SPARSE_OK": True}
    fine = Affine(SIDE / 25_000, 0, LEFT, 0, -SIDE / 25_000, TOP)
    with rasterio.open(
        folder / "huge.tif", "w", **{**plain, **tiles, "width": 250_000, "height": 250_000},
        BIGTIFF="YES",
    ) as file:  # fmt: skip
        file.transform = fine
    return base


@pytest.fixture(scope="module")
def whole(made_up: Scenes, workers: Client, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The cube of the good items alone."""
    path = tmp_path_factory.mktemp("whole") / "cube"
    build_cube(made_up, region(), path, block=64, client=workers)
    return path


def good_items(catalogue: Path) -> list[dict[str, Any]]:
    """Good items whose hrefs are relative to the catalogue's folder."""
    items = []
    for path in GOOD:
        item = json.loads((catalogue / path).read_text())
        for asset in item["assets"].values():
            asset["href"] = f"./{Path(path).parent}/{Path(asset['href']).name}"
        items.append(item)
    return items


def tree(folder: Path, without: str) -> dict[str, str]:
    """Every file below a folder with what it holds; ``without`` begins the names left out."""
    files = {}
    for path in folder.rglob("*"):
        name = str(path.relative_to(folder))
        if not name.lstrip(".").startswith(without):
            files[name] = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
    return files


def lay(base: Path, traps: Path, catalogue: Path, hostile: list[Hostile]) -> Path:
    """Lay the good catalogue, the traps and the hostile items into one folder below ``base``."""
    shutil.copytree(traps, base, symlinks=True, dirs_exist_ok=True)
    folder = base / "catalogue"
    (folder / "link.tif").unlink()
    (folder / "link.tif").symlink_to(base / "outside.tif")
    shutil.copytree(catalogue, folder, dirs_exist_ok=True)
    features = [odd.item for odd in hostile]
    content = {"type": "FeatureCollection", "features": features}
    (folder / "items.json").write_text(json.dumps(content))
    return folder


def check(cube: Path, whole: Path, hostile: list[Hostile], ended: Ended) -> None:
    """Check that each hostile item is refused by name, and that the good ones are as ever."""
    root, good = Store.of(cube).group(), Store.of(whole).group()
    table = {name: list(map(str, root[f"items/{name}"][:])) for name in ("id", "fate", "reason")}
    fates = dict(zip(table["id"], zip(table["fate"], table["reason"], strict=True), strict=True))
    losses = [loss for name in good for loss in root[name].attrs.get("losses", ())]

    for odd in hostile:
        name = odd.item.get("id")
        if odd.end == "dropped" and str(name).startswith("hostile"):
            fate, reason = fates[name]
            assert fate == "dropped", odd
            assert reason, odd
        elif odd.end == "lost":
            assert any(loss["item"] == name and loss["reason"] for loss in losses), odd
    nameless = sum(odd.end == "dropped" and "hostile" not in str(odd.item["id"]) for odd in hostile)
    assert (
        sum("id" in reason.split()[:2] or reason == "it has no id" for reason in table["reason"])
        >= nameless
    )

    for name, group in good.groups():
        if name != "items":
            places = np.flatnonzero(np.isin(root[name]["time"][:], group["time"][:]))
            for array in ("data", "quality"):
                if array in group:
                    pixels = root[name][array][:][places]
                    np.testing.assert_array_equal(
                        pixels, group[array][:], err_msg=f"{name} {array}"
                    )
    for fate in zip(*(good[f"items/{name}"][:] for name in ("id", "fate", "reason")), strict=True):
        assert fates[fate[0]] == tuple(map(str, fate[1:]))

    texts = [*table["id"], *table["reason"], *(str(losses_of([loss])[0]) for loss in losses)]
    assert all(text.isprintable() for text in texts)
    assert ended.code == (3 if losses else 0), ended.output
    assert losses or not any(odd.end == "lost" for odd in hostile)
    assert "Traceback" not in ended.output
    assert all(line.isprintable() for line in ended.output.splitlines())


def hostile_builds(data: st.DataObject, world: Any) -> None:
    """Build a cube of the good items with some hostile ones among them."""
    traps, catalogue, whole, launcher, folders = world
    base = folders.mktemp("hostile")
    spoiler, good = Spoiler(data, base / "outside.tif"), good_items(catalogue)
    hostile = [spoiler.spoil(good) for _ in range(ITEMS)]
    folder = lay(base, traps, catalogue, hostile)
    here, there = sorted(path.name for path in ROOT.iterdir()), tree(base, "cube")

    command = ("build", "--source", folder, *MAY, *WHERE, "--block", "64", "--out", base / "cube")
    ended = launcher.run(*command)

    check(base / "cube", whole, hostile, ended)
    assert tree(base, "cube") == there
    assert sorted(path.name for path in ROOT.iterdir()) == here
    shutil.rmtree(base)


@pytest.fixture(scope="module")
def world(
    traps: Path,
    catalogue: Path,
    whole: Path,
    launcher: Launcher,
    tmp_path_factory: pytest.TempPathFactory,
) -> Any:
    return traps, catalogue, whole, launcher, tmp_path_factory


@settings(FIXED, max_examples=2)
@given(st.data())
def test_forty_hostile_items_are_refused_by_name_and_the_good_ones_go_in(
    world: Any, data: st.DataObject
) -> None:
    hostile_builds(data, world)


@settings(FIXED, max_examples=3)
@given(st.data())
def test_a_search_with_hostile_items_in_it_is_kept_and_read_back(
    catalogue: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    base = tmp_path_factory.mktemp("kept")
    folder = shutil.copytree(catalogue, base / "catalogue")
    spoiler, good = Spoiler(data, base / "outside.tif"), good_items(catalogue)
    features = [spoiler.spoil(good).item for _ in range(ITEMS)]
    (folder / "items.json").write_text(
        json.dumps({"type": "FeatureCollection", "features": features})
    )
    scenes = search_scenes(folder, region(), "2018-05-01", "2018-05-31")

    scenes.to_parquet(base / "scenes.parquet")
    again = Scenes.from_parquet(base / "scenes.parquet")

    def fates(scenes: Scenes) -> list[tuple[str, ...]]:
        return sorted((fate.item_id, str(fate.time), fate.fate) for fate in scenes.fates)

    assert fates(again) == fates(scenes)
    assert (again.access, again.digest) == (scenes.access, scenes.digest)
    assert scenes.access == Access(folder=str(folder))
    assert {path.name for path in base.iterdir()} == {"catalogue", "scenes.parquet"}


@settings(FIXED, max_examples=60)
@given(st.data())
def test_whatever_is_odd_in_an_item_it_has_one_fate_and_a_reason(data: st.DataObject) -> None:
    spoiler = Spoiler(data, Path("/outside.tif"))
    good = [json.loads(path.read_text()) for path in sorted(DATA.glob("*.json"))]
    items = [printable_json(spoiler.odd(copy.deepcopy(item), 2)) for item in good]

    acquisitions, fates = group_items(items, tuple(SENSORS.values()))

    assert len(fates) == len(items)
    assert all(fate.reason or fate.fate == "used" for fate in fates)
    kept = sum(len(date.items) for axis in acquisitions.values() for date in axis)
    assert kept == sum(fate.fate != "dropped" for fate in fates)
    for text in (text for fate in fates for text in (fate.item_id, fate.reason)):
        assert text.isprintable()
        text.encode()


@pytest.mark.soak
@settings(FIXED, max_examples=15)
@given(st.data())
def test_three_hundred_hostile_items_are_refused_by_name(world: Any, data: st.DataObject) -> None:
    hostile_builds(data, world)
