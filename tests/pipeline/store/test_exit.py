"""A process that has used a store ends when the threads of its library have."""

from __future__ import annotations

import _thread
import subprocess
import sys
import threading
from pathlib import Path

from terralatent.pipeline.store.exit import wait_for_foreign_threads

ON_ITS_WAY = """
import sys, threading, time
from asyncio import selector_events
from terralatent.pipeline.store.repository import Store

wake = selector_events.BaseSelectorEventLoop._write_to_self

def lingering(loop):
    wake(loop)
    if threading.get_ident() not in {thread.ident for thread in threading.enumerate()}:
        for _ in range(1000):
            time.sleep(0.0005)

selector_events.BaseSelectorEventLoop._write_to_self = lingering
assert dict(Store.of(sys.argv[1]).group().attrs)
"""
"""Reads from a store, and ends while the thread that brought the result is still in Python."""


def test_what_is_on_its_way_aborts_no_process(cube: Path) -> None:
    ended = subprocess.run([sys.executable, "-c", ON_ITS_WAY, str(cube)], check=False)
    assert ended.returncode == 0


def test_it_waits_for_threads_that_python_did_not_start() -> None:
    """Those of ``_thread`` are as unknown to ``threading`` as those of Rust are."""
    begun, goes_on, ended = threading.Event(), threading.Event(), threading.Event()

    def foreign() -> None:
        begun.set()
        goes_on.wait()
        ended.set()

    def own() -> None:
        wait_for_foreign_threads()
        waited.append(ended.is_set())

    waited: list[bool] = []
    _thread.start_new_thread(foreign, ())
    begun.wait()
    waiting = threading.Thread(target=own)
    waiting.start()
    goes_on.set()
    waiting.join()
    assert waited == [True]
