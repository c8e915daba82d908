"""Real processes of the command line, to be killed and interrupted, and what they leave behind."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.commands.mishaps import FOLDER, PLAN, Mishap, environment
from tests.waiting import WITHIN_S

ROOT = Path(__file__).resolve().parents[2]

POOLS = ("OMP", "OPENBLAS", "MKL", "NUMBA")


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    """Its exit code, or the signal that killed it, negative."""

    output: str
    """What it and its workers wrote."""


class Command:
    """A command that runs; its process group has its number."""

    def __init__(self, launcher: Launcher, pid: int, output: int) -> None:
        self.pid = pid
        self._launcher = launcher
        self._output = output
        self._written = b""

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to every process of the group, as a terminal does; to none if all ended."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, number)

    def end(self) -> Ended:
        """Wait until it has ended, and every process that it started."""
        self._read(None)
        os.close(self._output)
        return Ended(self._launcher.request({"pid": self.pid})["code"], self._written.decode())

    def wait_for(self, words: str, times: int = 1) -> None:
        """Wait until it has written ``words`` so often."""
        self._read((words.encode(), times))

    def _read(self, wanted: tuple[bytes, int] | None) -> None:
        until = time.monotonic() + WITHIN_S
        while wanted is None or self._written.count(wanted[0]) < wanted[1]:
            ready, _, _ = select.select([self._output], [], [], max(0.0, until - time.monotonic()))
            if not ready:
                self.signal(signal.SIGKILL)
                written = self._written.decode()
                raise AssertionError(f"after {WITHIN_S} s a process still ran: {written}")
            # The output ends when the last process ends that holds it, workers included.
            some = os.read(self._output, 1 << 16)
            if not some:
                assert wanted is None, f"{wanted} was not written: {self._written.decode()}"
                break
            self._written += some


class Launcher:
    """Starts commands; see :mod:`tests.commands.launcher`."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel

    def start(
        self,
        *arguments: str | Path,
        mishaps: tuple[Mishap, ...] = (),
        folder: Path | None = None,
        variables: Mapping[str, str] | None = None,
        program: str = "terralatent",
    ) -> Command:
        """Start ``terralatent ARGUMENTS``, with what is to befall it, counted in ``folder``.

        Or another ``program``: ``dask-scheduler`` and ``dask-worker`` are what ``dask scheduler``
        and ``dask worker`` run.

        Its environment has other ``variables`` too; what is ``""`` is taken out of it.
        """
        request: dict[str, Any] = {
            "program": program,
            "arguments": [str(argument) for argument in arguments],
            "environment": dict(variables or {}),
        }
        if mishaps:
            assert folder is not None
            folder.mkdir(exist_ok=True)
            request["environment"] |= environment(folder, mishaps)
        output, end = os.pipe()
        socket.send_fds(self._channel, [json.dumps(request).encode()], [end])
        os.close(end)
        return Command(self, self._answer()["pid"], output)

    def run(self, *arguments: str | Path, **options: Any) -> Ended:
        """Start a command and wait for its end."""
        return self.start(*arguments, **options).end()

    def request(self, request: dict[str, Any]) -> dict[str, Any]:
        """Send a request and return the answer."""
        self._channel.send(json.dumps(request).encode())
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        return dict(json.loads(self._channel.recv(1 << 16)))


@contextmanager
def launching() -> Iterator[Launcher]:
    """Keep a launcher for the time of a ``with`` block."""
    ours, its = socket.socketpair()
    single = {f"{pool}_NUM_THREADS": "1" for pool in POOLS}
    inherited = {name: value for name, value in os.environ.items() if name not in (FOLDER, PLAN)}
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.commands.launcher", str(its.fileno())],
        cwd=ROOT,
        env={**inherited, **single},
        stdin=subprocess.DEVNULL,
        pass_fds=[its.fileno()],
        start_new_session=True,
    )
    its.close()
    try:
        launcher = Launcher(ours)
        launcher._answer()
        yield launcher
    finally:
        ours.close()
        process.wait(WITHIN_S)
