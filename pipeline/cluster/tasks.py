"""The tasks of a run that the scheduler knows, those that are to follow them, and how each ends."""

from __future__ import annotations

import logging
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from itertools import islice
from queue import Empty, SimpleQueue
from typing import Any, Generic, TypeAlias, TypeVar

import dask
import zarr
from distributed import CancelledError, Client, Future, KilledWorker, LocalCluster, get_worker
from distributed.comm import get_address_host
from distributed.protocol.pickle import dumps, loads
from icechunk import ForkSession

from terralatent.catalogs.errors import InputError
from terralatent.catalogs.hrefs import without_secrets
from terralatent.catalogs.printable import printable
from terralatent.pipeline.cluster.scheduler_loss import lost_scheduler
from terralatent.pipeline.store.damage import damage_of

__all__ = [
    "Attempt",
    "Outcome",
    "Run",
    "Smaller",
    "TaskQueue",
    "WorkerRegistry",
    "one_line",
    "run_sealed",
]

log = logging.getLogger(__name__)

T = TypeVar("T")

Run: TypeAlias = Callable[[zarr.Group, T], Any]
"""Does one task on a worker; see :func:`terralatent.pipeline.cluster.stream.stream_blocks`."""

Smaller: TypeAlias = Callable[[Run[T]], Run[T]]
"""Returns what does the same in less memory."""

KILLED = "the worker process died under it; it may need more memory than there is"
"""Why a task failed whose worker was killed, by the system or by Dask."""

KILLED_TRIES = 3
"""How often a task whose worker died is tried again where it can be made smaller: as it was, in
case another one was to blame, then smaller and smaller."""

FETCH_S = 5.0
"""How long the result of a task that is done may take to arrive. Its worker may die meanwhile: then
the scheduler has it done again, which is waited for as for any other."""

UNCLAIMED_S = 2.0
"""How long an interrupt waits for it."""

REFRESH_S = 1.0
"""How often the list of workers is taken from the scheduler."""

NO_WORKER_S = 15.0
"""How long there must have been no worker before it is logged: a nanny starts another in less."""

KEEP_LOST = {"distributed.deploy.lost-worker-timeout": "1 day"}
"""A local cluster checks some seconds after a worker died whether it is there, and if not forgets
it for good. One that died twice may just be starting again."""


@dataclass(frozen=True)
class Outcome:
    """How a task ended on its worker: with a fork and a result, or with an error in one line."""

    fork: ForkSession | None = None
    result: Any = None
    error: str | None = None
    input_error: bool = False
    killed: bool = False
    worker: str | None = None
    """Address of the worker, where that is known."""

    def __str__(self) -> str:
        where = f" (on {self.worker})" if self.worker else ""
        return f"{self.error or 'done'}{where}"


@dataclass(frozen=True)
class Attempt(Generic[T]):
    """A task, and how often it was tried in vain."""

    task: T
    errors: int = 0
    kills: int = 0
    """How often its worker died."""
    failed_at: str | None = None
    """Address of the worker that tried it last."""


@dataclass(frozen=True)
class _Sent(Generic[T]):
    attempt: Attempt[T]
    future: Future
    only: frozenset[str]
    """Workers that may run it; none: all may."""


class WorkerRegistry:
    """The workers of a cluster, for the time of a ``with`` block.

    The list is taken from the scheduler in the background, so that nothing here waits for it: what
    it last said holds until it says otherwise.

    Args:
        client: Of the cluster.
    """

    def __init__(self, client: Client) -> None:
        self.threads: Mapping[str, int] = client.nthreads()
        """Threads of each worker, by address."""

        self._client = client
        self._open = True
        self._had_some = bool(self.threads)
        self._none_since: float | None = None
        self._logged = False
        self._stack = ExitStack()

    def __enter__(self) -> WorkerRegistry:
        if isinstance(self._client.cluster, LocalCluster):
            self._stack.enter_context(dask.config.set(KEEP_LOST))
        self._client.loop.add_callback(self._refresh)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()
        self._open = False

    def elsewhere(self, worker: str) -> frozenset[str]:
        """Workers beside the one at an address: those of other machines, if there are any.

        What is wrong with a worker, such as a full disk, is often wrong with its whole machine.
        """
        others = frozenset(self.threads) - {worker}
        far = {other for other in others if get_address_host(other) != get_address_host(worker)}
        return frozenset(far) or others

    def log_changes(self) -> None:
        """Log once that no worker is left, and once that one has joined again."""
        if self.threads:
            if self._logged:
                log.info("a worker has joined %s; going on", self._client.scheduler.address)
            self._had_some, self._logged, self._none_since = True, False, None
            return
        now = time.monotonic()
        self._none_since = self._none_since or now
        if not self._logged and now - self._none_since >= NO_WORKER_S:
            log.warning(
                "no worker is %s at %s; waiting for one (Ctrl-C ends this, what is done is kept)",
                "left" if self._had_some else "there yet",
                self._client.scheduler.address,
            )
            self._logged = True

    async def _refresh(self) -> None:
        if not self._open:  # the client may be closed by now
            return
        # The scheduler may be lost, which is noticed where tasks end.
        with suppress(OSError, RuntimeError):
            self.threads = await self._client.scheduler.ncores()
        # Called anew, not slept in: a loop that closes complains of sleepers.
        self._client.loop.call_later(REFRESH_S, self._refresh)


class TaskQueue(Generic[T]):
    """The tasks that the scheduler knows, and those that are to follow them.

    A worker that dies takes all tasks with it that it was given, though one of them at most is to
    blame, for needing more memory than there is. So all of them come last, one at a time: the one
    that kills is then known, and takes no other with it.

    A scheduler unpickles the tasks that it is sent. These are pickled before, so that it imports
    nothing that only workers use, such as torch; and ``run`` is pickled once, not for every task.

    Args:
        client: Of the cluster.
        workers: Those that it has.
        run: Does a task.
        fork: Through which it writes.
        tasks: Read as workers come free.
        limit: Tasks the scheduler may know; twice the threads that there are where it is None.
        retries: How often a task that failed is tried again.
        smaller: See :data:`KILLED_TRIES`; without it a task whose worker died is tried again as
            often as one that failed.
    """

    def __init__(
        self,
        client: Client,
        workers: WorkerRegistry,
        run: Run[T],
        fork: ForkSession,
        tasks: Iterable[T],
        *,
        limit: int | None,
        retries: int,
        smaller: Smaller[T] | None,
    ) -> None:
        self._client, self._workers, self._run, self._fork = client, workers, run, fork
        self._sealed: dict[int, bytes] = {}
        self._fresh = iter(tasks)
        self._limit, self._retries, self._smaller = limit, retries, smaller
        self._running: dict[Any, _Sent[T]] = {}
        self._alone: deque[Attempt[T]] = deque()
        self._ended: SimpleQueue[Future] = SimpleQueue()

    def submit(self) -> bool:
        """Send as many tasks as may run; False when none is running or left."""
        self._resubmit_stranded()
        limit = self._limit or 2 * max(1, sum(self._workers.threads.values()))
        for task in islice(self._fresh, max(0, limit - len(self._running))):
            self._send(Attempt(task))
        if self._alone and not self._running:
            self._send(self._alone.popleft())
        return bool(self._running)

    def wait(self, seconds: float) -> tuple[Future, Outcome] | None:
        """Wait until some task ends; it counts as running until :meth:`release`.

        None where none did within ``seconds``.

        Raises:
            InputError: If the scheduler is lost.
        """
        try:
            future = self._ended.get(timeout=seconds)
        except Empty:
            self._require_scheduler()
            return None
        if future.key not in self._running:
            return None
        ended = _outcome_of(future)
        if ended is None:
            future.add_done_callback(self._ended.put)
            return None
        return future, ended

    def release(self, future: Future) -> Attempt[T]:
        """Forget a task that ended."""
        sent = self._running.pop(future.key)
        future.release()
        return sent.attempt

    def retry(self, attempt: Attempt[T], ended: Outcome) -> bool:
        """Have a task that failed done once more, on another worker; False if it was often enough.

        One whose worker died is tried when nothing else is left, and alone.
        """
        if ended.killed:
            again = replace(attempt, kills=attempt.kills + 1, failed_at=ended.worker)
            if again.kills > (KILLED_TRIES if self._smaller else self._retries):
                return False
        else:
            again = replace(attempt, errors=attempt.errors + 1, failed_at=ended.worker)
            if again.errors > self._retries:
                return False
        if again.kills:
            self._alone.append(again)
        else:
            self._send(again)
        return True

    def unclaimed(self) -> Iterator[tuple[T, ForkSession, Any]]:
        """Yield the tasks that ended well and were not waited for."""
        for sent in self._running.values():
            if sent.future.status == "finished":
                with suppress(Exception):  # its worker may be gone; it is done again next time
                    ended: Outcome = sent.future.result(timeout=UNCLAIMED_S)
                    if ended.fork is not None:
                        yield sent.attempt.task, ended.fork, ended.result

    def cancel(self) -> None:
        """Let the scheduler forget what is running; it ends on its worker, and comes to nothing."""
        with suppress(Exception):  # the scheduler may be gone
            self._client.cancel([sent.future for sent in self._running.values()], force=True)

    def _require_scheduler(self) -> None:
        """A client that has given up its scheduler takes no task and hears of none."""
        if self._client.status == "closed":
            raise lost_scheduler("it does not answer")

    def _send(self, attempt: Attempt[T]) -> None:
        self._require_scheduler()
        only = self._workers.elsewhere(attempt.failed_at) if attempt.failed_at else frozenset()
        future = self._client.submit(
            run_sealed,
            self._seal(max(0, attempt.kills - 1)),
            dumps(attempt.task),
            pure=False,
            workers=sorted(only) or None,
        )
        self._running[future.key] = _Sent(attempt, future, only)
        future.add_done_callback(self._ended.put)

    def _seal(self, times: int) -> bytes:
        """Pickle the fork and what runs a task, made smaller so many times."""
        if times not in self._sealed:
            run = self._run
            for _ in range(times):
                run = self._smaller(run) if self._smaller else run
            self._sealed[times] = dumps((run, self._fork))
        return self._sealed[times]

    def _resubmit_stranded(self) -> None:
        """Send what only workers may run that have all left to whoever is there.

        Dask's own ``allow_other_workers`` would let a worker at which everything fails, and which
        is idle therefore, take back what failed there.
        """
        there = self._workers.threads.keys()
        stranded = [sent for sent in self._running.values() if sent.only and not sent.only & there]
        for sent in stranded if there else ():
            del self._running[sent.future.key]
            self._client.cancel([sent.future], force=True)
            self._send(sent.attempt)


def run_sealed(sealed: bytes, task: bytes) -> Outcome:
    """Run one task on a worker and hand back the fork through which it wrote; both are pickled."""
    here = str(get_worker().address)
    try:
        run, fork = loads(sealed)
        result = run_task(run, fork, loads(task))
    except Exception as error:  # reported by the coordinator; left to Dask, every worker prints it
        if log.isEnabledFor(logging.DEBUG):
            log.debug("task failed: %s", without_secrets(traceback.format_exc()))
        is_input = isinstance(error, InputError)
        return Outcome(error=one_line(error), input_error=is_input, worker=here)
    return Outcome(fork, result, worker=here)


def run_task(run: Run[T], fork: ForkSession, task: T) -> Any:
    """Run one task, which writes through ``fork``; gives what ``run`` returned."""
    return run(zarr.open_group(fork.store, mode="r+"), task)


def _outcome_of(future: Future) -> Outcome | None:
    """What the worker returned, or that it was lost; None where its result did not arrive."""
    try:
        error = future.exception(timeout=FETCH_S)
        if isinstance(error, KilledWorker):
            return Outcome(error=KILLED, killed=True, worker=error.last_worker.address)
        if error is not None:
            return Outcome(error=one_line(error))
        ended: Outcome = future.result(timeout=FETCH_S)
        return ended
    except CancelledError as lost:
        raise lost_scheduler(str(getattr(lost, "reason", "unknown"))) from lost
    except OSError:  # too slow, or cut off; where the scheduler is lost, it is cancelled next
        return None


def one_line(error: BaseException) -> str:
    """What went wrong in a task, without secrets."""
    text = without_secrets(printable(" ".join(str(error).split())))
    if isinstance(error, InputError):
        return text
    if (damage := damage_of(error)) is not None:
        return f"the store {damage}"
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
