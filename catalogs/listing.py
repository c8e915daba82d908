"""What an object says of itself at a prompt and in a notebook: a head, and a few rows below it."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from itertools import zip_longest

from terralatent.catalogs.hrefs import without_secrets
from terralatent.catalogs.printable import printable

__all__ = ["Rows", "html_of", "text_of"]

Rows = Sequence[Sequence[str]]
"""Cells of a small table, row by row."""


def text_of(head: str, rows: Rows) -> str:
    """Write ``rows`` below ``head``, in columns; no line has a secret or what terminals obey.

    >>> print(text_of("two", [("a", "1"), ("bc", "2")]))
    two
      a   1
      bc  2
    """
    clean = [[_clean(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip_longest(*clean, fillvalue="")]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=False)).rstrip()
        for row in clean
    ]
    return "\n".join([_clean(head), *(f"  {line}" for line in lines)])


def html_of(head: str, rows: Rows, columns: Sequence[str] = ()) -> str:
    """The same as an HTML table, under the names of its columns if it has any.

    >>> html_of("<two>", [("a", "1")])
    '<table><caption>&lt;two&gt;</caption><tr><td>a</td><td>1</td></tr></table>'
    """
    names = "".join(f"<th>{escape(_clean(name))}</th>" for name in columns)
    body = "".join(
        f"<tr>{''.join(f'<td>{escape(_clean(cell))}</td>' for cell in row)}</tr>" for row in rows
    )
    top = f"<tr>{names}</tr>" if names else ""
    return f"<table><caption>{escape(_clean(head))}</caption>{top}{body}</table>"


def _clean(text: str) -> str:
    return printable(without_secrets(text))
