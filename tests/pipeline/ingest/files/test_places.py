"""A cube of any place on the earth: over the 180th meridian, and around the poles."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from distributed import Client
from shapely.geometry import box, mapping

from terralatent.catalogs.scenes.aoi import read_aoi
from terralatent.catalogs.scenes.search import search_scenes
from terralatent.pipeline.cube.opened import open_cube
from terralatent.pipeline.ingest.build import build_cube
from terralatent.pipeline.ingest.plan import plan_build
from terralatent.pipeline.region import grid
from tests.made.places import corner, outline, scene

S2 = "sentinel-2-l2a"
YEAR = ("2024-01-01", "2024-12-31")
FIJI, TONGA = "EPSG:32760", "EPSG:32701"
ACROSS = "179.9992,-17.0008,-179.9992,-16.9992"
"""A region whose middle lies on the meridian."""
WEST_OF_IT, EAST_OF_IT = "179.9992,-17.0008,180,-16.9992", "-180,-17.0008,-179.9992,-16.9992"


def blue(folder: Path, region: Any, workers: Client) -> np.ndarray:
    """The first band (time, y, x) of the cube of a folder."""
    scenes = search_scenes(folder, region, *YEAR)
    build_cube(scenes, region, folder / "cube", client=workers, block=32)
    values: np.ndarray = open_cube(folder / "cube", clear=False)[S2]["data"].values[:, 0]
    return values


@pytest.mark.soak
def test_one_pass_over_the_meridian_is_one_date(tmp_path: Path, workers: Client) -> None:
    for name, crs, longitude, numbers in (
        ("west", FIJI, 179.9985, 2000),
        ("east", TONGA, -179.9985, 3000),
    ):
        at = corner(crs, longitude, -17.0)
        time = f"2024-06-01T22:20:0{numbers // 1000}Z"
        scene(tmp_path, name, time, crs=crs, at=at, numbers=numbers, s2__mgrs_tile=f"{name}")
    (values,) = blue(tmp_path, ACROSS, workers)
    assert {round(float(v), 2) for v in np.unique(values[np.isfinite(values)])} == {0.2, 0.3}
    left, right = values[:, : values.shape[1] // 2 - 1], values[:, values.shape[1] // 2 + 1 :]
    np.testing.assert_allclose(left[np.isfinite(left)], 0.2, atol=1e-4)
    np.testing.assert_allclose(right[np.isfinite(right)], 0.3, atol=1e-4)
    assert np.isfinite(values).mean() > 0.9


def test_every_way_of_writing_a_scene_gives_its_pixels(tmp_path: Path, workers: Client) -> None:
    at = corner(FIJI, 180.0, -17.0)
    belt = outline(FIJI, *at)
    south, north = min(y for _, y in belt), max(y for _, y in belt)
    west, east = min(x for x, _ in belt if x > 0), max(x for x, _ in belt if x < 0)
    two = [box(west, south, 180, north), box(-180, south, east, north)]
    parts = [mapping(side)["coordinates"] for side in two]
    polygon = {"type": "Polygon"}
    ways = [
        {"geometry": polygon | {"coordinates": [belt]}},
        {"geometry": polygon | {"coordinates": [[[x % 360, y] for x, y in belt]]}},
        {"geometry": polygon | {"coordinates": [[[x % 360 - 360, y] for x, y in belt]]}},
        {"geometry": {"type": "MultiPolygon", "coordinates": parts}},
        {"geometry": None, "bbox": [west, south, east, north]},
    ]
    for day, way in enumerate(ways, 1):
        scene(tmp_path, f"S{day}", f"2024-06-{day:02d}T22:20:00Z", crs=FIJI, at=at, item=way)
    for region in (WEST_OF_IT, EAST_OF_IT, mapping(box(179.9992, -17.0008, 180.0008, -16.9992))):
        found = search_scenes(tmp_path, region, *YEAR)
        assert [len(a.items) for a in found.acquisitions(S2)] == [1] * len(ways)
    values = blue(tmp_path, ACROSS, workers)
    assert len(values) == len(ways)
    np.testing.assert_allclose(values, 0.2, atol=1e-4)


@pytest.mark.parametrize(
    ("latitude", "crs", "of_files"),
    [(84.5, "EPSG:3995", "EPSG:32632"), (-82.0, "EPSG:3031", "EPSG:3031")],
)
def test_around_a_pole_a_cube_has_a_polar_crs(
    latitude: float, crs: str, of_files: str, tmp_path: Path, workers: Client
) -> None:
    scene(tmp_path, "S", "2024-06-01T10:50:00Z", crs=of_files, at=corner(of_files, 9.0, latitude))
    region = f"8.998,{latitude - 0.0003},9.002,{latitude + 0.0003}"
    plan = plan_build(search_scenes(tmp_path, region, *YEAR), region, tmp_path / "none")
    assert plan.crs == crs
    np.testing.assert_allclose(blue(tmp_path, region, workers), 0.2, atol=1e-4)


@pytest.mark.parametrize(
    ("region", "crs"),
    [
        (box(-180, 85, 180, 90), "EPSG:3995"),
        (box(10, -85, 11, -84), "EPSG:3031"),
        (box(9, 83.5, 9.1, 83.9), "EPSG:32632"),
        (box(-180, -17, -179, -16), "EPSG:32701"),
        (box(179, -17, 180, -16), "EPSG:32760"),
    ],
)
def test_the_default_crs_is_that_of_the_place(region: Any, crs: str) -> None:
    assert str(grid(region, 1000.0).crs) == crs


@pytest.mark.parametrize("dates", [20, pytest.param(1460, marks=pytest.mark.soak)])
def test_a_whole_tile_is_planned(dates: int, tmp_path: Path) -> None:
    """10,980 x 10,980 pixels; the longer series is one of twenty years."""
    utm, (x, y), side = "EPSG:32631", (499_980.0, 5_600_040.0), 109_800.0
    one = scene(tmp_path, "S", "2004-01-01T10:50:00Z", at=(x, y))
    (tmp_path / "S.json").unlink()
    whole = mapping(box(x, y - side, x + side, y))
    crs = {"type": "name", "properties": {"name": utm}}
    one["geometry"] = mapping(read_aoi({**whole, "crs": crs}))
    first = np.datetime64("2004-01-01T10:50:00")
    items = []
    for n in range(dates):
        properties = {**one["properties"], "datetime": f"{first + np.timedelta64(5 * n, 'D')}Z"}
        items.append({**one, "id": f"S{n}", "properties": properties})
    catalogue = tmp_path / "items.json"
    catalogue.write_text(json.dumps({"type": "FeatureCollection", "features": items}))
    region = {**mapping(box(x + 15, y - side + 15, x + side - 15, y - 15)), "crs": crs}
    scenes = search_scenes(catalogue, region, "2004-01-01", "2023-12-31")
    plan = plan_build(scenes, region, tmp_path / "cube")
    assert plan.shape == (10_978, 10_978)
    (sensor,) = plan.sensors
    assert (sensor.dates, sensor.open_dates) == (dates, dates)
    assert sensor.tasks == -(-dates // 16) * 36
    assert not (tmp_path / "cube").exists()
