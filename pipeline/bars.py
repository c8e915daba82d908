"""Progress as a bar: on a terminal, now and then a line in a file, or in the output of a cell."""

from __future__ import annotations

import time
from importlib import import_module
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

from terralatent.pipeline.quantities import number, span

__all__ = ["Bar", "CellBar"]

PLAIN_EVERY_S = 10.0
"""How often progress is written where standard error is a file and not a terminal."""

DRAWN_EVERY_S = 0.2
"""How often the output of a cell is drawn anew: each time is a message to a browser."""

WIDE = 100
"""Columns of a terminal from which there is room for a long bar beside everything else."""

LONG, SHORT = 30, 14
"""Columns of a bar."""

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
            *_columns(LONG if self._console.width >= WIDE else SHORT),
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


class CellBar:
    """A :class:`~terralatent.pipeline.progress.Progress` in the output of a notebook's cell.

    IPython draws one output anew, with a line for each stage; rich's own way needs widgets, which
    not every notebook has. A stage that comes back, as of a job that is done in parts, goes on in
    a line of its own.
    """

    def __init__(self) -> None:
        self._bars = RichProgress(*_columns(LONG), auto_refresh=False, speed_estimate_period=PAST_S)
        self._task: TaskID | None = None
        self._output: Any = None
        self._drawn = 0.0

    def start(self, total: int, title: str) -> None:
        """Show a bar of ``total`` units under ``title``."""
        self.close()
        self._task = self._bars.add_task(title, total=total, shown={})
        self._draw()

    def advance(self, n: int = 1, **fields: float | str) -> None:
        """Count ``n`` more units; ``fields`` stay beside the bar until they change."""
        if self._task is None:
            return
        shown = {**self._bars.tasks[self._task].fields["shown"], **fields}
        self._bars.update(self._task, advance=n, shown=shown)
        if time.monotonic() - self._drawn > DRAWN_EVERY_S:
            self._draw()

    def close(self) -> None:
        """Leave the bar as it stands."""
        if self._task is not None:
            self._bars.stop_task(self._task)
            self._draw()
        self._task = None

    def _draw(self) -> None:
        display = import_module("IPython.display").display  # it runs here: no need to depend on it

        if self._output is None:
            self._output = display(self._bars, display_id=True)
        else:
            self._output.update(self._bars)
        self._drawn = time.monotonic()


def _columns(width: int) -> tuple[ProgressColumn, ...]:
    return (
        TextColumn("[bold]{task.description}"),
        BarColumn(bar_width=width),
        MofNCompleteColumn(),
        _Fields(table_column=Column(no_wrap=True)),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )


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
