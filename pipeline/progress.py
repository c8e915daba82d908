"""The seam between work that takes long and whoever shows how far it is."""

from __future__ import annotations

from typing import Protocol

__all__ = ["Progress", "Silent"]


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
