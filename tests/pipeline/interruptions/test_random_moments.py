"""Commands killed and interrupted at random moments (``make soak``): the next run ends the same."""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from distributed import Client

from terralatent.catalogs.scenes.scenes import Scenes
from terralatent.pipeline.ingest.build import build_cube
from tests.commands.contents import contents
from tests.commands.plans import FilledStore, Plan
from tests.commands.processes import Command, Launcher
from tests.commands.trainings import Training
from tests.made.catalogue import region
from tests.pipeline.interruptions.test_interrupts import is_clean
from tests.pipeline.interruptions.test_kills import without_first
from tests.servers.schedulers import cluster_in

pytestmark = pytest.mark.soak

MOMENTS = 20

Tell = Callable[[str], None]


@pytest.fixture
def seed(capsys: pytest.CaptureFixture[str]) -> int:
    """Of the moments: ``SOAK_SEED`` repeats them."""
    drawn = int(os.environ.get("SOAK_SEED", random.randrange(10**6)))
    with capsys.disabled():
        os.write(1, f"\nSOAK_SEED={drawn} ".encode())
    return drawn


def moments(seed: int, run: Callable[[], object]) -> list[float]:
    """Random moments within the time that ``run`` takes, in seconds."""
    begun = time.monotonic()
    run()
    draw, taken = random.Random(seed), time.monotonic() - begun
    return [draw.uniform(0.0, taken) for _ in range(MOMENTS)]


def strike(command: Command, moment: float, number: signal.Signals) -> None:
    """Send a signal to every process of a command at a moment, and check how it ends."""
    time.sleep(moment)
    command.signal(number)
    ended = command.end()
    if number == signal.SIGKILL:
        assert ended.code in (0, -signal.SIGKILL), ended.output
    else:
        assert ended.code == 0 or is_clean(ended), ended.output


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT], ids=lambda number: number.name)
@pytest.mark.parametrize("verb", ["build_plan", "embed_plan"])
def test_a_store_is_true_after_it_and_whole_after_the_next_run(
    verb: str,
    number: signal.Signals,
    seed: int,
    request: pytest.FixtureRequest,
    launcher: Launcher,
    tmp_path: Path,
) -> None:
    plan: Plan = request.getfixturevalue(verb)

    def store(name: str) -> FilledStore:
        (tmp_path / name).mkdir()
        return FilledStore(plan, launcher, tmp_path / name)

    for place, moment in enumerate(moments(seed, lambda: store("first").run())):
        filled = store(str(place))
        strike(filled.start(), moment, number)
        filled.done()
        assert filled.run().code == 0, f"after {moment} s"
        assert filled.is_whole(), f"after {moment} s"


@pytest.mark.parametrize("victim", ["scheduler", "worker"])
def test_a_store_is_true_after_its_cluster_dies_and_whole_after_the_next_run(
    victim: str, seed: int, embed_plan: Plan, launcher: Launcher, tmp_path: Path
) -> None:
    def run(name: str, moment: float | None) -> FilledStore:
        with cluster_in(launcher, tmp_path / f"{name}-cluster") as cluster:
            (tmp_path / name).mkdir()
            store = FilledStore(embed_plan, launcher, tmp_path / name)
            command = store.start("--client", cluster.address)
            if moment is not None:
                time.sleep(moment)
                dying = cluster.scheduler if victim == "scheduler" else cluster.workers[0]
                dying.signal(signal.SIGKILL)
                if victim == "worker":
                    cluster.join()
            ended = command.end()
        whole = moment is None or victim == "worker" or store.done() == embed_plan.units
        if whole:
            assert ended.code == 0, ended.output
        else:
            assert ended.code == 2, ended.output
            last = ended.output.splitlines()[-1]
            assert re.search("^error: (The|No) Dask scheduler ", last), ended.output
        return store

    for place, moment in enumerate(moments(seed, lambda: run("first", None))):
        filled = run(str(place), moment)
        assert filled.run().code == 0, f"after {moment} s"
        assert filled.is_whole(), f"after {moment} s"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT], ids=lambda number: number.name)
def test_a_growth_is_seen_whole_or_not_at_all(
    number: signal.Signals,
    seed: int,
    radar: Scenes,
    radar_plan: Plan,
    workers: Client,
    launcher: Launcher,
    tmp_path: Path,
) -> None:
    build_cube(without_first(radar), region(), tmp_path / "fewer", block=16, client=workers)
    fewer = contents(tmp_path / "fewer")

    def store(name: str) -> FilledStore:
        shutil.copytree(tmp_path / "fewer", tmp_path / name / "store")
        return FilledStore(radar_plan, launcher, tmp_path / name)

    for place, moment in enumerate(moments(seed, lambda: store("first").run())):
        filled = store(str(place))
        strike(filled.start(), moment, number)
        assert contents(filled.path) in (fewer, radar_plan.whole), f"after {moment} s"
        assert filled.run().code == 0, f"after {moment} s"
        assert filled.is_whole(), f"after {moment} s"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT], ids=lambda number: number.name)
def test_a_training_is_whole_after_the_next_run(
    number: signal.Signals, seed: int, trained: Training, launcher: Launcher, tmp_path: Path
) -> None:
    def training(name: str) -> Training:
        (tmp_path / name).mkdir()
        return Training(trained.cube, launcher, tmp_path / name)

    wanted = trained.contents()
    for place, moment in enumerate(moments(seed, lambda: training("first").run())):
        filled = training(str(place))
        strike(filled.start(), moment, number)
        filled.step()
        assert filled.run().code == 0, f"after {moment} s"
        assert filled.contents() == wanted, f"after {moment} s"
