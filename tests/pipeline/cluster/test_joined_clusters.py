"""Clusters that others started: they do the work, live on, and are refused where they differ."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from distributed import Client, WorkerPlugin, get_worker

from terralatent.catalogs.errors import InputError
from terralatent.pipeline.cluster import client as clusters
from terralatent.pipeline.cluster.client import client_for
from terralatent.pipeline.cluster.stream import Commits, Work, stream_blocks
from terralatent.pipeline.mapping.embed import embed
from terralatent.pipeline.store.arrays import ArrayLayout, GroupLayout, Layout
from terralatent.pipeline.store.creation import lay_out
from terralatent.pipeline.store.repository import Store
from tests.commands.plans import DATES, FilledStore, Plan
from tests.commands.processes import Launcher
from tests.made.models import made_up_model
from tests.servers.dask_processes import foreign_environment, scheduler, worker
from tests.servers.schedulers import worker_of
from tests.waiting import WITHIN_S


@pytest.fixture(scope="module")
def cluster(launcher: Launcher, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """``dask scheduler`` and two ``dask worker``."""
    with (
        scheduler(tmp_path_factory.mktemp("cluster")) as client,
        worker_of(launcher, client),
        worker_of(launcher, client),
    ):
        yield client


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """``dask scheduler`` alone."""
    with scheduler(tmp_path_factory.mktemp("empty")) as client:
        yield client


def test_a_running_cluster_builds_and_embeds_as_local_processes_do_and_lives_on(
    cluster: Client, radar_plan: Plan, embed_plan: Plan, filling: Callable[[Plan], FilledStore],
    tmp_path: Path,
) -> None:  # fmt: skip
    processes = cluster.run(os.getpid)
    for plan in (radar_plan, embed_plan):
        store = filling(plan)
        store.path = tmp_path / plan.command[0]

        ended = store.run("--client", cluster.scheduler.address)

        assert ended.code == 0, ended.output
        assert store.is_whole()
    assert cluster.run(os.getpid) == processes
    torch = cluster.run_on_scheduler(lambda: "torch" in sys.modules)
    assert not torch, "a scheduler imports nothing that only workers need"
    assert cluster.submit(lambda: 1 + 1).result() == 2


def test_a_worker_that_dies_as_it_joins_is_not_taken_for_the_scheduler(
    empty: Client, launcher: Launcher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    died = tmp_path / "died"

    class Deadly(WorkerPlugin):
        def setup(self, worker: object) -> None:
            with suppress(FileExistsError):
                died.touch(exist_ok=False)
                os.kill(os.getpid(), signal.SIGKILL)

    monkeypatch.setattr(clusters, "pin_threads", lambda **_: Deadly())
    with worker_of(launcher, empty), worker_of(launcher, empty):
        with client_for(empty.scheduler.address) as client:
            assert client.submit(abs, -1).result(timeout=WITHIN_S) == 1
        assert died.exists()


@pytest.mark.soak
def test_a_worker_that_sees_another_model_is_named(
    empty: Client, cube: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    made_up_model(cube, here / "model", seed=0)
    made_up_model(cube, there / "model", seed=1)
    monkeypatch.chdir(here)
    model = "/proc/self/cwd/model"  # one path, that each process sees in the folder it runs in
    with (
        worker(empty, there) as address,
        pytest.raises(InputError, match="is another model for") as refusal,
    ):
        embed(cube, model, tmp_path / "out", dates=DATES, client=empty)
    assert f"worker {address} on {os.uname().nodename}" in str(refusal.value)


@pytest.mark.parametrize(
    ("version", "reason"),
    [
        pytest.param(None, "no terralatent", marks=pytest.mark.soak),
        ("0.0.9", "terralatent 0.0.9"),
    ],
)
def test_a_worker_of_another_environment_is_refused_by_name_and_works_for_others(
    cluster: Client, cube: Path, tmp_path: Path, version: str | None, reason: str
) -> None:
    foreign = foreign_environment(tmp_path / "environment", version)
    with worker(cluster, tmp_path, "-S", variables=foreign) as address:
        with (
            pytest.raises(InputError, match=f"{reason} \\(wanted: ") as refusal,
            client_for(cluster.scheduler.address),
        ):
            pass
        assert f"worker {address} on {os.uname().nodename} has" in str(refusal.value)
        assert str(refusal.value).count("worker tcp") == 1, "the others are all right"
        doubled = cluster.submit(lambda number: 2 * number, 21, workers=[address], pure=False)
        assert doubled.result(timeout=WITHIN_S) == 42


def write_row(group: zarr.Group, row: int) -> str:
    group["value"][row] = row
    return str(get_worker().address)


@pytest.mark.soak
@pytest.mark.parametrize("version", [None, "0.0.9"])
def test_nothing_is_taken_from_a_foreign_worker_that_joins_later(
    empty: Client, tmp_path: Path, version: str | None
) -> None:
    """One with another version is named; one without the package falls out at its first task."""
    array = ArrayLayout("value", ("row",), (60,), "int32", (1,), (1,), -1, {})
    store = tmp_path / "store"
    lay_out(Store.of(store), Layout("cube", {}, (GroupLayout("", (array,)),)))
    foreign = foreign_environment(tmp_path / "environment", version)
    addresses: list[str] = []
    with ExitStack() as stack, worker(empty, tmp_path) as own:

        def record(group: zarr.Group, row: int, address: str) -> None:
            assert address == own
            if not addresses:
                other = worker(empty, tmp_path, "-S", variables=foreign)
                addresses.append(stack.enter_context(other))

        joined = stack.enter_context(client_for(empty))

        def write() -> Sequence[object]:
            return stream_blocks(
                joined, Store.of(store), range(60), Work(write_row, record),
                Commits(message="write", every=4), in_flight=4,
            )  # fmt: skip

        if version is None:
            assert not write()
        else:
            with pytest.raises(InputError, match=f"has terralatent {version}") as refusal:
                write()
            assert f"worker {addresses[0]} on" in str(refusal.value)
    written: Any = Store.of(store).group()["value"][...]
    done = np.count_nonzero(written >= 0)
    assert done == 60 if version is None else 0 < done < 60, "what the others did is kept"


def test_a_scheduler_of_another_environment_is_refused(tmp_path: Path) -> None:
    foreign = foreign_environment(tmp_path / "environment", "0.0.9")
    with (
        scheduler(tmp_path, "-S", variables=foreign) as client,
        pytest.raises(InputError, match=r"the scheduler tcp.* has terralatent 0.0.9"),
        client_for(client.scheduler.address),
    ):
        pass
