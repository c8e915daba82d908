"""Ctrl-C: let through where work is only waited for, held back where it would break something."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any

__all__ = ["Interrupts", "deaf_threads", "ended_by", "uninterrupted"]

HELD = (signal.SIGINT, signal.SIGTERM)
"""What is held back, where Python has a handler for it: by default for Ctrl-C alone."""

PATIENCE_S = 15.0
"""How long an interrupt is held back at most: if something hangs, the next Ctrl-C ends it."""


_THREAD = threading.local()
"""What ends the work of a thread."""


class Interrupts:
    """Holds Ctrl-C back for the time of a ``with`` block, and raises KeyboardInterrupt at its end.

    However often Ctrl-C is pressed meanwhile, nothing inside is broken in two, except where
    :meth:`let_through` says so, or :data:`PATIENCE_S` after the first one. SIGTERM is held back
    alike where it is made to raise KeyboardInterrupt, as on the command line.

    Blocks may be nested: the outer one decides. Outside the main thread, where no signal arrives,
    it hears what :func:`ended_by` names, or nothing. Nor does it where signals are ignored, as
    under ``nohup``.
    """

    def __init__(self) -> None:
        self._before: dict[signal.Signals, Any] = {}
        self._first: float | None = None
        self._open = False
        self._end: threading.Event | None = getattr(_THREAD, "end", None)

    def heard(self) -> bool:
        """Whether Ctrl-C was pressed and is held back."""
        return self._first is not None or (self._end is not None and self._end.is_set())

    def __enter__(self) -> Interrupts:
        if threading.current_thread() is threading.main_thread():
            handlers = {number: signal.getsignal(number) for number in HELD}
            self._before = {n: handler for n, handler in handlers.items() if callable(handler)}
            for number in self._before:
                signal.signal(number, self._hear)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if self.heard() and error is None:
            raise KeyboardInterrupt

    @contextmanager
    def let_through(self) -> Iterator[None]:
        """Raise KeyboardInterrupt inside this block at once, also what was held back before."""
        self._open = True
        try:
            if self.heard():
                raise KeyboardInterrupt
            yield
        finally:
            self._open = False

    def _hear(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self._open or (self._first is not None and now - self._first > PATIENCE_S):
            self._open = False
            self._before[signal.Signals(number)](number, frame)
        elif self._first is None:
            self._first = now


@contextmanager
def ended_by(end: threading.Event) -> Iterator[None]:
    """Let every :class:`Interrupts` that this thread makes inside the block hear ``end`` as Ctrl-C.

    For threads that work for another one, which hears Ctrl-C and passes it on so.
    """
    _THREAD.end = end
    try:
        yield
    finally:
        del _THREAD.end


def uninterrupted() -> Interrupts:
    """Shield a ``with`` block from Ctrl-C: it is done to its end, and interrupted only then."""
    return Interrupts()


@contextmanager
def deaf_threads() -> Iterator[None]:
    """Let threads that are started inside this block, and processes these start, miss Ctrl-C.

    A terminal sends Ctrl-C to every process of a command. Workers that hear it die in the middle of
    a task, and say so at length; those that do not are ended by whom they work for.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
