"""A Dask client from a name or an address, its workers' threads pinned to their share."""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing import resource_tracker
from typing import Any

import dask
from dask.utils import parse_bytes
from distributed import Client, LocalCluster, Worker, WorkerPlugin

from terralatent.catalogs.errors import InputError
from terralatent.pipeline.interrupts import Interrupts, deaf_threads

__all__ = ["PinThreads", "client_for"]

ANSWER_WITHIN_S = 5
"""How long a scheduler has to answer before its address counts as wrong."""

POOLS = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "BLOSC_NTHREADS",
)
"""Variables that size the thread pools of the libraries a worker may import later."""

MALLOC = {"MALLOC_TRIM_THRESHOLD_": 2**28, "MALLOC_MMAP_THRESHOLD_": 2**25}
"""What glibc may keep of freed memory, and the largest piece it takes from there, in bytes.

Dask's own setting gives all back at once. The tensors of the next batch then cost a page fault for
every 4 kB: measured, as much time as the model itself.
"""

LEAST_BYTES = 100_000_000
"""What a worker process takes that does nothing, and a little more; Dask ends one that takes more
than it may."""


class PinThreads(WorkerPlugin):
    """Gives each task one thread of torch, BLAS and blosc, and a worker's zarr as many as it has.

    Dask runs as many tasks at once in a worker as the worker has threads; a library that starts a
    pool for all cores inside each of them makes them wait for one another.
    """

    name = "terralatent-pin-threads"

    def setup(self, worker: Worker) -> None:
        """Pin the pools of this worker's process: those loaded, and those that may come."""
        import zarr

        os.environ.update({name: "1" for name in POOLS})
        zarr.config.set({"threading.max_workers": worker.state.nthreads})
        if "torch" in sys.modules:
            sys.modules["torch"].set_num_threads(1)
        if "numcodecs" in sys.modules:
            sys.modules["numcodecs"].blosc.set_nthreads(1)


@contextmanager
def client_for(
    where: str | Client | None = None, *, workers: int | None = None, memory: str | None = None
) -> Iterator[Client]:
    """Yield a client for the time of a ``with`` block; what was started here ends with it.

    Args:
        where: ``local`` or None starts processes on this machine, one thread each; an address such
            as ``tcp://10.0.0.5:8786`` joins a running cluster, which lives on afterwards; a client
            is taken as it is.
        workers: Processes on this machine; one for each core it may use by default.
        memory: Limit of one local process, such as ``4GB``; an even share of the machine's by
            default.

    Raises:
        InputError: If ``where`` is neither, no scheduler answers there, or ``memory`` is no size.
    """
    if isinstance(where, Client):
        where.register_plugin(PinThreads())
        yield where
        return
    # Ctrl-C waits until all has started, and until all has ended.
    with (
        Interrupts() as interrupts,
        _quiet("distributed", "distributed.client"),
        _started(where, workers, memory) as client,
    ):
        client.register_plugin(PinThreads())
        with interrupts.let_through():
            yield client


@contextmanager
def _started(where: str | None, workers: int | None, memory: str | None) -> Iterator[Client]:
    if where is None or where == "local":
        with _local(workers, memory) as cluster, Client(cluster) as client:
            try:
                yield client
            except BaseException:
                _end_workers(cluster)
                raise
    elif "://" in where:
        with _connected(where) as client:
            yield client
    else:
        raise InputError(
            f"Client {where!r} is neither `local` nor the address of a Dask scheduler, "
            "such as tcp://127.0.0.1:8786."
        )


def _local(workers: int | None, memory: str | None) -> Any:
    try:
        limit: Any = "auto" if memory is None else parse_bytes(memory)
    except ValueError as error:
        raise InputError(f"Memory {memory!r} is no size; give one such as 4GB.") from error
    if limit != "auto" and limit < LEAST_BYTES:
        raise InputError(
            f"A worker process takes {LEAST_BYTES / 1e6:.0f} MB before it has read anything, more "
            f"than the {memory} it may use; give more --memory."
        )
    settings = {
        "distributed.nanny.pre-spawn-environ": {
            **dask.config.get("distributed.nanny.pre-spawn-environ"),
            **MALLOC,
        },
        # A task whose worker died is tried again by the streaming loop, and alone.
        "distributed.scheduler.allowed-failures": 0,
    }
    resource_tracker.ensure_running()  # else started below, where it lets its thread hear again
    with dask.config.set(settings), deaf_threads():
        return LocalCluster(
            n_workers=workers or len(os.sched_getaffinity(0)),
            threads_per_worker=1,
            processes=True,
            memory_limit=limit,
            dashboard_address="127.0.0.1:0",
            silence_logs=logging.CRITICAL,
        )


def _end_workers(cluster: Any) -> None:
    """End the processes of a cluster at once: closing it waits for seconds while they compute."""
    for nanny in cluster.workers.values():
        nanny.close_gracefully()  # start no other in its place
        with suppress(ProcessLookupError):
            if nanny.pid is not None:
                os.kill(nanny.pid, signal.SIGKILL)


@contextmanager
def _quiet(*names: str) -> Iterator[None]:
    """Keep loggers still: what goes wrong with a task is told by whoever asked for it."""
    loggers = [logging.getLogger(name) for name in names]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)


def _connected(address: str) -> Client:
    try:
        return Client(address, timeout=ANSWER_WITHIN_S)
    except (OSError, ValueError) as error:
        raise InputError(
            f"No Dask scheduler answers at {address} (waited {ANSWER_WITHIN_S} s). Start one with "
            "`dask scheduler`, or leave --client out for processes on this machine."
        ) from error
