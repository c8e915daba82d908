"""Commands killed at the worst moments: what is stored is true, and the next run ends the same."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator

import dask
import pytest
from distributed import Client

from terralatent.catalogs.scenes import Scenes
from terralatent.pipeline.clusters import client_for
from terralatent.pipeline.history import history
from terralatent.pipeline.ingest import build_cube
from tests.catalogue import region
from tests.contents import contents, same
from tests.mishaps import PRELOAD, Mishap, environment
from tests.plans import Plan, Store, computed
from tests.trainings import STEPS, Training

# A run that gets as far as this leaves so many units done, two for each commit. The worker waits
# for the commit, so that there always is some of both: done and lost. The first is the layout's.
WRITTEN = (Mishap("written", "kill", nth=4, after=("after commit", 2)), 2)
COORDINATED = (
    (Mishap("merged", "kill"), 2),
    (Mishap("before commit", "kill", nth=2), 4),
    (Mishap("after commit", "kill"), 6),
)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A cluster that outlives the commands, but for its worker, which dies at the last block."""
    lost = Mishap("written", "die", task="(2, 2)")
    with pytest.MonkeyPatch.context() as patch, dask.config.set(PRELOAD):
        for name, value in environment(tmp_path_factory.mktemp("cluster"), (lost,)).items():
            patch.setenv(name, value)
        with client_for("local", workers=1) as client:
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


def kill(store: Store, mishap: Mishap, *options: str) -> int:
    """Run a command until it is killed; gives how much is done then."""
    killed = store.run(*options, mishap=mishap)
    assert killed.code == -signal.SIGKILL, killed.told
    return store.done()


def test_a_build_killed_at_every_point_ends_with_the_same_bytes(
    radar_plan: Plan, filling: Callable[[Plan], Store]
) -> None:
    store = filling(radar_plan)
    assert kill(store, Mishap("before commit", "kill")) == 0
    assert not store.path.exists(), "it is put into its place once it is laid out"
    for mishap, done in (WRITTEN, *COORDINATED):
        assert kill(store, mishap) == done, mishap

    # The last run loses a worker alone, and ends well with another.
    ended = store.run(mishap=Mishap("written", "die"))

    assert (ended.code, computed(ended)) == (0, 3), ended.told
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


def test_readers_see_nothing_of_a_growth_that_is_killed_and_then_all_of_it(
    radar: Scenes, radar_plan: Plan, filling: Callable[[Plan], Store], workers: Client
) -> None:
    store, fewer = filling(radar_plan), without_first(radar)
    build_cube(fewer, region(), store.path, block=16, client=workers)
    before = contents(store.path)

    for mishap in GROW:
        killed = store.run(mishap=mishap)
        assert killed.code == -signal.SIGKILL, (mishap, killed.told)
        same(contents(store.path), radar_plan.whole if mishap == GROW[-1] else before)

    ended = store.run()

    assert ended.code == 0, ended.told
    assert computed(ended) == 0
    assert store.is_whole()
    assert [each.message for each in history(store.path)] == [
        "grow to 2018-05-31",
        *["build"] * (len(history(store.path)) - 2),
        "lay out the cube",
    ]


def test_an_embedding_killed_at_every_point_ends_with_the_same_bytes(
    embed_plan: Plan, filling: Callable[[Plan], Store], cluster: Client
) -> None:
    store, joined = filling(embed_plan), ("--client", str(cluster.scheduler.address))
    worker = cluster.run(os.getpid)
    mishap, done = WRITTEN
    assert kill(store, mishap) == done
    for mishap, done in COORDINATED:
        assert kill(store, mishap, *joined) == done, mishap

    assert cluster.run(os.getpid) == worker

    ended = store.run(*joined)

    assert (ended.code, computed(ended)) == (0, 3), ended.told
    assert store.is_whole()
    assert cluster.run(os.getpid) != worker, "the last block was done by another one"


# Where a training is killed, run after run, and how many steps its state has then.
TRAIN = (
    (Mishap("state half written", "kill"), None),
    (Mishap("step", "kill", nth=3), 2),
    (Mishap("state written", "kill"), 2),
    (Mishap("state half written", "kill", nth=2), 4),
    (Mishap("weights replaced", "kill"), STEPS),
)


def test_a_training_killed_again_and_again_ends_with_the_same_bytes(
    trained: Training, training: Training
) -> None:
    for mishap, step in TRAIN:
        killed = training.run(mishap)
        assert killed.code == -signal.SIGKILL, killed.told
        assert training.step() == step, mishap

    ended = training.run()

    assert ended.code == 0, ended.told
    assert training.contents() == trained.contents()
