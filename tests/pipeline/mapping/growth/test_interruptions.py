"""A result that follows its cube, killed at the worst moments, ends as if nothing had happened."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from distributed import Client

from terralatent.catalogs.scenes.scenes import Scenes
from terralatent.pipeline import embed
from terralatent.pipeline.ingest.build import build_cube
from terralatent.pipeline.store.lock.writer import read_run
from tests.commands.contents import contents, same
from tests.commands.mishaps import Mishap, second
from tests.commands.plans import FilledStore, Plan, some_and_all
from tests.commands.processes import Launcher
from tests.made.catalogue import region
from tests.pipeline.mapping.growth.conftest import AGAIN, BLOCK, LATE, without

DATES = "2018-03-05,2018-03-10,2018-03-20"

MOMENTS = (
    Mishap("before commit", "kill"),  # that of the layout for the newest snapshot
    Mishap("after commit", "kill"),
    Mishap("written", "kill", nth=4, after=("after commit", 2)),
    Mishap("merged", "kill"),
    Mishap("before commit", "kill", nth=3),
    Mishap("after commit", "kill", nth=3),
)


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(False, id="whole blocks", marks=pytest.mark.soak),  # `embed` itself is killed
        pytest.param(True, id="live"),
    ],
)
def behind(
    request: pytest.FixtureRequest,
    every: Scenes,
    early: Path,
    workers: Client,
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Path, Plan]:
    """Latents of a cube that has grown since, and what they are in the end."""
    folder = tmp_path_factory.mktemp("behind")
    shutil.copytree(early, folder / "place")
    cube, model, live = folder / "place" / "cube", folder / "place" / "model", request.param
    options = {"dates": DATES, "live": live, "client": workers}
    embed(cube, model, folder / "before", **options)
    build_cube(without(every, LATE, AGAIN), region(), cube, block=BLOCK, client=workers)
    shutil.copytree(folder / "before", folder / "after")
    embed(cube, model, folder / "after", **options)
    command = ("embed", str(cube), str(model), "--dates", DATES, *(["--live"] if live else []))
    return folder / "before", Plan((*command, "--out"), contents(folder / "after"), 9)


@pytest.fixture
def store(behind: tuple[Path, Plan], launcher: Launcher, tmp_path: Path
          ) -> Callable[[str], FilledStore]:  # fmt: skip
    def copy(name: str) -> FilledStore:
        filled = FilledStore(behind[1], launcher, tmp_path / name)
        filled.path.parent.mkdir()
        shutil.copytree(behind[0], filled.path)
        return filled

    return copy


@some_and_all(MOMENTS, slice(2, 3))
def test_a_kill_costs_what_was_computed_since(
    behind: tuple[Path, Plan], store: Callable[[str], FilledStore], points: tuple[Mishap, ...]
) -> None:
    for number, moment in enumerate(points):
        filled = store(str(number))
        assert filled.run(mishap=moment).code == -signal.SIGKILL
        ended = filled.run()
        assert ended.code == 0, ended.output
        same(contents(filled.path), behind[1].whole)
        assert read_run(filled.path) is None


@pytest.mark.soak
def test_a_second_writer_is_refused(
    behind: tuple[Path, Plan], store: Callable[[str], FilledStore]
) -> None:
    filled = store("two")
    assert filled.run(mishap=Mishap("merged", "second")).code == 0
    code, output = second(filled.last)
    assert code == 2
    assert "is being written by process" in output
    same(contents(filled.path), behind[1].whole)
