"""A cube keeps the bands that were requested, or that it has, or that items have."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from distributed import Client
from typer.testing import CliRunner

from terralatent.catalogs.errors import InputError
from terralatent.catalogs.scenes.search import search_scenes
from terralatent.pipeline.cli.app import app
from terralatent.pipeline.cube.bands import BandRequest, parse_bands
from terralatent.pipeline.cube.opened import open_cube
from terralatent.pipeline.ingest.build import BuildReport, build_cube
from terralatent.pipeline.ingest.plan import plan_build
from terralatent.pipeline.store.repository import Store
from tests.made.catalogue import region

S1, S2 = "sentinel-1-asc", "sentinel-2-l2a"
FINE = ("B02", "B03", "B04", "B08")
PERIOD = "2018-05-01", "2018-05-31"
Strip = Callable[..., Path]


@pytest.fixture
def strip(catalogue: Path, tmp_path: Path) -> Strip:
    """Gives the catalogue without some assets of some of its items."""

    def stripped(lost: dict[str, tuple[str, ...]], name: str = "in") -> Path:
        folder = shutil.copytree(catalogue, tmp_path / name)
        for path in folder.rglob("*.json"):
            item = json.loads(path.read_text())
            for band in lost.get(item["id"], ()):
                del item["assets"][band]
            path.write_text(json.dumps(item))
        return folder

    return stripped


def build(
    folder: Path, out: Path, workers: Client, bands: BandRequest = None, end: str = PERIOD[1]
) -> BuildReport:
    scenes = search_scenes(folder, region(), PERIOD[0], end)
    return build_cube(scenes, region(), out, block=32, bands=bands, client=workers)


def bands_of(cube: Path, sensor: str = S2) -> list[str]:
    return [str(band) for band in open_cube(cube)[sensor]["band"].values]


def stored(cube: Path) -> Any:
    return Store.of(cube).group()[S2]


def test_requested_bands_are_those_of_the_whole_cube(
    catalogue: Path, cube: Path, tmp_path: Path, workers: Client
) -> None:
    assert build(catalogue, tmp_path / "c", workers, {S2: ["B8A", "B02"]}).losses == ()
    assert bands_of(tmp_path / "c") == ["B02", "B8A"]
    assert bands_of(tmp_path / "c", S1) == ["vv", "vh"]
    some, whole = stored(tmp_path / "c"), stored(cube)
    np.testing.assert_array_equal(some["data"][...], whole["data"].oindex[:, [0, 7]])
    np.testing.assert_array_equal(some["quality"][...], whole["quality"][...])
    # The same again, without a word on bands, does nothing; other bands are another cube.
    assert build(catalogue, tmp_path / "c", workers).tasks == 0
    with pytest.raises(
        InputError, match=rf"sensors.{S2}.bands is \[\"B02\", \"B8A\"\] there, \[\"B"
    ):
        build(catalogue, tmp_path / "c", workers, ["B02"])


@pytest.mark.soak
def test_a_cube_that_grows_keeps_its_bands(
    catalogue: Path, cube: Path, tmp_path: Path, workers: Client
) -> None:
    build(catalogue, tmp_path / "c", workers, ["B03", "vv"], end="2018-05-08")
    assert build(catalogue, tmp_path / "c", workers).new == 3
    assert (bands_of(tmp_path / "c"), bands_of(tmp_path / "c", S1)) == (["B03"], ["vv"])
    np.testing.assert_array_equal(stored(tmp_path / "c")["data"][:, 0], stored(cube)["data"][:, 1])


def test_items_are_used_for_the_bands_that_they_have(
    strip: Strip, cube: Path, tmp_path: Path, workers: Client, caplog: pytest.LogCaptureFixture
) -> None:
    folder = strip({"S2_A": ("B02", "B11"), "S2_B_left": ("B02",)})
    with caplog.at_level("INFO", logger="terralatent"):
        assert build(folder, tmp_path / "c", workers).losses == ()
    for item, lost in (("S2_A", "B02, B11"), ("S2_B_left", "B02")):
        assert (
            f"incomplete: 1 items of {S2}, such as {item}: it has no asset for {lost}"
            in caplog.text
        )
    some, whole = stored(tmp_path / "c"), stored(cube)
    assert bands_of(tmp_path / "c") == bands_of(cube)
    there, wanted = some["data"][...], whole["data"][...]
    assert not there[0, [0, 8]].any()
    np.testing.assert_array_equal(np.delete(there[0], [0, 8], 0), np.delete(wanted[0], [0, 8], 0))
    np.testing.assert_array_equal(there[2:], wanted[2:])
    # Of the two items of the second date the whole one comes first.
    assert there[1, 0, :, 16:].all()
    assert not there[1, 0, :, :16].any()
    items = open_cube(tmp_path / "c")["items"].to_dataset().to_dataframe().set_index("id")
    assert items.loc["S2_A", ["fate", "reason"]].tolist() == [
        "used",
        "it has no asset for B02, B11",
    ]
    assert items.loc["S2_B_left", "reason"] == (
        "of one pass with S2_B_right; it has no asset for B02"
    )


def test_of_two_copies_that_with_more_bands_is_used(strip: Strip) -> None:
    scenes = search_scenes(strip({"S2_D_N0500": ("B08",)}), region(), *PERIOD)
    fates = {fate.item_id: (fate.fate, fate.reason) for fate in scenes.fates}
    assert fates["S2_D_N0207"] == ("used", "")
    assert fates["S2_D_N0500"][1] == ("the same acquisition as S2_D_N0207, which has more bands")


def test_a_band_that_no_item_has_is_left_out_and_stays_out(
    strip: Strip, catalogue: Path, tmp_path: Path, workers: Client, caplog: pytest.LogCaptureFixture
) -> None:
    names = [path.stem for path in (catalogue / S2).iterdir()]
    folder = strip(dict.fromkeys(names, FINE))
    assert build(folder, tmp_path / "c", workers, end="2018-05-08").losses == ()
    assert f"none of the items of its 2 acquisitions has {', '.join(FINE)}" in caplog.text
    assert bands_of(tmp_path / "c") == ["B05", "B06", "B07", "B8A", "B11", "B12"]
    # Later items have them: the cube stays as it is.
    assert build(catalogue, tmp_path / "c", workers).new
    assert len(bands_of(tmp_path / "c")) == 6


def test_a_sensor_of_which_no_item_can_be_used_is_a_loss(
    strip: Strip, tmp_path: Path, workers: Client
) -> None:
    folder = strip({"S1_3": ("vv", "vh"), "S1_9": ("vv", "vh")})
    report = build(folder, tmp_path / "c", workers)
    assert set(report.sensors) == {S2}
    (loss,) = report.losses
    assert str(loss) == (f"{S1} all of its 2 items, such as S1_3: it has no asset for vv, vh")


def test_a_build_of_bands_that_no_item_has_says_so(
    strip: Strip, catalogue: Path, tmp_path: Path
) -> None:
    names = [path.stem for path in (catalogue / S2).iterdir()]
    scenes = search_scenes(strip(dict.fromkeys(names, FINE)), region(), *PERIOD, [S2])
    words = r"None of the 8 items .* can be used; the first, S2_A: it has no asset for B02, B04"
    with pytest.raises(InputError, match=words):
        build_cube(scenes, region(), tmp_path / "c", bands=["B04", "B02"])
    assert not (tmp_path / "c").exists()


def test_bands_are_typed_with_commas_and_by_sensor() -> None:
    assert parse_bands([]) is None
    assert parse_bands(["B02, B03", f"{S1}=vv", "B04"]) == {"": ["B02", "B03", "B04"], S1: ["vv"]}
    for text in ("", ",", "=B02", f"{S1}="):
        with pytest.raises(
            InputError, match="names no band; give B02,B03 or sentinel-2-l2a=B02,B03"
        ):
            parse_bands([text])


@pytest.mark.parametrize(
    ("bands", "words"),
    [
        (["B02", "B99"], f"No sensor has a band B99; there are {S2} B02, B03.*; {S1} vv, vh"),
        ({S1: ["B02"]}, f"{S1} has no band B02; it has vv, vh"),
        ({"venus": ["B02"]}, f"named of venus, but requested are {S2}, {S1}"),
        ({S1: []}, f"{S1} needs a band at least; it has vv, vh"),
    ],
)
def test_a_band_that_is_not_there_is_refused(
    catalogue: Path, tmp_path: Path, bands: BandRequest, words: str
) -> None:
    scenes = search_scenes(catalogue, region(), *PERIOD)
    for verb in (build_cube, plan_build):
        with pytest.raises(InputError, match=words):
            verb(scenes, region(), tmp_path / "c", bands=bands)
    assert not (tmp_path / "c").exists()


def test_the_command_line_plans_with_bands(catalogue: Path, tmp_path: Path) -> None:
    search_scenes(catalogue, region(), *PERIOD).to_parquet(tmp_path / "s.parquet")
    (tmp_path / "r.geojson").write_text(json.dumps(region().__geo_interface__))
    given = [f"--scenes={tmp_path / 's.parquet'}", f"--region={tmp_path / 'r.geojson'}"]
    plans = []
    for bands in ([], ["--bands", "B02,B03", "--bands", f"{S1}=vv"]):
        words = ["build", *given, f"--out={tmp_path / 'c'}", "--dry-run", "--json", *bands]
        result = CliRunner().invoke(app, words)
        assert result.exit_code == 0, result.output
        plans.append(json.loads(result.stdout))
    whole, some = ({own["name"]: own["files"] for own in plan["sensors"]} for plan in plans)
    assert some[S2] < whole[S2]
    assert some[S1] < whole[S1]
