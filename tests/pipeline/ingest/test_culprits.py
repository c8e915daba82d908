"""One file costs no other: what it takes is known beforehand, or it is found by halves."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dask
import numpy as np
import pytest
import rasterio
from distributed import Client, LocalCluster
from hypothesis import given, settings
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox
from rasterio import Affine
from rasterio.errors import RasterioIOError

from terralatent.catalogs.documents.access import Access
from terralatent.catalogs.scenes.scenes import Scenes
from terralatent.catalogs.scenes.search import search_scenes
from terralatent.catalogs.sources.sensors import SENSORS
from terralatent.pipeline.cluster.local import process_settings
from terralatent.pipeline.cluster.stream import Failure
from terralatent.pipeline.cube.losses import Loss
from terralatent.pipeline.ingest.assets import Band, Source, Unread, read_sources
from terralatent.pipeline.ingest.build import build_cube
from terralatent.pipeline.ingest.culprits import read_by_halves
from terralatent.pipeline.ingest.decoding import DecodingMemory, RasterError
from terralatent.pipeline.ingest.pixels import UNKNOWN
from terralatent.pipeline.ingest.read_tasks import ReadTask
from terralatent.pipeline.region import Block
from terralatent.pipeline.store.repository import Store
from tests.made.catalogue import CRS, LEFT, TOP, add_sentinel_1, region
from tests.waiting import WITHIN_S

GROUP = "sentinel-1-asc"
SIDE = 4096
CLAIMED = SIDE * SIDE * 2
"""Bytes of a file's only tile."""


# -- by what a file claims ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def claims(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small files of one large tile, and one that is small indeed."""
    folder = tmp_path_factory.mktemp("claims")
    for name, side in (("large-1", SIDE), ("large-2", SIDE), ("large-3", SIDE), ("small", 64)):
        with rasterio.open(
            folder / name, "w", driver="GTiff", dtype="uint16", count=1, crs=CRS, width=side,
            height=side, transform=Affine(10, 0, LEFT, 0, -10, TOP), nodata=0, compress="zstd",
            tiled=True, blockxsize=side, blockysize=side,
        ) as file:  # fmt: skip
            file.write(np.full((side, side), 7, np.uint16), 1)
        assert (folder / name).stat().st_size < 100_000
    return folder


def read(folder: Path, memory: int, *names: str) -> tuple[list[np.ndarray], list[Unread]]:
    pixels, unread = read_sources(
        [Source(name, {"band": str(folder / name)}) for name in names],
        [Band("band", "uint16", 0)],
        GeoBox((64, 64), Affine(10, 0, LEFT, 0, -10, TOP), CRS),
        access=Access(str(folder)),
        threads=4,
        memory=memory,
    )
    return list(pixels["band"]), unread


def test_a_file_that_claims_more_than_there_is_is_named_and_the_others_are_read(
    claims: Path,
) -> None:
    names = ("large-1", "small", "large-2")
    pixels, unread = read(claims, CLAIMED // 2, *names)
    assert {failure.source for failure in unread} == {"large-1", "large-2"}
    assert all("takes 34 MB to decode, 17 MB" in failure.reason for failure in unread)
    assert [int(values.max()) for values in pixels] == [0, 7, 0]


PEAK = """
import resource, sys
from pathlib import Path
from tests.pipeline.ingest.test_culprits import CLAIMED, read
folder = Path(sys.argv[1])
assert read(folder, 3 * CLAIMED, "small")[1] == []
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
pixels, unread = read(folder, int(sys.argv[2]), "large-1", "large-2", "large-3")
assert unread == [] and all((values == 7).all() for values in pixels), unread
print(1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before))
"""


@pytest.mark.soak  # a file that claims too much is tried in every run
def test_files_together_take_no_more_than_there_is(claims: Path) -> None:
    """One after the other, if there is room for one."""
    ended = subprocess.run(
        [sys.executable, "-c", PEAK, str(claims), str(CLAIMED + 100_000)],
        capture_output=True, text=True, check=False, cwd=Path(__file__).parents[3],
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    assert int(ended.stdout) < 2 * CLAIMED


def test_who_waits_for_memory_gets_it_and_too_much_is_refused() -> None:
    memory, order = DecodingMemory(10), []

    def take(size: int) -> None:
        with memory.taken(size):
            order.append(size)

    with memory.taken(6):
        waiting = threading.Thread(target=take, args=(5,))
        waiting.start()
        take(4)
    waiting.join(WITHIN_S)
    assert order == [4, 5]
    with pytest.raises(RasterError, match="it takes 0 MB to decode"), memory.taken(11):
        pass
    with pytest.raises(RasterioIOError), memory.taken(10):
        raise RasterioIOError("a fault gives it back")
    with memory.taken(10):
        pass


# -- by what becomes of the worker ----------------------------------------------------------------

FATAL = "TERRALATENT_TEST_FATAL"
"""Variable with the names of items whose files end the process that opens them."""


def dask_setup(worker: Any) -> None:
    """Patch a worker process; Dask calls this when it has started, again and again."""
    from terralatent.pipeline.ingest import assets

    original, names = assets.open_raster, json.loads(os.environ[FATAL])

    def open_or_die(path: str, *arguments: Any, **options: Any) -> Any:
        if any(f"/{name}/" in path for name in names):
            os.kill(os.getpid(), signal.SIGKILL)
        return original(path, *arguments, **options)

    assets.open_raster = open_or_die  # type: ignore[assignment]


@pytest.fixture
def fatal(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    """One worker process that some files end."""
    monkeypatch.setenv(FATAL, json.dumps(request.param))
    with (
        dask.config.set({"distributed.worker.preload": [__name__]}),
        process_settings(),
        LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        yield client


def radar(folder: Path, dates: int) -> Scenes:
    """The dates of one read task."""
    rng = np.random.default_rng(1)
    for day in range(1, dates + 1):
        power = {b: rng.gamma(2.0, 0.05, (20, 20)).astype(np.float32) for b in ("vv", "vh")}
        add_sentinel_1(folder, f"2018-05-{day:02d}T17:30:00Z", power, name=f"day-{day}")
    return search_scenes(folder, region(), "2018-05-01", "2018-05-31")


def built(scenes: Scenes, out: Path, client: Client) -> tuple[set[str], np.ndarray, int]:
    report = build_cube(scenes, region(), out, block=64, client=client)
    group = Store.of(out).group()[GROUP]
    return {loss.item for loss in report.losses}, group["data"][...], int(group["state"][0, 0, 0])


@pytest.mark.soak
@pytest.mark.parametrize(
    ("fatal", "dates"), [(["day-2"], 2), (["day-3", "day-6"], 6)], indirect=["fatal"]
)
def test_a_date_that_ends_its_worker_is_named_and_the_others_are_kept(
    fatal: Client, dates: int, workers: Client, tmp_path: Path
) -> None:
    names, scenes = set(json.loads(os.environ[FATAL])), radar(tmp_path / "files", dates)
    lost, data, state = built(scenes, tmp_path / "cube", fatal)
    assert (lost, state) == (names, 2)
    _, whole, _ = built(scenes, tmp_path / "whole", workers)
    for number, date in enumerate(data):
        wanted = whole[number] if f"day-{number + 1}" not in names else np.full_like(date, -32768)
        np.testing.assert_array_equal(date, wanted)

    assert built(scenes, tmp_path / "cube", workers)[::2] == (set(), 1)
    np.testing.assert_array_equal(Store.of(tmp_path / "cube").group()[GROUP]["data"], whole)


@pytest.mark.soak
@pytest.mark.parametrize("fatal", [["day-1", "day-2"]], indirect=True)
def test_where_every_date_ends_its_worker_the_task_stays_pending(
    fatal: Client, tmp_path: Path
) -> None:
    lost, _, state = built(radar(tmp_path / "files", 2), tmp_path / "cube", fatal)
    assert state == 0
    assert lost == {"every scene from 2018-05-01 to 2018-05-02 (read task 0/0/0)"}


KEPT = ((2, 11), (5, 14))
"""Places of dates that a store has, and where it has them."""


@settings(deadline=None)
@given(dates=st.integers(0, 14), guilty=st.sets(st.integers(0, 13)))
def test_halves_store_every_date_once_and_name_what_ends_its_worker(
    dates: int, guilty: set[int]
) -> None:
    """Whatever ends workers; between two parts, each date is stored or named as missing."""
    places = tuple(place for place in range(16) if place not in dict(KEPT))[:dates]
    whole = task_of(places)
    guilty = {places[date] for date in guilty if date < dates}
    stored: dict[int, str] = {}

    def read(task: ReadTask, retries: int) -> list[Failure[ReadTask]]:
        assert set(task.places) | dict(task.kept).keys() == set(dict(KEPT)) | set(places) - {
            int(loss.item) for loss in task.known if loss.item != "old"
        }
        if set(task.places) & guilty:
            return [Failure(task, "died", killed=True)]
        if task.base is None:  # from where they are since the first part was stored
            assert all(index == 16 + place and place in stored for place, index in task.kept)
        else:
            assert (task.kept, stored) == (KEPT, {})
        stored.clear()
        stored.update({place: "" for place in (*task.places, *dict(task.kept))})
        stored.update({int(loss.item): loss.reason for loss in task.known if loss.item != "old"})
        assert any(loss.item == "old" for loss in task.known)
        return []

    failures = read_by_halves(Failure(whole, "died", killed=True), read)
    if dates < 2 or guilty == set(places):
        assert [failure.task for failure in failures] == [whole]
    else:
        assert failures == []
        assert {place for place, reason in stored.items() if reason == "died"} == guilty
        assert {place for place, reason in stored.items() if not reason} == {
            *dict(KEPT), *set(places) - guilty,
        }  # fmt: skip


def test_a_task_that_failed_otherwise_is_not_halved() -> None:
    failure = Failure(task_of((0, 1, 2)), "MemoryError: too wide")
    assert read_by_halves(failure, lambda *_: pytest.fail("it was read again")) == [failure]


def task_of(places: tuple[int, ...]) -> ReadTask:
    """A task of the second shard, whose items are called as the places of their dates are."""
    acquisitions = [SimpleNamespace(items=({"id": str(place)},)) for place in places]
    return ReadTask(
        sensor=SENSORS[GROUP], shard=1, count=16, window=Block((0, 0), slice(0, 8), slice(0, 8)),
        block=8, places=places, acquisitions=tuple(acquisitions), kept=KEPT, base="earlier",
        known=(Loss(GROUP, "old", "vv", "404"),), grid=GeoBox((8, 8), Affine.identity(), CRS),
        source=UNKNOWN, access=Access(), together=1,
    )  # type: ignore[arg-type]  # fmt: skip
