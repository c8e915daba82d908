"""What a person at a terminal sees: progress, log lines, and one line for what went wrong."""

from __future__ import annotations

import logging
import os
import time

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
from rich.text import Text

__all__ = ["FINISHED", "INTERRUPTED", "LOSSES", "MISTAKE", "UNEXPECTED", "Bar", "Terminal"]

FINISHED, UNEXPECTED, MISTAKE, LOSSES, INTERRUPTED = 0, 1, 2, 3, 130
"""Exit codes: all is done; a bug; wrong input; finished, but some scene or block failed; Ctrl-C."""

PLAIN_EVERY_S = 10.0
"""How often progress is written where standard error is a file and not a terminal."""


class Terminal:
    """Standard error of one command: bars, log lines and errors share it without tearing."""

    def __init__(self) -> None:
        self.console = Console(stderr=True, highlight=False, soft_wrap=True)

    def listen(self, level: int = logging.INFO) -> None:
        """Show this package's log from ``level`` up, and of others only errors."""
        os.environ.setdefault("DASK_LOGGING__DISTRIBUTED", "error")  # read when dask is imported
        logging.captureWarnings(True)
        root = logging.getLogger()
        if not any(isinstance(handler, _Lines) for handler in root.handlers):
            root.addHandler(_Lines(self.console))
        root.setLevel(logging.ERROR)
        logging.getLogger("terralatent").setLevel(level)

    def bar(self) -> Bar:
        """Return a progress bar on this terminal."""
        return Bar(self.console)

    def say(self, text: str) -> None:
        """Write one line of result."""
        self.console.print(text, markup=False)

    def complain(self, error: BaseException) -> int:
        """Write ``error`` as one line and return the exit code it deserves."""
        if isinstance(error, KeyboardInterrupt):
            self._red("interrupted", "the same command again goes on from what is stored.")
            return INTERRUPTED
        if _is_mistake(error):
            self._red("error", _one_line(error))
            return MISTAKE
        what = f"{type(error).__name__}: {_one_line(error)}"
        self._red("error", f"{what} (unexpected; --debug shows where)")
        return UNEXPECTED

    def _red(self, head: str, text: str) -> None:
        self.console.print(Text.assemble((f"{head}: ", "bold red"), text))


class Bar:
    """A :class:`~terralatent.pipeline.progress.Progress` with rate, fields and time left.

    Where standard error is no terminal it writes a plain line every few seconds instead.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live: RichProgress | None = None
        self._task = TaskID(0)
        self._told = 0.0
        self._untold = True

    def start(self, total: int, title: str) -> None:
        """Show a bar of ``total`` units under ``title``."""
        self.close()
        self._live = RichProgress(
            TextColumn("[bold]{task.description}"),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            _Fields(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._task = self._live.add_task(title, total=total, shown={})
        self._told, self._untold = time.monotonic(), True
        self._live.start()

    def advance(self, n: int = 1, **fields: float | str) -> None:
        """Count ``n`` more units; ``fields`` stay beside the bar until they change."""
        if self._live is None:
            return
        shown = {**self._live.tasks[self._task].fields["shown"], **fields}
        self._live.update(self._task, advance=n, shown=shown)
        self._untold = True
        if self._live.disable and time.monotonic() - self._told > PLAIN_EVERY_S:
            self._tell()

    def close(self) -> None:
        """Leave the bar as it stands."""
        if self._live is not None:
            self._live.stop()
            if self._live.disable and self._untold:
                self._tell()
        self._live = None

    def _tell(self) -> None:
        assert self._live is not None
        task = self._live.tasks[self._task]
        done = f"{task.description} {int(task.completed)}/{int(task.total or 0)}"
        left = f", {task.time_remaining:.0f} s left" if task.time_remaining else ""
        self._console.print(f"{done} {_fields(task)}{left}".rstrip(), markup=False)
        self._told, self._untold = time.monotonic(), False


class _Fields(ProgressColumn):
    """The fields of a task, such as ``loss -12.31``."""

    def render(self, task: Task) -> Text:
        return Text(_fields(task), style="cyan")


class _Lines(logging.Handler):
    """Log lines through the console that also draws the bar."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self._console = console

    def emit(self, record: logging.LogRecord) -> None:
        style = {logging.WARNING: "yellow", logging.ERROR: "bold red"}.get(record.levelno, "dim")
        text = " ".join(record.getMessage().split())
        name = record.levelname.lower() + ": " if record.levelno >= logging.WARNING else ""
        self._console.print(Text.assemble((name, style), text))


def _fields(task: Task) -> str:
    shown = task.fields["shown"]
    return "  ".join(
        f"{name.replace('_', ' ')} {value:.4g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in shown.items()
    )


def _is_mistake(error: BaseException) -> bool:
    """Tell the user's mistakes from ours; the imports wait until something has gone wrong."""
    from terralatent.catalogs.errors import InputError

    if isinstance(error, InputError) or getattr(error, "exit_code", None) == MISTAKE:
        return True  # the latter are typer's own: an unknown option, a missing argument
    return type(error).__name__ == "CheckpointError"  # comparing by name spares importing torch


def _one_line(error: BaseException) -> str:
    told = error.format_message() if hasattr(error, "format_message") else str(error)
    verb = getattr(getattr(error, "ctx", None), "command_path", None)
    return " ".join([f"{verb}:" if verb else "", *told.split()]).strip() or type(error).__name__
