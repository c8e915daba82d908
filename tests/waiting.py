"""Tests wait for what is to happen, however long a busy machine takes, and no test for a time."""

import time
from collections.abc import Callable

WITHIN_S = 600.0
"""Where a test would wait for ever: a ceiling that costs nothing unless something is broken, and
that ten times as many processes as processors do not reach."""


def until(happens: Callable[[], object], what: str = "what was to happen") -> None:
    """Wait for what no process reports."""
    end = time.monotonic() + WITHIN_S
    while not happens():
        assert time.monotonic() < end, f"waited {WITHIN_S} s for {what}"
        time.sleep(0.01)
