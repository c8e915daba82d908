"""The streaming loop: the same bytes in any order, nothing half done, a bounded scheduler."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Collection, Coroutine, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from distributed import Client, LocalCluster, get_worker
from distributed.comm import CommClosedError, connect

from terralatent.catalogs.errors import InputError
from terralatent.pipeline.cluster import stream as streaming
from terralatent.pipeline.cluster import tasks as queueing
from terralatent.pipeline.cluster.client import client_for
from terralatent.pipeline.cluster.scheduler_loss import translated_scheduler_loss
from terralatent.pipeline.cluster.stream import Commits, Failure, Work, stream_blocks
from terralatent.pipeline.store.arrays import ArrayLayout, GroupLayout, Layout, coordinate
from terralatent.pipeline.store.creation import lay_out
from terralatent.pipeline.store.repository import Store
from tests.waiting import WITHIN_S, until

TASKS = 12


@pytest.fixture
def store(tmp_path: Path) -> Path:
    data = ArrayLayout("data", ("y", "x"), (4, 4 * TASKS), "int32", (2, 2), (4, 4), fill_value=-1)
    state = coordinate("state", ("task",), np.zeros(TASKS, dtype=np.uint8))
    lay_out(Store.of(tmp_path / "s"), Layout("cube", {}, (GroupLayout("", (data, state)),)))
    return tmp_path / "s"


def write(group: zarr.Group, task: int, *, slow: Iterable[int] = ()) -> int:
    time.sleep(0.1 if task in slow else 0.0)
    group["data"][:, 4 * task : 4 * task + 4] = np.arange(16).reshape(4, 4) * (task + 1)
    return task * task


def note(group: zarr.Group, task: int, result: int) -> None:
    assert result == task * task
    group["state"][task] = 1


def stream(
    client: Client,
    store: Path,
    run: Callable[[zarr.Group, int], int] = write,
    *,
    tasks: Collection[int] = range(TASKS),
    record: Callable[[zarr.Group, int, int], None] = note,
    smaller: Callable[..., Any] | None = None,
    every: int = 64,
    seconds: float = 60.0,
    **options: Any,
) -> list[Failure]:
    work = Work(run, record, smaller=smaller)
    commits = Commits(message="test", every=every, seconds=seconds)
    return stream_blocks(client, Store.of(store), tasks, work, commits, **options)


def wanted(tasks: Iterable[int]) -> np.ndarray:
    data = np.full((4, 4 * TASKS), -1)
    for task in tasks:
        data[:, 4 * task : 4 * task + 4] = np.arange(16).reshape(4, 4) * (task + 1)
    return data


@pytest.mark.parametrize("slow", [(), (0, 1, 5)])
@pytest.mark.parametrize("every", [1, 5, 100])
def test_the_order_in_which_tasks_end_changes_nothing(
    workers: Client, store: Path, slow: tuple[int, ...], every: int
) -> None:
    failures = stream(workers, store, partial(write, slow=slow), every=every)

    assert failures == []
    np.testing.assert_array_equal(Store.of(store).group()["data"][:], wanted(range(TASKS)))
    assert Store.of(store).group()["state"][:].all()
    commits = len(list(Store.of(store).repository().ancestry(branch="main"))) - 2
    assert commits == -(-TASKS // every)


def fail(group: zarr.Group, task: int) -> int:
    write(group, task)
    if task in (3, 7):
        raise RuntimeError(f"task {task}\nis bad")
    return task * task


def test_tasks_that_fail_are_named_and_leave_nothing(workers: Client, store: Path) -> None:
    failures = stream(workers, store, fail)

    assert sorted((f.task, f.reason) for f in failures) == [
        (3, "RuntimeError: task 3 is bad"),
        (7, "RuntimeError: task 7 is bad"),
    ]
    whole = [task for task in range(TASKS) if task not in (3, 7)]
    np.testing.assert_array_equal(Store.of(store).group()["data"][:], wanted(whole))
    assert list(np.flatnonzero(Store.of(store).group()["state"][:])) == whole


def fail_once(group: zarr.Group, task: int, *, folder: Path) -> int:
    flag = folder / str(task)
    if not flag.exists():
        flag.touch()
        raise OSError("not yet")
    return write(group, task)


def test_a_task_that_failed_is_tried_again(workers: Client, store: Path, tmp_path: Path) -> None:
    assert stream(workers, store, partial(fail_once, folder=tmp_path), retries=1) == []
    np.testing.assert_array_equal(Store.of(store).group()["data"][:], wanted(range(TASKS)))


def fail_at(group: zarr.Group, task: int, *, worker: str) -> int:
    if get_worker().address == worker:
        raise OSError("no space is left")
    time.sleep(0.02)
    return write(group, task)


def test_what_fails_at_one_worker_is_done_by_another(workers: Client, store: Path) -> None:
    bad = min(workers.nthreads())

    assert stream(workers, store, partial(fail_at, worker=bad)) == []
    np.testing.assert_array_equal(Store.of(store).group()["data"][:], wanted(range(TASKS)))


def test_a_task_that_failed_says_where(workers: Client, store: Path) -> None:
    failures = stream(workers, store, fail)
    assert {failure.worker for failure in failures} <= workers.nthreads().keys()


# Task 3 needs more memory than a worker has, unless it goes through in halves; task 7 kills its
# worker whatever is done.
FULL = 16
MEMORY, STEP = "1GB", 64_000_000


def kill(group: zarr.Group, task: int, *, batch: int, folder: Path) -> int:
    if task in (3, 7):
        with (folder / str(task)).open("a") as tried:
            tried.write(f"{batch} ")
    if task == 7:
        os.kill(os.getpid(), signal.SIGKILL)
    if task == 3:
        held = [np.ones(STEP, dtype=np.uint8) for _ in range(batch)]
        if batch == FULL:
            time.sleep(WITHIN_S)  # Dask checks the memory now and then
        assert len(held) == batch
    return write(group, task)


def halve(run: partial[int]) -> partial[int]:
    return partial(run, batch=run.keywords["batch"] // 2)


@pytest.mark.soak  # Dask starts a worker anew six times
def test_a_task_that_kills_its_worker_goes_through_in_smaller_batches_or_is_passed_over(
    store: Path, tmp_path: Path
) -> None:
    run = partial(kill, batch=FULL, folder=tmp_path)
    with client_for("local", workers=2, memory=MEMORY) as client:
        (failure,) = stream(client, store, run, smaller=halve)

    assert failure.task == 7
    assert "the worker process died under it" in failure.reason
    np.testing.assert_array_equal(
        Store.of(store).group()["data"][:], wanted(task for task in range(TASKS) if task != 7)
    )
    assert (tmp_path / "3").read_text().split() == ["16", "16", "8"]
    assert (tmp_path / "7").read_text().split() == ["16", "16", "8", "4"]


def refuse(group: zarr.Group, task: int) -> int:
    if task == TASKS - 1:
        raise InputError("the model does not fit.")
    return write(group, task)


def test_a_mistake_of_the_user_ends_the_run_in_its_own_words(workers: Client, store: Path) -> None:
    with pytest.raises(InputError, match=r"^the model does not fit\.$"):
        stream(workers, store, refuse)

    done = np.flatnonzero(Store.of(store).group()["state"][:])
    np.testing.assert_array_equal(Store.of(store).group()["data"][:], wanted(done))


class Watch:
    """A progress that counts tasks and those that the scheduler knows, and may break off."""

    def __init__(self, client: Client, stop_after: int = TASKS + 1) -> None:
        self.client, self.stop_after = client, stop_after
        self.known: list[int] = []
        # What other tests' exceptions still hold is none of this run's.
        self.before = set(client.cluster.scheduler.tasks)

    def start(self, total: int, title: str) -> None:
        assert (total, title) == (TASKS, "test")

    def advance(self, n: int = 1, **fields: float | str) -> None:
        self.known.append(len(set(self.client.cluster.scheduler.tasks) - self.before))
        if len(self.known) == self.stop_after:
            raise KeyboardInterrupt

    def close(self) -> None:
        pass


def test_the_scheduler_knows_few_tasks(workers: Client, store: Path) -> None:
    watch = Watch(workers)

    stream(workers, store, progress=watch, in_flight=3)

    assert len(watch.known) == TASKS
    # One more than in flight: a task that ended is forgotten a moment after the next is sent.
    assert max(watch.known) <= 4


def test_an_interrupted_run_goes_on_where_it_stopped(workers: Client, store: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        stream(workers, store, progress=Watch(workers, stop_after=4))
    done = np.flatnonzero(Store.of(store).group()["state"][:])
    np.testing.assert_array_equal(Store.of(store).group()["data"][:], wanted(done))
    assert 4 <= len(done) < TASKS

    stream(workers, store)

    np.testing.assert_array_equal(Store.of(store).group()["data"][:], wanted(range(TASKS)))


class StopLate(Watch):
    """Breaks off at the first task, when all others that were sent have ended too."""

    def advance(self, n: int = 1, **fields: float | str) -> None:
        futures = self.client.futures
        until(lambda: all(future.status != "pending" for future in futures.values()))
        raise KeyboardInterrupt


def test_what_ended_unclaimed_before_an_interrupt_is_kept_too(workers: Client, store: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        stream(workers, store, progress=StopLate(workers), in_flight=5)

    done = np.flatnonzero(Store.of(store).group()["state"][:])
    np.testing.assert_array_equal(Store.of(store).group()["data"][:], wanted(done))
    assert len(done) == 5


class Leave:
    """A progress that takes the cluster away after some tasks."""

    def __init__(self, cluster: LocalCluster) -> None:
        self.cluster, self.left = cluster, 4

    def start(self, total: int, title: str) -> None:
        pass

    def advance(self, n: int = 1, **fields: float | str) -> None:
        self.left -= n
        if self.left == 0:
            self.cluster.close()

    def close(self) -> None:
        pass


@pytest.mark.parametrize(
    "error",
    [
        CommClosedError("in <TCP>: Stream is closed"),
        OSError("Timed out trying to connect to tcp://127.0.0.1:8786 after 30 s"),
        RuntimeError("Cannot change state of expiring Timeout"),
    ],
)
def test_whatever_dask_says_of_a_lost_scheduler_is_reported_as_that(error: Exception) -> None:
    with pytest.raises(InputError, match="The Dask scheduler is lost"), translated_scheduler_loss():
        raise error


async def reach_nobody(address: str) -> None:
    await connect(address, timeout=0.2)


async def expire_twice(_: str) -> None:
    """What befalls Dask's pool of connections, which reschedules a timeout that is expiring."""
    async with asyncio.timeout(0) as timeout:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            timeout.reschedule(None)


@pytest.mark.parametrize("happens", [reach_nobody, expire_twice])
def test_what_the_installed_libraries_say_of_a_lost_scheduler_is_known(
    happens: Callable[[str], Coroutine[Any, Any, None]],
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(InputError, match="The Dask scheduler is lost"), translated_scheduler_loss():
        asyncio.run(happens(address))


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), RuntimeError("shape")])
def test_what_else_goes_wrong_is_not_taken_for_a_lost_scheduler(error: Exception) -> None:
    with pytest.raises(type(error)) as raised, translated_scheduler_loss():
        raise error
    assert raised.value is error


def test_what_is_done_is_kept_when_the_scheduler_is_lost(workers: Client, store: Path) -> None:
    options = {"n_workers": 1, "threads_per_worker": 1, "processes": False}
    with (
        LocalCluster(**options, protocol="tcp", dashboard_address=None) as cluster,
        Client(cluster.scheduler_address, timeout=WITHIN_S, set_as_default=False) as client,
        pytest.raises(InputError, match="The Dask scheduler is lost"),
    ):
        stream(client, store, progress=Leave(cluster))
    done = np.flatnonzero(Store.of(store).group()["state"][:])
    np.testing.assert_array_equal(Store.of(store).group()["data"][:], wanted(done))
    assert 4 <= len(done) < TASKS

    stream(workers, store)

    np.testing.assert_array_equal(Store.of(store).group()["data"][:], wanted(range(TASKS)))


def hold(group: zarr.Group, task: int, *, held: Iterable[int], go: Path) -> int:
    """Write; a task that is one of those to be held waits for the file ``go`` before."""
    until(lambda: task not in held or go.exists())
    return write(group, task)


@contextmanager
def beside(work: Callable[[], None]) -> Iterator[None]:
    """Work in another thread for the time of a ``with`` block; what it raises is raised after."""
    raised: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        thread.join()
    assert not raised, raised


@pytest.fixture
def _eager(monkeypatch: pytest.MonkeyPatch) -> None:
    for owner, name in (
        (queueing, "REFRESH_S"),
        (queueing, "NO_WORKER_S"),
        (streaming, "POLL_S"),
    ):
        monkeypatch.setattr(owner, name, 0.05)


@pytest.mark.usefixtures("_eager")
def test_what_is_finished_is_committed_while_another_task_takes_long(
    workers: Client, store: Path, tmp_path: Path
) -> None:
    before = Store.of(store).snapshot()

    def go_on() -> None:
        until(lambda: Store.of(store).snapshot() != before)
        (tmp_path / "go").touch()

    run = partial(hold, held=(1,), go=tmp_path / "go")
    with beside(go_on):
        assert stream(workers, store, run, in_flight=2, seconds=0.1) == []
    np.testing.assert_array_equal(Store.of(store).group()["data"][:], wanted(range(TASKS)))


@pytest.mark.usefixtures("_eager")
def test_workers_may_come_while_it_runs_and_the_scheduler_knows_twice_as_many_tasks(
    store: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "terralatent")
    # Nor may Dask silence the log, as it does for all of this process.
    options = {"n_workers": 0, "threads_per_worker": 1, "processes": False, "silence_logs": False}
    go = tmp_path / "go"
    with (
        LocalCluster(**options, dashboard_address=None) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):

        def come() -> None:
            try:
                until(lambda: "waiting for one" in caplog.text)
                for count in (1, 3):
                    cluster.scale(count)
                    until(lambda count=count: len(cluster.scheduler.tasks) == 2 * count)
            finally:
                go.touch()

        with beside(come):
            assert stream(client, store, partial(hold, held=range(TASKS), go=go)) == []

    np.testing.assert_array_equal(Store.of(store).group()["data"][:], wanted(range(TASKS)))
    lines = [entry.getMessage() for entry in caplog.records if entry.name == queueing.__name__]
    assert [line.partition(" at ")[0].partition(" joined ")[0] for line in lines] == [
        "no worker is there yet",
        "a worker has",
    ]


def test_without_tasks_nothing_is_committed(workers: Client, store: Path) -> None:
    before = Store.of(store).snapshot()

    assert stream(workers, store, tasks=[]) == []
    assert Store.of(store).snapshot() == before


def commit_between(group: zarr.Group, task: int, result: int, *, store: Path) -> None:
    """Record a task, while another writer commits, whom no lock kept away."""
    note(group, task, result)
    if task == 5:
        session = Store.of(store).repository().writable_session("main")
        zarr.open_group(session.store).attrs["by"] = "another"
        session.commit("another's")


@pytest.mark.parametrize("every", [1, 100])
def test_nothing_is_committed_upon_the_commit_of_another(
    workers: Client, store: Path, every: int
) -> None:
    record = partial(commit_between, store=store)
    with pytest.raises(InputError, match="Another run has committed to the store meanwhile"):
        stream(workers, store, record=record, in_flight=1, every=every)

    root = Store.of(store).group()
    assert root.attrs["by"] == "another", "its commit is the last"
    kept = range(5 if every == 1 else 0)
    np.testing.assert_array_equal(root["data"][:], wanted(kept))
    np.testing.assert_array_equal(np.flatnonzero(root["state"][:]), list(kept))
