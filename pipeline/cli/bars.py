"""Progress on standard error: a bar on a terminal, now and then a line in a file, or JSON."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as RichProgress
from rich.table import Column
from rich.text import Text

from terralatent.pipeline.cli.pages.text import number, span

__all__ = ["Bar", "Events"]

PLAIN_EVERY_S = 10.0
"""How often progress is written where standard error is a file and not a terminal."""

WIDE = 100
"""Columns of a terminal from which there is room for a long bar beside everything else."""

EVENT_EVERY_S = 1.0
"""How often it is written as JSON."""

PAST_S = 600.0
"""From how much of the past the time that is left is estimated: a block may take minutes."""


class Bar:
    """A :class:`~terralatent.pipeline.progress.Progress` with rate, fields and time left.

    Where standard error is no terminal it writes a plain line every few seconds instead.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live: RichProgress | None = None
        self._task = TaskID(0)
        self._shown = 0.0
        self._changed = True

    def start(self, total: int, title: str) -> None:
        """Show a bar of ``total`` units under ``title``."""
        self.close()
        self._live = RichProgress(
            TextColumn("[bold]{task.description}"),
            BarColumn(bar_width=30 if self._console.width >= WIDE else 14),
            MofNCompleteColumn(),
            _Fields(table_column=Column(no_wrap=True)),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=self._console,
            disable=not self._console.is_terminal,
            speed_estimate_period=PAST_S,
        )
        self._task = self._live.add_task(title, total=total, shown={})
        self._shown, self._changed = time.monotonic(), True
        self._live.start()

    def advance(self, n: int = 1, **fields: float | str) -> None:
        """Count ``n`` more units; ``fields`` stay beside the bar until they change."""
        if self._live is None:
            return
        shown = {**self._live.tasks[self._task].fields["shown"], **fields}
        self._live.update(self._task, advance=n, shown=shown)
        self._changed = True
        if self._live.disable and time.monotonic() - self._shown > PLAIN_EVERY_S:
            self._print()

    def close(self) -> None:
        """Leave the bar as it stands."""
        if self._live is not None:
            self._live.stop()
            if self._live.disable and self._changed:
                self._print()
        self._live = None

    def _print(self) -> None:
        assert self._live is not None
        task = self._live.tasks[self._task]
        done = f"{task.description} {int(task.completed)}/{int(task.total or 0)}"
        left = f"{span(task.time_remaining)} left" if task.time_remaining else ""
        parts = [part for part in (done, _fields(task), left) if part]
        self._console.print("  ".join(parts), markup=False)
        self._shown, self._changed = time.monotonic(), False


class Events:
    """A :class:`~terralatent.pipeline.progress.Progress` written as events, one a second at most.

    Args:
        write: Writes one event: ``stage``, ``done``, ``total`` and ``fields``.
    """

    def __init__(self, write: Callable[[Mapping[str, Any]], None]) -> None:
        self._write = write
        self._event: dict[str, Any] | None = None
        self._written = 0.0
        self._changed = False

    def start(self, total: int, title: str) -> None:
        """Write that a stage begins."""
        self.close()
        self._event = {"stage": title, "done": 0, "total": total, "fields": {}}
        self._put()

    def advance(self, n: int = 1, **fields: float | str) -> None:
        """Count ``n`` more units; ``fields`` stay with the events until they change."""
        if self._event is None:
            return
        self._event["done"] += n
        self._event["fields"] = {**self._event["fields"], **fields}
        self._changed = True
        if time.monotonic() - self._written > EVENT_EVERY_S:
            self._put()

    def close(self) -> None:
        """Write what was not written yet."""
        if self._changed:
            self._put()
        self._event = None

    def _put(self) -> None:
        assert self._event is not None
        self._write(self._event)
        self._written, self._changed = time.monotonic(), False


class _Fields(ProgressColumn):
    """The fields of a task, such as ``loss -12.31``."""

    def render(self, task: Task) -> Text:
        return Text(_fields(task), style="cyan")


def _fields(task: Task) -> str:
    shown = task.fields["shown"]
    return "  ".join(
        f"{name.replace('_', ' ')} {number(value) if isinstance(value, float) else value}"
        for name, value in shown.items()
    )
