"""The process of which worker processes are forks: it imports once what they need.

A worker that Dask spawns imports for seconds before its first task, each on its own, and again
where one died. Python's fork server does so once, while who starts it imports and plans itself:
https://docs.python.org/3/library/multiprocessing.html#contexts-and-start-methods.

Of the command line alone, which does one thing and ends. In a session workers of one call would
have, and be charged for, what those of another need.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from multiprocessing import forkserver, resource_tracker
from typing import Any

import dask

from terralatent.pipeline.interrupts import deaf_threads

__all__ = ["MALLOC", "POOLS", "fork_settings", "start_fork_server"]

MALLOC = {"MALLOC_TRIM_THRESHOLD_": 2**28, "MALLOC_MMAP_THRESHOLD_": 2**25}
"""What glibc may keep of freed memory, and the largest piece it takes from there, in bytes.

Dask's own setting gives all back at once. The tensors of the next batch then cost a page fault for
every 4 kB: measured, as much time as the model itself.
"""

POOLS = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "BLOSC_NTHREADS",
)
"""Variables that size the thread pools of the libraries a worker imports."""

METHOD = "distributed.worker.multiprocessing-method"
"""In Dask's configuration, how worker processes are started."""

BEFORE = "distributed.nanny.pre-spawn-environ"
"""There, variables that they have from their start."""


def start_fork_server(*modules: str) -> None:
    """Start the server, and let Dask's local workers of this process be forks of it.

    It ends with this process. Elsewhere than on Linux, and where Dask is configured to start
    workers in another way than its own, nothing is started.

    Args:
        modules: What workers need, by name.
    """
    if sys.platform != "linux" or dask.config.get(METHOD, "spawn") != "spawn":
        return
    dask.config.set({METHOD: "forkserver"})
    settings = {**dict.fromkeys(POOLS, 1), **(dask.config.get(BEFORE, None) or {}), **MALLOC}
    forkserver.set_forkserver_preload(["distributed.nanny", *modules])
    resource_tracker.ensure_running()  # else started below, where it lets its thread hear again
    with deaf_threads(), _variables({name: str(value) for name, value in settings.items()}):
        forkserver.ensure_running()
    atexit.register(_end)


def fork_settings() -> dict[str, Any]:
    """What Dask's local cluster takes beside all else where its workers are forks.

    A fork has the variables of the server, which was started before some were set here.
    """
    if dask.config.get(METHOD) != "forkserver":
        return {}
    from distributed import utils

    # Dask would have its tests' server import pandas, and for that import it here.
    utils._forkserver_preload_set = True
    return {"env": {**os.environ, **dask.config.get(BEFORE)}}


@contextmanager
def _variables(settings: Mapping[str, str]) -> Iterator[None]:
    """Let a process that is started inside the block have these variables."""
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _end() -> None:
    """End the server at once: while it imports it does not see that this process ends, and whoever
    reads what both print would wait for it."""
    server: Any = forkserver._forkserver
    with suppress(ProcessLookupError, TypeError):  # it has ended, or was never started
        os.kill(server._forkserver_pid, signal.SIGKILL)
