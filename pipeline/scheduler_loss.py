"""A Dask scheduler that is lost, told in one line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from distributed.comm import CommClosedError

from terralatent.catalogs.errors import InputError

__all__ = ["lost_scheduler", "telling_lost_scheduler"]

UNREACHED = "Timed out trying to connect to "
"""How the plain OSError begins that Dask raises where it cannot connect."""


def lost_scheduler(reason: str) -> InputError:
    """Return the error that ends a run without a scheduler."""
    return InputError(
        f"The Dask scheduler is lost ({reason}); what is done is kept. Start it again, then this "
        "too."
    )


@contextmanager
def telling_lost_scheduler() -> Iterator[None]:
    """Tell so wherever inside a ``with`` block the connection to it breaks.

    Raises:
        InputError: If it does.
    """
    try:
        yield
    except OSError as error:
        if isinstance(error, CommClosedError) or str(error).startswith(UNREACHED):
            raise lost_scheduler("it does not answer") from error
        raise
