"""What hosts do to requests changes no pixel: it is read again, or masked and named."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from distributed import Client
from odc.geo.geobox import GeoBox
from rasterio import Affine
from rasterio.errors import RasterioError
from rasterio.warp import transform_bounds
from shapely.geometry import box

from terralatent.catalogs.documents.access import Access
from terralatent.catalogs.scenes.scenes import Scenes
from terralatent.catalogs.sources.sensors import pick_sensors
from terralatent.catalogs.sources.sources import SOURCES
from terralatent.pipeline.ingest import raster, retry
from terralatent.pipeline.ingest.assets import Band, Source, Unread
from terralatent.pipeline.ingest.build import BuildReport, build_cube
from terralatent.pipeline.store.repository import Store
from tests.commands.processes import Launcher
from tests.made.catalogue import COARSE, CRS, FINE, LEFT, TOP
from tests.made.recorded import PC, moved
from tests.pipeline.ingest.reading import read_all
from tests.servers.file_server import (
    IMPATIENT,
    QUICK,
    FileServer,
    Request,
    Trouble,
    hurry,
    serving_files,
)
from tests.servers.schedulers import cluster_in
from tests.waiting import WITHIN_S, until

SIDE = 256
GRID = Affine(10.0, 0.0, LEFT, 0.0, -10.0, TOP)
EDGES = (LEFT + 30, TOP - 10 * SIDE + 30, LEFT + 10 * SIDE - 30, TOP - 30)
REGION = box(*transform_bounds(CRS, "EPSG:4326", *EDGES, densify_pts=21))
DAYS = (1, 6, 11, 16)
ACCOUNT = "http://{}.blob.core.windows.net"
GROUP = "sentinel-2-l2a"

THE_ISSUE = {"busy": 0.10, "cut": 0.02, "late": 0.05, "wait": 8.0}


def write(path: Path, pixels: np.ndarray, **how: Any) -> None:
    """A GeoTIFF with the region's corner; half the region's side is in pixels of 20 m."""
    size = 20.0 if len(pixels) == SIDE // 2 else 10.0
    profile = {
        "crs": CRS,
        "transform": Affine(size, 0.0, LEFT, 0.0, -size, TOP),
        "nodata": 0,
        **how,
    }
    with rasterio.open(
        path, "w", driver="GTiff", dtype=pixels.dtype, count=1, width=len(pixels),
        height=len(pixels), **profile,
    ) as file:  # fmt: skip
        file.write(pixels, 1)


def numbers(side: int) -> np.ndarray:
    return np.random.default_rng(0).integers(1, 60_000, (side, side)).astype(np.uint16)


@pytest.fixture(scope="module")
def processes(launcher: Launcher, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """Two worker processes that lose patience soon."""
    with (
        cluster_in(launcher, tmp_path_factory.mktemp("cluster")) as cluster,
        Client(cluster.address) as client,
    ):
        cluster.join()
        client.wait_for_workers(2, WITHIN_S)
        yield client


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of four dates, two of which are said to lie with another account."""
    folder, rng = tmp_path_factory.mktemp("files"), np.random.default_rng(3)
    for day in DAYS:
        place = folder / "tiles" / str(day)
        place.mkdir(parents=True)
        for band in (*FINE, *COARSE):
            side = SIDE if band in FINE else SIDE // 2
            pixels = rng.integers(1, 9000, (side, side)).astype(np.uint16)
            write(place / f"{band}.tif", pixels, compress="deflate")
        clear = rng.integers(4, 8, (SIDE // 2, SIDE // 2)).astype(np.uint8)
        write(place / "SCL.tif", clear, compress="deflate")
    return folder


@pytest.fixture(scope="module")
def scenes(files: Path) -> Scenes:
    """Files that are read with tokens: four dates, of two accounts by turns."""
    items = []
    for number, day in enumerate(DAYS):
        place = f"{ACCOUNT.format('odd' if number % 2 else 'even')}/tiles/{day}"
        hrefs = {path.stem: f"{place}/{path.name}" for path in (files / f"tiles/{day}").iterdir()}
        time = f"2018-05-{day:02d}T10:50:31Z"
        items.append(moved(PC, hrefs, side=SIDE, time=time, item_id=f"day-{day}"))
    period = tuple(np.array(["2018-05-01", "2018-05-31"], "datetime64[D]").tolist())
    place, sensors = SOURCES["planetary-computer"], pick_sensors([GROUP])
    return Scenes.gather(items, sensors, source=place, period=period)


def build(
    scenes: Scenes,
    host: FileServer,
    out: Path,
    processes: Client,
    settings: Mapping[str, float] = QUICK,
    **options: Any,
) -> BuildReport:
    """Build the cube, in four read tasks, by the worker processes and through ``host``."""
    processes.run(hurry, settings, host.environment())
    return build_cube(scenes, REGION, out, block=128, memory="30MB", client=processes, **options)


@pytest.fixture(scope="module")
def faultless(
    scenes: Scenes, files: Path, processes: Client, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    folder = tmp_path_factory.mktemp("faultless")
    with serving_files(files, folder / "log", Trouble()) as host:
        report = build(scenes, host, folder / "cube", processes)
    assert (report.losses, report.tasks) == ((), 4)
    return folder / "cube"


def require_same(cube: Path, faultless: Path) -> None:
    """Check that two cubes are equal array by array, and that nothing is missing in them."""
    group, wanted = Store.of(cube).group()[GROUP], Store.of(faultless).group()[GROUP]
    assert set(group.array_keys()) == set(wanted.array_keys()) >= {"data", "quality", "state"}
    for name, array in wanted.arrays():
        np.testing.assert_array_equal(group[name][...], array[...], err_msg=name)
    assert group.attrs["losses"] == wanted.attrs["losses"] == []


def suffered(host: FileServer) -> Counter[str]:
    return Counter(request.trouble for request in host.requests)


def test_a_cube_read_through_faults_is_that_of_a_faultless_run(
    scenes: Scenes, files: Path, processes: Client, faultless: Path, tmp_path: Path
) -> None:
    """Each date's first requests meet a trouble of its own, the same in every run.

    And tokens that are said to last are taken back while they are in use: after so many requests,
    for on a busy machine a file may take longer than any time that is short for others.
    """
    kinds = {"tiles/1/": "503", "tiles/6/": "cut", "tiles/11/B02": "late", "tiles/16/": "reset"}
    trouble = Trouble(always=kinds, first=1, wait=8.0, token_uses=100)
    with serving_files(files, tmp_path / "log", trouble) as host:
        report = build(scenes, host, tmp_path / "cube", processes, IMPATIENT)
        # What is late is logged when it is answered at last.
        until(lambda: {"503", "cut", "late", "reset"} <= set(suffered(host)))
        requests = host.requests
    assert report.losses == ()
    require_same(tmp_path / "cube", faultless)
    tokens = sum(request.path.startswith("/tokens/") for request in requests)
    assert tokens > 2 * 2  # accounts and processes


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(5))
def test_a_cube_read_through_faults_for_long_is_that_of_a_faultless_run(
    scenes: Scenes, files: Path, processes: Client, faultless: Path, tmp_path: Path, seed: int
) -> None:
    """Tokens end after 30 s, as stated or, by turns, sooner; requests are so slow that they do."""
    stated = 30.0 if seed % 2 else 3600.0
    trouble = Trouble(seed=seed, **THE_ISSUE, slow=0.8, token_stated=stated, token_lasts=30.0)
    with serving_files(files, tmp_path / "log", trouble) as host:
        processes.run(hurry, IMPATIENT, host.environment())
        report = build_cube(
            scenes, REGION, tmp_path / "cube", block=128, memory="30MB", client=processes
        )
    assert report.losses == ()
    require_same(tmp_path / "cube", faultless)


def test_all_workers_together_keep_to_the_limit_of_a_host(
    scenes: Scenes, files: Path, processes: Client, faultless: Path, tmp_path: Path
) -> None:
    with serving_files(files, tmp_path / "log", Trouble(slow=0.02)) as host:
        report = build(scenes, host, tmp_path / "cube", processes, requests=2)
        most = max(request.open for request in host.requests)
    assert report.losses == ()
    require_same(tmp_path / "cube", faultless)
    # The two accounts are two hosts behind one proxy; each worker has one request to each.
    assert 2 <= most <= 4


@pytest.mark.soak
def test_a_host_that_is_down_costs_its_own_files_which_a_rerun_reads(
    scenes: Scenes, files: Path, processes: Client, faultless: Path, tmp_path: Path
) -> None:
    """Its tries get fewer when it is seen to be down."""
    lost = {f"tiles/{day}/": "503" for day in DAYS[1::2]}
    with serving_files(files, tmp_path / "log", Trouble(always=lost)) as host:
        report = build(scenes, host, tmp_path / "cube", processes)
        suffering = {request.path for request in host.requests if request.trouble == "503"}
        tried = tries(host)
    bands = {*FINE, *COARSE, "SCL"}
    wanted = {(f"day-{day}", band) for day in DAYS[1::2] for band in bands}
    assert {(loss.item, loss.band) for loss in report.losses} == wanted
    assert all("503" in loss.reason for loss in report.losses)
    assert not any("sig=" in loss.reason for loss in report.losses)
    assert len(suffering) == len(wanted)
    assert len(tried) < 2 * 4 * len(wanted)  # of four tasks; each file would be tried six times
    data, whole = (Store.of(cube).group()[GROUP]["data"] for cube in (tmp_path / "cube", faultless))
    np.testing.assert_array_equal(data[0::2], whole[0::2])
    assert (data[1::2] == data.fill_value).all()
    with serving_files(files, tmp_path / "log 2", Trouble()) as host:
        report = build(scenes, host, tmp_path / "cube", processes)
    assert (report.losses, report.tasks) == ((), 4)
    require_same(tmp_path / "cube", faultless)


def test_a_thread_asks_a_host_for_one_thing_at_a_time(tmp_path: Path) -> None:
    """However many ranges of a file its window touches: so threads count requests."""
    write(tmp_path / "a.tif", numbers(1024), tiled=True, blockxsize=128, blockysize=128)
    with serving_files(tmp_path, tmp_path / "log", Trouble(slow=0.02)) as host:
        _, unread = read(host, "a.tif", GeoBox((1024, 200), GRID, CRS))
        requests = host.requests
    assert unread == []
    assert len(requests) >= 8
    assert {request.open for request in requests} == {1}


# -- one file -------------------------------------------------------------------------------------


def some_of(every: Sequence[tuple[Any, ...]], *tried: tuple[Any, ...]) -> list[Any]:
    """Parameters of which those that are not ``tried`` in every run are in soak."""
    assert set(tried) <= set(every)
    return [e if e in tried else pytest.param(*e, marks=pytest.mark.soak) for e in every]


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this process ask again soon, and know no host."""
    for name, value in QUICK.items():
        monkeypatch.setitem(raster.GDAL_OPTIONS, name, value)  # type: ignore[arg-type]
    monkeypatch.setattr(retry, "FIRST_WAIT_S", 0.01)
    retry._host.cache_clear()


SMALL = GeoBox((64, 64), GRID, CRS)


def read(host: FileServer, name: str, window: GeoBox = SMALL) -> tuple[np.ndarray, list[Unread]]:
    pixels, unread = read_all(
        [Source("one", {"band": f"{host.url}/{name}"})],
        [Band("band", "uint16", 0)],
        window,
        access=Access.of(host.url),
        threads=1,
        at_once=1,
    )
    return pixels["band"][0], unread


def tries(host: FileServer) -> list[Request]:
    """The requests that retry.py makes, not GDAL."""
    return [request for request in host.requests if request.range == "bytes=0-0"]


def test_rasterio_still_chains_the_errors_of_gdal_that_it_does_not_offer() -> None:
    with pytest.raises(RasterioError) as caught:
        rasterio.open("/nowhere.tif")
    assert any(isinstance(error, retry.CPLE_BaseError) for error in retry._chain(caught.value))
    assert all(issubclass(refused, retry.CPLE_BaseError) for refused in retry._REFUSED)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    ("answer", "spared"),
    some_of(
        [(answer, spared) for answer in ("cut", "reset", "429", "503", "408") for spared in (0, 2)],
        ("cut", 2), ("reset", 0), ("503", 0),
    ),
)  # fmt: skip
def test_what_passes_costs_no_pixel(answer: str, spared: int, tmp_path: Path) -> None:
    write(tmp_path / "a.tif", pixels := numbers(SIDE))
    window = GeoBox((SIDE, SIDE), GRID, CRS)
    trouble = Trouble(always={"a.tif": answer}, first=5, spared=spared)
    with serving_files(tmp_path, tmp_path / "log", trouble) as host:
        result, unread = read(host, "a.tif", window)
    assert unread == []
    np.testing.assert_array_equal(result, pixels)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    ("answer", "spared"),
    some_of(
        [(answer, spared) for answer in ("404", "403") for spared in (0, 1, 2)],
        ("404", 0), ("403", 1), ("404", 2),
    ),
)  # fmt: skip
def test_what_is_for_good_is_tried_once(answer: str, spared: int, tmp_path: Path) -> None:
    write(tmp_path / "a.tif", numbers(SIDE))
    window = GeoBox((SIDE, SIDE), GRID, CRS)
    trouble = Trouble(always={"a.tif": answer}, spared=spared)
    with serving_files(tmp_path, tmp_path / "log", trouble) as host:
        result, (loss,) = read(host, "a.tif", window)
        requests = host.requests
        heads = [request for request in requests if request.method == "HEAD"]
        tried = tries(host)
    assert not result.any()
    assert answer in loss.reason
    assert "tried" not in loss.reason
    assert len(heads) == 1
    assert len(tried) <= 1
    if not spared:
        assert len(requests) == 1


@pytest.mark.usefixtures("quick")
def test_what_was_missing_or_another_a_while_ago_is_read_anew(tmp_path: Path) -> None:
    with serving_files(tmp_path, tmp_path / "log", Trouble()) as host:
        _, (loss,) = read(host, "a.tif")
        assert "404" in loss.reason
        assert read(host, "a.tif")[1] == [loss]  # in the same words
        for pixels in (numbers(64), numbers(64)[::-1]):
            write(tmp_path / "a.tif", pixels)
            result, unread = read(host, "a.tif")
            assert unread == []
            np.testing.assert_array_equal(result, pixels)


@pytest.mark.usefixtures("quick")
def test_a_page_that_is_no_raster_is_not_requested_for_long(tmp_path: Path) -> None:
    (tmp_path / "a.tif").write_text("<html>Who are you?</html>" * 100)
    with serving_files(tmp_path, tmp_path / "log", Trouble()) as host:
        _, (loss,) = read(host, "a.tif")
        assert len(tries(host)) == retry.TRIES_OF_NO_RASTER
    assert "not recognized" in loss.reason


@pytest.mark.usefixtures("quick")
def test_a_raster_that_is_not_what_was_wanted_is_tried_once(tmp_path: Path) -> None:
    write(tmp_path / "a.tif", numbers(64), crs=None)
    with serving_files(tmp_path, tmp_path / "log", Trouble()) as host:
        _, (loss,) = read(host, "a.tif")
        assert tries(host) == []
    assert "does not say where it lies" in loss.reason


@pytest.mark.usefixtures("quick")
def test_a_server_that_asks_for_patience_gets_it(tmp_path: Path) -> None:
    write(tmp_path / "a.tif", pixels := numbers(64))
    trouble = Trouble(always={"a.tif": "429"}, first=2, after="1")
    with serving_files(tmp_path, tmp_path / "log", trouble) as host:
        result, unread = read(host, "a.tif")
        refused = [request for request in host.requests if request.trouble == "429"]
        after = [request for request in host.requests if not request.trouble]
    assert unread == []
    np.testing.assert_array_equal(result, pixels)
    assert after[0].at - refused[-1].at >= 1.0


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    "after",
    ["3600", "Wed, 21 Oct 2115 07:28:00 GMT", pytest.param("9" * 400, marks=pytest.mark.soak)],
)
def test_a_server_that_asks_for_too_much_patience_is_left(
    after: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "a.tif", numbers(64))
    slept: list[float] = []
    monkeypatch.setattr(retry, "sleep", slept.append)
    trouble = Trouble(always={"a.tif": "429"}, after=after)
    with serving_files(tmp_path, tmp_path / "log", trouble) as host:
        _, (loss,) = read(host, "a.tif")
    assert "its server asks to wait" in loss.reason
    assert slept == []


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    ("answer", "tile", "columns"),
    some_of(
        [(answer, *tiles) for answer in ("cut", "404") for tiles in ((16, 1024), (256, 300))],
        ("cut", 16, 1024), ("404", 256, 300),
    ),
)  # fmt: skip
def test_no_part_of_a_file_that_fails_is_left_behind_as_zero_or_otherwise(
    answer: str, tile: int, columns: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever the requests begin to fail: in a directory of many tiles, which is read piece by
    piece, or between rows of tiles. All of the file or nothing."""
    monkeypatch.setattr(retry, "TRIES", 2)
    monkeypatch.setitem(raster.GDAL_OPTIONS, "GDAL_HTTP_MAX_RETRY", 0)  # type: ignore[arg-type]
    side = 1024
    tiles = {"tiled": True, "blockxsize": tile, "blockysize": tile}
    write(tmp_path / "a.tif", pixels := numbers(side), **tiles)
    window = GeoBox((side, columns), GRID, CRS)
    ended = set()
    for spared in range(1, 8):
        retry._host.cache_clear()
        trouble = Trouble(always={"a.tif": answer}, spared=spared)
        with serving_files(tmp_path, tmp_path / f"log {spared}", trouble) as host:
            result, unread = read(host, "a.tif", window)
        ended.add(bool(unread))
        np.testing.assert_array_equal(result, 0 if unread else pixels[:, :columns])
    assert True in ended


@pytest.mark.usefixtures("quick")
def test_waits_grow_and_differ_and_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a host whose name leads nowhere."""
    slept: list[float] = []
    monkeypatch.setattr(retry, "sleep", slept.append)
    monkeypatch.setitem(raster.GDAL_OPTIONS, "GDAL_HTTP_MAX_RETRY", 0)  # type: ignore[arg-type]
    for _ in range(2):
        _, (loss,) = read(FileServer("http://127.0.0.1:9", Path(os.devnull)), "a.tif")
        assert f"tried {retry.TRIES} times" in loss.reason
    first, second = slept[: retry.TRIES - 1], slept[retry.TRIES - 1 :]
    assert first != second
    for waits in (first, second):
        for nth, wait in enumerate(waits):
            assert 0.5 <= wait / (retry.FIRST_WAIT_S * 2**nth) <= 1.0
