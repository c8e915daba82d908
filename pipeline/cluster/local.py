"""Worker processes on this machine, and how they are ended."""

from __future__ import annotations

import logging
import os
import signal
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import resource_tracker
from typing import Any

import dask
from dask.utils import parse_bytes
from distributed import LocalCluster

from terralatent.catalogs.errors import InputError
from terralatent.pipeline.cluster.access import (
    LOOPBACK,
    SAFE_PATH,
    own_keys,
    pages_settings,
    scheduler_options,
)
from terralatent.pipeline.cluster.fork_server import MALLOC, fork_settings
from terralatent.pipeline.command import is_our_program
from terralatent.pipeline.interrupts import deaf_threads

__all__ = [
    "Size",
    "end_processes",
    "local_processes",
    "memory_bytes",
    "memory_limit",
    "process_settings",
]

LEAST_BYTES = 100_000_000
"""What a worker process takes that does nothing, and a little more; Dask ends one that takes more
than it may."""


NOT_STARTED = (
    "A worker process ended as it started: it was killed, as where memory runs out, or what was "
    "printed before this says why. Run the same again, with fewer workers= if memory is short."
)

NOT_GUARDED = (
    "The worker processes did not start. A script must start them below "
    '`if __name__ == "__main__":`, for each of them reads the script first; if it does, they were '
    "killed as they started, or what was printed before this says why."
)


@dataclass(frozen=True)
class Size:
    """How many worker processes are requested, and of what size."""

    workers: int | None = None
    """Processes; what the kind of cluster makes of None."""

    memory: str | None = None
    """Limit of each, such as ``4GB``; an even share of the machine's by default."""

    threads: int = 1
    """Tasks that a process works on at the same time."""


def local_processes(size: Size) -> LocalCluster:
    """Start processes on this machine; they miss Ctrl-C, and nobody else can connect to them.

    Args:
        size: One process for each core this one may use by default.

    Raises:
        InputError: If the memory is no size, or too little for a process that does nothing, or if
            they do not start, as where a script does not say that it is the main one.
    """
    limit = memory_limit(size.memory)
    resource_tracker.ensure_running()  # else started below, where it lets its thread hear again
    try:
        with process_settings(), deaf_threads():
            return LocalCluster(
                n_workers=size.workers or len(os.sched_getaffinity(0)),
                threads_per_worker=size.threads,
                processes=True,
                memory_limit=limit,
                dashboard_address=LOOPBACK,
                scheduler_kwargs=scheduler_options(),
                protocol="tls://",
                security=own_keys(),
                silence_logs=logging.CRITICAL,
                **fork_settings(),
            )
    except RuntimeError as error:  # what Dask says is only that one of its parts did not
        raise InputError(NOT_STARTED if is_our_program() else NOT_GUARDED) from error


def memory_limit(memory: str | None) -> int | str:
    """What Dask takes for the limit of a local process, in bytes; ``auto`` for None.

    Raises:
        InputError: If ``memory`` is no size, or too little for a process that does nothing.
    """
    if memory is None:
        return "auto"
    limit = memory_bytes(memory)
    if limit < LEAST_BYTES:
        raise InputError(
            f"A worker process takes {LEAST_BYTES / 1e6:.0f} MB before it has read anything, more "
            f"than the {memory} it may use; give more memory=."
        )
    return limit


def memory_bytes(memory: str) -> int:
    """Bytes of a size such as ``4GB``.

    Raises:
        InputError: If it is no size above zero.
    """
    try:
        size = int(parse_bytes(memory))
    except ValueError as error:
        raise InputError(f"Memory {memory!r} is no size; give one such as 4GB.") from error
    if size <= 0:
        raise InputError(f"Memory {memory!r} must be above zero.")
    return size


def process_settings() -> Any:
    """Dask's settings for a scheduler and processes that are started while it is entered."""
    return dask.config.set(
        {
            "distributed.nanny.pre-spawn-environ": {
                **dask.config.get("distributed.nanny.pre-spawn-environ"),
                **MALLOC,
                **SAFE_PATH,
            },
            # A task whose worker died is tried again by the streaming loop, and alone.
            "distributed.scheduler.allowed-failures": 0,
            **pages_settings(),
        }
    )


def end_processes(cluster: Any) -> None:
    """End the processes of a cluster at once: closing it waits for seconds while they compute."""
    for nanny in cluster.workers.values():
        nanny.close_gracefully()  # start no other in its place
        with suppress(ProcessLookupError):
            if nanny.pid is not None:
                os.kill(nanny.pid, signal.SIGKILL)
