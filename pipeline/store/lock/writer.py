"""A store's one writer: its lock, and what it tells there of how far it is."""

from __future__ import annotations

import os
import platform
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from terralatent.catalogs.errors import InputError
from terralatent.pipeline.command import command_line
from terralatent.pipeline.progress import Progress, Silent
from terralatent.pipeline.store.lock.file_lock import FileLock
from terralatent.pipeline.store.lock.lease import Lease
from terralatent.pipeline.store.lock.run_note import Run, decode_run, encode_run, iso
from terralatent.pipeline.store.storage import is_url

__all__ = ["Writer", "writer_lock"]

EVERY_S = 1.0
"""How often what is new is told."""


@contextmanager
def writer_lock(store: str | Path) -> Iterator[Writer]:
    """Be the one writer of ``store`` for the time of a ``with`` block.

    The lock of a local store is a file beside it and ends with the process, however that ends, see
    :mod:`terralatent.pipeline.store.lock.file_lock`; that of a URL is an object beside it which is
    renewed, see :mod:`terralatent.pipeline.store.lock.lease`. It is removed when the block ends
    well. If it ends otherwise once work has begun, it stays and says how far it was, and so does
    that of a process that is killed; the next writer takes it over.

    Yields:
        What tells others how far this run is, see
        :func:`terralatent.pipeline.store.lock.run_note.read_run`.

    Raises:
        InputError: If another process is writing, if ``store`` is a file, or if nothing can be
            written beside it.
    """
    lock = Lease(str(store)) if is_url(store) else FileLock(store)
    last = lock.claim()
    # A run that is refused leaves what an earlier one said of itself.
    left = last if decode_run(last) else b""
    try:
        writer = Writer(lock)
        try:
            yield writer
            left = b""
        except BaseException as error:
            if writer.began or not isinstance(error, Exception):
                left = encode_run(writer.cut_short(error))
            raise
        finally:
            writer.stop()
    finally:
        lock.release(left)


class Writer:
    """Tells in the lock how far this run is. Cheap: what is new is written once a second.

    Args:
        lock: The lock of the store, which is held.
    """

    def __init__(self, lock: FileLock | Lease) -> None:
        self._lock = lock
        self._run = Run(
            going=True,
            pid=os.getpid(),
            host=platform.node(),
            command=command_line(),
            folder=os.getcwd(),
            started=iso(),
            updated=iso(),
        )
        self._told: Run | None = None
        self._writing = threading.Lock()
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None
        self._begun = 0.0
        self._paced_from: tuple[float, int] | None = None
        self._tell()

    @property
    def began(self) -> bool:
        """Whether a stage was begun."""
        return bool(self._run.stage)

    def telling(self, progress: Progress | None) -> Progress:
        """Return a progress that is told here, and passes on to ``progress`` what it is told."""
        return _Told(self, progress or Silent())

    def begin(self, total: int, title: str) -> None:
        """Tell at once that a stage begins."""
        self._begun, self._paced_from = time.monotonic(), None
        self._run = replace(
            self._run, stage=title, done=0, total=total, rate=None, fields={}, updated=iso()
        )
        self._tell()
        if self._thread is None:
            self._thread = threading.Thread(target=self._keep_telling, daemon=True)
            self._thread.start()

    def count(self, n: int, fields: dict[str, float | str]) -> None:
        """Note that ``n`` more units are done; it is told within seconds.

        Raises:
            InputError: If another run has taken the store over.
        """
        self._lock.require()
        run = self._run
        self._run = replace(run, done=run.done + n, fields={**run.fields, **fields}, updated=iso())

    def cut_short(self, error: BaseException) -> Run:
        """What to leave of this run where ``error`` ends it."""
        why = " ".join(str(error).split())
        named = type(error).__name__
        if isinstance(error, KeyboardInterrupt):
            why = "interrupted"
        elif not isinstance(error, InputError):
            why = f"{named}: {why}" if why else named
        return replace(self._run, ended=why, updated=iso())

    def tell(self, *, now: bool = True) -> None:
        """Tell what is new, at once or with the lock's next sign of life."""
        if self._run is not self._told:
            self._tell(now=now)

    def stop(self) -> None:
        """Tell nothing any more."""
        self._stopped.set()
        if self._thread is not None:
            self._thread.join()

    def _keep_telling(self) -> None:
        while not self._stopped.wait(EVERY_S):
            self.tell(now=False)

    def _tell(self, *, now: bool = True) -> None:
        with self._writing:
            self._told = self._run
            self._lock.keep(encode_run(replace(self._told, rate=self._rate(self._told))), now=now)

    def _rate(self, run: Run) -> float | None:
        """Units a second since the first second of the stage.

        What is counted within that second was done by an earlier run, or took a start-up's time.
        """
        now = time.monotonic()
        if self._paced_from is None:
            if run.done and now - self._begun >= EVERY_S:
                self._paced_from = (now, run.done)
            return None
        since, before = self._paced_from
        return (run.done - before) / (now - since) if run.done > before else None


class _Told:
    """A progress that is told in the lock too."""

    def __init__(self, writer: Writer, progress: Progress) -> None:
        self._writer = writer
        self._progress = progress

    def start(self, total: int, title: str) -> None:
        self._writer.begin(total, title)
        self._progress.start(total, title)

    def advance(self, n: int = 1, **fields: float | str) -> None:
        self._writer.count(n, fields)
        self._progress.advance(n, **fields)

    def close(self) -> None:
        self._writer.tell()
        self._progress.close()
