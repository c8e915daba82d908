"""What a user's mistake is called."""

from __future__ import annotations

from terralatent.catalogs.hrefs import without_secrets
from terralatent.catalogs.printable import printable

__all__ = ["InputError"]


class InputError(ValueError):
    """Something the user gave cannot be used: a region, a date, a source, an output that is taken.

    The text is one line that says what was found, what was wanted, where, and what to do. The
    command line prints it as it is and exits with :attr:`exit_code`. Nothing stored has been
    changed.
    """

    exit_code = 2

    def __init__(self, message: str) -> None:
        # The words of servers and of others' files end up in it.
        super().__init__(without_secrets(printable(" ".join(message.split()))))
