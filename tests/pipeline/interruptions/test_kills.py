"""Commands killed at the worst moments: what is stored is true, and the next run ends the same."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import dask
import pytest
from distributed import Client, LocalCluster

from terralatent.catalogs.scenes.scenes import Scenes
from terralatent.pipeline.cluster.local import process_settings
from terralatent.pipeline.ingest.build import build_cube
from terralatent.pipeline.store.history import history
from tests.commands.contents import contents, same
from tests.commands.mishaps import PRELOAD, Mishap, environment
from tests.commands.plans import FilledStore, Plan, computed, some_and_all
from tests.commands.processes import Launcher
from tests.commands.trainings import STEPS, Training
from tests.made.catalogue import region
from tests.servers.schedulers import cluster_in

# A run that gets as far as this leaves so many units done, two for each commit. The worker waits
# for the commit, so that there always is some of both: done and lost. The first is the layout's.
WRITTEN = (Mishap("written", "kill", nth=4, after=("after commit", 2)), 2)
COORDINATED = (
    (Mishap("merged", "kill"), 2),
    (Mishap("before commit", "kill", nth=2), 4),
    (Mishap("after commit", "kill"), 6),
)


@pytest.fixture
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A cluster that outlives the commands, but for its worker, which dies at the last block."""
    lost = Mishap("written", "die", task="(2, 2)")
    with pytest.MonkeyPatch.context() as patch, dask.config.set(PRELOAD):
        for name, value in environment(tmp_path_factory.mktemp("cluster"), (lost,)).items():
            patch.setenv(name, value)
        with (
            process_settings(),
            LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None) as started,
            Client(started) as client,
        ):
            yield client


def without_first(scenes: Scenes) -> Scenes:
    """A search before its first scene arrived."""
    return Scenes.gather(
        [item for item in scenes.items if item["id"] != "S1_3"],
        scenes.wanted,
        source=scenes.place,
        period=scenes.period,
        access=scenes.access,
    )


def kill(store: FilledStore, mishap: Mishap, *options: str) -> int:
    """Run a command until it is killed; gives how much is done then."""
    killed = store.run(*options, mishap=mishap)
    assert killed.code == -signal.SIGKILL, killed.output
    return store.done()


@some_and_all((WRITTEN, *COORDINATED), slice(0, 3, 2))
def test_a_build_killed_again_and_again_ends_with_the_same_bytes(
    radar_plan: Plan, filling: Callable[[Plan], FilledStore], points: tuple[tuple[Mishap, int], ...]
) -> None:
    store = filling(radar_plan)
    assert kill(store, Mishap("before commit", "kill")) == 0
    assert not store.path.exists(), "it is put into its place once it is laid out"
    for mishap, done in points:
        assert kill(store, mishap) == done, mishap

    # The last run loses a worker alone, and ends well with another.
    ended = store.run(mishap=Mishap("written", "die"))

    assert (ended.code, computed(ended)) == (0, radar_plan.units - done), ended.output
    assert store.is_whole()


# Where a growth is killed, run after run; the last time readers see it already.
GROW = (
    Mishap("before commit", "kill"),
    Mishap("after commit", "kill"),
    Mishap("written", "kill", nth=4, after=("after commit", 1)),
    Mishap("merged", "kill", nth=2),
    Mishap("before commit", "kill", nth=2),
    Mishap("after commit", "kill"),
    Mishap("before shown", "kill"),
    Mishap("after shown", "kill"),
)


@some_and_all(GROW, slice(3, None, 4))
def test_readers_see_nothing_of_a_growth_that_is_killed_and_then_all_of_it(
    radar: Scenes,
    radar_plan: Plan,
    filling: Callable[[Plan], FilledStore],
    workers: Client,
    points: tuple[Mishap, ...],
) -> None:
    store, fewer = filling(radar_plan), without_first(radar)
    build_cube(fewer, region(), store.path, block=16, client=workers)
    before = contents(store.path)

    for mishap in points:
        killed = store.run(mishap=mishap)
        assert killed.code == -signal.SIGKILL, (mishap, killed.output)
        same(contents(store.path), radar_plan.whole if mishap == GROW[-1] else before)

    ended = store.run()

    assert ended.code == 0, ended.output
    assert computed(ended) == 0
    assert store.is_whole()
    assert [snapshot.message for snapshot in history(store.path)] == [
        "grow to 2018-05-31",
        *["build"] * (len(history(store.path)) - 2),
        "lay out the cube",
    ]


@pytest.mark.soak  # a build that is killed and a growth are tried in every run
@some_and_all(COORDINATED, slice(1, 2))
def test_an_embedding_killed_again_and_again_ends_with_the_same_bytes(
    embed_plan: Plan,
    filling: Callable[[Plan], FilledStore],
    cluster: Client,
    points: tuple[tuple[Mishap, int], ...],
) -> None:
    store, joined = filling(embed_plan), ("--client", str(cluster.scheduler.address))
    worker = cluster.run(os.getpid)
    mishap, done = WRITTEN
    assert kill(store, mishap) == done
    full = store.run(*joined, mishap=Mishap("before commit", "full disk"))
    assert (full.code, store.done()) == (2, done), full.output
    assert re.search(r"error: .* cannot be written: .* from it", full.output), full.output
    for mishap, done in points:
        assert kill(store, mishap, *joined) == done, mishap

    assert cluster.run(os.getpid) == worker

    ended = store.run(*joined)

    assert (ended.code, computed(ended)) == (0, embed_plan.units - done), ended.output
    assert store.is_whole()
    assert cluster.run(os.getpid) != worker, "the last block was done by another one"


# How many blocks are done at least when the scheduler is killed there, run after run: the
# coordinator lives on, and commits what it has heard of.
SCHEDULED = (
    (Mishap("written", "kill", victim="scheduler"), 0),
    (Mishap("merged", "kill", victim="scheduler"), 2),
    (Mishap("before commit", "kill", victim="scheduler"), 4),
    (Mishap("after commit", "kill", victim="scheduler"), 6),
)


@pytest.mark.soak  # lost in `cluster/test_stream.py` in every run
@some_and_all(SCHEDULED, slice(0, 1))
def test_an_embedding_whose_scheduler_is_killed_keeps_what_is_done_and_ends_with_the_same_bytes(
    embed_plan: Plan,
    filling: Callable[[Plan], FilledStore],
    launcher: Launcher,
    tmp_path: Path,
    points: tuple[tuple[Mishap, int], ...],
) -> None:
    store = filling(embed_plan)
    for mishap, done in points:
        folder = tmp_path / mishap.place
        befalls = (replace(mishap, victim=str(folder / "scheduler")),)
        with cluster_in(launcher, folder, befalls) as cluster:
            joined = ("--client", cluster.address)
            ended = store.start(*joined, mishaps=befalls, folder=folder / "counts").end()

            if store.done() == embed_plan.units:
                assert ended.code == 0, ended.output
                continue
            assert ended.code == 2, ended.output
            *before, last = ended.output.splitlines()
            assert last.startswith("error: The Dask scheduler is lost"), ended.output
            assert not [line for line in before if "Error" in line or "distributed" in line]
            assert cluster.workers[0].end().code >= 0, "it ends by itself"
        assert store.done() >= done, mishap

    done = store.done()
    with cluster_in(launcher, tmp_path / "last") as cluster:
        ended = store.run("--client", cluster.address)

    assert (ended.code, computed(ended)) == (0, embed_plan.units - done), ended.output
    assert store.is_whole()


def test_an_embedding_whose_only_worker_is_killed_waits_for_another_and_goes_on(
    embed_plan: Plan, filling: Callable[[Plan], FilledStore], launcher: Launcher, tmp_path: Path
) -> None:
    store, folder = filling(embed_plan), tmp_path / "cluster"
    victim = str(folder / "worker")
    befalls = (
        Mishap("written", "kill", victim=victim),
        Mishap("merged", "kill", nth=2, victim=victim),
        Mishap("before commit", "kill", nth=4, victim=victim),
        Mishap("after commit", "kill", nth=5, victim=victim),
    )
    with cluster_in(launcher, folder, befalls) as cluster:
        joined = ("--client", cluster.address)
        command = store.start(*joined, mishaps=befalls, folder=folder / "counts")
        for times, _ in enumerate(befalls, 1):
            command.wait_for(f"no worker is left at {cluster.address}; waiting for one", times)
            cluster.join()
        ended = command.end()

    assert (ended.code, computed(ended)) == (0, embed_plan.units), ended.output
    assert store.is_whole()


# Where a training is killed, run after run, and how many steps its state has then.
TRAIN = (
    (Mishap("state half written", "kill"), None),
    (Mishap("step", "kill", nth=3), 2),
    (Mishap("state written", "kill"), 2),
    (Mishap("state half written", "kill", nth=2), 4),
    (Mishap("weights replaced", "kill"), STEPS),
)


@pytest.mark.soak  # it is interrupted in every run
@some_and_all(TRAIN, slice(0, 2))
def test_a_training_killed_again_and_again_ends_with_the_same_bytes(
    trained: Training, training: Training, points: tuple[tuple[Mishap, int | None], ...]
) -> None:
    for mishap, step in points:
        killed = training.run(mishap)
        assert killed.code == -signal.SIGKILL, killed.output
        assert training.step() == step, mishap

    ended = training.run()

    assert ended.code == 0, ended.output
    assert training.contents() == trained.contents()
