"""The end of a process that has read or written stores, whose library has threads of its own."""

from __future__ import annotations

import sys
import threading
import time

__all__ = ["wait_for_foreign_threads"]

WITHIN_S = 3.0
"""How long is waited at most: each thread has a line or two of Python left to run."""

PAUSE_S = 0.001


def wait_for_foreign_threads() -> None:
    """Wait until no thread that Python did not start runs Python code.

    Icechunk hands a result to zarr's event loop from a thread of its own, and the caller may have
    it, and end, while that thread is still on its way back. Before Python 3.14 an interpreter that
    is ending stops such a thread in the midst of Rust, which aborts the process: exit code 134
    after all was done.
    """
    end = time.monotonic() + WITHIN_S
    while _foreign() and time.monotonic() < end:
        time.sleep(PAUSE_S)


def _foreign() -> set[int]:
    """Numbers of the threads that run Python code and that Python did not start."""
    known = {thread.ident for thread in threading.enumerate()}
    return {number for number in sys._current_frames() if number not in known}
