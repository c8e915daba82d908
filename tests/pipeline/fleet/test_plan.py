"""Plans: which tiles, what they are called, and that the table says the same when it is read."""

from __future__ import annotations

import shutil
from pathlib import Path

import geopandas
import pytest
from shapely.geometry import box

from terralatent.catalogs.errors import InputError
from terralatent.pipeline.fleet.fleet import Fleet
from tests.made.catalogue import CRS, LEFT, TOP, region
from tests.pipeline.fleet.made import planned_fleet, write_grid


def test_tiles_of_a_file_are_its_polygons_on_one_grid(tmp_path: Path) -> None:
    fleet = planned_fleet(tmp_path)
    assert [tile.name for tile in fleet.tiles] == ["t00", "t10", "t01", "t11"]
    for tile, (left, top) in zip(
        fleet.tiles, [(0, 0), (200, 0), (0, 200), (200, 200)], strict=True
    ):
        assert tile.crs == CRS
        assert tile.shape == (20, 20)
        assert tile.bounds == (LEFT + left, TOP - top - 200, LEFT + left + 200, TOP - top)
        assert tile.folder == str(tmp_path / "fleet" / tile.name)


def test_the_table_is_geoparquet_and_is_read_as_it_was_planned(tmp_path: Path) -> None:
    fleet = planned_fleet(tmp_path)
    assert Fleet.open(fleet.path) == fleet
    frame = geopandas.read_parquet(fleet.path)
    assert frame.crs.to_epsg() == 4326
    assert list(frame["tile"]) == [tile.name for tile in fleet.tiles]
    before = fleet.path.read_bytes()
    assert planned_fleet(tmp_path) == fleet
    assert fleet.path.read_bytes() == before


def test_a_fleet_that_is_moved_has_its_results_where_it_is(tmp_path: Path) -> None:
    planned_fleet(tmp_path / "here")
    shutil.move(tmp_path / "here", tmp_path / "there")
    fleet = Fleet.open(tmp_path / "there" / "fleet.parquet")
    assert {Path(tile.folder).parent for tile in fleet.tiles} == {tmp_path / "there" / "fleet"}


def test_results_may_go_elsewhere(tmp_path: Path) -> None:
    grid = write_grid(tmp_path / "grid.geojson")
    at = Fleet.plan(region(), grid, tmp_path / "a.parquet", folder="s3://bucket/fleet/")
    assert at.tiles[0].folder == "s3://bucket/fleet/t00"
    beside = Fleet.plan(region(), grid, tmp_path / "b.parquet", folder=tmp_path / "x")
    assert beside.tiles[0].store("cube").path == tmp_path / "x" / "t00" / "cube"


def test_only_tiles_that_touch_the_region_are_planned_and_clipping_leaves_what_lies_in_it(
    tmp_path: Path,
) -> None:
    grid = write_grid(tmp_path / "grid.geojson", 4)
    part = geopandas.GeoSeries(
        [box(LEFT + 150, TOP - 90, LEFT + 250, TOP - 31)], crs=CRS
    )  # of the second and third column of the first row
    whole = Fleet.plan(part, grid, tmp_path / "whole.parquet")
    clipped = Fleet.plan(part, grid, tmp_path / "clipped.parquet", clip=True)
    assert [tile.name for tile in whole.tiles] == ["t10", "t20"]
    assert [tile.shape for tile in whole.tiles] == [(10, 10)] * 2
    assert [tile.shape for tile in clipped.tiles] == [(6, 5)] * 2
    assert clipped.tiles[0].bounds == (LEFT + 150, TOP - 90, LEFT + 200, TOP - 30)


def test_a_square_is_the_same_whatever_the_region(tmp_path: Path) -> None:
    wide = Fleet.plan("4.0,50.7,5.2,51.2", "utm-50km", tmp_path / "wide.parquet", folder="x")
    narrow = Fleet.plan("4.3,50.8,4.4,50.9", "utm-50km", tmp_path / "narrow.parquet", folder="x")
    tiles = {tile.name: tile for tile in wide.tiles}
    assert [tiles[tile.name].bounds for tile in narrow.tiles] == [
        tile.bounds for tile in narrow.tiles
    ]


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        ({"tile": ["a", "A"]}, "calls two tiles 'A'"),
        ({"tile": ["a", "../b"]}, "no name of a folder"),
        ({"tile": ["a", None]}, "without a value in the column 'tile'"),
    ],
)
def test_names_that_are_no_folders_are_refused(
    tmp_path: Path, frame: dict[str, list[str]], words: str
) -> None:
    squares = [box(LEFT, TOP - 100, LEFT + 100, TOP), box(LEFT, TOP - 300, LEFT + 100, TOP - 200)]
    geopandas.GeoDataFrame(frame, geometry=squares, crs=CRS).to_file(tmp_path / "grid.geojson")
    with pytest.raises(InputError, match=words):
        Fleet.plan(region(), tmp_path / "grid.geojson", tmp_path / "fleet.parquet")
    assert not (tmp_path / "fleet.parquet").exists()


def test_wrong_plans_say_what_is_wrong(tmp_path: Path) -> None:
    grid = write_grid(tmp_path / "grid.geojson")
    fleet = Fleet.plan(region(), grid, tmp_path / "fleet.parquet")
    with pytest.raises(InputError, match="holds another plan, of 4 tiles"):
        Fleet.plan(region(), grid, fleet.path, resolution=20.0)
    with pytest.raises(InputError, match="unknown; give mgrs, utm-50km, or a file"):
        Fleet.plan(region(), "s2", tmp_path / "new.parquet")
    with pytest.raises(InputError, match="touches the region"):
        Fleet.plan("0,0,1,1", grid, tmp_path / "new.parquet")
    with pytest.raises(InputError, match="no column 'x'"):
        Fleet.plan(region(), grid, tmp_path / "new.parquet", column="x")
    with pytest.raises(InputError, match="There is no fleet"):
        Fleet.open(tmp_path / "none.parquet")
    (tmp_path / "no.parquet").write_bytes(b"nothing")
    with pytest.raises(InputError, match="is no fleet"):
        Fleet.open(tmp_path / "no.parquet")
