"""A Dask client from a name or an address, its workers checked and their threads pinned."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any
from uuid import uuid4

from distributed import Client

from terralatent.catalogs.errors import InputError
from terralatent.pipeline.cluster.access import warn_of_open_address
from terralatent.pipeline.cluster.kinds import KINDS, ClusterRequest, Kind, message_of
from terralatent.pipeline.cluster.local import Size, end_processes, local_processes, memory_bytes
from terralatent.pipeline.cluster.workers import (
    COMPILING,
    PIN_THREADS,
    VersionCheck,
    is_shared,
    pin_threads,
)
from terralatent.pipeline.interrupts import Interrupts

__all__ = ["Workers", "client_for", "workers_of"]

log = logging.getLogger(__name__)

ANSWER_WITHIN_S = 5
"""How long a scheduler has to answer before its address counts as wrong."""

POLL_S = 15
"""How often it is checked whether a worker can still come, while none has."""

PIN_TRIES = 3
"""How often the pinning of threads is tried where a worker breaks off meanwhile. The scheduler sees
to those that join later by itself."""

LEAVE_WITHIN_S = 5
"""How long a cluster that lives on has to forget the pinning of threads."""

_said: set[str] = set()
"""What workers were reported to compile, since the last client of them."""


@dataclass(frozen=True)
class Workers:
    """Who does the work, as the caller of a public function requests it; starts nothing."""

    client: Client | str | None = None
    """A Dask client, its address, or a kind of cluster, see :func:`client_for`."""

    count: int | None = None
    """Processes to start or to request."""

    memory: str = "4GB"
    """What a worker may use."""

    def memory_bytes(self) -> int:
        """The same in bytes.

        Raises:
            InputError: If it is no size above zero.
        """
        return memory_bytes(self.memory)

    def at_most(self, tasks: int) -> Workers:
        """Those of them that so many tasks need, where they are started on this machine."""
        if self.client not in (None, "local"):
            return self
        return replace(self, count=min(workers_of("local", self.count), tasks))

    def join(self, threads: int = 1) -> AbstractContextManager[Client]:
        """A client of them for the time of a ``with`` block, see :func:`client_for`."""
        return client_for(self.client, workers=self.count, memory=self.memory, threads=threads)


@contextmanager
def client_for(
    where: str | Client | None = None,
    *,
    workers: int | None = None,
    memory: str | None = None,
    threads: int = 1,
) -> Iterator[Client]:
    """Yield a client for the time of a ``with`` block; what was started here ends with it.

    Args:
        where: ``local`` or None starts processes on this machine; ``cuda`` one for each GPU of it;
            ``slurm``, ``kubernetes`` or ``gateway`` request a cluster as Dask's own
            configuration files describe it, and wait for its first worker; an address such as
            ``tcp://10.0.0.5:8786`` joins a running cluster, which lives on afterwards; a client is
            taken as it is.
        workers: Processes to start or to request. By default one for each core this process may
            use; one for each GPU; what the configuration says; one job or worker.
        memory: Limit of one process on this machine, such as ``4GB``; an even share of the
            machine's by default. That of others is up to configuration.
        threads: Of one process on this machine: tasks that it works on at the same time.

    Raises:
        InputError: If ``where`` is none of these, no scheduler answers there, a kind's library or
            configuration is missing or it does not start, ``memory`` is no size, or a worker runs
            another version of this package or of what it shares with this process.
        KeyboardInterrupt: On Ctrl-C, which ends the wait for workers too, and jobs that queue.
    """
    if isinstance(where, Client):
        if is_shared(where):  # its workers are ready
            yield where
            return
        warn_of_open_address(where.scheduler.address)
        with _ready(where, lives_on=True):
            yield where
        return
    # Ctrl-C waits until all has started, and until all has ended.
    with (
        Interrupts() as interrupts,
        _quiet("distributed", "distributed.client", "tornado.application"),
        _started(where, Size(workers, memory, threads), interrupts) as client,
        _ready(client, lives_on=where is not None and "://" in where),
        interrupts.let_through(),
    ):
        yield client


def workers_of(where: str | Client | None, workers: int | None = None) -> int:
    """Count the tasks that would be worked on at the same time; starts nothing.

    Args:
        where: As for :func:`client_for`.
        workers: As for :func:`client_for`.

    Raises:
        InputError: If ``where`` is neither a kind nor a client, or no scheduler answers there.
    """
    if isinstance(where, Client):
        return sum(where.nthreads().values())
    if where is not None and "://" in where:
        with _connected(where) as client:
            return sum(client.nthreads().values())
    if where in (None, "local"):
        return workers or len(os.sched_getaffinity(0))
    _kind(str(where))
    return workers or 1


@contextmanager
def _started(where: str | None, size: Size, interrupts: Interrupts) -> Iterator[Client]:
    if where is None or where == "local":
        with local_processes(size) as cluster, Client(cluster) as client:
            try:
                yield client
            except BaseException:
                end_processes(cluster)
                raise
    elif "://" in where:
        with _connected(where) as client:
            warn_of_open_address(where)
            if not client.nthreads():
                log.info("%s has no workers yet; the work begins when one joins it", where)
            yield client
    else:
        with ExitStack() as stack:
            request, client = _request(_kind(where), size, interrupts, stack)
            warn_of_open_address(client.scheduler.address)
            _await_first(client, request, interrupts)
            yield client


def _kind(name: str) -> Kind:
    if name not in KINDS:
        raise InputError(
            f"Client {name!r} is neither `local`, {', '.join(f'`{kind}`' for kind in KINDS)} nor "
            "the address of a Dask scheduler, such as tcp://127.0.0.1:8786."
        )
    return KINDS[name]


def _request(
    kind: Kind, size: Size, interrupts: Interrupts, stack: ExitStack
) -> tuple[ClusterRequest, Client]:
    """Request a cluster, whose end is left to ``stack``, and a client of it."""
    try:
        with interrupts.let_through() if kind.slow else ExitStack():
            request = stack.enter_context(kind.request(size))
            return request, stack.enter_context(request.cluster.get_client())
    except InputError:
        raise
    except Exception as error:  # every library has its own, and its libraries theirs
        raise InputError(f'client="{kind.name}": {message_of(error)}. {kind.hint}.') from error


def _await_first(client: Client, request: ClusterRequest, interrupts: Interrupts) -> None:
    if client.nthreads():
        return
    log.info("requested %s; waiting for the first worker (Ctrl-C gives up)", request.what)
    while True:
        with suppress(TimeoutError), interrupts.let_through():
            client.wait_for_workers(1, timeout=POLL_S)
            return
        reason = request.why_none()
        if reason is not None:
            raise InputError(reason)


@contextmanager
def _ready(client: Client, *, lives_on: bool) -> Iterator[None]:
    """Check the workers and pin their threads, also of those that join meanwhile."""
    VersionCheck(client).require_same_versions()
    name = f"{PIN_THREADS}-{uuid4().hex}"  # others may work on the same cluster
    _pin_threads(client, name, notices=not lives_on)
    try:
        if not lives_on:
            _notice(client)
        yield
    finally:
        if lives_on and client.status == "running":  # who joins it later is none of our business
            with suppress(Exception):
                client.sync(
                    client.scheduler.unregister_worker_plugin,
                    name=name,
                    callback_timeout=LEAVE_WITHIN_S,
                )


def _notice(client: Client) -> None:
    """Have what workers say of their compiling logged here, each line once for all of them."""
    logger = logging.getLogger(COMPILING)
    _said.clear()
    logger.addFilter(_first)  # for good: what is on its way arrives after the block, too
    client.forward_logging(COMPILING, logging.INFO)


def _first(record: logging.LogRecord) -> bool:
    """Whether a record says what none said before."""
    text = record.getMessage()
    new = text not in _said
    _said.add(text)
    return new


def _pin_threads(client: Client, name: str, *, notices: bool) -> None:
    """Pin the threads of all workers; one that dies meanwhile is not in the way of the others."""
    for _ in range(PIN_TRIES):
        try:
            client.register_plugin(pin_threads(notices=notices), name=name)
            return
        except OSError:  # of the scheduler, or of a worker that it could not reach
            client.nthreads()


@contextmanager
def _quiet(*names: str) -> Iterator[None]:
    """Keep loggers still: what goes wrong with a task is reported by whoever submitted it."""
    loggers = [logging.getLogger(name) for name in names]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)


class _Joining(Client):
    """A client that is closed at once where it cannot connect.

    Dask leaves that to its finaliser, which waits for a lock: where the garbage is collected in the
    thread that starts the next client, that holds the lock, and neither goes on.
    """

    def start(self, **settings: Any) -> None:
        try:
            super().start(**settings)
        except BaseException:
            self.close()
            raise


def _connected(address: str) -> Client:
    try:
        return _Joining(address, timeout=ANSWER_WITHIN_S)
    except TypeError as error:  # what Dask says of keys that it was not given
        raise InputError(
            f"Client {address} asks for keys, and Dask's configuration names none: write "
            "distributed.comm.tls with ca-file and client.cert and .key into "
            "~/.config/dask/distributed.yaml."
        ) from error
    except (OSError, ValueError) as error:
        raise InputError(
            f"No Dask scheduler answers at {address} (waited {ANSWER_WITHIN_S} s). Start one with "
            "`dask scheduler`, or leave client= out for processes on this machine."
        ) from error
