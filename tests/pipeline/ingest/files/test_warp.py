"""Files onto the cube's grid: tilings agree across zones and kernels, no data never mixes in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from distributed import Client
from odc.geo.geobox import GeoBox
from rasterio import Affine
from rasterio.warp import transform
from shapely.affinity import translate
from shapely.geometry import mapping, shape

from terralatent.catalogs.documents.access import Access
from terralatent.catalogs.scenes.scenes import Scenes
from terralatent.catalogs.scenes.search import search_scenes
from terralatent.catalogs.sources.sensors import Resampling
from terralatent.pipeline.ingest.assets import Band, Source
from terralatent.pipeline.ingest.build import build_cube
from terralatent.pipeline.store.repository import Store
from tests.made.catalogue import add_sentinel_2, optical, region
from tests.made.recorded import PC, moved, write_bands, write_items
from tests.pipeline.ingest.reading import read_all

KERNELS: tuple[Resampling, ...] = ("nearest", "bilinear", "cubic", "average")
MAY = ("2018-05-01", "2018-05-31")


def read(path: Path, window: GeoBox, how: Resampling, nodata: float = 0) -> np.ndarray:
    pixels, unread = read_all(
        [Source("one", {"B02": str(path)})],
        [Band("B02", "uint16", nodata, how)],
        window,
        access=Access(folder=str(path.parent)),
        threads=1,
    )
    assert unread == []
    return pixels["B02"][0]


def tiles_of(path: Path, window: GeoBox, how: Resampling, side: int) -> np.ndarray:
    whole = np.zeros(window.shape, np.uint16)
    for y in range(0, window.shape[0], side):
        for x in range(0, window.shape[1], side):
            rows = slice(y, min(y + side, window.shape[0]))
            columns = slice(x, min(x + side, window.shape[1]))
            whole[rows, columns] = read(path, window[rows, columns], how)
    return whole


@pytest.fixture(scope="module")
def eastern(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of zone 32, near the border of zone 31, with holes, overviews and no word on them."""
    path = tmp_path_factory.mktemp("eastern") / "east.tif"
    rng = np.random.default_rng(1)
    pixels = rng.integers(3000, 5000, (1000, 1000)).astype(np.uint16)
    pixels[rng.random(pixels.shape) < 0.05] = 0
    pixels[400:460, 420:500] = 0
    with rasterio.open(
        path, "w", driver="GTiff", dtype="uint16", count=1, crs="EPSG:32632", height=1000,
        width=1000, transform=Affine(10, 0, 300_000, 0, -10, 5_600_000), tiled=True,
        blockxsize=256, blockysize=256,
    ) as file:  # fmt: skip
        file.write(pixels, 1)
        file.build_overviews([2, 4])
    return path


def western_grid(size: float, side: int) -> GeoBox:
    """A grid of zone 31 in the middle of that file."""
    (x,), (y,) = transform("EPSG:32632", "EPSG:32631", [305_000], [5_595_000])
    left, top = (round(edge / size) * size for edge in (x - side * size / 2, y + side * size / 2))
    return GeoBox((side, side), Affine(size, 0, left, 0, -size, top), "EPSG:32631")


@pytest.mark.parametrize("size", [10.0, 20.0])
@pytest.mark.parametrize("how", KERNELS)
def test_tilings_agree_across_the_border_of_two_zones(
    eastern: Path, how: Resampling, size: float
) -> None:
    grid = western_grid(size, 100)
    whole = read(eastern, grid, how)
    assert 0.5 < (whole > 0).mean() < 1.0
    for side in (40, 61):
        np.testing.assert_array_equal(tiles_of(eastern, grid, how, side), whole)


@pytest.mark.parametrize("size", [5.0, 20.0])
@pytest.mark.parametrize("how", ["nearest", "cubic", "average"])
def test_windows_around_the_corners_of_a_file_are_read_as_the_whole(
    eastern: Path, how: Resampling, size: float
) -> None:
    """Some of them touch it, so that a kernel reaches it and no pixel lies in it."""
    for left, top in ((300_000, 5_600_000), (310_000, 5_590_000)):
        corner = Affine(size, 0, left - 24 * size, 0, -size, top + 24 * size)
        grid = GeoBox((48, 48), corner, "EPSG:32632")
        whole = read(eastern, grid, how)
        assert 0.1 < (whole > 0).mean() < 0.4
        np.testing.assert_array_equal(tiles_of(eastern, grid, how, 24), whole)


@pytest.mark.parametrize("how", KERNELS)
def test_no_data_never_mixes_in_where_the_file_does_not_tell_it(
    eastern: Path, how: Resampling
) -> None:
    """Every pixel of data is 3000 or more, so that a mixture with 0 would lie below."""
    pixels = read(eastern, western_grid(10.0, 160), how)
    data = pixels[pixels > 0]
    assert data.size
    assert data.min() > (2000 if how == "cubic" else 2999)  # cubic swings around its neighbours


@pytest.mark.parametrize("how", KERNELS)
def test_on_the_files_own_grid_every_kernel_gives_the_file(eastern: Path, how: Resampling) -> None:
    with rasterio.open(eastern) as file:
        wanted = file.read(1)[100:164, 200:264]
    grid = GeoBox((64, 64), Affine(10, 0, 302_000, 0, -10, 5_599_000), "EPSG:32632")
    np.testing.assert_array_equal(read(eastern, grid, how), wanted)


def test_a_sensor_has_its_own_kernel_and_classes_the_nearest(
    workers: Client, tmp_path: Path
) -> None:
    add_sentinel_2(tmp_path / "files", "2018-05-01T10:50:00Z", optical(np.random.default_rng(8)),
                   name="one")  # fmt: skip
    own = tmp_path / "own.toml"
    own.write_text('[sensors.sentinel-2-l2a]\nlike = "sentinel-2-l2a"\nresampling = "bilinear"\n')
    cubes = {}
    for name, described in (("nearest", []), ("bilinear", [own])):
        searched = search_scenes(tmp_path / "files", region(), *MAY, described=described)
        build_cube(searched, region(), tmp_path / name, block=16, client=workers)
        cubes[name] = Store.of(tmp_path / name).group()["sentinel-2-l2a"]
    nearest, bilinear = (cubes[name]["data"][0].astype(int) for name in ("nearest", "bilinear"))
    np.testing.assert_array_equal(nearest[0], bilinear[0])
    assert (nearest[9] != bilinear[9]).mean() > 0.5, "B12 has pixels of 20 m"
    np.testing.assert_array_equal(
        cubes["nearest"]["quality"][...], cubes["bilinear"]["quality"][...]
    )

    searched = search_scenes(tmp_path / "files", region(), *MAY, described=[own])
    build_cube(searched, region(), tmp_path / "tiles", block=8, memory="8MB", client=workers)
    tiles = Store.of(tmp_path / "tiles").group()["sentinel-2-l2a/data"]
    np.testing.assert_array_equal(tiles[...], cubes["bilinear"]["data"][...])


# -- where an item says that its files lie ---------------------------------------------------------


def shifted(item: Mapping[str, Any], **stated: Any) -> dict[str, Any]:
    """The item, which says something else of the grid of its B03."""
    assets = {**item["assets"], "B03": {**item["assets"]["B03"], **stated}}
    return {**item, "assets": assets}


STALE: list[tuple[dict[str, Any], str]] = [
    ({"proj:transform": [10, 0, 501_860, 0, -10, 5_629_680]}, "500 from where its item says"),
    ({"proj:transform": [10, 0, 501_360, 0, -10, 5_629_180], "proj:shape": None}, "500 from"),
    ({"proj:transform": [501_360, 10, 0, 5_629_680, 0, -10]}, "from where its item says"),
    ({"proj:shape": [80, 40]}, "from where its item says"),
]
"""What an item may say that is no more, or never was: moved, silent on shape, by GDAL, turned."""


def items(folder: Path, *stated: tuple[Mapping[str, Any], float]) -> Scenes:
    """What a search finds of items, a day each, whose B03 states that, and whose footprints lie so
    many degrees off."""
    hrefs = write_bands(folder / "tiles", optical(np.random.default_rng(3)))
    made = []
    for day, (its, east) in enumerate(stated, 1):
        time = f"2018-05-{day:02d}T10:50:31Z"
        item = shifted(moved(PC, hrefs, time=time, item_id=f"day-{day}"), **its)
        item["geometry"] = mapping(translate(shape(item["geometry"]), east))
        made.append(item)
    write_items(folder, made)
    return search_scenes(folder, region(), *MAY)


@pytest.fixture(scope="module")
def wanted(workers: Client, tmp_path_factory: pytest.TempPathFactory) -> np.ndarray:
    """The pixels of an item that states what is so."""
    folder = tmp_path_factory.mktemp("wanted")
    build_cube(items(folder, ({}, 0.0)), region(), folder / "cube", block=40, client=workers)
    return np.asarray(Store.of(folder / "cube").group()["sentinel-2-l2a/data"])


def test_nothing_is_said_of_an_item_that_states_what_is_so(
    workers: Client, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    build_cube(items(tmp_path, ({}, 0.0)), region(), tmp_path / "cube", block=40, client=workers)
    assert not caplog.records


@pytest.mark.parametrize(("stated", "words"), STALE)
def test_a_file_that_is_right_where_its_item_is_stale_is_read_with_a_warning(
    stated: dict[str, Any],
    words: str,
    wanted: np.ndarray,
    workers: Client,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    searched = items(tmp_path / "files", (stated, 0.0))
    report = build_cube(searched, region(), tmp_path / "cube", block=40, client=workers)
    assert report.losses == ()
    (warned,) = (record.getMessage() for record in caplog.records)
    assert warned.startswith("1 item places its files elsewhere")
    assert "day-1 B03" in warned
    assert words in warned
    data = Store.of(tmp_path / "cube").group()["sentinel-2-l2a/data"]
    np.testing.assert_array_equal(data, wanted)


OTHER_CRS = ({"proj:code": "EPSG:32632"}, "it lies in EPSG:32631, its item says EPSG:32632")


@pytest.mark.parametrize("strict", [True, False])
def test_a_file_that_lies_elsewhere_is_masked_and_named_and_never_shifted(
    strict: bool, workers: Client, tmp_path: Path
) -> None:
    """Where its item's footprint lies elsewhere too, in another CRS, or where that is asked for."""
    cases = [(stated, words, 0.0 if strict else 0.002) for stated, words in STALE]
    if not strict:
        cases.append((*OTHER_CRS, 0.0))
    searched = items(tmp_path / "files", *((stated, east) for stated, _, east in cases))
    losses = build_cube(
        searched, region(), tmp_path / "cube", block=40, client=workers, strict_placement=strict
    ).losses
    reasons = {(loss.item, loss.band): loss.reason for loss in losses}
    assert len(losses) == len(cases)
    for day, (_, words, _) in enumerate(cases, 1):
        assert words in reasons[f"day-{day}", "B03"]
    data = np.asarray(Store.of(tmp_path / "cube").group()["sentinel-2-l2a/data"])
    assert len(data) == len(cases)
    assert (data[:, 1] == 0).all()
    assert (data[:, 0] > 0).any(axis=(1, 2)).all()


def test_a_band_keeps_what_it_was() -> None:
    band = Band("B02", "uint16", 0)
    assert band.resampling == "nearest"
    with pytest.raises(ValueError, match="need a no data value"):
        replace(band, nodata=None)
