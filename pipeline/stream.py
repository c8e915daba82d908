"""The one loop that works through a store block by block, used by build, embed and decode.

Workers get a fork of a clean session, write whole shards through it and hand it back; they never
commit. The coordinator merges the forks of many tasks, writes what blocks share (states), and
commits, so that a killed run leaves the last commit whole. No two tasks write one shard, so the
order in which they end changes no byte of an array.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Generic, TypeVar

import zarr
from distributed import Client, Future, as_completed
from icechunk import ForkSession

from terralatent.catalogs.errors import InputError
from terralatent.pipeline.progress import Progress, Silent
from terralatent.pipeline.store import BRANCH, open_repository

__all__ = ["Failure", "stream_blocks"]

log = logging.getLogger(__name__)

T = TypeVar("T")
R = TypeVar("R")


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
    progress: Progress | None = None,
) -> list[Failure[T]]:
    """Run every task on the workers of ``client`` and commit what they wrote.

    The scheduler knows ``in_flight`` tasks at most, so its memory does not grow with their number;
    ``tasks`` is read as workers come free. Call it inside
    :func:`terralatent.pipeline.storage.writer_lock`.

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
        retries: How often a task that failed, or whose worker was lost, is tried again.
        progress: Told of each task that ended, well or not.

    Returns:
        The tasks that failed for good, in the order in which they did.

    Raises:
        InputError: If a task raised it; everything finished before that is committed.
    """
    progress = progress or Silent()
    repository = open_repository(store)
    fork = repository.writable_session(BRANCH).fork()
    limit = in_flight or 2 * max(1, sum(client.nthreads().values()))
    running: dict[Any, tuple[Future, T, int]] = {}
    finished: list[tuple[T, ForkSession, R]] = []
    failures: list[Failure[T]] = []
    completed = as_completed(loop=client.loop)
    committed = time.monotonic()
    waiting = ((task, 0) for task in tasks)

    def submit(task: T, attempt: int) -> None:
        future = client.submit(_run_task, run, fork, task, pure=False)
        running[future.key] = (future, task, attempt)
        completed.add(future)

    def commit() -> None:
        nonlocal committed
        _commit(repository, finished, record, message)
        finished.clear()
        committed = time.monotonic()

    progress.start(total, message)
    try:
        for task, attempt in islice(waiting, limit):
            submit(task, attempt)
        for future in completed:
            _, task, attempt = running.pop(future.key)
            ended = _outcome(future)
            future.release()
            if ended.error is not None and ended.input_error:
                raise InputError(ended.error)
            if ended.error is not None and attempt < retries:
                log.info("%s: trying a task again after %s", message, ended.error)
                submit(task, attempt + 1)
                continue
            if ended.error is not None:
                failures.append(Failure(task, ended.error))
            elif ended.fork is not None:
                finished.append((task, ended.fork, ended.result))
            for fresh, first in islice(waiting, 1):
                submit(fresh, first)
            progress.advance()
            if len(finished) >= commit_every or time.monotonic() - committed > commit_seconds:
                commit()
    finally:
        client.cancel([future for future, _, _ in running.values()], force=True)
        commit()
        progress.close()
    return failures


@dataclass(frozen=True)
class _Ended:
    """How a task ended on its worker: with a fork and a result, or with an error in one line."""

    fork: ForkSession | None = None
    result: Any = None
    error: str | None = None
    input_error: bool = False


def _run_task(run: Callable[[zarr.Group, T], R], fork: ForkSession, task: T) -> _Ended:
    """Run one task on a worker and hand back the fork through which it wrote."""
    try:
        result = run(zarr.open_group(fork.store, mode="r+"), task)
    except Exception as error:  # told by the coordinator; left to Dask, every worker prints it
        log.debug("task failed", exc_info=True)
        return _Ended(error=_one_line(error), input_error=isinstance(error, InputError))
    return _Ended(fork, result)


def _outcome(future: Future) -> _Ended:
    """What the worker returned, or that it was lost."""
    error = future.exception()
    return future.result() if error is None else _Ended(error=_one_line(error))


def _commit(
    repository: Any,
    finished: list[tuple[T, ForkSession, R]],
    record: Callable[[zarr.Group, T, R], None],
    message: str,
) -> None:
    """Merge what was finished into a fresh session, record it and commit."""
    if not finished:
        return
    session = repository.writable_session(BRANCH)
    session.merge(*(fork for _, fork, _ in finished))
    group = zarr.open_group(session.store, mode="r+")
    for task, _, result in finished:
        record(group, task, result)
    if session.has_uncommitted_changes:
        session.commit(message)


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    if isinstance(error, InputError):
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
