"""A cube that grew is the cube that was built at once, and readers see no step between."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from distributed import Client

from terralatent.catalogs.errors import InputError
from terralatent.catalogs.scenes.scenes import Scenes
from terralatent.catalogs.scenes.search import search_scenes
from terralatent.pipeline.cube import layout
from terralatent.pipeline.info.status import status
from terralatent.pipeline.ingest import growth, read_tasks, windows
from terralatent.pipeline.ingest.build import BuildReport, build_cube
from terralatent.pipeline.store.history import history
from terralatent.pipeline.store.repository import GROWING, Store
from tests.commands.contents import contents, same
from tests.made.catalogue import SIDE, add_sentinel_1, add_sentinel_2, optical, region

S1, S2 = "sentinel-1-asc", "sentinel-2-l2a"
SHARD = 4
"""Dates of a time shard, fewer than outside of tests."""

PASSES = 3 * SHARD + 1
"""Radar dates: whole time shards, and a part of another."""


@pytest.fixture(scope="module", autouse=True)
def _short_shards() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for module in (layout, read_tasks, windows, growth):
            patch.setattr(module, "DATES_A_SHARD", SHARD)
        yield


def few_bands(rng: np.random.Generator, columns: int = SIDE) -> dict[str, np.ndarray]:
    """A band of either pixel size and the mask: how a cube grows is the same for all."""
    bands = optical(rng, columns)
    return {band: bands[band] for band in ("B02", "B11", "SCL")}


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Many radar dates and a few optical ones; of the last one there is a later processing."""
    folder, rng = tmp_path_factory.mktemp("archive"), np.random.default_rng(3)
    for n in range(PASSES):
        power = {
            band: rng.gamma(2.0, 0.05, (SIDE // 2, SIDE // 2)).astype(np.float32)
            for band in ("vv", "vh")
        }
        day = np.datetime64("2018-03-01") + 4 * n
        add_sentinel_1(folder, f"{day}T17:30:00Z", power, name=f"R{n:02d}")
    for day in (2, 7, 12):
        add_sentinel_2(folder, f"2018-03-{day:02d}T10:50:00Z", few_bands(rng), name=f"O{day:02d}")
    left, right = few_bands(rng, 24), few_bands(rng, 24)
    add_sentinel_2(folder, "2018-03-17T10:50:00Z", left, name="O17_left")
    add_sentinel_2(folder, "2018-03-17T10:50:20Z", right, name="O17_right", first_column=16)
    again = {
        band: np.where(pixels == 0, 0, pixels + (1000 if band != "SCL" else 0)).astype(pixels.dtype)
        for band, pixels in few_bands(rng).items()
    }
    add_sentinel_2(
        folder, "2018-03-12T10:50:00Z", again, name="O12_N0500", baseline="05.00", offset=-0.1
    )
    return folder


@pytest.fixture(scope="module")
def every(archive: Path) -> Scenes:
    return search_scenes(archive, region(), "2018-03-01", "2018-04-30")


@pytest.fixture(scope="module")
def whole(every: Scenes, workers: Client, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The cube of all scenes, built at once; not to be changed."""
    path = tmp_path_factory.mktemp("whole") / "cube"
    build_cube(every, region(), path, block=32, client=workers)
    return path


@pytest.fixture
def build(workers: Client, tmp_path: Path) -> Callable[[Scenes], BuildReport]:
    """Builds the one cube of a test, or lets it grow."""
    return lambda scenes: build_cube(scenes, region(), tmp_path / "cube", block=32, client=workers)


def part(scenes: Scenes, wanted: Callable[[str], bool], sensors: Sequence[str] = ()) -> Scenes:
    """What a search would find of some items alone."""
    return Scenes.gather(
        [item for item in scenes.items if wanted(item["id"])],
        [sensor for sensor in scenes.wanted if not sensors or sensor.name in sensors],
        source=scenes.place,
        period=scenes.period,
        access=scenes.access,
    )


def items_read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Ids of the items that are read from now on."""
    read: list[str] = []
    plain = read_tasks.read_pixels

    def noting(acquisitions: Any, *args: Any, **options: Any) -> Any:
        read.extend(item["id"] for acquisition in acquisitions for item in acquisition.items)
        return plain(acquisitions, *args, **options)

    monkeypatch.setattr(read_tasks, "read_pixels", noting)
    return read


def without(*names: str) -> Callable[[str], bool]:
    return lambda name: name not in names


LATE = [f"R{n:02d}" for n in (0, 1, 4, 5, 7)]

STEPS: dict[str, list[Callable[[str], bool]]] = {
    "two dates at the end": [without("R11", "R12")],
    "a part of a shard, then more than a shard": [
        lambda name: name < "R02" or name == "O02",
        lambda name: name < "R07" or name == "O07",
    ],
    "late arrivals": [without(*LATE, "O07")],
    "the first of all, last": [without("R00", "O02")],
    "a better processing": [without("O12_N0500")],
    "a second tile of a pass": [without("O17_right")],
    "the first tile of a pass": [without("O17_left")],
}


SAME = (
    *("two dates at the end", "late arrivals", "the first of all, last"),
    *("a second tile of a pass", "the first tile of a pass"),
)
"""Of which other steps and tests have the like."""


@pytest.mark.parametrize(
    "steps",
    [pytest.param(name, marks=pytest.mark.soak) if name in SAME else name for name in STEPS],
)
def test_a_cube_that_grew_is_the_cube_that_was_built_at_once(
    steps: str, every: Scenes, whole: Path, build: Any, tmp_path: Path
) -> None:
    for wanted in STEPS[steps]:
        build(part(every, wanted))
    before = Store.of(tmp_path / "cube").snapshot()

    report = build(every)

    same(contents(tmp_path / "cube"), contents(whole))
    assert report.new > 0
    assert report.losses == ()
    assert Store.of(tmp_path / "cube").snapshot() != before
    assert not Store.of(tmp_path / "cube").is_growing()


@pytest.mark.soak
def test_the_period_is_that_of_all_searches(
    archive: Path, whole: Path, build: Any, tmp_path: Path
) -> None:
    for start, end in (("2018-03-10", "2018-03-20"), ("2018-03-21", "2018-04-30")):
        build(search_scenes(archive, region(), start, end))
    build(search_scenes(archive, region(), "2018-03-01", "2018-03-09"))
    same(contents(tmp_path / "cube"), contents(whole))


def test_a_search_that_brings_no_date_is_noted_nevertheless(
    archive: Path, build: Any, tmp_path: Path
) -> None:
    build(search_scenes(archive, region(), "2018-04-08", "2018-04-30"))
    before = Store.of(tmp_path / "cube").group()
    report = build(search_scenes(archive, region(), "2018-04-08", "2018-05-20"))
    newest = history(tmp_path / "cube")[0]

    assert (report.new, report.tasks) == (0, 0)
    assert newest.id == Store.of(tmp_path / "cube").snapshot()
    assert newest.message == "grow to 2018-05-20"
    cube = status(tmp_path / "cube").cube
    assert cube is not None
    assert cube.period == ("2018-04-08", "2018-05-20")
    after = Store.of(tmp_path / "cube").group()
    np.testing.assert_array_equal(after[f"{S1}/data"][...], before[f"{S1}/data"][...])


def test_nothing_new_writes_nothing(every: Scenes, whole: Path, build: Any, tmp_path: Path) -> None:
    shutil.copytree(whole, tmp_path / "cube")
    before = Store.of(tmp_path / "cube").snapshot()
    for scenes in (every, part(every, without("R03", "O07", "O17_left"))):
        assert build(scenes).new == 0
    assert Store.of(tmp_path / "cube").snapshot() == before


@pytest.mark.parametrize("gone", ["O12_N0500", "O17_right"])
def test_what_is_stored_is_not_replaced_by_less(
    gone: str, every: Scenes, whole: Path, build: Any, tmp_path: Path
) -> None:
    shutil.copytree(whole, tmp_path / "cube")
    before = Store.of(tmp_path / "cube").snapshot()
    report = build(part(every, without(gone)))
    assert report.new == 0
    data = Store.of(tmp_path / "cube").group(snapshot=before)[f"{S2}/data"][...]
    np.testing.assert_array_equal(Store.of(tmp_path / "cube").group()[f"{S2}/data"][...], data)
    table = Store.of(tmp_path / "cube").group()["items"]
    fates = dict(zip(map(str, table["id"][:]), map(str, table["fate"][:]), strict=True))
    assert fates[gone] in ("used", "merged")


@pytest.mark.soak
def test_dates_that_only_move_are_copied_and_not_read(
    every: Scenes, whole: Path, build: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(part(every, without("R00")))
    read = items_read(monkeypatch)
    build(every)
    assert set(read) == {"R00"}
    same(contents(tmp_path / "cube"), contents(whole))


def test_a_rerun_reads_only_the_dates_of_which_something_is_missing(
    every: Scenes, whole: Path, build: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [Path(asset["href"]) for item in every.items for asset in item["assets"].values()]
    broken = [f for f in files if f.parent.name in ("R02", "R05") and f.name == "vv.tif"]
    for file in broken:
        file.rename(file.with_suffix(".away"))
    first = build(every)
    for file in broken:
        file.with_suffix(".away").rename(file)
    assert {loss.item for loss in first.losses} == {"R02", "R05"}
    read = items_read(monkeypatch)
    assert build(every).losses == ()
    assert set(read) == {"R02", "R05"}
    same(contents(tmp_path / "cube"), contents(whole))


def test_what_is_missing_stays_named_while_the_cube_grows(
    every: Scenes, whole: Path, build: Any, tmp_path: Path
) -> None:
    hrefs = {
        item["id"]: item["assets"]["vv"]["href"] for item in every.items if "vv" in item["assets"]
    }
    gone, back = Path(hrefs["R02"]), Path(hrefs["R03"])
    for file in (gone, back):
        file.rename(file.with_suffix(".away"))
    try:
        assert {loss.item for loss in build(part(every, without("R00", "R12"))).losses} == {
            "R02", "R03",
        }  # fmt: skip
        back.with_suffix(".away").rename(back)
        # The search does not find one of them any more: it cannot be read again.
        report = build(part(every, without("R02")))
    finally:
        gone.with_suffix(".away").rename(gone)
    assert [(loss.item, loss.band) for loss in report.losses] == [("R02", "vv")]
    assert build(every).losses == ()
    same(contents(tmp_path / "cube"), contents(whole))


def test_an_item_of_another_offset_is_read_again_and_alone(
    every: Scenes, build: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(part(every, lambda name: name[0] == "O"))
    items = [dict(item, properties={**item["properties"]}) for item in every.items]
    for item in items:
        if item["id"] == "O07":
            item["assets"] = {
                key: {**asset, "raster:bands": [{**asset["raster:bands"][0], "offset": 0.05}]}
                for key, asset in item["assets"].items()
            }
    other = Scenes.gather(
        items, every.wanted, source=every.place, period=every.period, access=every.access
    )
    read = items_read(monkeypatch)
    assert build(part(other, lambda name: name[0] == "O")).new == 1
    assert set(read) == {"O07"}


def test_another_set_of_sensors_is_refused(every: Scenes, build: Any, tmp_path: Path) -> None:
    build(part(every, lambda _: True, [S1]))
    with pytest.raises(InputError, match=r"sensors\.sentinel-2-l2a.* is absent there"):
        build(every)
    build(part(every, without("R12"), [S1]))  # a sensor that was requested may have nothing new


def test_readers_see_nothing_of_a_cube_that_grows_before_it_is_whole(
    every: Scenes, whole: Path, build: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(part(every, without(*LATE)))
    seen, before = contents(tmp_path / "cube"), Store.of(tmp_path / "cube").snapshot()

    def failing(*_: Any, **__: Any) -> Any:
        raise OSError("the disk is on fire")

    with monkeypatch.context() as patch:
        patch.setattr(read_tasks, "read_pixels", failing)
        report = build(every)
    assert report.losses
    assert Store.of(tmp_path / "cube").is_growing()
    assert Store.of(tmp_path / "cube").snapshot() == before
    same(contents(tmp_path / "cube"), seen)
    growing = Store.of(tmp_path / "cube").group(branch=GROWING)[f"{S1}/time"].shape[0]
    assert growing == PASSES

    build(every)
    same(contents(tmp_path / "cube"), contents(whole))


@pytest.mark.soak
def test_what_began_to_grow_for_scenes_that_are_gone_is_begun_anew(
    every: Scenes, build: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(part(every, without("R11", "R12")))
    with monkeypatch.context() as patch:
        patch.setattr(read_tasks, "read_pixels", lambda *_, **__: 1 / 0)
        build(part(every, without("R12")))
    assert Store.of(tmp_path / "cube").is_growing()

    report = build(part(every, without("R11")))

    assert (report.new, report.losses) == (1, ())
    assert Store.of(tmp_path / "cube").group()[f"{S1}/time"].shape[0] == PASSES - 1
