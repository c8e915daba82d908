"""Read tasks: whole blocks that cover the grid once, each tile of a file fetched once for one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox
from rasterio import Affine

from benchmarks.ingest.file_server import Answer, Counted, counted
from benchmarks.ingest.scenes import CRS, LEFT, TOP, Made, make_scenes
from terralatent.catalogs.documents.access import Access
from terralatent.catalogs.errors import InputError
from terralatent.catalogs.scenes.scenes import Scenes
from terralatent.catalogs.sources.sensors import SENSORS, Resampling
from terralatent.pipeline.ingest import warp as warping
from terralatent.pipeline.ingest.pixels import TaskPixels, read_pixels
from terralatent.pipeline.ingest.windows import cut_windows, plan_windows, tile_edges

S2, S1 = "sentinel-2-l2a", "sentinel-1-asc"
EAST = "EPSG:32632"
SIDE, SHIFT, TILE = 384, 44, 128


def grid(rows: int, columns: int, left: float = LEFT, top: float = TOP) -> GeoBox:
    return GeoBox((rows, columns), Affine(10, 0, left, 0, -10, top), CRS)


# Windows.


@settings(deadline=None)
@given(
    rows=st.integers(1, 9000),
    columns=st.integers(1, 9000),
    block=st.sampled_from([16, 64, 256, 1024, 4096]),
    most=st.integers(1, 2048**2),
    begins=st.lists(st.integers(-2000, 2000), max_size=2),
)
def test_windows_are_whole_blocks_within_limits_and_cover_the_grid_once(
    rows: int, columns: int, block: int, most: int, begins: list[int]
) -> None:
    edges = {(float(begin), 1.0 + place): 4 for place, begin in enumerate(begins)}

    windows = cut_windows(grid(rows, columns), block, most, (edges, edges))

    times = np.zeros((-(-rows // block), -(-columns // block)), int)
    for window in windows:
        height, width = window.shape
        assert height > 0 < width
        assert max(height, width) <= max(2048, block)
        assert height * width <= max(most, block**2)
        assert not window.y.start % block
        assert not window.x.start % block
        assert window.y.stop == rows or not window.y.stop % block
        assert window.x.stop == columns or not window.x.stop % block
        y, x = (slice(s.start // block, -(-s.stop // block)) for s in (window.y, window.x))
        times[y, x] += 1
    assert (times == 1).all()
    assert len({window.index for window in windows}) == len(windows)


def test_windows_are_wide_rather_than_many() -> None:
    """Of two windows beside each other half a million pixels more are fetched than of one."""
    windows = cut_windows(grid(2048, 2048), 256, 2048 * 1300)

    assert [window.shape for window in windows] == [(1024, 2048), (1024, 2048)]


def test_windows_end_where_tiles_end_if_blocks_do(tmp_path: Path) -> None:
    """The first pixel of each file is 1,536 pixels up and left of the grid's."""
    made = make_scenes(tmp_path, side=64, dates={S2: 1}, shift=8)
    stated = {"proj:code": CRS, "proj:transform": [10, 0, LEFT - 15_360, 0, -10, TOP + 15_360]}
    scenes = made.scenes(str(tmp_path))
    (acquisition,) = scenes.acquisitions(S2)
    item = {**acquisition.items[0], "properties": {**acquisition.items[0]["properties"], **stated}}
    edges = tile_edges([replace(acquisition, items=(item,))], grid(4096, 4096))

    aligned = cut_windows(grid(4096, 4096), 256, 2048**2, edges)
    narrow = cut_windows(grid(3072, 3072), 256, 2048**2, edges)

    assert {window.y.start for window in aligned} == {0, 2048}, "more cuts would cost more"
    assert {window.x.start for window in narrow} == {0, 1536}


def test_dates_are_read_one_by_one_before_windows_become_narrow(tmp_path: Path) -> None:
    made = make_scenes(tmp_path, side=64, dates={S2: 1}, shift=8)
    acquisitions = made.scenes(str(tmp_path)).acquisitions(S2)
    sensor, pixels = SENSORS[S2], grid(2048, 2048)

    plans = [plan_windows(sensor, acquisitions, pixels, 256, n * 10**9) for n in (1, 2, 3, 4, 8)]

    assert [len(plan.windows) for plan in plans] == sorted(len(p.windows) for p in plans)[::-1]
    assert len(plans[-2].windows) == 1
    assert plans[-1].together == 16
    assert plans[-2].together < 16
    for plan, limit in zip(plans, (1, 2, 3, 4, 8), strict=True):
        rows, columns = plan.windows[0].shape
        arrays = rows * columns * (16 * (10 * 2 + 1) + plan.together * (10 * 2 + 1))
        assert arrays <= limit * 10**9 / 2
    with pytest.raises(InputError, match=r"A block of 256 pixels .* give more memory="):
        plan_windows(sensor, acquisitions, pixels, 256, 10**6)


# What is fetched.


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Made, Counted]]:
    """Files of many tiles, 44 pixels off the region."""
    folder = tmp_path_factory.mktemp("served")
    made = make_scenes(folder / "f", side=SIDE, dates={S2: 2, S1: 2}, tile=TILE, shift=SHIFT)
    with counted(folder / "f", folder / "log") as server:
        yield made, server


@pytest.fixture(scope="module")
def eastern(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Made, Counted]]:
    """The same from another UTM zone."""
    folder = tmp_path_factory.mktemp("eastern")
    made = make_scenes(
        folder / "f", side=SIDE, dates={S2: 1, S1: 1}, tile=TILE, shift=SHIFT, crs=EAST
    )
    with counted(folder / "f", folder / "log") as server:
        yield made, server


def read(
    scenes: Scenes,
    name: str,
    window: GeoBox,
    together: int | None = None,
    how: Resampling = "nearest",
) -> TaskPixels:
    return read_pixels(
        scenes.acquisitions(name),
        replace(scenes.sensor(name), resampling=how),
        window,
        access=scenes.access,
        grid=grid(SIDE, SIDE),
        threads=4,
        together=together,
    )


def times_fetched(folder: Path, answers: list[Answer]) -> dict[str, list[int]]:
    """How often the middle byte of each tile was sent, of each file; those in the header left out.

    The header is what is fetched when a file is opened, whatever lies in it.
    """
    fetched: dict[str, list[int]] = {}
    for path in {answer.path for answer in answers}:
        got = [a for a in answers if a.path == path and a.method == "GET"]
        times = fetched[path] = []
        with rasterio.open(folder / path.lstrip("/")) as file:
            for (y, x), _ in file.block_windows(1):
                begin, size = (
                    int(file.get_tag_item(f"BLOCK_{what}_{x}_{y}", "TIFF", bidx=1))
                    for what in ("OFFSET", "SIZE")
                )
                middle = begin + size // 2
                if middle >= 32768:
                    times.append(sum(a.first <= middle < a.first + a.size for a in got))
    return fetched


@pytest.mark.parametrize("name", [S2, S1])
def test_each_tile_is_fetched_once_for_a_unit(served: tuple[Made, Counted], name: str) -> None:
    made, server = served
    server.forget()

    pixels = read(made.scenes(server.url), name, grid(SIDE, SIDE))

    assert pixels.losses == ()
    times = times_fetched(made.folder, server.answers())
    assert len(times) == (22 if name == S2 else 4)
    assert {count for counts in times.values() for count in counts} == {1}


@pytest.mark.parametrize(("name", "how"), [(S2, "nearest"), (S1, "nearest"), (S2, "bilinear")])
def test_each_tile_is_fetched_once_across_the_border_of_two_zones(
    eastern: tuple[Made, Counted], name: str, how: Resampling
) -> None:
    made, server = eastern
    server.forget()

    pixels = read(made.scenes(server.url), name, grid(SIDE, SIDE), how=how)

    assert pixels.losses == ()
    assert (pixels.data != SENSORS[name].packing.fill_value).mean() > 0.99
    times = times_fetched(made.folder, server.answers())
    assert len(times) == (11 if name == S2 else 2)
    assert max(count for counts in times.values() for count in counts) == 1


# What is read.


@pytest.mark.parametrize("crs", [CRS, EAST])
def test_pixels_are_the_same_however_many_dates_are_read_together(tmp_path: Path, crs: str) -> None:
    made = make_scenes(tmp_path, side=96, dates={S2: 2, S1: 2}, tile=64, shift=20, crs=crs)
    scenes = replace(made.scenes(str(tmp_path)), access=Access(folder=str(tmp_path)))
    for name in (S2, S1):
        whole = read(scenes, name, grid(96, 96))
        part = read(scenes, name, grid(96, 96), together=1)
        np.testing.assert_array_equal(part.data, whole.data)
        np.testing.assert_equal(part.quality, whole.quality)


@pytest.mark.parametrize("how", ["nearest", "bilinear", "cubic", "average"])
def test_what_is_held_in_memory_to_be_warped_changes_no_pixel(
    eastern: tuple[Made, Counted], how: Resampling, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, _ = eastern
    folder = made.folder
    scenes = replace(made.scenes(str(folder)), access=Access(folder=str(folder)))
    for name, size in ((S2, 10.0), (S1, 25.0)):
        window = GeoBox((140, 150), Affine(size, 0, LEFT + 500, 0, -size, TOP - 500), CRS)
        held = read(scenes, name, window, how=how)
        with monkeypatch.context() as patched:
            patched.setattr(warping, "AT_ONCE", 0)
            np.testing.assert_array_equal(read(scenes, name, window, how=how).data, held.data)


def test_pixels_go_where_they_are_told_and_other_dates_are_left_alone(
    served: tuple[Made, Counted],
) -> None:
    made, _ = served
    scenes = replace(made.scenes(str(made.folder)), access=Access(folder=str(made.folder)))
    window = grid(64, 64)
    wanted = read(scenes, S2, window)
    into = {
        "data": np.full((4, 10, 64, 64), 7, np.uint16),
        "quality": np.full((4, 64, 64), 7, np.uint8),
    }

    read_pixels(
        scenes.acquisitions(S2), scenes.sensor(S2), window, access=scenes.access, into=into,
        places=[3, 1],
    )  # fmt: skip

    assert wanted.quality is not None
    np.testing.assert_array_equal(into["data"][[3, 1]], wanted.data)
    np.testing.assert_array_equal(into["quality"][[3, 1]], wanted.quality)
    assert (into["data"][[0, 2]] == 7).all()
