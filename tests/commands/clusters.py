"""Embedding by clusters that are requested by name: the command, and its workers held."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from tests.commands.mishaps import Mishap, environment
from tests.commands.processes import ROOT, Ended

MAIN = "from terralatent.pipeline.cli.app import main; main()"
WITHIN_S = 180.0


def until(known: Callable[[], bool], what: str) -> None:
    """Wait for what no process reports."""
    end = time.monotonic() + WITHIN_S
    while not known():
        assert time.monotonic() < end, f"waited {WITHIN_S} s for {what}"
        time.sleep(0.1)


class Command:
    """``terralatent ARGUMENTS`` as a process group of its own; what it writes goes to a file."""

    def __init__(self, folder: Path, variables: Mapping[str, str], *arguments: str | Path) -> None:
        self._output = folder / "output"
        with self._output.open("wb") as out:
            self._process = subprocess.Popen(
                [sys.executable, "-c", MAIN, *map(str, arguments)],
                cwd=ROOT, env={**os.environ, **variables},
                stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True,
            )  # fmt: skip

    def has_written(self, words: str) -> bool:
        """Whether it has written ``words``; it must not have ended without."""
        output = self._output.read_text()
        assert words in output or self._process.poll() is None, output
        return words in output

    def interrupt(self) -> None:
        """Press Ctrl-C, which every process of the group hears."""
        os.killpg(self._process.pid, signal.SIGINT)

    def end(self) -> Ended:
        """Wait for its end."""
        try:
            return Ended(self._process.wait(WITHIN_S), self._output.read_text())
        finally:
            self._process.kill()


def held(folder: Path) -> dict[str, str]:
    """Variables that let a worker hold each task, once it has written, until ``go_on``."""
    (folder / "held").mkdir()
    held = Mishap("written", "wait", nth=0, after=("gone on", 1))
    return {
        **environment(folder / "held", (held,)),
        "DASK_DISTRIBUTED__WORKER__PRELOAD": "['tests.commands.mishaps']",
    }


def go_on(folder: Path) -> None:
    """Let workers hold no task any more."""
    (folder / "held" / "gone on.1").touch()


def are_held(folder: Path, count: int) -> bool:
    """Whether so many tasks have been held."""
    return (folder / "held" / f"written.{count}").exists()
