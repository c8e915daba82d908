"""The seam between work that takes long and whoever shows how far it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

__all__ = ["Progress", "Silent", "counting"]


class Progress(Protocol):
    """Is told how far one long job is. Called from one thread; cheap enough to call at every step.

    One object may be started and closed several times, once for each stage of a job.
    """

    def start(self, total: int, title: str) -> None:
        """Begin a stage of ``total`` units (blocks, steps, scenes), named ``title``."""

    def advance(self, n: int = 1, **fields: float | str) -> None:
        """Count ``n`` more units as done; ``fields``, such as ``loss=1.2``, are shown with them."""

    def close(self) -> None:
        """End the stage, finished or not. Closing twice does nothing."""


class Silent:
    """Shows nothing: what every function takes where no :class:`Progress` is given."""

    def start(self, total: int, title: str) -> None:
        """Do nothing."""

    def advance(self, n: int = 1, **fields: float | str) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


def counting(progress: Progress, title: str) -> Callable[[int, int], None]:
    """Return what tells ``progress`` of counts and totals: ``told(done, total)``.

    For work that knows nothing of :class:`Progress`. The stage begins with the first call.
    """
    before: list[int] = []

    def told(done: int, total: int) -> None:
        if not before:
            progress.start(total, title)
        progress.advance(done - sum(before))
        before.append(done - sum(before))

    return told
