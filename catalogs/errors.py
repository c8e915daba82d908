"""What a user's mistake is called, and how a notebook shows it."""

from __future__ import annotations

import re
import traceback
from itertools import dropwhile, takewhile
from types import FrameType

from terralatent.catalogs.hrefs import without_secrets
from terralatent.catalogs.printable import printable

__all__ = ["InputError"]


_CELL = re.compile(r'File "[^"]*(?:ipykernel_\d+[/\\]|<ipython-input-)[^"]*"')
"""What frames of a notebook's cell say of their file, which nobody has seen."""


class InputError(ValueError):
    """Something the user gave cannot be used: a region, a date, a source, an output that is taken.

    The text is one line that says what was found, what was wanted, where, and what to do. The
    command line prints it as it is, with arguments as options, and exits with :attr:`exit_code`; a
    notebook shows it above the user's own lines that led to it. Nothing stored has been changed.

    Examples:
        >>> import terralatent as tl
        >>> try:
        ...     tl.open_cube("nowhere")
        ... except tl.InputError as error:
        ...     print(error)
        nowhere: there is no store here (neither Icechunk nor Zarr v3).
    """

    exit_code = 2

    def __init__(self, message: str) -> None:
        # The words of servers and of others' files end up in it.
        super().__init__(without_secrets(printable(" ".join(message.split()))))

    def _render_traceback_(self) -> list[str]:
        """What IPython shows instead of all frames: what is wrong, and the user's own lines."""
        frames = traceback.walk_tb(self.__traceback__)
        outside = dropwhile(lambda at: _is_of(at[0], "IPython"), frames)
        own = takewhile(lambda at: not _is_of(at[0], "terralatent"), outside)
        lines = traceback.StackSummary.extract(own).format()
        return [f"{type(self).__name__}: {self}", *(_CELL.sub("Cell", line[:-1]) for line in lines)]


def _is_of(frame: FrameType, package: str) -> bool:
    return str(frame.f_globals.get("__name__")).partition(".")[0] == package
