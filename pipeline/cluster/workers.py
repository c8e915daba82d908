"""What workers must be: of the same versions as this process, and of one thread for each task."""

from __future__ import annotations

import platform
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

from distributed import Client, WorkerPlugin, get_worker
from distributed.versions import get_versions

from terralatent.catalogs.errors import InputError
from terralatent.pipeline.cluster.fork_server import POOLS
from terralatent.pipeline.cluster.scheduler_loss import is_scheduler_loss

__all__ = [
    "COMPILING",
    "PIN_THREADS",
    "VersionCheck",
    "is_shared",
    "pin_threads",
    "shared_by_threads",
    "this_process",
    "version_check",
]

PACKAGES = ("terralatent", "icechunk", "zarr")
"""Their objects are pickled here and unpickled on workers, or the other way round."""

COMPILING = "terralatent.models.compiled"
"""The logger of what takes a worker seconds before its first block, where it has not been kept."""

MOST_NAMED = 3
"""Workers that a refusal names."""

PIN_THREADS = "terralatent-pin-threads"
"""Name of the plugin."""


class VersionCheck:
    """The versions of a client's workers and of its scheduler, each checked once.

    Nothing of this package is sent to them for that: one that lacks it answers too.

    Args:
        client: Whose workers. Nothing is checked yet.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self._known: set[str] = set()
        self._scheduler_known = False
        self._checking = threading.Lock()

    def require_same_versions(self, address: str | None = None) -> None:
        """Check those that were not checked before; none if ``address`` is of one that was.

        Raises:
            InputError: If a worker or the scheduler lacks this package, or has another version of
                it, of Python or of a library whose objects it exchanges with this process.
        """
        if address is not None and address in self._known:
            return
        with self._checking:
            self._check(address)

    def _check(self, address: str | None) -> None:
        if address is not None and address in self._known:
            return  # by another thread
        here = _versions(get_versions(PACKAGES))
        try:
            new = sorted(set(self._client.nthreads()) - self._known)
            answers = self._client.run(get_versions, PACKAGES, workers=new, on_error="ignore")
            if not self._scheduler_known:  # it imports what runs tasks
                scheduler = {"": self._client.run_on_scheduler(get_versions, PACKAGES)}
                self._scheduler_known = True
                answers = {**scheduler, **answers}
        except (OSError, RuntimeError) as error:
            if isinstance(error, OSError) or is_scheduler_loss(error):
                return  # the scheduler is lost, which whoever waits for a result reports
            raise
        wrong = {
            worker: reasons
            for worker, answer in sorted(answers.items())
            if (reasons := list(_differences(_versions(answer), here)))
        }
        if wrong:
            raise InputError(self._refusal(wrong))
        self._known |= set(answers)

    def _refusal(self, wrong: dict[str, list[str]]) -> str:
        named = list(wrong)[:MOST_NAMED]
        workers = [worker for worker in named if worker]
        hosts = self._client.run(platform.node, workers=workers, on_error="ignore")
        names = {worker: f"worker {worker} on {hosts.get(worker, 'its host')}" for worker in named}
        names[""] = f"the scheduler {self._client.scheduler.address}"
        reasons = [f"{names[worker]} has {', '.join(wrong[worker])}" for worker in named]
        more = f"; {len(wrong) - MOST_NAMED} more are like that" if len(wrong) > MOST_NAMED else ""
        return (
            f"{'; '.join(reasons)}{more}. They must run what runs here: start them from the same "
            "environment, or install these versions in theirs."
        )


_SHARED: WeakKeyDictionary[Client, VersionCheck] = WeakKeyDictionary()
"""Clients that threads share, and the one check of their workers."""


@contextmanager
def shared_by_threads(client: Client) -> Iterator[None]:
    """Let threads of this process work by one client in the block, whose workers are ready.

    Each of them would check all workers and pin their threads, while these work for the others: a
    worker whose pools are resized under a task can stand still for good.
    """
    _SHARED[client] = VersionCheck(client)
    try:
        yield
    finally:
        del _SHARED[client]


def is_shared(client: Client) -> bool:
    """Whether a client is that of a :func:`shared_by_threads`."""
    return client in _SHARED


def version_check(client: Client) -> VersionCheck:
    """The check of a client's workers: one for all threads that share it."""
    return _SHARED.get(client) or VersionCheck(client)


def pin_threads(*, notices: bool = False) -> WorkerPlugin:
    """A plugin that pins the pools of a worker's process: those loaded, and those that may come.

    Each task gets one thread of torch, BLAS and blosc, and a worker's zarr as many as the worker
    has. Dask runs as many tasks at once in a worker as that; a library that starts a pool for all
    cores inside each of them makes them wait for one another.

    Args:
        notices: Whether :data:`COMPILING` logs information too, for a process that is ours alone.
    """

    # Pickled by value, being no module's: else a worker without this package could not join a
    # cluster while another's work goes on there.
    class PinThreads(WorkerPlugin):
        name = PIN_THREADS

        def setup(self, worker: object) -> None:
            import logging
            import os
            import sys

            if notices:
                logging.getLogger(COMPILING).setLevel(logging.INFO)
            os.environ.update({name: "1" for name in POOLS})
            if "torch" in sys.modules:
                sys.modules["torch"].set_num_threads(1)
            if "numcodecs" in sys.modules:
                sys.modules["numcodecs"].blosc.set_nthreads(1)
            try:
                import zarr
            except ImportError:
                return  # a worker of others, on which nothing of ours will run
            zarr.config.set({"threading.max_workers": worker.state.nthreads})  # type: ignore[attr-defined]

    return PinThreads()


def this_process() -> str:
    """Which worker this is, or that it is none, and on which host; for the words of errors."""
    try:
        return f"worker {get_worker().address} on {platform.node()}"
    except ValueError:
        return f"this process on {platform.node()}"


def _versions(answer: Any) -> dict[str, str | None]:
    packages = answer["packages"]
    python = ".".join(str(packages["python"]).split(".")[:2])
    return {"Python": python, **{name: packages[name] for name in PACKAGES}}


def _differences(there: dict[str, str | None], here: dict[str, str | None]) -> Iterator[str]:
    for name, wanted in here.items():
        version = there[name]
        if version is None and wanted is not None:
            yield f"no {name} (wanted: {wanted})"
        elif version != wanted:
            yield f"{name} {version} (wanted: {wanted})"
