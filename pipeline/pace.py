"""How fast work goes, over the recent past."""

from __future__ import annotations

import time
from collections import deque

__all__ = ["Pace"]

RECENT_S = 300.0
"""Over how long a pace is taken: long enough that blocks which take a minute do not make it jump.
"""


class Pace:
    """Counts units as they are done. What an earlier run did is none of them.

    It begins when it is made: until the recent past is over, what a run takes to start counts too.
    """

    def __init__(self) -> None:
        self._marks = deque([(time.monotonic(), 0)])
        """Moments, and what was done by then; the first lies before the recent past."""

    def add(self, n: int) -> float:
        """Count ``n`` more units; gives the units a second over the recent past."""
        now = time.monotonic()
        self._marks.append((now, self._marks[-1][1] + n))
        while len(self._marks) > 2 and self._marks[1][0] <= now - RECENT_S:
            self._marks.popleft()
        since, before = self._marks[0]
        return (self._marks[-1][1] - before) / max(now - since, 1e-9)
