"""Where the time of a process goes: every instant is shared among what its threads are at.

Stages may nest, run in several threads at once, and be waited for in coroutines. What they come to
adds up to the time that passed, however much of it overlaps.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from typing import Any

__all__ = ["IDLE", "Split", "Stopwatch"]

IDLE = "idle"
"""The stage of an instant in which nothing is timed."""


@dataclass(frozen=True)
class Split:
    """What a process did in a time."""

    elapsed: float
    """How long it was, seconds."""

    cpu: float
    """CPU time of the process in it, seconds."""

    seconds: dict[str, float]
    """Of each stage; they add up to :attr:`elapsed`."""

    cpu_seconds: dict[str, float]
    """CPU time of each stage that runs in a thread, without that of stages within it."""


class Stopwatch:
    """Counts seconds for stages.

    An instant is divided evenly among the stages that threads compute in. Only one in which none
    computes goes to a stage that waits: so what is waited for beside a computation costs nothing.

    Args:
        waits: The stages in which a thread waits for others; of two, the first counts.
    """

    def __init__(self, waits: Sequence[str] = ()) -> None:
        self._lock, self._threads, self._waits = threading.Lock(), threading.local(), tuple(waits)
        self._at: Counter[str] = Counter()
        self.begin()

    def begin(self) -> None:
        """Forget what was counted."""
        with self._lock:
            self._seconds: Counter[str] = Counter()
            self._cpu: Counter[str] = Counter()
            self._begun = self._last = time.perf_counter()
            self._cpu_begun = time.process_time()

    def split(self) -> Split:
        """What was counted since :meth:`begin`; CPU time of stages still open is left out."""
        with self._lock:
            self._share_out()
            cpu = time.process_time() - self._cpu_begun
            return Split(self._last - self._begun, cpu, dict(self._seconds), dict(self._cpu))

    @contextmanager
    def timing(self, stage: str) -> Iterator[None]:
        """Count the time of a ``with`` block of this thread for ``stage``, and for no outer one."""
        stack: list[str] = self._threads.__dict__.setdefault("stack", [])
        self._turn(stack[-1] if stack else None, stage)
        stack.append(stage)
        try:
            yield
        finally:
            stack.pop()
            self._turn(stage, stack[-1] if stack else None)

    @contextmanager
    def waiting(self, stage: str) -> Iterator[None]:
        """Count the time of a ``with`` block of a coroutine; many may be open in one thread."""
        with self._lock:
            self._share_out()
            self._at[stage] += 1
        try:
            yield
        finally:
            with self._lock:
                self._share_out()
                self._at[stage] -= 1

    def timed(self, function: Callable[..., Any], stage: str) -> Callable[..., Any]:
        """A function that is timed whenever it is called."""

        @wraps(function)
        def call(*args: Any, **options: Any) -> Any:
            with self.timing(stage):
                return function(*args, **options)

        return call

    def awaited(
        self, function: Callable[..., Awaitable[Any]], stage: str
    ) -> Callable[..., Awaitable[Any]]:
        """A coroutine function that is timed whenever it is awaited."""

        @wraps(function)
        async def call(*args: Any, **options: Any) -> Any:
            with self.waiting(stage):
                return await function(*args, **options)

        return call

    def _turn(self, left: str | None, entered: str | None) -> None:
        """Let this thread go from one stage to another."""
        cpu = time.thread_time()
        with self._lock:
            self._share_out()
            if left is not None:
                self._at[left] -= 1
                self._cpu[left] += cpu - self._threads.since
            if entered is not None:
                self._at[entered] += 1
        self._threads.since = cpu

    def _share_out(self) -> None:
        """Divide the time since the last change among those who were at it."""
        now = time.perf_counter()
        passed, self._last = now - self._last, now
        at = {stage: count for stage, count in self._at.items() if count}
        computing = {stage: count for stage, count in at.items() if stage not in self._waits}
        if not computing:
            first = next((stage for stage in self._waits if stage in at), IDLE)
            computing = {first: 1}
        for stage, count in computing.items():
            self._seconds[stage] += passed * count / sum(computing.values())
