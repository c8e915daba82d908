"""The one loop that works through a store block by block, used by build, embed and decode.

Workers get a fork of a clean session, write whole shards through it and hand it back; they never
commit. The coordinator merges the forks of many tasks, writes what blocks share (states), and
commits, so that a killed run leaves the last commit whole. No two tasks write one shard, so the
order in which they end changes no byte of an array.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import zarr
from distributed import Client
from icechunk import ConflictError, ForkSession, Session

from terralatent.catalogs.errors import InputError
from terralatent.pipeline.cluster.tasks import Smaller, TaskQueue, WorkerRegistry
from terralatent.pipeline.cluster.workers import version_check
from terralatent.pipeline.interrupts import Interrupts
from terralatent.pipeline.progress import Progress, Silent
from terralatent.pipeline.store.chunks import protect
from terralatent.pipeline.store.repository import BRANCH, MEANWHILE, STEP, Store

__all__ = ["Commits", "Failure", "Work", "clean_session", "commit_finished", "stream_blocks"]

log = logging.getLogger(__name__)

T = TypeVar("T")
R = TypeVar("R")

POLL_S = 1.0
"""How often it is checked whether a commit is due, and which workers there are, while no task ends.
"""


@dataclass(frozen=True)
class Work(Generic[T, R]):
    """What is done with each task: on a worker, then here."""

    run: Callable[[zarr.Group, T], R]
    """Called on a worker as ``run(group, task)`` with the store's root group, writable. It writes
    whole shards that no other task writes and returns something small and picklable. It must be
    picklable itself (a function of a module, or a partial of one) and may run twice for one task:
    the same task must write the same bytes."""

    record: Callable[[zarr.Group, T, R], None]
    """Called here as ``record(group, task, result)`` for each task that ended well, in no fixed
    order, right before the commit that holds what the task wrote; ``group`` is the root, writable.
    The place to write states and whatever else blocks share."""

    smaller: Smaller[T] | None = None
    """Returns, of ``run``, what writes the same in less memory. A task whose worker died is then
    tried three times more: as it was, by ``smaller(run)`` and by ``smaller(smaller(run))``."""

    fields: Callable[[R], Mapping[str, float | str]] | None = None
    """What a progress shows of a result beside its being done."""


@dataclass(frozen=True, kw_only=True)
class Commits:
    """What the commits of a run say, where they go and how often they are made."""

    message: str
    """Of each commit, and the title of the progress."""

    branch: str = BRANCH
    """Of the store."""

    metadata: Mapping[str, Any] | None = None
    """Of each commit."""

    every: int = 64
    """Commit after this many tasks ..."""

    seconds: float = 60.0
    """... or when the last commit is this long ago, whether tasks end or not."""


@dataclass(frozen=True)
class Failure(Generic[T]):
    """A task that ended in an error; what it wrote was thrown away."""

    task: T
    """The task as it was given."""

    reason: str
    """Its error in one line."""

    worker: str | None = None
    """Address of the worker that tried it last, where that is known."""

    killed: bool = False
    """Whether that worker died under it."""


def stream_blocks(
    client: Client,
    store: Store,
    tasks: Collection[T],
    work: Work[T, R],
    commits: Commits,
    *,
    in_flight: int | None = None,
    retries: int = 1,
    progress: Progress | None = None,
) -> list[Failure[T]]:
    """Run every task on the workers of ``client`` and commit what they wrote.

    The scheduler knows ``in_flight`` tasks at most, so its memory does not grow with their number;
    ``tasks`` is read as workers come free. Workers may come and go: while there is none, one is
    waited for. Call it inside
    :func:`terralatent.pipeline.store.lock.writer.writer_lock`.

    Args:
        client: Where to run. Workers must reach ``store``.
        store: An Icechunk store that :func:`terralatent.pipeline.store.creation.lay_out` made.
        tasks: Small, picklable, one for each piece of work.
        work: What is done with each of them.
        commits: How it is committed.
        in_flight: Tasks the scheduler may know at once; by default twice the threads of the workers
            that there are at the time.
        retries: How often a task that failed is tried again, on another worker and, if there is
            one, another machine; and one whose worker died, when all else is done, and alone.
        progress: Advanced by each task that ended, well or not.

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
    session = clean_session(store, commits)
    tip, fork = session.snapshot_id, session.fork()
    finished: list[tuple[T, ForkSession, R]] = []
    failures: list[Failure[T]] = []
    committed = time.monotonic()

    def commit() -> None:
        nonlocal committed, tip
        tip = commit_finished(store, commits, tip, finished, work.record)
        finished.clear()
        committed = time.monotonic()

    progress.start(len(tasks), commits.message)
    with Interrupts() as interrupts, WorkerRegistry(client) as workers:
        queue = TaskQueue(
            client, workers, work.run, fork, tasks,
            limit=in_flight, retries=retries, smaller=work.smaller,
        )  # fmt: skip
        versions = version_check(client)
        try:
            while queue.submit():
                with interrupts.let_through():
                    ended = queue.wait(POLL_S)
                workers.log_changes()
                if ended is not None:
                    future, outcome = ended
                    attempt = queue.release(future)
                    if not outcome.killed:  # a worker may have joined since the work began
                        versions.require_same_versions(outcome.worker)
                    if outcome.error is not None and outcome.input_error:
                        raise InputError(outcome.error)
                    if outcome.error is None:
                        assert outcome.fork is not None
                        finished.append((attempt.task, outcome.fork, outcome.result))
                        progress.advance(1, **(work.fields(outcome.result) if work.fields else {}))
                    elif queue.retry(attempt, outcome):
                        log.info("%s: a task is tried again: %s", commits.message, outcome)
                    else:
                        failures.append(
                            Failure(attempt.task, outcome.error, outcome.worker, outcome.killed)
                        )
                        progress.advance()
                due = time.monotonic() - committed > commits.seconds
                if due or len(finished) >= commits.every:
                    commit()
        except KeyboardInterrupt:
            finished += queue.unclaimed()
            raise
        finally:
            queue.cancel()
            progress.close()
            commit()
    return failures


def clean_session(store: Store, commits: Commits) -> Session:
    """A session of the newest snapshot, of which forks are taken; its chunks get checksums.

    Args:
        store: As for :func:`stream_blocks`.
        commits: Which branch of it.
    """
    session = store.repository().writable_session(commits.branch)
    if protect(zarr.open_group(session.store, mode="r+")):
        store.commit(session, "let new chunks have checksums", STEP)
        session = store.repository().writable_session(commits.branch)
    return session


def commit_finished(
    store: Store,
    commits: Commits,
    tip: str,
    finished: Sequence[tuple[T, ForkSession, R]],
    record: Callable[[zarr.Group, T, R], None],
) -> str:
    """Merge what was finished into a fresh session, record it and commit.

    Only on top of ``tip``: where a lock did not keep another writer away, as after a long sleep of
    this machine, the store may have other dates by now, and what was finished would go astray.

    Args:
        store: As for :func:`stream_blocks`.
        commits: What the commit says.
        tip: Snapshot that the forks are of.
        finished: Tasks that ended well, through which fork each wrote, and its result.
        record: Of the :class:`Work`.

    Returns:
        The new tip; the old one where nothing was finished.

    Raises:
        InputError: If the store is at another snapshot by now.
    """
    if not finished:
        return tip
    # Opened anew: one that stays open remembers, of every commit, where all chunks are.
    session = store.repository(anew=True).writable_session(commits.branch)
    if session.snapshot_id != tip:
        raise InputError(MEANWHILE)
    session.merge(*(fork for _, fork, _ in finished))
    group = zarr.open_group(session.store, mode="r+")
    for task, _, result in finished:
        record(group, task, result)
    if session.has_uncommitted_changes:
        try:
            tip = store.commit(session, commits.message, commits.metadata)
        except ConflictError as error:
            raise InputError(MEANWHILE) from error
    return tip
