"""What a person at a terminal sees: progress, log lines, and one line for what went wrong."""

from __future__ import annotations

import json
import logging
import os
import sys
import traceback
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.segment import Segment
from rich.table import Table
from rich.text import Text
from typer import Abort, Exit

from terralatent.catalogs.hrefs import without_secrets
from terralatent.catalogs.printable import printable
from terralatent.pipeline.bars import Bar
from terralatent.pipeline.cli.arguments import as_options
from terralatent.pipeline.cli.events import Events
from terralatent.pipeline.cube.losses import LOSSES_LISTED
from terralatent.pipeline.json_value import json_value
from terralatent.pipeline.progress import Progress, Silent

__all__ = ["FINISHED", "INTERRUPTED", "LOSSES", "MISTAKE", "UNEXPECTED", "Terminal"]

FINISHED, UNEXPECTED, MISTAKE, LOSSES, INTERRUPTED = 0, 1, 2, 3, 130
"""Exit codes: all is done; a bug; wrong input; finished, but some scene or block failed; Ctrl-C."""

TILE = "tile "
"""How threads are called that work on tiles of a fleet, see :mod:`terralatent.pipeline.fleet.run`.
"""

STYLES = {"info": "dim", "warning": "yellow", "error": "bold red"}
"""Of the word that a line begins with."""


class Terminal:
    """Standard error of one command: bars, log lines and errors share it without tearing.

    What a command answers, as ``status`` does, goes to standard output.
    """

    def __init__(self) -> None:
        self.console = Console(stderr=True, highlight=False, soft_wrap=True)
        self._lines = _Lines(self)
        self._options: Mapping[str, tuple[str, ...]] = {}
        self.settle()

    def settle(self, *, debug: bool = False, quiet: bool = False, log_json: bool = False) -> None:
        """Choose what is shown, and how.

        Args:
            debug: Whether an error comes with its traceback.
            quiet: Whether progress and lines of information are left out.
            log_json: Whether every line is a JSON object: ``time``, ``level`` and ``message``, or
                for progress ``stage``, ``done``, ``total`` and ``fields``. An error has its
                ``exit_code``, and its ``traceback`` where ``debug`` is set.
        """
        self._debug, self._quiet, self._json = debug, quiet, log_json

    def speak_of(self, options: Mapping[str, tuple[str, ...]]) -> None:
        """Write arguments that errors and warnings name as these options from now on.

        Args:
            options: As :func:`~terralatent.pipeline.cli.arguments.options_of` gives them.
        """
        self._options = options

    def listen(self) -> None:
        """Show this package's log, and of others only errors."""
        os.environ.setdefault("DASK_LOGGING__DISTRIBUTED", "error")  # read when dask is imported
        logging.captureWarnings(True)
        root = logging.getLogger()
        if self._lines not in root.handlers:
            root.addHandler(self._lines)
        root.setLevel(logging.ERROR)
        level = logging.WARNING if self._quiet else logging.INFO
        logging.getLogger("terralatent").setLevel(level)

    def bar(self) -> Progress:
        """Return what shows progress on this terminal."""
        if self._quiet:
            return Silent()
        return Events(self._progress) if self._json else Bar(self.console)

    def say(self, text: str) -> None:
        """Write one line of information; nothing if quiet."""
        if not self._quiet:
            self._write("info", "", text)

    def say_all(self, lines: Iterable[str]) -> None:
        """Write lines of information; nothing if quiet."""
        for line in lines:
            self.say(line)

    def announce(self, command: str) -> None:
        """Write a command that is about to run; nothing if quiet."""
        if self._json or self._quiet:
            self.say(f"$ {command}")
        else:
            self.console.print(Text(f"\n$ {command}", "bold"))

    def warn(self, text: str, head: str = "warning") -> None:
        """Write one line that is shown even if quiet."""
        self._write("warning", head, as_options(text, self._options))

    def report_losses(self, losses: Sequence[object]) -> None:
        """Write what was lost, the first :data:`LOSSES_LISTED` one by one.

        One line each; a table on a terminal, of those that have a ``row`` by column.
        """
        listed = losses[:LOSSES_LISTED]
        rows = [] if self._json else [loss.row() for loss in listed if hasattr(loss, "row")]
        if rows and self.console.is_terminal:
            self.console.print(_table(rows), soft_wrap=False)
            listed = [loss for loss in listed if not hasattr(loss, "row")]
        for loss in listed:
            self.warn(str(loss), head="lost")
        if len(losses) > LOSSES_LISTED:
            self.warn(f"{len(losses) - LOSSES_LISTED} more", head="lost")

    def finish(self, report: Any, out: str) -> None:
        """Say what was done; where something was lost, say so and leave with its own exit code.

        Raises:
            typer.Exit: With :data:`LOSSES`.
        """
        if self.done(report, out):
            raise Exit(LOSSES)

    def done(self, report: Any, out: str) -> bool:
        """Say what was done and what was lost; return whether anything was."""
        self.say(f"{report} -> {out}")
        losses = list(getattr(report, "losses", ()))
        self.report_losses(losses)
        return bool(losses)

    def show(self, answer: RenderableType | Mapping[str, Any]) -> None:
        """Write the answer of a command to standard output: a page, or values as JSON."""
        out = Console(highlight=False)
        if isinstance(answer, Mapping):
            out.file.write(json.dumps(answer, indent=2) + "\n")
        else:
            out.print(_Plain(answer), crop=False)

    def complain(self, error: BaseException, *, go_on: str | None = None) -> int:
        """Write ``error`` as one line and return the exit code it deserves.

        Args:
            error: What ended the command.
            go_on: What to type to go on with a command that keeps what is done.
        """
        trace = "".join(traceback.format_exception(error)) if self._debug else None
        trace = None if trace is None else "\n".join(map(_clean, trace.split("\n")))
        if isinstance(error, KeyboardInterrupt | Abort):
            kept = f"what is done is kept; go on with: {go_on}" if go_on else ""
            return self._fail(INTERRUPTED, "interrupted", kept, trace)
        if _is_mistake(error):
            return self._fail(MISTAKE, "error", _one_line(error), trace)
        what = f"{type(error).__name__}: {_one_line(error)}"
        hint = "" if self._debug else "; --debug shows where"
        return self._fail(UNEXPECTED, "error", f"{what} (unexpected{hint})", trace)

    def log(self, record: logging.LogRecord) -> None:
        """Write a log record as one line."""
        level = "info"
        if record.levelno >= logging.WARNING:
            level = "warning" if record.levelno < logging.ERROR else "error"
        head = "" if level == "info" else level
        text = " ".join(record.getMessage().split())
        if (record.threadName or "").startswith(TILE):  # one of those in flight
            text = f"{record.threadName}: {text}"
        self._write(level, head, as_options(text, self._options))

    def _fail(self, code: int, head: str, text: str, trace: str | None) -> int:
        more = {"exit_code": code} if trace is None else {"exit_code": code, "traceback": trace}
        if trace is not None and not self._json:
            self.console.print(trace, markup=False, end="")
        self._write("error", head, as_options(text, self._options), more)
        return code

    def _progress(self, event: Mapping[str, Any]) -> None:
        self._put({"level": "info", **event})

    def _write(
        self, level: str, head: str, text: str, more: Mapping[str, Any] | None = None
    ) -> None:
        """Write one line: of what kind it is, and a text in which others had a part."""
        text = _clean(text)
        if self._json:
            message = text if not head or head == level else f"{head}: {text}".rstrip(": ")
            self._put({"level": level, "message": message, **(more or {})})
        elif not text:
            self.console.print(Text(f"{head}.", STYLES[level]))
        else:
            start = (f"{head}: " if head else "", STYLES[level])
            self.console.print(Text.assemble(start, text))

    def _put(self, event: Mapping[str, Any]) -> None:
        time = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        line = json.dumps(json_value({"time": time, **event}), ensure_ascii=False)
        self.console.file.write(f"{line}\n")
        self.console.file.flush()


def _table(rows: Sequence[Mapping[str, str]]) -> Table:
    """What was lost, one row each, with the words of workers in it, none of which is obeyed."""
    table = Table(box=SIMPLE_HEAD, title="lost", title_justify="left", title_style="yellow")
    for column in rows[0]:
        table.add_column(column, overflow="fold", no_wrap=column in ("block", "place"))
    for row in rows:
        table.add_row(*(Text("\n".join(map(_clean, cell.split("\n")))) for cell in row.values()))
    return table


class _Plain:
    """A page with the words of stores and catalogues in it, none of which a terminal obeys."""

    def __init__(self, page: RenderableType) -> None:
        self._page = page

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for text, style, control in console.render(self._page, options):
            kept = text if control else "\n".join(map(printable, text.split("\n")))
            yield Segment(kept, style, control)


class _Lines(logging.Handler):
    """Log records, on the terminal that also draws the bar."""

    def __init__(self, terminal: Terminal) -> None:
        super().__init__()
        self._terminal = terminal

    def emit(self, record: logging.LogRecord) -> None:
        if not sys.is_finalizing():  # what a loop says as it is taken down is of no use
            self._terminal.log(record)


def _clean(line: str) -> str:
    return printable(without_secrets(line))


def _is_mistake(error: BaseException) -> bool:
    """Whether the user can mend it: errors of ours, and typer's of options, state the exit code."""
    return getattr(error, "exit_code", None) == MISTAKE


def _one_line(error: BaseException) -> str:
    text = error.format_message() if hasattr(error, "format_message") else str(error)
    verb = getattr(getattr(error, "ctx", None), "command_path", None)
    return " ".join([f"{verb}:" if verb else "", *text.split()]).strip() or type(error).__name__


terminal = Terminal()
"""That of this process."""
