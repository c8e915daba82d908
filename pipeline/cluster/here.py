"""The loop through a store without workers: in this process, one task after the other.

For work that is done before worker processes would have started.
"""

from __future__ import annotations

import time
from collections.abc import Collection
from typing import TypeVar

from icechunk import ForkSession

from terralatent.catalogs.errors import InputError
from terralatent.pipeline.cluster.stream import (
    Commits,
    Failure,
    Work,
    clean_session,
    commit_finished,
)
from terralatent.pipeline.cluster.tasks import one_line, run_task
from terralatent.pipeline.interrupts import Interrupts
from terralatent.pipeline.progress import Progress, Silent
from terralatent.pipeline.store.repository import Store

__all__ = ["stream_here"]

T = TypeVar("T")
R = TypeVar("R")


def stream_here(
    store: Store,
    tasks: Collection[T],
    work: Work[T, R],
    commits: Commits,
    *,
    progress: Progress | None = None,
) -> list[Failure[T]]:
    """Run every task here and commit what they wrote, as workers would have it.

    Args:
        store: As for :func:`~terralatent.pipeline.cluster.stream.stream_blocks`.
        tasks: Likewise.
        work: Likewise; a task that fails is not tried again.
        commits: Likewise.
        progress: Advanced by each task that ended, well or not.

    Returns:
        The tasks that failed.

    Raises:
        InputError: If a task raised it, or somebody else commits meanwhile; everything finished
            before that is committed.
        KeyboardInterrupt: On Ctrl-C, after everything that was finished is committed.
    """
    progress = progress or Silent()
    session = clean_session(store, commits)
    tip = session.snapshot_id
    finished: list[tuple[T, ForkSession, R]] = []
    failures: list[Failure[T]] = []
    committed = time.monotonic()
    progress.start(len(tasks), commits.message)
    with Interrupts() as interrupts:
        try:
            for task in tasks:
                fork = session.fork()
                try:
                    with interrupts.let_through():
                        result: R = run_task(work.run, fork, task)
                except InputError:
                    raise
                except Exception as error:  # of one task; the others may be whole
                    failures.append(Failure(task, one_line(error)))
                    progress.advance()
                    continue
                finished.append((task, fork, result))
                progress.advance(1, **(work.fields(result) if work.fields else {}))
                due = time.monotonic() - committed > commits.seconds
                if due or len(finished) >= commits.every:
                    tip = commit_finished(store, commits, tip, finished, work.record)
                    finished.clear()
                    committed = time.monotonic()
        finally:
            progress.close()
            commit_finished(store, commits, tip, finished, work.record)
    return failures
