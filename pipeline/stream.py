"""The one loop that works through a store block by block, used by build, embed and decode.

Workers get a fork of a clean session, write whole shards through it and hand it back; they never
commit. The coordinator merges the forks of many tasks, writes what blocks share (states), and
commits, so that a killed run leaves the last commit whole. No two tasks write one shard, so the
order in which they end changes no byte of an array.
"""

from __future__ import annotations

import logging
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Generic, TypeVar

import zarr
from distributed import CancelledError, Client, Future, KilledWorker, as_completed, get_worker
from icechunk import ConflictError, ForkSession

from terralatent.catalogs.errors import InputError
from terralatent.catalogs.hrefs import without_secrets
from terralatent.catalogs.printable import printable
from terralatent.pipeline.damage import damage_of
from terralatent.pipeline.fellow_workers import FellowWorkers
from terralatent.pipeline.interrupts import Interrupts
from terralatent.pipeline.progress import Progress, Silent
from terralatent.pipeline.store import BRANCH, MEANWHILE, open_repository

__all__ = ["Failure", "stream_blocks"]

log = logging.getLogger(__name__)

T = TypeVar("T")
R = TypeVar("R")

KILLED = "the worker process died under it; it may need more memory than there is"
"""Why a task failed whose worker was killed, by the system or by Dask."""

UNHEARD_S = 2.0
"""How long an interrupt waits for the result of a task that is done."""


@dataclass(frozen=True)
class Failure(Generic[T]):
    """A task that ended in an error; what it wrote was thrown away."""

    task: T
    """The task as it was given."""

    reason: str
    """Its error in one line."""


def stream_blocks(
    client: Client,
    store: str | Path,
    tasks: Iterable[T],
    run: Callable[[zarr.Group, T], R],
    record: Callable[[zarr.Group, T, R], None],
    *,
    message: str,
    total: int,
    in_flight: int | None = None,
    commit_every: int = 64,
    commit_seconds: float = 60.0,
    retries: int = 1,
    branch: str = BRANCH,
    metadata: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> list[Failure[T]]:
    """Run every task on the workers of ``client`` and commit what they wrote.

    The scheduler knows ``in_flight`` tasks at most, so its memory does not grow with their number;
    ``tasks`` is read as workers come free. Call it inside
    :func:`terralatent.pipeline.writer.writer_lock`.

    Args:
        client: Where to run. Workers must reach ``store``.
        store: An Icechunk store that :func:`terralatent.pipeline.store.lay_out` made.
        tasks: Small, picklable, one for each piece of work.
        run: Called on a worker as ``run(group, task)`` with the store's root group, writable. It
            writes whole shards that no other task writes and returns something small and picklable.
            It must be picklable itself (a function of a module, or a partial of one) and may run
            twice for one task: the same task must write the same bytes.
        record: Called here as ``record(group, task, result)`` for each task that ended well, in no
            fixed order, right before the commit that holds what the task wrote; ``group`` is the
            root, writable. The place to write states and whatever else blocks share.
        message: Message of the commits.
        total: Number of tasks, for the progress.
        in_flight: Tasks the scheduler may know at once; twice the workers' threads by default.
        commit_every: Commit after this many tasks ...
        commit_seconds: ... or when the last commit is this long ago.
        retries: How often a task that failed, or whose worker was lost, is tried again; the latter
            when all else is done, and alone.
        branch: Of the store, where the commits go.
        metadata: Of the commits.
        progress: Told of each task that ended, well or not.

    Returns:
        The tasks that failed for good, in the order in which they did.

    Raises:
        InputError: If a task raised it, the scheduler is lost, or a worker joined that runs another
            version, whose result is not taken; everything finished before that is committed. Also
            if somebody else commits meanwhile: what is finished then comes to nothing, for it was
            made for what the store held before.
        KeyboardInterrupt: On Ctrl-C, after everything that was finished is committed.
    """
    progress = progress or Silent()
    repository = open_repository(store)
    session = repository.writable_session(branch)
    tip, fork = session.snapshot_id, session.fork()
    limit = in_flight or 2 * max(1, sum(client.nthreads().values()))
    finished: list[tuple[T, ForkSession, R]] = []
    failures: list[Failure[T]] = []
    committed = time.monotonic()

    def commit() -> None:
        nonlocal committed, tip
        tip = _commit(repository, branch, tip, finished, record, message, metadata)
        finished.clear()
        committed = time.monotonic()

    progress.start(total, message)
    with Interrupts() as interrupts:
        flight = _Flight(client, run, fork, tasks, limit)
        fellows = FellowWorkers(client)
        try:
            while flight.fill():
                with interrupts.let_through():
                    future, ended = flight.wait()
                task, attempt = flight.land(future)
                if not ended.killed:  # a worker may have joined since the work began
                    fellows.require(ended.worker)
                if ended.error is not None and ended.input_error:
                    raise InputError(ended.error)
                if ended.error is not None and attempt < retries:
                    log.info("%s: trying a task again after %s", message, ended.error)
                    flight.send_again(task, attempt + 1, alone=ended.killed)
                    continue
                if ended.error is not None:
                    failures.append(Failure(task, ended.error))
                elif ended.fork is not None:
                    finished.append((task, ended.fork, ended.result))
                progress.advance()
                if len(finished) >= commit_every or time.monotonic() - committed > commit_seconds:
                    commit()
        except KeyboardInterrupt:
            finished += flight.unheard()
            raise
        finally:
            flight.cancel()
            progress.close()
            commit()
    return failures


@dataclass(frozen=True)
class _Ended:
    """How a task ended on its worker: with a fork and a result, or with an error in one line."""

    fork: ForkSession | None = None
    result: Any = None
    error: str | None = None
    input_error: bool = False
    killed: bool = False
    worker: str | None = None


class _Flight(Generic[T]):
    """The tasks that the scheduler knows, and those that are to follow them.

    A worker that dies takes all tasks with it that it was given, though one of them at most is to
    blame, for needing more memory than there is. So all of them come last, one at a time: the one
    that kills is then known, and takes no other with it.
    """

    def __init__(
        self,
        client: Client,
        run: Callable[[zarr.Group, T], Any],
        fork: ForkSession,
        tasks: Iterable[T],
        limit: int,
    ) -> None:
        self._running: dict[Any, tuple[Future, T, int]] = {}
        self._limit = limit
        self._client, self._run, self._fork = client, run, fork
        self._fresh = iter(tasks)
        self._suspects: deque[tuple[T, int]] = deque()
        self._completed = as_completed(loop=client.loop)

    def fill(self) -> bool:
        """Send as many tasks as may run; False when none is running or left."""
        for task in islice(self._fresh, self._limit - len(self._running)):
            self._send(task, 0)
        if self._suspects and not self._running:
            self._send(*self._suspects.popleft())
        return bool(self._running)

    def send_again(self, task: T, attempt: int, *, alone: bool) -> None:
        """Send a task once more, now, or ``alone`` when nothing else is left."""
        if alone:
            self._suspects.append((task, attempt))
        else:
            self._send(task, attempt)

    def wait(self) -> tuple[Future, _Ended]:
        """Wait until some task ends; it counts as running until :meth:`land`."""
        future = next(self._completed)
        return future, _outcome(future)

    def land(self, future: Future) -> tuple[T, int]:
        """Forget a task that ended; gives it and how often it had been tried before."""
        _, task, attempt = self._running.pop(future.key)
        future.release()
        return task, attempt

    def unheard(self) -> Iterator[tuple[T, ForkSession, Any]]:
        """Yield the tasks that ended well and were not waited for."""
        for future, task, _ in self._running.values():
            if future.status == "finished":
                with suppress(Exception):  # its worker may be gone; it is done again next time
                    ended: _Ended = future.result(timeout=UNHEARD_S)
                    if ended.fork is not None:
                        yield task, ended.fork, ended.result

    def cancel(self) -> None:
        """Let the scheduler forget what is running; it ends on its worker, and comes to nothing."""
        with suppress(Exception):  # the scheduler may be gone
            self._client.cancel([future for future, _, _ in self._running.values()], force=True)

    def _send(self, task: T, attempt: int) -> None:
        future = self._client.submit(_run_task, self._run, self._fork, task, pure=False)
        self._running[future.key] = (future, task, attempt)
        self._completed.add(future)


def _run_task(run: Callable[[zarr.Group, T], R], fork: ForkSession, task: T) -> _Ended:
    """Run one task on a worker and hand back the fork through which it wrote."""
    try:
        result = run(zarr.open_group(fork.store, mode="r+"), task)
    except Exception as error:  # told by the coordinator; left to Dask, every worker prints it
        if log.isEnabledFor(logging.DEBUG):
            log.debug("task failed: %s", without_secrets(traceback.format_exc()))
        told, mistake = _one_line(error), isinstance(error, InputError)
        return _Ended(error=told, input_error=mistake, worker=get_worker().address)
    return _Ended(fork, result, worker=get_worker().address)


def _outcome(future: Future) -> _Ended:
    """What the worker returned, or that it was lost."""
    try:
        error = future.exception()
        if isinstance(error, KilledWorker):
            return _Ended(error=KILLED, killed=True)
        return future.result() if error is None else _Ended(error=_one_line(error))
    except CancelledError as lost:
        raise InputError(
            f"The Dask scheduler is lost ({getattr(lost, 'reason', 'unknown')}); what is done is "
            "kept. Start it again, then this too."
        ) from lost


def _commit(
    repository: Any,
    branch: str,
    tip: str,
    finished: Sequence[tuple[T, ForkSession, R]],
    record: Callable[[zarr.Group, T, R], None],
    message: str,
    metadata: Mapping[str, Any] | None,
) -> str:
    """Merge what was finished into a fresh session, record it and commit; gives the new tip.

    Only on top of ``tip``: where a lock did not keep another writer away, as after a long sleep of
    this machine, the store may have other dates by now, and what was finished would go astray.
    """
    if not finished:
        return tip
    session = repository.writable_session(branch)
    if session.snapshot_id != tip:
        raise InputError(MEANWHILE)
    session.merge(*(fork for _, fork, _ in finished))
    group = zarr.open_group(session.store, mode="r+")
    for task, _, result in finished:
        record(group, task, result)
    if session.has_uncommitted_changes:
        try:
            tip = session.commit(message, metadata=None if metadata is None else dict(metadata))
        except ConflictError as error:
            raise InputError(MEANWHILE) from error
    return tip


def _one_line(error: BaseException) -> str:
    text = without_secrets(printable(" ".join(str(error).split())))
    if isinstance(error, InputError):
        return text
    if (damage := damage_of(error)) is not None:
        return f"the store {damage}"
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
