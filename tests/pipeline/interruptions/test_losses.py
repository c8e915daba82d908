"""What cannot be done is named and the rest goes on; once it can be done, nothing is missing."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from distributed import Client

from terralatent.catalogs.documents.serve import serving
from terralatent.catalogs.scenes.scenes import Scenes
from terralatent.pipeline.cube.losses import Loss
from terralatent.pipeline.ingest.build import BuildReport, build_cube
from tests.commands.contents import contents, same
from tests.commands.mishaps import Mishap
from tests.commands.plans import WHERE, FilledStore, Plan, computed
from tests.commands.processes import Ended, Launcher
from tests.made.catalogue import region


def lost(ended: Ended) -> list[str]:
    """The lines that name a loss."""
    return [line for line in ended.output.splitlines() if line.startswith("lost: ")]


def test_a_task_that_kills_every_worker_is_named_and_takes_no_other_with_it(
    radar: Scenes, radar_plan: Plan, filling: Callable[[Plan], FilledStore], workers: Client
) -> None:
    store = filling(radar_plan)

    ended = store.run(mishap=Mishap("written", "die", nth=0, task="0/16/32"))

    assert (ended.code, computed(ended)) == (3, 8)
    (line,) = lost(ended)
    assert "every scene from 2018-05-03 to 2018-05-09 (read task 0/16/32)" in line
    assert line.endswith("the worker process died under it; it may need more memory than there is")
    assert "run_sealed" not in ended.output
    assert store.done() == 8

    again = build_cube(radar, region(), store.path, block=16, client=workers)

    assert (again.tasks, again.losses) == (1, ())
    assert store.is_whole()


@pytest.mark.soak  # tests.pipeline.ingest.test_build has a cut file and a missing one
def test_missing_and_truncated_files_are_named_and_read_once_they_are_back(
    catalogue: Path, made_up: Scenes, workers: Client, launcher: Launcher, tmp_path: Path
) -> None:
    build_cube(made_up, region(), tmp_path / "whole", block=64, client=workers)
    served = shutil.copytree(catalogue, tmp_path / "catalogue")
    cut = served / "sentinel-2-l2a" / "S2_C" / "B03.tif"
    gone = served / "sentinel-1-rtc" / "S1_9" / "vh.tif"
    whole = {path: path.read_bytes() for path in (cut, gone)}
    with serving(served) as url:
        days = ("--start", "2018-05-01", "--end", "2018-05-31")
        where = (*WHERE, "--block", "64", "--out", str(tmp_path / "cube"))
        command = ("build", "--source", url, *days, *where)
        cut.write_bytes(whole[cut][:900])
        gone.unlink()

        ended = launcher.run(*command)

        assert ended.code == 3, ended.output
        first, second = lost(ended)
        assert re.match(r"lost: sentinel-2-l2a S2_C B03: Read failed: .*expected \d+", first)
        assert re.match(r"lost: sentinel-1-asc S1_9 vh: .*404", second)
        assert "Traceback" not in ended.output

        for path, content in whole.items():
            path.write_bytes(content)
        again = launcher.run(*command)

    assert (again.code, computed(again)) == (0, 2), "every read task had lost something"
    assert lost(again) == []
    same(contents(tmp_path / "cube"), contents(tmp_path / "whole"))


def test_a_build_that_read_nothing_does_not_say_that_nothing_is_left() -> None:
    loss = Loss("sentinel-1-asc", "every scene", "", "no memory")
    assert "(0 read tasks)" in str(BuildReport("cube", "", {}, tasks=0, losses=(loss,)))
    assert "(nothing left to read)" in str(BuildReport("cube", "", {}, tasks=0, losses=()))


@pytest.mark.soak
def test_workers_that_are_killed_as_they_start_are_named_as_killed(
    radar_plan: Plan, filling: Callable[[Plan], FilledStore]
) -> None:
    store = filling(radar_plan)

    ended = store.run(mishap=Mishap("started", "die", nth=0))

    assert ended.code == 2, ended.output
    (line,) = [line for line in ended.output.splitlines() if line.startswith("error: ")]
    assert "A worker process ended as it started: it was killed" in line
    assert "__main__" not in line
    assert store.run().code == 0
