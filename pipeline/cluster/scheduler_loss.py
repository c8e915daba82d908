"""A Dask scheduler that is lost: recognised, and reported in one line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from distributed.comm import CommClosedError

from terralatent.catalogs.errors import InputError

__all__ = [
    "SchedulerLostError",
    "is_scheduler_loss",
    "lost_scheduler",
    "translated_scheduler_loss",
]

# Two of the errors are of no class of their own and are known by their text alone, which tests
# provoke from the libraries that are installed.
UNREACHED = "Timed out trying to connect to "
"""How the plain OSError begins that Dask raises where it cannot connect."""

CLOSED_TWICE = "Cannot change state of expiring Timeout"
"""How asyncio's RuntimeError begins where a connection of Dask's pool breaks while it is opened."""


class SchedulerLostError(InputError):
    """The connection to the scheduler broke: no work that needs it can go on."""


def is_scheduler_loss(error: BaseException) -> bool:
    """Whether an error of Dask says that the connection to the scheduler broke."""
    if isinstance(error, OSError):
        return isinstance(error, CommClosedError) or str(error).startswith(UNREACHED)
    return isinstance(error, RuntimeError) and str(error).startswith(CLOSED_TWICE)


def lost_scheduler(reason: str) -> SchedulerLostError:
    """Return the error that ends a run without a scheduler."""
    return SchedulerLostError(
        f"The Dask scheduler is lost ({reason}); what is done is kept. Start it again, then this "
        "too."
    )


@contextmanager
def translated_scheduler_loss() -> Iterator[None]:
    """Translate what Dask raises inside a ``with`` block where the connection to it breaks.

    Raises:
        InputError: If it does.
    """
    try:
        yield
    except Exception as error:
        if is_scheduler_loss(error):
            raise lost_scheduler("it does not answer") from error
        raise
