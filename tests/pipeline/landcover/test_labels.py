"""Labels: which pixels they have, in which files they come, and what is wrong with them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pytest
from shapely.geometry import MultiPoint, Point, box

from terralatent.catalogs.errors import InputError
from terralatent.pipeline.probes.labels import LabelColumns, Labels, read_labels
from tests.made.latents import LEFT, SIDE, TOP, Fields, grid

CROP = LabelColumns("crop")


def frame(*shapes: Any, crs: Any = "EPSG:32631", **columns: Any) -> geopandas.GeoDataFrame:
    columns = columns or {"crop": [f"c{n % 2}" for n in range(len(shapes))]}
    return geopandas.GeoDataFrame(columns, geometry=list(shapes), crs=crs)


def square(row: int, column: int, size: int = 3) -> Any:
    """So many pixels along a side from a pixel on."""
    x, y = LEFT + 10 * column, TOP - 10 * row
    return box(x, y - 10 * size, x + 10 * size, y)


def pixels(labels: Labels, label: int) -> set[tuple[int, int]]:
    mine = labels.of == label
    return set(zip(labels.rows[mine].tolist(), labels.columns[mine].tolist(), strict=True))


def test_a_label_has_the_pixels_whose_centre_it_holds() -> None:
    labels = read_labels(frame(square(2, 5), square(-1, -1), square(30, 30)), CROP, grid())
    assert pixels(labels, 0) == {(y, x) for y in (2, 3, 4) for x in (5, 6, 7)}
    assert pixels(labels, 1) == {(y, x) for y in (0, 1) for x in (0, 1)}
    assert pixels(labels, 2) == {(y, x) for y in (30, 31) for x in (30, 31)}
    assert labels.sizes.tolist() == [9, 4, 4]


def test_a_point_has_its_pixel_and_several_points_have_theirs() -> None:
    one = Point(LEFT + 71.0, TOP - 39.0)
    two = MultiPoint([(LEFT + 1.0, TOP - 1.0), (LEFT + 319.0, TOP - 319.0)])
    labels = read_labels(frame(one, two), CROP, grid())
    assert pixels(labels, 0) == {(3, 7)}
    assert pixels(labels, 1) == {(0, 0), (31, 31)}


def test_what_ends_at_an_edge_of_the_grid_has_no_pixel_outside() -> None:
    inside = square(1, 1)
    beside = (square(4, SIDE), square(SIDE, 4), square(4, -3), square(-3, 4))
    right = LEFT + 10 * SIDE
    corners = (Point(LEFT, TOP), Point(right, TOP - 5.0), Point(LEFT + 5.0, TOP - 10 * SIDE))
    labels = read_labels(frame(inside, *beside, *corners), CROP, grid())
    assert labels.sizes.tolist() == [9, 1]
    assert pixels(labels, 1) == {(0, 0)}
    assert labels.rows.max() == labels.columns.max() == 3


def test_the_later_label_has_what_two_hold() -> None:
    labels = read_labels(frame(square(0, 0, 4), square(2, 2, 4)), CROP, grid())
    assert pixels(labels, 1) == {(y, x) for y in range(2, 6) for x in range(2, 6)}
    assert pixels(labels, 0) == {(y, x) for y in range(4) for x in range(4)} - pixels(labels, 1)


def test_a_large_label_does_not_drown_others() -> None:
    labels = read_labels(frame(square(0, 0, 20), square(25, 25, 1)), CROP, grid())
    weight = np.bincount(labels.of, labels.weights())
    count = int((labels.of == 0).sum())
    assert count == 64 < labels.sizes[0] == 400
    assert weight == pytest.approx([count / (1 + (count - 1) / 2), 1.0])
    assert np.bincount(labels.of, labels.shares()) == pytest.approx([1.0, 1.0])
    rows = labels.rows[labels.of == 0]
    assert (rows.min(), rows.max()) == (0, 19)


@pytest.mark.parametrize("ending", ["geojson", "gpkg", "shp", "parquet"])
def test_files_of_any_kind_and_crs_have_the_same_labels(
    fields: Fields, tmp_path: Path, ending: str
) -> None:
    path, abroad = tmp_path / f"fields.{ending}", fields.frame.to_crs("EPSG:4326")
    abroad.to_parquet(path) if ending == "parquet" else abroad.to_file(path)
    wanted, read = read_labels(fields.frame, CROP, grid()), read_labels(path, CROP, grid())
    for name in ("rows", "columns", "of", "values", "groups"):
        np.testing.assert_array_equal(getattr(read, name), getattr(wanted, name))


def test_labels_without_a_value_and_ignored_ones_are_left_out() -> None:
    given = frame(*(square(5 * n, 0) for n in range(5)), crop=["a", None, "b ", "99", float("nan")])
    labels = read_labels(given, LabelColumns("crop", ignore=("99",)), grid())
    assert labels.values.tolist() == ["a", "b"]
    assert labels.rows.min() == 0
    assert labels.rows.max() == 12


def test_whole_numbers_are_names_without_a_point() -> None:
    given = frame(*(square(5 * n, 0) for n in range(3)), crop=[11.0, np.nan, 13.0])
    assert read_labels(given, CROP, grid()).values.tolist() == ["11", "13"]


def test_groups_are_those_of_a_column_or_of_squares() -> None:
    shapes = [square(0, 0), square(0, 4), square(20, 20), square(28, 0)]
    given = frame(*shapes, crop=list("abab"), farm=["x", None, "x", None])
    alone, farm, squares = (
        read_labels(given, LabelColumns("crop", **how), grid()).groups
        for how in ({}, {"group": "farm"}, {"square": 100.0})
    )
    assert len(set(alone)) == 4
    assert farm[0] == farm[2]
    assert len(set(farm)) == 3
    assert squares[0] == squares[1]
    assert len(set(squares)) == 3


BAD: dict[str, tuple[Any, dict[str, Any], str]] = {
    "no column": (
        frame(square(0, 0), crop=["a"], code=[1]),
        {"value": "crops"},
        "no column 'crops'; they have crop, code.",
    ),
    "no group": (frame(square(0, 0)), {"group": "farm"}, "no column 'farm'; they have crop."),
    "all missing": (
        frame(square(0, 0), square(5, 5), crop=[None, None]),
        {},
        "None of the 2 labels has a value in the column 'crop'; fill it, or name another.",
    ),
    "all ignored": (frame(square(0, 0)), {"ignore": ("c0",)}, "All of the 1 labels are left out"),
    "no CRS": (frame(square(0, 0), crs=None), {}, "The labels have no CRS; set it"),
    "wrong CRS": (
        frame(square(0, 0), crs="EPSG:4326"),
        {},
        "The label 0 has corners that are no place in EPSG:32631; check its coordinates",
    ),
    "elsewhere": (
        frame(square(0, 100), square(0, 200)),
        {},
        "None of the 2 labels holds the centre of a pixel of the latents, which cover 540000,"
        "5679680,540320,5680000 in EPSG:32631; theirs are 541000,5679970,542030,5680000. Check",
    ),
    "too small": (frame(box(LEFT, TOP - 2, LEFT + 2, TOP)), {}, "None of the 1 labels holds"),
    "lines": (frame(square(0, 0).boundary), {}, "polygons or points, got 1 .* kinds"),
    "both": (frame(square(0, 0)), {"group": "crop", "square": 5.0}, "by 'crop' or by squares"),
    "no square": (frame(square(0, 0)), {"square": -1.0}, "Squares of side -1 group nothing"),
}


@pytest.mark.parametrize("name", BAD)
def test_wrong_labels_are_named(name: str) -> None:
    given, columns, words = BAD[name]
    with pytest.raises(InputError, match=words if ".*" in words else re.escape(words)):
        read_labels(given, LabelColumns(**{"value": "crop", **columns}), grid())


def test_a_word_is_no_number() -> None:
    with pytest.raises(InputError, match="'crop' holds 'c0', which is no finite number; `classify"):
        read_labels(frame(square(0, 0)), CROP, grid(), numbers=True)


def test_files_that_are_none_are_named(tmp_path: Path) -> None:
    table = tmp_path / "table.parquet"
    frame(square(0, 0)).drop(columns="geometry").to_parquet(table)
    (tmp_path / "noise.parquet").write_bytes(b"noise")
    for path, words in (
        (tmp_path / "nowhere.gpkg", "There is no file of labels"),
        (tmp_path / "noise.parquet", "cannot be read as GeoParquet: it does not begin as one"),
        (table, "cannot be read as GeoParquet: Missing geo metadata"),
    ):
        with pytest.raises(InputError, match=words):
            read_labels(path, CROP, grid())


def test_the_grid_is_the_whole_of_it() -> None:
    labels = read_labels(frame(square(0, 0, SIDE), square(0, 0, 1)), CROP, grid())
    assert labels.sizes.tolist() == [SIDE * SIDE - 1, 1]
