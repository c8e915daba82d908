"""Progress on standard error as JSON, beside the bar of :mod:`terralatent.pipeline.bars`."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["Events"]

EVENT_EVERY_S = 1.0
"""How often it is written as JSON."""


class Events:
    """A :class:`~terralatent.pipeline.progress.Progress` written as events, one a second at most.

    Args:
        write: Writes one event: ``stage``, ``done``, ``total`` and ``fields``.
    """

    def __init__(self, write: Callable[[Mapping[str, Any]], None]) -> None:
        self._write = write
        self._event: dict[str, Any] | None = None
        self._written = 0.0
        self._changed = False

    def start(self, total: int, title: str) -> None:
        """Write that a stage begins."""
        self.close()
        self._event = {"stage": title, "done": 0, "total": total, "fields": {}}
        self._put()

    def advance(self, n: int = 1, **fields: float | str) -> None:
        """Count ``n`` more units; ``fields`` stay with the events until they change."""
        if self._event is None:
            return
        self._event["done"] += n
        self._event["fields"] = {**self._event["fields"], **fields}
        self._changed = True
        if time.monotonic() - self._written > EVENT_EVERY_S:
            self._put()

    def close(self) -> None:
        """Write what was not written yet."""
        if self._changed:
            self._put()
        self._event = None

    def _put(self) -> None:
        assert self._event is not None
        self._write(self._event)
        self._written, self._changed = time.monotonic(), False
