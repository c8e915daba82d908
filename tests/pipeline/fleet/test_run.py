"""Verbs over the tiles of a fleet: what each ends with, what is left out, how they are resumed."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
from distributed import Client

from terralatent.catalogs.errors import InputError
from terralatent.catalogs.scenes.scenes import Scenes
from terralatent.models.checkpoint import CheckpointError
from terralatent.pipeline import annual, build_cube, embed, status
from terralatent.pipeline.fleet import run as fleet_run
from terralatent.pipeline.fleet.fleet import Fleet
from terralatent.pipeline.interrupts import Interrupts, ended_by
from tests.commands.contents import contents, same
from tests.pipeline.fleet.made import COMPONENTS, fleet_of_cubes, moved, planned_fleet

DATES = "2017-09-15,2018-03-15"
WINDOW = "2017-08-01/2018-07-31"


@pytest.fixture(scope="module")
def scenes_file(made_up: Scenes, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("scenes") / "scenes.parquet"
    made_up.to_parquet(path)
    return path


@pytest.fixture(scope="module")
def built(
    scenes_file: Path, workers: Client, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Fleet, object]:
    """A fleet with cubes, and the report of its build; not to be changed."""
    fleet = planned_fleet(tmp_path_factory.mktemp("built"))
    return fleet, fleet.build(scenes=scenes_file, block=16, client=workers)


def test_the_cube_of_a_tile_is_that_of_its_area_alone(
    built: tuple[Fleet, object], made_up: Scenes, workers: Client, tmp_path: Path
) -> None:
    fleet, report = built
    assert (report.tiles, report.done, report.before, report.losses) == (4, 4, 0, ())  # type: ignore[attr-defined]
    for tile in (fleet.tiles[0], fleet.tiles[3]):
        out = tmp_path / tile.name
        build_cube(made_up, tile.area, out, block=16, crs=tile.crs, client=workers)
        one, other = status(tile.store("cube")), status(out)
        assert one.grid == other.grid
        assert one.grid is not None
        assert one.grid.bounds == tile.bounds
        same(contents(tile.store("cube").address), contents(out))


def test_what_is_done_is_not_begun_again(
    built: tuple[Fleet, object], scenes_file: Path, tmp_path: Path
) -> None:
    fleet = moved(built[0], tmp_path / "moved")
    # There is no such cluster, and none is asked for.
    report = fleet.build(scenes=scenes_file, block=16, client="tcp://127.0.0.1:9")
    assert (report.done, report.before) == (0, 4)
    with pytest.raises(InputError, match="No Dask scheduler answers"):
        fleet.build(scenes=scenes_file, block=8, client="tcp://127.0.0.1:9")


@pytest.mark.soak
def test_each_tile_searches_for_itself_and_again_when_that_is_long_ago(
    catalogue: Path, workers: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet, radar = planned_fleet(tmp_path), ["sentinel-1-asc"]
    first = fleet.build(catalogue, "2018-05", "2018-05", sensors=radar, client=workers)
    assert (first.done, first.losses) == (4, ())
    again = fleet.build(catalogue, "2018-05", "2018-05", sensors=radar, client=workers)
    assert (again.done, again.before) == (0, 4)
    monkeypatch.setattr("terralatent.pipeline.fleet.build.FRESH_S", 0.0)
    later = fleet.build(catalogue, "2018-05", "2018-05", sensors=radar, client=workers)
    assert (later.done, later.before) == (4, 0)


@pytest.mark.soak  # by the command in every run
def test_a_tile_that_fails_is_named_and_passed_over(
    scenes_file: Path, workers: Client, tmp_path: Path
) -> None:
    fleet = planned_fleet(tmp_path)
    taken = Path(fleet.tiles[1].folder) / "cube"
    taken.mkdir(parents=True)
    (taken / "mine.txt").write_text("not a store")
    report = fleet.build(scenes=scenes_file, block=32, client=workers)
    assert report.done == 3
    (lost,) = report.losses
    assert lost.tile == "t10"
    assert "exists and is no store" in lost.reason
    (taken / "mine.txt").unlink()
    again = fleet.build(scenes=scenes_file, block=32, client=workers)
    assert (again.done, again.before, again.losses) == (1, 3, ())


@pytest.mark.parametrize("at_once", [pytest.param(1, marks=pytest.mark.soak), 3])
def test_latents_and_annual_vectors_are_those_of_each_tile_alone(
    workers: Client, tmp_path: Path, at_once: int
) -> None:
    fleet, model = fleet_of_cubes(tmp_path / "fleet", missing=("t01",))
    how = {"client": workers, "at_once": at_once}
    embedded = fleet.embed(str(model), dates=DATES, **how)
    years = fleet.annual(str(model), window=WINDOW, components=COMPONENTS, **how)
    for report in (embedded, years):
        assert report.done == 3
        assert [lost.tile for lost in report.failed] == ["t01"]
        assert "there is no store here" in report.failed[0].reason
    tile = fleet.tiles[3]
    embed(tile.store("cube").address, model, tmp_path / "one", dates=DATES, client=workers)
    same(contents(tile.store("latents").address), contents(tmp_path / "one"))
    annual(
        tile.store("cube").address, model, tmp_path / "year", window=WINDOW,
        components=COMPONENTS, client=workers,
    )  # fmt: skip
    same(contents(tile.store("annual").address), contents(tmp_path / "year"))
    again = fleet.embed(str(model), dates=DATES, **how)
    assert (again.done, again.before) == (0, 3)


def test_what_is_wrong_for_all_tiles_is_refused_before_any_is_begun(
    workers: Client, tmp_path: Path
) -> None:
    fleet, model = fleet_of_cubes(tmp_path / "fleet")
    with pytest.raises(CheckpointError):
        fleet.embed(str(tmp_path / "none"), client=workers)
    with pytest.raises(InputError, match="dates"):
        fleet.embed(str(model), dates="someday", client=workers)
    with pytest.raises(InputError, match="Precision"):
        fleet.embed(str(model), precision="int3", client=workers)
    with pytest.raises(InputError, match=r"has 3 components|3"):
        fleet.annual(str(model), components=99, client=workers)
    with pytest.raises(InputError, match="start= and end="):
        fleet.build(tmp_path, client=workers)
    with pytest.raises(InputError, match="There is no file of scenes"):
        fleet.build(scenes=tmp_path / "none.parquet", client=workers)
    with pytest.raises(InputError, match="one at least"):
        fleet.embed(str(model), at_once=0, client=workers)
    assert not list((tmp_path / "fleet").rglob(".fleet"))


@pytest.mark.soak
def test_a_result_of_an_earlier_cube_is_brought_up_to_date(workers: Client, tmp_path: Path) -> None:
    fleet, model = fleet_of_cubes(tmp_path / "fleet")
    fleet.embed(str(model), dates=DATES, client=workers)
    store = fleet.tiles[0].store("cube")
    session = store.repository().writable_session("main")
    import zarr

    zarr.open_group(session.store, mode="r+").attrs["note"] = "changed"
    store.commit(session, "change something")
    again = fleet.embed(str(model), dates=DATES, client=workers)
    assert again.before == 3
    assert (again.done, again.failed) == (1, ())
    assert fleet.status().tiles[0].stores["latents"].state == "done"


def test_tiles_in_flight_are_as_many_as_were_asked_for(
    workers: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet, _ = fleet_of_cubes(tmp_path / "fleet")
    flying, most, lock = set[str](), [0], threading.Lock()
    both = threading.Barrier(2, timeout=60)

    def work(tile: object, client: object, progress: object) -> str:
        with lock:
            flying.add(tile.name)  # type: ignore[attr-defined]
            most[0] = max(most[0], len(flying))
        both.wait()  # two at least fly together
        with lock:
            flying.discard(tile.name)  # type: ignore[attr-defined]
        return "done"

    verb = fleet_run.FleetVerb("test", "cube", {}, work)
    report = fleet_run.run_fleet(
        fleet.tiles, verb, fleet_run.Workers(workers), at_once=2, progress=fleet_run_silent()
    )
    assert (report.done, most[0]) == (4, 2)


def fleet_run_silent() -> object:
    from terralatent.pipeline.progress import Silent

    return Silent()


def test_a_thread_hears_ctrl_c_by_its_event() -> None:
    end, heard = threading.Event(), list[bool]()

    def work() -> None:
        with ended_by(end):
            with Interrupts() as before, before.let_through():
                pass
            end.set()
            try:
                with Interrupts() as interrupts:
                    heard.append(interrupts.heard())
                    with interrupts.let_through():
                        heard.append(False)
            except KeyboardInterrupt:
                heard.append(True)
        with Interrupts() as outside:
            heard.append(outside.heard())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert heard == [True, True, False]
    assert not np.any([Interrupts().heard()])
