"""The command line of this process, as somebody could type it again."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from terralatent.catalogs.hrefs import without_secrets
from terralatent.catalogs.printable import printable

__all__ = ["PROGRAM", "command_line", "is_our_program"]

PROGRAM = "terralatent"
"""What the command line's program is called."""


def command_line(arguments: Sequence[str] | None = None) -> str:
    """The command that runs in this process, quoted for a shell. It is stored and shown.

    What may be a secret in the URLs on it is left out, so it must be typed again.

    Args:
        arguments: Of the program ``terralatent``; by default this process's own, and where this is
            another program (a script, a notebook) its whole command line.
    """
    if arguments is None:
        if not is_our_program():
            return _joined(sys.orig_argv)
        arguments = sys.argv[1:]
    return _joined([PROGRAM, *arguments])


def is_our_program() -> bool:
    """Whether this process runs the command line, and not somebody's script or notebook."""
    return Path(sys.argv[0]).stem == PROGRAM


def _joined(arguments: Sequence[str]) -> str:
    return shlex.join([printable(without_secrets(word)) for word in arguments])
