"""Text of others, made fit to be stored and to be shown on a terminal."""

from __future__ import annotations

from typing import Any

__all__ = ["REPLACED", "printable", "printable_json"]

REPLACED = "\N{REPLACEMENT CHARACTER}"
"""What a character becomes that a terminal would obey instead of showing it."""

DEEPEST = 50
"""Levels of a JSON value that are kept: no STAC item has a fifth of it."""


def printable(text: str) -> str:
    r"""Replace the characters that are not there to be seen.

    Control characters (line ends and the escape of terminals among them), marks that turn the
    direction of text, and halves of surrogate pairs, which no file can hold.

    >>> printable("S2A\x1b[2J_31UDS\n")
    'S2A�[2J_31UDS�'
    """
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else " " if char == "\N{NO-BREAK SPACE}" else REPLACED
        for char in text
    )


def printable_json(value: Any, *, deepest: int = DEEPEST) -> Any:
    """Return a JSON value with every text in it, keys too, made :func:`printable`.

    What lies deeper than ``deepest`` levels becomes null.
    """
    if isinstance(value, str):
        return printable(value)
    if not isinstance(value, dict | list | tuple):
        return value
    if deepest == 0:
        return None
    if isinstance(value, dict):
        return {
            printable(str(key)): printable_json(inner, deepest=deepest - 1)
            for key, inner in value.items()
        }
    return [printable_json(inner, deepest=deepest - 1) for inner in value]
