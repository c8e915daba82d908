"""Means of fields by blocks: who computes them, what is kept of them, and what a kill costs."""

from __future__ import annotations

import shutil
import signal
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from distributed import Client

from terralatent.catalogs.errors import InputError
from terralatent.pipeline import field_means
from terralatent.pipeline.progress import Silent
from terralatent.pipeline.store.repository import Store
from tests.commands.mishaps import Mishap
from tests.commands.processes import Launcher
from tests.made.wrong_inputs import lose
from tests.pipeline.fields.places import DATES, SENSOR, scene_errors, squares

ERRORS = scene_errors(0.2, 0.3)
HOW: dict[str, Any] = {"errors": ERRORS, "draws": 4}


class Counting(Silent):
    """Counts the blocks that are begun."""

    def __init__(self) -> None:
        self.blocks = 0

    def start(self, total: int, title: str) -> None:
        self.blocks += total if title == "fields" else 0


@pytest.fixture(scope="module")
def frame() -> geopandas.GeoDataFrame:
    """Five fields, three of which lie in two or four blocks; one has no crop, one no pixel."""
    places = squares((1, 1, 5, 4), (6, 6, 14, 14), (2, 8, 4, 11), (15, 2, 18, 12), (0, 30, 4, 34))
    return places.assign(
        crop=["wheat", "maize", "maize", None, "rye"],
        code=[1, 2, 2, 9, 3],
        parcel=[f"P{n}" for n in range(5)],
        mean=[0.5, 1.5, 2.5, 3.5, 4.5],
    )


@pytest.fixture(scope="module")
def here(cube: Path, model: Path, frame: geopandas.GeoDataFrame) -> xr.Dataset:
    return field_means(cube, model, SENSOR, DATES, frame, **HOW)


def test_workers_and_this_process_say_the_same(
    cube: Path, model: Path, frame: geopandas.GeoDataFrame, here: xr.Dataset, workers: Client
) -> None:
    there = field_means(cube, model, SENSOR, DATES, frame, client=workers, **HOW)
    xr.testing.assert_identical(there, here)


def test_columns_go_along(here: xr.Dataset, frame: geopandas.GeoDataFrame) -> None:
    assert list(here["parcel"].values) == list(frame["parcel"])
    assert list(here["code"].values) == list(frame["code"])
    assert list(here["mean_"].values) == list(frame["mean"])
    assert here["crop"].dims == ("field",)
    assert "geometry" not in here.coords


def check_rows(table: pd.DataFrame, means: xr.Dataset) -> None:
    """A row for each field, date and band."""
    assert len(table) == means["mean"].size
    own = table[table.parcel == "P1"]
    assert (own.crop == "maize").all()
    row = own[(own.time == pd.Timestamp("2018-01-20", tz="UTC")) & (own.band == "B04")].iloc[0]
    wanted = means.sel(field=1, time="2018-01-20", band="B04").squeeze()
    for name in ("mean", "std", "std_shared", "std_pixel", "pixels"):
        assert row[name] == float(wanted[name])


@pytest.mark.parametrize("name", ["means.parquet", "means.nc"])
def test_what_is_kept_is_read_again_and_nothing_else_takes_its_place(
    cube: Path,
    model: Path,
    frame: geopandas.GeoDataFrame,
    here: xr.Dataset,
    tmp_path: Path,
    name: str,
) -> None:
    out, again = tmp_path / name, Counting()
    made = field_means(cube, model, SENSOR, DATES, frame, out=out, **HOW)
    xr.testing.assert_identical(made, here)
    assert [path.name for path in tmp_path.iterdir()] == [name]

    read = field_means(cube, model, SENSOR, DATES, frame, out=out, progress=again, **HOW)
    assert again.blocks == 0
    filled = here.assign_coords(crop=("field", frame["crop"].fillna("").to_numpy()))
    xr.testing.assert_equal(read.fillna(-1.0), (filled if out.suffix == ".nc" else here).fillna(-1))
    assert {**read.attrs, "bands": 0} == {**here.attrs, "bands": 0}

    if out.suffix == ".parquet":
        check_rows(pd.read_parquet(out), here)
    before = out.read_bytes()
    for other, words in (
        ({"dates": "2018-05-01"}, "its dates is"),
        ({"by": "crop"}, 'its by is null, that of this command "crop"'),
        ({"fields": frame.iloc[:2]}, 'its fields is "5, '),
        ({"draws": 5}, "its draws is 4"),
    ):
        given = {"dates": DATES, "fields": frame, **HOW, **other}
        with pytest.raises(InputError, match=words):
            field_means(cube, model, SENSOR, out=out, **given)
    assert out.read_bytes() == before


@pytest.mark.soak  # `embed` is killed in every run, by the same code
def test_a_run_that_was_killed_goes_on_where_it_stopped(
    cube: Path,
    model: Path,
    frame: geopandas.GeoDataFrame,
    launcher: Launcher,
    tmp_path: Path,
) -> None:
    file, out = tmp_path / "fields.geojson", tmp_path / "means.parquet"
    frame.to_file(file)
    words = ("--model", model, "--sensor", SENSOR, "--dates", DATES, "--out", out)
    # Commits are those of the layout, of what pixels share, and of each of the four blocks.
    ended = launcher.run(
        "fields", cube, file, *words,
        mishaps=(Mishap("after commit", "kill", nth=4),), folder=tmp_path / "mishaps",
    )  # fmt: skip
    assert ended.code == -signal.SIGKILL, ended.output
    assert not out.exists()
    count = Counting()

    with pytest.raises(InputError, match="most_pixels is 8 there, 9 here"):
        field_means(cube, model, SENSOR, DATES, file, out=out, most_pixels=9)
    resumed = field_means(cube, model, SENSOR, DATES, file, out=out, progress=count)

    assert count.blocks == 2
    xr.testing.assert_identical(resumed, field_means(cube, model, SENSOR, DATES, file))
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".means")]


def test_a_column_of_unlike_values_makes_the_fields_themselves(
    cube: Path, model: Path, frame: geopandas.GeoDataFrame, here: xr.Dataset
) -> None:
    each = field_means(cube, model, SENSOR, DATES, frame, by="parcel", **HOW)
    assert list(each.field.values) == list(frame["parcel"])
    xr.testing.assert_identical(
        each.drop_vars(["field", "crop", "code", "mean_"]),
        here.drop_vars(["field", "parcel", "crop", "code", "mean_"]),
    )


def test_a_group_is_the_multipolygon_of_its_parts(
    cube: Path, model: Path, frame: geopandas.GeoDataFrame
) -> None:
    groups = field_means(cube, model, SENSOR, DATES, frame, by="crop", **HOW)
    dissolved = frame.dissolve("crop", sort=False)
    wanted = field_means(cube, model, SENSOR, DATES, dissolved, **HOW)

    assert list(groups.field.values) == ["wheat", "maize", "rye"]
    assert list(groups["code"].values) == [1, 2, 3]
    assert "parcel" not in groups.coords  # maize has two
    for name in groups.data_vars:
        np.testing.assert_array_equal(groups[name], wanted[name])


@pytest.mark.soak
def test_a_field_in_a_block_that_is_lost_has_no_mean(
    cube: Path,
    model: Path,
    frame: geopandas.GeoDataFrame,
    here: xr.Dataset,
    launcher: Launcher,
    tmp_path: Path,
) -> None:
    broken, out = tmp_path / "cube", tmp_path / "means.parquet"
    shutil.copytree(cube, broken)
    whole = [file for file in (broken / "chunks").iterdir() if file.is_file()]
    field_of = {"draws": 4, "errors": ERRORS, "out": out}
    file = _chunk_of_block(broken, whole)
    kept = file.read_bytes()
    lose(file, 0.5)
    some = field_means(broken, model, SENSOR, DATES, frame, **field_of)

    assert len(some.attrs["losses"]) == 1
    assert "block (0, 0)" in some.attrs["losses"][0]
    gone = here.field.isin([0, 1, 2])
    assert np.isnan(some["mean"].where(gone, drop=True)).all()
    assert not some["pixels"].where(gone, drop=True).any()
    xr.testing.assert_equal(some["std"].sel(field=3), here["std"].sel(field=3))

    polygons = tmp_path / "fields.geojson"
    frame.iloc[:4].to_file(polygons)
    words = ("--model", model, "--sensor", SENSOR, "--dates", "2018-05-01")
    ended = launcher.run("fields", broken, polygons, *words, "--out", tmp_path / "means.nc")
    assert ended.code == 3, ended.output
    assert "lost: block (0, 0)" in ended.output
    assert "4 fields (3 without a value), 1 dates, 3 bands" in ended.output

    file.write_bytes(kept)
    count = Counting()
    mended = field_means(broken, model, SENSOR, DATES, frame, progress=count, **field_of)
    assert count.blocks == 1
    xr.testing.assert_equal(mended, here)
    assert "losses" not in mended.attrs


def _chunk_of_block(cube: Path, files: list[Path]) -> Path:
    """The file whose loss damages the pixels of the first block alone."""
    array: Any = Store.of(cube).group()[f"{SENSOR}/data"]
    for file in files:
        kept = file.read_bytes()
        lose(file, 0.5)
        try:
            array = Store.of(cube).group()[f"{SENSOR}/data"]
            array[:16, :, 10:, :], array[16:, :, 10:, :], array[:, :, :, 10:]
            try:
                array[:, :, :10, :10]
            except Exception:
                return file
        except Exception:
            continue
        finally:
            file.write_bytes(kept)
    raise AssertionError("no chunk of the first block has a file of its own")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"by": "colour"}, "no column 'colour', which by= names; they have crop, code, parcel, me"),
        ({"by": "nothing"}, "No field has a value of 'nothing'"),
        ({"out": "means.csv"}, "means.csv is neither a table nor netCDF by its name"),
        ({"most_pixels": 0}, "most_pixels 0"),
        ({"memory": "100 bananas"}, "is no size"),
    ],
)
def test_what_cannot_be_is_refused(
    cube: Path,
    model: Path,
    frame: geopandas.GeoDataFrame,
    given: dict[str, Any],
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=words):
        field_means(cube, model, SENSOR, DATES, frame.assign(nothing=None), **given)
    assert not list(tmp_path.iterdir())


def test_labels_have_no_columns(cube: Path, model: Path, labels: np.ndarray) -> None:
    with pytest.raises(InputError, match="labels on the grid have none"):
        field_means(cube, model, SENSOR, DATES, labels, by="crop")
