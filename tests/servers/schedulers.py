"""Clusters of a scheduler and workers that are processes of their own, to be killed."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from signal import SIGKILL

from distributed import Client

from tests.commands.mishaps import Mishap
from tests.commands.processes import Command, Launcher
from tests.waiting import WITHIN_S

WORKER = ("--host", "127.0.0.1", "--no-nanny", "--nthreads", "1", "--no-dashboard")
"""Options of a worker of one thread, without a nanny."""


class Cluster:
    """A scheduler on loopback, and workers without nannies, of one thread each.

    Args:
        launcher: Starts them.
        folder: Of the cluster's own files, and where its workers count what befalls them.
        mishaps: What is to befall its workers.
    """

    def __init__(self, launcher: Launcher, folder: Path, mishaps: tuple[Mishap, ...] = ()) -> None:
        folder.mkdir(exist_ok=True)
        self.folder = folder
        self._launcher, self._mishaps = launcher, mishaps
        file = folder / "scheduler.json"
        self.scheduler = self._start(
            "scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard",
            "--scheduler-file", file,
        )  # fmt: skip
        self.workers: list[Command] = []
        self.address = _address(file)

    def join(self) -> Command:
        """Start one more worker."""
        worker = self._start("worker", self.address, *WORKER, mishaps=self._mishaps)
        self.workers.append(worker)
        return worker

    def end(self) -> None:
        """Kill what still runs of it."""
        for process in (self.scheduler, *self.workers):
            with suppress(ProcessLookupError):
                process.signal(SIGKILL)

    def _start(
        self, what: str, *arguments: str | Path, mishaps: tuple[Mishap, ...] = ()
    ) -> Command:
        """Start a process of it, whose number is written to the file ``what``."""
        command = self._launcher.start(
            *arguments, program=f"dask-{what}", mishaps=mishaps, folder=self.folder / "counts"
        )
        (self.folder / what).write_text(str(command.pid))
        return command


def _address(file: Path) -> str:
    """What a scheduler says of itself, as soon as it does."""
    until = time.monotonic() + WITHIN_S
    while time.monotonic() < until:
        with suppress(FileNotFoundError, json.JSONDecodeError):
            return str(json.loads(file.read_text())["address"])
        time.sleep(0.01)
    raise AssertionError(f"no scheduler has written {file}")


@contextmanager
def cluster_in(
    launcher: Launcher, folder: Path, mishaps: tuple[Mishap, ...] = ()
) -> Iterator[Cluster]:
    """Keep a cluster with one worker for the time of a ``with`` block."""
    cluster = Cluster(launcher, folder, mishaps)
    try:
        cluster.join()
        yield cluster
    finally:
        cluster.end()


@contextmanager
def worker_of(launcher: Launcher, client: Client) -> Iterator[Command]:
    """Start one more worker of any cluster, and wait until it has joined."""
    before = len(client.nthreads())
    worker = launcher.start(client.scheduler.address, *WORKER, program="dask-worker")
    try:
        client.wait_for_workers(before + 1, timeout=WITHIN_S)
        yield worker
    finally:
        worker.signal(SIGKILL)
