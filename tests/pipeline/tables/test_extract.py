"""A table that is extracted from a cube is the cube at these pixels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely
import zarr
from distributed import Client
from odc.geo.geobox import GeoBox

from terralatent.catalogs.errors import InputError
from terralatent.pipeline import Masking, Series, embed, extract, features, open_cube, open_latents
from terralatent.pipeline.region import grid_of
from terralatent.pipeline.store.repository import Store
from terralatent.pipeline.tables.atomic import writing_parquet
from tests.made.models import awake_model
from tests.made.tiny import tiny_cube

S1, S2 = "sentinel-1-asc", "sentinel-2-l2a"
SIDE, CRS = 40, "EPSG:32631"
DATES = "10D:2017-10-01/2017-12-31"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("extract")


@pytest.fixture(scope="module")
def cube(folder: Path) -> Path:
    """One whose radar has angles; its last column is never seen. As plain Zarr, to be changed."""
    from terralatent.pipeline.export.formats import export

    export(tiny_cube(folder / "cube", side=SIDE, block=20), folder / "cube.zarr")
    (folder / "cube.zarr" / "SHA256SUMS").unlink()
    group = zarr.open_group(folder / "cube.zarr", mode="r+")
    array: Any = group[f"{S1}/incidence"]
    array[:] = np.where(np.arange(array.shape[0]) % 2, 31.5, 44.25).astype(np.float32)
    return folder / "cube.zarr"


@pytest.fixture(scope="module")
def grid(cube: Path) -> GeoBox:
    return grid_of(Store.of(cube).group(kind="cube")[S2])


def at(column: float, row: float) -> shapely.Point:
    """A place on the map, by column and row of the grid."""
    return shapely.Point(540_000 + 10 * column, 5_680_000 - 10 * row)


@pytest.fixture(scope="module")
def polygons(folder: Path) -> Path:
    """Two fields, one of which reaches over blocks and out of the cube; and one without pixels."""
    shapes = [
        shapely.box(*at(2, 9).coords[0], *at(7, 3).coords[0]),
        shapely.box(*at(17, 24).coords[0], *at(60, 18).coords[0]),
        shapely.box(*at(1.6, 1.9).coords[0], *at(1.9, 1.6).coords[0]),
    ]
    frame = geopandas.GeoDataFrame({"crop": ["oats", "rye", "none"], "lon": 1.0}, geometry=shapes,
                                   crs=CRS)  # fmt: skip
    frame.to_crs("EPSG:4326").to_parquet(folder / "fields.parquet")
    return folder / "fields.parquet"


@pytest.fixture(scope="module")
def table(cube: Path, polygons: Path, folder: Path) -> Path:
    extract(cube, folder / "table.parquet", polygons=polygons, label="crop")
    return folder / "table.parquet"


def places(pixels: Any) -> np.ndarray:
    """Feature, row and column of each pixel of a table, (N, 3)."""
    return np.array([[int(part) for part in name.split("-")] for name in pixels])


def test_it_is_of_the_pixels_whose_centres_lie_in_a_polygon(table: Path) -> None:
    series = Series.from_table(table)
    found = places(series.column("pixel"))
    wanted = [(0, row, column) for row in range(3, 9) for column in range(2, 7)]
    wanted += [(1, row, column) for row in range(18, 24) for column in range(17, SIDE - 1)]
    assert sorted(map(tuple, found)) == wanted
    assert {*series.pixels.column_names} == {"pixel", "lon", "lat", "group", "label"}
    np.testing.assert_array_equal(series.column("group"), found[:, 0])
    label = np.array(["oats", "rye"])[found[:, 0]]
    np.testing.assert_array_equal(series.column("label").astype(str), label)
    on_map = geopandas.points_from_xy(series.column("lon"), series.column("lat"), crs="EPSG:4326")
    centres = on_map.to_crs(CRS)
    np.testing.assert_allclose(centres.x, 540_000 + 10 * (found[:, 2] + 0.5), atol=1e-3)
    np.testing.assert_allclose(centres.y, 5_680_000 - 10 * (found[:, 1] + 0.5), atol=1e-3)


def test_it_has_what_the_opened_cube_has(cube: Path, table: Path) -> None:
    """The opened cube is read by another way, through dask."""
    series, opened = Series.from_table(table), open_cube(cube)
    found = places(series.column("pixel"))
    for name, own in series.sensors.items():
        data = opened[name]["data"].load()
        assert own.bands == tuple(data["band"].to_numpy())
        for place in range(0, len(series), 7):
            _, row, column = found[place]
            mine = slice(series.offsets[place], series.offsets[place + 1])
            wanted = data.isel(y=row, x=column).dropna("time", how="all")
            seen = own.observed[mine]
            np.testing.assert_array_equal(series.dates[mine][seen], wanted["time"])
            np.testing.assert_array_equal(own.values[mine][seen], wanted)
            if name == S1:
                angle = wanted["incidence"]
                np.testing.assert_array_equal(own.incidence[mine][seen], angle)


def test_embedded_it_is_the_cube_embedded(
    cube: Path, table: Path, folder: Path, workers: Client
) -> None:
    """To the roundings of float32 in other batches: distances, angles and masks are all there."""
    model = awake_model(cube, folder)
    embed(table, model, folder / "of-table.parquet", dates=DATES)
    embed(cube, model, folder / "of-cube", dates=DATES, precision="float32", client=workers)
    latents = open_latents(folder / "of-cube").load()
    frame = pd.read_parquet(folder / "of-table.parquet")
    names = frame["pixel"].drop_duplicates()
    _, rows, columns = places(names).T
    for variable in ("mean", "std"):
        whole = latents[variable].to_numpy()[:, :, rows, columns]  # (Q, L, N)
        own = frame[[f"{variable}_{latent}" for latent in latents["latent"].to_numpy()]]
        laid = own.to_numpy().reshape(len(names), len(latents["time"]), -1).transpose(1, 2, 0)
        assert np.isfinite(laid).all()
        np.testing.assert_allclose(laid, whole, atol=2e-5)


@pytest.mark.parametrize("lost", ["distance", "incidence"])
def test_what_the_law_needs_is_in_the_table(
    cube: Path, table: Path, folder: Path, lost: str
) -> None:
    """Without a column the latents are others: the law above would see it."""
    model = awake_model(cube, folder / lost)
    whole = Series.from_table(table)
    rows = pq.read_table(table)
    bare = rows.drop_columns([f"{name}:{lost}" for name in whole.sensors])
    means = [features(model, series, DATES).part("mean")
             for series in (whole, Series.from_table(bare))]  # fmt: skip
    assert np.abs(means[1] - means[0]).max() > 1e-3


def test_a_point_is_the_pixel_that_holds_it(cube: Path, folder: Path) -> None:
    """Two points in one pixel are two; those outside the cube, or its scenes, are left out."""
    points = geopandas.GeoDataFrame(
        {"kind": list("abcde"), "group": [7, 7, 8, 8, 9]},
        geometry=[at(5.1, 3.9), at(5.9, 3.1), at(0.5, SIDE - 0.5), at(SIDE - 0.5, 2), at(-3, 4)],
        crs=CRS,
    )
    for name in ("p.gpkg", "p.geojson", "p.shp"):
        points.to_file(folder / name)
        out = folder / f"{name}.parquet"
        report = extract(cube, out, points=folder / name, sensors=[S2])
        assert (report.pixels, report.outside) == (3, 1)
        series = Series.from_table(out)
        assert places(series.column("pixel")).tolist() == [[0, 3, 5], [1, 3, 5], [2, 39, 0]]
        assert series.column("kind").tolist() == ["a", "b", "c"]
        assert series.column("group").tolist() == [7, 7, 8]
        assert list(series.sensors) == [S2]
        pair = [series.sensors[S2].values[series.pixel_of_row == place] for place in (0, 1)]
        np.testing.assert_array_equal(*pair)


def test_a_pixel_that_was_never_clear_has_a_row(cube: Path, folder: Path) -> None:
    point = geopandas.GeoDataFrame(geometry=[at(3.5, 3.5)], crs=CRS)
    nothing = Masking(rule="tests.pipeline.tables.test_extract:never")
    out = folder / "dark.parquet"
    assert extract(cube, out, points=point, sensors=[S2], masking=nothing).rows == 1
    series = Series.from_table(out)
    assert series.observations()[S2].tolist() == [0]


def never(quality: np.ndarray) -> np.ndarray:
    """A clear-sky rule by which nothing is clear."""
    return np.zeros(quality.shape, dtype=bool)


def test_the_same_again_does_nothing_and_another_is_refused(
    cube: Path, table: Path, polygons: Path
) -> None:
    before = table.read_bytes()
    assert extract(cube, table, polygons=polygons, label="crop").repeated
    with pytest.raises(InputError, match=r"its sensors is .*choose another out="):
        extract(cube, table, polygons=polygons, label="crop", sensors=[S2])
    assert table.read_bytes() == before


def test_what_ends_early_leaves_nothing(tmp_path: Path) -> None:
    rows = pa.table({"pixel": [1, 2]})
    out = tmp_path / "t.parquet"

    def fail() -> None:
        with writing_parquet(out, {"kind": "table"}) as write:
            write(rows)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert list(tmp_path.iterdir()) == []
    with writing_parquet(out, {"kind": "table"}) as write:
        write(rows)
        write(rows)
        assert not out.exists()
    assert pq.read_table(out).num_rows == 4
    assert list(tmp_path.iterdir()) == [out]


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "neither": ({}, "points or polygons, one of them"),
    "both": ({"points": "fields.parquet", "polygons": "fields.parquet"}, "one of them"),
    "kind": ({"points": "fields.parquet"}, "holds Polygon, where points are wanted .*polygons="),
    "file": ({"points": "nowhere.gpkg"}, "no file of places '.*nowhere.gpkg'"),
    "column": ({"polygons": "fields.parquet", "label": "type"}, "no column 'type'; it has crop, l"),
    "crs": ({"points": "bare"}, "does not say its CRS"),
    "far": ({"points": "far"}, "None of the 1 points .* which covers 3.57"),
    "sensor": ({"polygons": "fields.parquet", "sensors": ["venus"]},
               "no acquisitions of venus; it has sentinel-1-asc, sentinel-2-l2a"),
    "ending": ({"polygons": "fields.parquet", "out": "t.csv"}, "ends in .parquet"),
    "inside": ({"polygons": "fields.parquet", "out": "cube.zarr/t.parquet"}, "lies inside the sto"),
    "others": ({"polygons": "fields.parquet", "out": "fields.parquet"}, "not made by terralatent"),
    "unseen": ({"points": "unseen"}, "All 1 pixels lie outside every scene"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_fit_is_named(cube: Path, polygons: Path, folder: Path, name: str) -> None:
    request, words = REFUSED[name]
    made = {
        "bare": geopandas.GeoDataFrame(geometry=[at(1, 1)]),
        "far": geopandas.GeoDataFrame(geometry=[shapely.Point(20.0, 3.0)], crs="EPSG:4326"),
        "unseen": geopandas.GeoDataFrame(geometry=[at(SIDE - 0.5, 1)], crs=CRS),
    }
    given = dict(request)
    for key in ("points", "polygons"):
        if key in given:
            given[key] = made.get(given[key], folder / given[key])
    out = folder / given.pop("out", "refused.parquet")
    before = sorted(folder.iterdir())
    with pytest.raises(InputError, match=words):
        extract(cube, out, **given)
    assert sorted(folder.iterdir()) == before
