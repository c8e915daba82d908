"""A fleet's command that is killed or interrupted, with real processes: nothing is lost, and the
same command ends with the same bytes."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from pathlib import Path

import pytest
from distributed import Client

from terralatent.catalogs.scenes.scenes import Scenes
from terralatent.pipeline.fleet.fleet import Fleet
from terralatent.pipeline.store.lock.writer import read_run
from tests.commands.contents import contents, same, units_done
from tests.commands.mishaps import Mishap
from tests.commands.processes import Launcher
from tests.pipeline.fleet.made import planned_fleet

UNITS = 4
"""Read tasks of a tile."""

Whole = Mapping[str, dict[str, bytes]]


@pytest.fixture(scope="module")
def scenes_file(radar: Scenes, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("scenes") / "scenes.parquet"
    radar.to_parquet(path)
    return path


@pytest.fixture(scope="module")
def whole(scenes_file: Path, workers: Client, tmp_path_factory: pytest.TempPathFactory) -> Whole:
    """By tile, what a cube holds where nothing happened."""
    fleet = planned_fleet(tmp_path_factory.mktemp("whole"))
    fleet.build(scenes=scenes_file, block=16, client=workers)
    return {tile.name: contents(tile.store("cube").address) for tile in fleet.tiles}


def done(fleet: Fleet, whole: Whole) -> int:
    """How many read tasks are done by what the stores say; checks that it is true."""
    stores = {tile.name: tile.store("cube") for tile in fleet.tiles}
    return sum(
        units_done(store.address, whole[name])[0]
        for name, store in stores.items()
        if store.exists() and not store.is_empty()
    )


def command(fleet: Fleet, scenes_file: Path, at_once: int) -> tuple[str | Path, ...]:
    where = ("--fleet", fleet.path, "--scenes", scenes_file)
    return ("build", *where, "--block", "16", "--at-once", str(at_once))


@pytest.mark.soak
@pytest.mark.parametrize("at_once", [1, 3])
def test_a_fleet_killed_again_and_again_ends_with_the_same_bytes(
    launcher: Launcher, scenes_file: Path, whole: Whole, tmp_path: Path, at_once: int
) -> None:
    fleet = planned_fleet(tmp_path)
    typed = command(fleet, scenes_file, at_once)
    before = 0
    for number, mishap in enumerate(
        [Mishap("after commit", "kill", nth=3), Mishap("merged", "kill", nth=3)]
    ):
        killed = launcher.run(*typed, mishaps=(mishap,), folder=tmp_path / f"run{number}")
        assert killed.code == -signal.SIGKILL, killed.output
        now = done(fleet, whole)
        assert before <= now < UNITS * len(fleet.tiles)
        before = now
    assert before > 0
    ended = launcher.run(*typed)
    assert ended.code == 0, ended.output
    for tile in fleet.tiles:
        same(contents(tile.store("cube").address), whole[tile.name])
        assert read_run(tile.store("cube").location) is None
    again = launcher.run(*typed)
    assert again.code == 0
    assert "0 of 4 tiles" in again.output
    assert "4 done before" in again.output


@pytest.mark.soak  # one command is interrupted in every run
@pytest.mark.parametrize("what", ["interrupt", pytest.param("terminate", marks=pytest.mark.soak)])
def test_ctrl_c_keeps_what_the_tiles_in_flight_have_done(
    launcher: Launcher, scenes_file: Path, whole: Whole, tmp_path: Path, what: str
) -> None:
    fleet = planned_fleet(tmp_path)
    typed = command(fleet, scenes_file, 3)
    mishap = Mishap("written", what, nth=5)
    ended = launcher.run(*typed, mishaps=(mishap,), folder=tmp_path / "run")
    assert ended.code == 130, ended.output
    assert "what is done is kept; go on with: terralatent build --fleet" in ended.output
    assert "Traceback" not in ended.output
    assert 0 < done(fleet, whole) < UNITS * len(fleet.tiles)
    runs = [read_run(tile.store("cube").location) for tile in fleet.tiles]
    assert not any(run.going for run in runs if run is not None)
    assert launcher.run(*typed).code == 0
    for tile in fleet.tiles:
        same(contents(tile.store("cube").address), whole[tile.name])


def test_a_tile_that_fails_is_named_and_the_command_ends_with_3(
    launcher: Launcher, scenes_file: Path, tmp_path: Path
) -> None:
    fleet = planned_fleet(tmp_path)
    (Path(fleet.tiles[2].folder) / "cube").mkdir(parents=True)
    (Path(fleet.tiles[2].folder) / "cube" / "mine").touch()
    ended = launcher.run(*command(fleet, scenes_file, 2))
    assert ended.code == 3, ended.output
    assert "lost: tile t01: " in ended.output
    assert "3 of 4 tiles" in ended.output
