"""Worker processes of a command without their imports: forked of it, from before it had threads.

Dask starts them by ``forkserver`` in place of ``spawn``, and the server is a fork of the command.
What a process has of the thread that spawns it, they are handed: variables and blocked signals.
That workers spawn as always is tested where no launcher is: ``tests/pipeline/cluster``.
"""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable, Iterable, Mapping
from multiprocessing import forkserver, spawn
from typing import Any

import dask
from distributed import utils

from tests.commands import mishaps


def fork_workers() -> None:
    """Let worker processes of this one be forks of what it is now; it has no other thread yet."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(f"\0terralatent-{os.getpid()}")  # of no file, which a killed command would leave
    listener.listen()
    theirs, ours = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(ours)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # as Ctrl-C, which it ignores by itself
        try:
            forkserver.main(listener.detach(), theirs, [])
        finally:  # when the command and its workers have ended
            os._exit(0)
    os.close(theirs)
    server = forkserver._forkserver
    server._forkserver_address = listener.getsockname()
    server._forkserver_alive_fd, server._forkserver_pid = ours, pid
    listener.close()

    utils._forkserver_preload_set = True  # nothing is left to be imported
    dask.config.set({"distributed.worker.multiprocessing-method": "forkserver"})
    spawn.get_preparation_data = _with_inherited(spawn.get_preparation_data)


def _with_inherited(prepare: Callable[[str], dict[str, Any]]) -> Callable[[str], dict[str, Any]]:
    return lambda name: {**prepare(name), "inherited": _Inherited()}


class _Inherited:
    """Of the thread that starts a process; taken over where it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _inherit, (dict(os.environ), signal.pthread_sigmask(signal.SIG_BLOCK, ()))


def _inherit(variables: Mapping[str, str], blocked: Iterable[int]) -> None:
    os.environ.clear()
    os.environ.update(variables)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
    mishaps.worker_started()
