"""The seam between work that takes long and whoever shows how far it is, and how fast it goes."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Callable
from typing import Protocol, TypeAlias

__all__ = [
    "Progress",
    "ProgressChoice",
    "Rate",
    "Silent",
    "StageRate",
    "choose_progress",
    "counting",
    "runs_in_notebook",
]

NOTEBOOK = "ZMQInteractiveShell"
"""The class of IPython's shell in the kernel of a notebook; in a terminal it is another."""

RECENT_S = 300.0
"""Over how long a rate is taken: long enough that blocks which take a minute do not make it jump.
"""

STARTING_S = 1.0
"""What is counted this early in a stage was done by an earlier run, or took a start-up's time."""


class Progress(Protocol):
    """Shows how far one long job is. Called from one thread; cheap enough to call at every step.

    One object may be started and closed several times, once for each stage of a job.
    """

    def start(self, total: int, title: str) -> None:
        """Begin a stage of ``total`` units (blocks, steps, scenes), named ``title``."""

    def advance(self, n: int = 1, **fields: float | str) -> None:
        """Count ``n`` more units as done; ``fields``, such as ``loss=1.2``, are shown with them."""

    def close(self) -> None:
        """End the stage, finished or not. Closing twice does nothing."""


class Silent:
    """Shows nothing: what every function takes where no :class:`Progress` is given."""

    def start(self, total: int, title: str) -> None:
        """Do nothing."""

    def advance(self, n: int = 1, **fields: float | str) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


ProgressChoice: TypeAlias = Progress | bool | None
"""What every function that takes long takes for its ``progress``: a :class:`Progress`; True for a
bar; False for none; None for a bar in a notebook, and none elsewhere."""


def choose_progress(progress: ProgressChoice) -> Progress:
    """Return what shows progress: the one given, a bar, or :class:`Silent`."""
    if progress is None:
        progress = runs_in_notebook()
    if not isinstance(progress, bool):
        return progress
    if not progress:
        return Silent()
    from rich.console import Console

    from terralatent.pipeline.bars import Bar, CellBar

    return CellBar() if runs_in_notebook() else Bar(Console(stderr=True))


def runs_in_notebook() -> bool:
    """Whether this process is the kernel of a notebook. Imports nothing."""
    interactive = sys.modules.get("IPython")
    shell = interactive.get_ipython() if interactive is not None else None
    return type(shell).__name__ == NOTEBOOK


def counting(progress: Progress, title: str) -> Callable[[int, int], None]:
    """Return a function ``count(done, total)`` that passes counts on to ``progress``.

    For work that knows nothing of :class:`Progress`. The stage begins with the first call.
    """
    before: list[int] = []

    def count(done: int, total: int) -> None:
        if not before:
            progress.start(total, title)
        progress.advance(done - sum(before))
        before.append(done - sum(before))

    return count


class Rate:
    """How fast units are done, over the recent past. What an earlier run did is none of them.

    It begins when it is made: until the recent past is over, what a run takes to start counts too.
    """

    def __init__(self) -> None:
        self._marks = deque([(time.monotonic(), 0)])
        """Moments, and what was done by then; the first lies before the recent past."""

    def add(self, n: int) -> float:
        """Count ``n`` more units; gives the units a second over the recent past."""
        now = time.monotonic()
        self._marks.append((now, self._marks[-1][1] + n))
        while len(self._marks) > 2 and self._marks[1][0] <= now - RECENT_S:
            self._marks.popleft()
        since, before = self._marks[0]
        return (self._marks[-1][1] - before) / max(now - since, 1e-9)


class StageRate:
    """How fast units of one stage are done, from its first second on. It begins when it is made."""

    def __init__(self) -> None:
        self._begun = time.monotonic()
        self._start: tuple[float, int] | None = None
        """The first moment after that second, and what was done by then."""

    def at(self, done: int) -> float | None:
        """The units a second when ``done`` are done in all; None until that is known."""
        now = time.monotonic()
        if self._start is None:
            if done and now - self._begun >= STARTING_S:
                self._start = (now, done)
            return None
        since, before = self._start
        return (done - before) / (now - since) if done > before else None
