"""The one loop that works through a store block by block, used by build, embed and decode.

Workers get a fork of a clean session, write whole shards through it and hand it back; they never
commit. The coordinator merges the forks of many tasks, writes what blocks share (states), and
commits, so that a killed run leaves the last commit whole. No two tasks write one shard, so the
order in which they end changes no byte of an array.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import zarr
from distributed import Client
from icechunk import ConflictError, ForkSession

from terralatent.catalogs.errors import InputError
from terralatent.pipeline.cluster.crew import Crew
from terralatent.pipeline.cluster.tasks import Flight, Smaller
from terralatent.pipeline.cluster.workers import FellowWorkers
from terralatent.pipeline.interrupts import Interrupts
from terralatent.pipeline.progress import Progress, Silent
from terralatent.pipeline.store.repository import BRANCH, MEANWHILE, Store

__all__ = ["Failure", "stream_blocks"]

log = logging.getLogger(__name__)

T = TypeVar("T")
R = TypeVar("R")

LOOK_EVERY_S = 1.0
"""How often it is looked whether a commit is due, and who is there, while no task ends."""


@dataclass(frozen=True)
class Failure(Generic[T]):
    """A task that ended in an error; what it wrote was thrown away."""

    task: T
    """The task as it was given."""

    reason: str
    """Its error in one line."""

    worker: str | None = None
    """Address of the worker that tried it last, where that is known."""


def stream_blocks(
    client: Client,
    store: Store,
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
    smaller: Smaller[T] | None = None,
    told: Callable[[R], Mapping[str, float | str]] | None = None,
    branch: str = BRANCH,
    metadata: Mapping[str, Any] | None = None,
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
        run: Called on a worker as ``run(group, task)`` with the store's root group, writable. It
            writes whole shards that no other task writes and returns something small and picklable.
            It must be picklable itself (a function of a module, or a partial of one) and may run
            twice for one task: the same task must write the same bytes.
        record: Called here as ``record(group, task, result)`` for each task that ended well, in no
            fixed order, right before the commit that holds what the task wrote; ``group`` is the
            root, writable. The place to write states and whatever else blocks share.
        message: Message of the commits.
        total: Number of tasks, for the progress.
        in_flight: Tasks the scheduler may know at once; by default twice the threads of the workers
            that there are at the time.
        commit_every: Commit after this many tasks ...
        commit_seconds: ... or when the last commit is this long ago, whether tasks end or not.
        retries: How often a task that failed is tried again, on another worker and, if there is
            one, another machine; and one whose worker died, when all else is done, and alone.
        smaller: Returns, of ``run``, what writes the same in less memory. A task whose worker died
            is then tried three times more: as it was, by ``smaller(run)`` and by
            ``smaller(smaller(run))``.
        told: What ``progress`` is told of a result beside its being done.
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
    session = store.repository().writable_session(branch)
    tip, fork = session.snapshot_id, session.fork()
    finished: list[tuple[T, ForkSession, R]] = []
    failures: list[Failure[T]] = []
    committed = time.monotonic()

    def commit() -> None:
        nonlocal committed, tip
        tip = _commit(store, branch, tip, finished, record, message, metadata)
        finished.clear()
        committed = time.monotonic()

    progress.start(total, message)
    with Interrupts() as interrupts, Crew(client) as crew:
        flight = Flight(
            client, crew, run, fork, tasks, limit=in_flight, retries=retries, smaller=smaller
        )
        fellows = FellowWorkers(client)
        try:
            while flight.fill():
                with interrupts.let_through():
                    landed = flight.wait(LOOK_EVERY_S)
                crew.tell()
                if landed is not None:
                    future, ended = landed
                    attempt = flight.land(future)
                    if not ended.killed:  # a worker may have joined since the work began
                        fellows.require(ended.worker)
                    if ended.error is not None and ended.input_error:
                        raise InputError(ended.error)
                    if ended.error is None:
                        assert ended.fork is not None
                        finished.append((attempt.task, ended.fork, ended.result))
                        progress.advance(1, **(told(ended.result) if told else {}))
                    elif flight.try_again(attempt, ended):
                        log.info("%s: a task is tried again: %s", message, ended)
                    else:
                        failures.append(Failure(attempt.task, ended.error, ended.worker))
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


def _commit(
    store: Store,
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
    # Opened anew: one that stays open remembers, of every commit, where all chunks are.
    session = store.repository(anew=True).writable_session(branch)
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
