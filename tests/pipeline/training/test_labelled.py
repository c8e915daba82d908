"""Labels move a training only where they are meant to, and leave nothing of themselves behind."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pyarrow as pa
import pytest
import torch
from safetensors.torch import load_file
from shapely.geometry import Point, box

from terralatent.catalogs.errors import InputError
from terralatent.models.checkpoint import read_manifest
from terralatent.pipeline import Series, Supervision, train
from terralatent.pipeline.training import loop
from terralatent.pipeline.training.cubes import open_training_cubes
from terralatent.pipeline.training.labelled.head import Head, months_of
from terralatent.pipeline.training.labelled.pixels import read_labelled
from tests.made.tiny import tiny_cube, tiny_pixels

SETTINGS: dict[str, Any] = {
    "latents": 3,
    "steps": 4,
    "batch": 16,
    "validate_every": 2,
    "device": "cpu",
    "calibrated": False,
    "start": "random",
}
"""From a random start every step is a better model, so there are last steps."""

STEPS = 3
LEFT, TOP, PIXEL = 540_000.0, 5_680_000.0, 10.0


@pytest.fixture(scope="module")
def cube(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_cube(tmp_path_factory.mktemp("cube") / "cube", side=16, block=16)


@pytest.fixture(scope="module")
def series(cube: Path) -> Series:
    """Some pixels of it, the upper half of one class, the lower half of another."""
    from terralatent.pipeline import extract

    middles = PIXEL * (np.arange(0, 15, 2) + 0.5)
    places = [Point(LEFT + x, TOP - y) for y in middles for x in middles]
    points = geopandas.GeoDataFrame(geometry=places, crs="EPSG:32631")
    out = cube.parent / "pixels.parquet"
    extract(cube, out, points=points)
    found = Series.from_table(out)
    return with_labels(found, ["low" if n < len(found) // 2 else "high" for n in range(len(found))])


def with_labels(series: Series, labels: list[str | None]) -> Series:
    pixels = series.pixels
    if "crop" in pixels.column_names:
        pixels = pixels.drop_columns(["crop"])
    return replace(series, pixels=pixels.append_column("crop", pa.array(labels, pa.string())))


def labels_of(series: Series) -> list[str | None]:
    return list(series.pixels["crop"].to_pylist())


def weights(model: Path) -> dict[str, torch.Tensor]:
    return load_file(model / "weights.safetensors")


def equal(one: Path, other: Path) -> bool:
    a, b = weights(one), weights(other)
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.fixture(scope="module")
def taught(series: Series, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("taught") / "model"
    train(series, out, supervision=Supervision("crop", steps=STEPS), **SETTINGS)
    return out


def test_with_weight_0_it_is_the_training_of_the_same_steps_without_labels(
    series: Series, taught: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    control = Supervision("crop", weight=0.0, steps=2)
    report = train(series, tmp_path / "control", supervision=control, **SETTINGS)
    assert report.best_step >= 2
    monkeypatch.setattr(loop, "LAST_STEPS", 2)
    train(series, tmp_path / "without", **SETTINGS)
    assert equal(tmp_path / "control", tmp_path / "without")
    assert not equal(tmp_path / "control", taught)


def test_the_same_labels_give_the_same_model_and_others_another(
    series: Series, taught: Path, tmp_path: Path
) -> None:
    request = Supervision("crop", steps=STEPS)
    train(series, tmp_path / "again", supervision=request, **SETTINGS)
    assert equal(taught, tmp_path / "again")
    other = with_labels(series, labels_of(series)[::-1])
    train(other, tmp_path / "other", supervision=request, **SETTINGS)
    # As many of each: what differs is only which pixel has which.
    assert not equal(taught, tmp_path / "other")
    with pytest.raises(InputError, match=r"another training: .*supervision"):
        train(series, taught, supervision=Supervision("crop", weight=0.1), **SETTINGS)


def test_the_head_is_not_in_the_model_and_what_was_labelled_is_noted(
    series: Series, taught: Path, tmp_path: Path
) -> None:
    train(series, tmp_path / "plain", **SETTINGS)
    assert weights(taught).keys() == weights(tmp_path / "plain").keys()
    own, plain = (read_manifest(model) for model in (taught, tmp_path / "plain"))
    assert own["config"] == plain["config"]
    noted = own["training"]["settings"]["supervision"]
    half = len(series) // 2
    assert noted["column"] == "crop"
    assert noted["classes"] == {"high": len(series) - half, "low": half}
    assert (noted["pixels"], noted["weight"], noted["steps"]) == (len(series), 0.3, STEPS)
    assert "supervision" not in plain["training"]["settings"]


def test_pixels_without_a_label_are_none_of_the_head(series: Series) -> None:
    labels = labels_of(series)
    hidden: list[str | None] = [
        None if n % 3 else name for n, name in enumerate(labels)
    ]  # a third is left
    sources = open_training_cubes(with_labels(series, hidden), seed=0, carry=["crop"])
    found = read_labelled(sources, Supervision("crop"), 0)
    assert sum(found.counts) == len(labels[::3])
    whole = open_training_cubes(series.select(np.arange(0, len(labels), 3)), seed=0, carry=["crop"])
    alone = read_labelled(whole, Supervision("crop"), 0)
    for one, other in zip(found.parts, alone.parts, strict=True):
        assert np.array_equal(one.classes, other.classes)
        for name, seen in one.observations.items():
            theirs = other.observations[name]
            mine = seen.at(torch.isin(seen.days, theirs.days))
            assert torch.equal(mine.valid, theirs.valid)
            assert torch.equal(mine.values[mine.valid], theirs.values[theirs.valid])


def test_a_batch_has_as_many_of_each_class(series: Series) -> None:
    labels: list[str | None] = ["rare" if n < 3 else "common" for n in range(len(series))]
    sources = open_training_cubes(with_labels(series, labels), seed=0, carry=["crop"])
    found = read_labelled(sources, Supervision("crop"), 0)
    head = Head(found, Supervision("crop"), latents=3, seed=0, batch=16, hide=True)
    for step in range(3):
        part, rows = head._draw(step)
        counts = np.bincount(found.parts[part].classes[rows], minlength=2)
        assert counts.tolist() == [8, 8]
    assert not torch.equal(*(torch.from_numpy(head._draw(step)[1]) for step in (0, 1)))


def test_labels_of_a_cube_are_those_of_the_pixels_below_them(cube: Path) -> None:
    """A polygon of each class: their pixels, counted by hand."""
    upper = box(LEFT, TOP - 4 * PIXEL, LEFT + 5 * PIXEL, TOP)
    lower = box(LEFT, TOP - 12 * PIXEL, LEFT + 3 * PIXEL, TOP - 10 * PIXEL)
    rows = {"crop": ["a", "b", None], "geometry": [upper, lower, upper]}
    frame = geopandas.GeoDataFrame(rows, crs="EPSG:32631")
    sources = open_training_cubes([cube], seed=0)
    found = read_labelled(sources, Supervision("crop", frame), 0)
    assert (found.classes, found.counts) == (("a", "b"), (20, 6))
    block = sources[0].read(0)
    places = np.concatenate(
        [np.ravel_multi_index(np.indices(shape).reshape(2, -1) + at, (16, 16))
         for shape, at in (((4, 5), [[0], [0]]), ((2, 3), [[10], [0]]))]
    )  # fmt: skip
    order = np.argsort(places)
    wanted = block.series(places[order])
    for name, own in found.parts[0].observations.items():
        assert torch.equal(own.valid, wanted[name].valid)
    assert found.parts[0].classes.tolist() == np.repeat([0, 1], [20, 6])[order].tolist()


def test_the_months_are_those_of_the_year_that_was_seen_most() -> None:
    days = months_of(tiny_pixels(2)).numpy()  # from August 2017 on, 300 days
    months = days.astype("datetime64[D]")
    assert len(months) == 12
    assert {str(day)[:4] for day in months} == {"2017"} or {str(day)[:4] for day in months} == {
        "2018"
    }
    assert all(str(day).endswith("-15") for day in months)


WRONG: dict[str, tuple[Callable[[Series], Series], dict[str, Any], dict[str, Any], str]] = {
    "column": (lambda s: s, {"column": "corp"}, {}, "no column 'corp'; it has .*crop"),
    "class": (lambda s: with_labels(s, ["a"] * len(s)), {}, {}, "all [0-9]+ pixels are 'a'"),
    "none": (lambda s: with_labels(s, [None] * len(s)), {}, {}, "no pixel has one"),
    "file": (lambda s: s, {"labels": "fields.gpkg"}, {}, "is a table.*leave those for cubes"),
    "family": (
        lambda s: s,
        {},
        {"model": "linear", "latents": None, "start": None},
        "a linear model takes no st",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_labels_of_a_table_are_refused_and_leave_nothing(
    series: Series, tmp_path: Path, name: str
) -> None:
    change, request, settings, words = WRONG[name]
    supervision = Supervision(**{"column": "crop", **request})
    with pytest.raises(InputError, match=words):
        train(change(series), tmp_path / "model", supervision=supervision,
              **{**SETTINGS, **settings})  # fmt: skip
    assert not (tmp_path / "model").exists()


def test_wrong_labels_of_a_cube_are_refused(cube: Path, tmp_path: Path) -> None:
    here = box(LEFT, TOP - 50, LEFT + 50, TOP)
    frame = geopandas.GeoDataFrame({"crop": ["a"], "geometry": [here]}, crs="EPSG:32631")
    away = frame.assign(crop=["a"]).set_geometry(frame.translate(1e5))
    cases: list[tuple[Any, str, str]] = [
        (None, "crop", "give its labels as polygons or points"),
        (frame, "corp", "no column 'corp'; they have crop"),
        (frame.assign(crop=[None]), "crop", "No label has a value"),
        (frame, "crop", "all 25 pixels are 'a'"),
        (away, "crop", "holds the centre of a pixel"),
        (tmp_path / "nothing.gpkg", "crop", "no file of labels"),
    ]
    sources = open_training_cubes([cube], seed=0)
    for labels, column, words in cases:
        with pytest.raises(InputError, match=words):
            read_labelled(sources, Supervision(column, labels), 0)
    for numbers in ({"weight": -1.0}, {"weight": float("nan")}, {"steps": 0}):
        with pytest.raises(InputError, match="must be at least"):
            Supervision("crop", **numbers)
