"""What pages for a terminal are made of: facts under names, and times in words."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime

from rich.console import RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from terralatent.catalogs.printable import printable
from terralatent.pipeline.quantities import number, span

__all__ = ["Facts", "ago", "counted", "fact_table", "listed", "moment", "number", "some", "span"]

LINES = 5
"""Lines of a long list that are shown."""

Facts = Iterator[tuple[str, str | Text]]
"""A name and what it stands for; a fact without a name goes on with the one above."""


def fact_table(facts: Facts) -> RenderableType:
    """Names on the left, what they stand for on the right, wrapped there.

    A fact is one line, whatever stands in the store: one more line would be read as ours.
    """
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(style="cyan", no_wrap=True, min_width=8)
    table.add_column(overflow="fold")
    for name, value in facts:
        if value:
            style = "" if isinstance(value, str) else value.style
            table.add_row(name, Text(printable(str(value)), style))
    return Padding(table, (0, 0, 0, 2), expand=False)


def listed(name: str, lines: Iterable[str]) -> Facts:
    """Several lines under one name."""
    for n, line in enumerate(lines):
        yield "" if n else name, line


def some(lines: Sequence[str], count: int) -> Iterator[str]:
    """The first few of ``count`` lines, and how many more there are."""
    yield from lines[:LINES]
    if count > LINES:
        yield f"and {count - LINES:,} more"


def counted(count: int, noun: str) -> str:
    """A number and its noun.

    >>> counted(1, "file"), counted(2000, "file")
    ('1 file', '2,000 files')
    """
    return f"{count:,} {noun}{'s' * (count != 1)}"


def moment(time: str) -> str:
    """An ISO time to the minute, and how long ago it was."""
    when = datetime.fromisoformat(time).astimezone(UTC)
    return f"{when:%Y-%m-%d %H:%M} UTC, {ago(time)}"


def ago(time: str) -> str:
    """How long ago an ISO time was."""
    return f"{span((datetime.now(UTC) - datetime.fromisoformat(time)).total_seconds())} ago"
