"""The command line of this process, as somebody could type it again."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

__all__ = ["PROGRAM", "command_line"]

PROGRAM = "terralatent"
"""What the command line's program is called."""


def command_line(arguments: Sequence[str] | None = None) -> str:
    """The command that runs in this process, quoted for a shell.

    Args:
        arguments: Of the program ``terralatent``; by default this process's own, and where this is
            another program (a script, a notebook) its whole command line.
    """
    if arguments is None:
        if Path(sys.argv[0]).stem != PROGRAM:
            return shlex.join(sys.orig_argv)
        arguments = sys.argv[1:]
    return shlex.join([PROGRAM, *arguments])
