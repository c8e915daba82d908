"""Embedding by clusters that are requested by name: the command, and its workers held."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.commands.mishaps import Mishap, environment
from tests.commands.processes import ROOT, Ended
from tests.waiting import WITHIN_S

MAIN = "from terralatent.pipeline.cli.app import main; main()"


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
