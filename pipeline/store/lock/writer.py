"""A store's one writer: its lock, and the note there of how far it is."""

from __future__ import annotations

import os
import platform
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from terralatent.catalogs.enclosing_store import refuse_inside_store
from terralatent.catalogs.errors import InputError
from terralatent.pipeline.progress import Progress, Silent, StageRate
from terralatent.pipeline.store.location import Place, locate
from terralatent.pipeline.store.lock.file_lock import FileLock, noted_run
from terralatent.pipeline.store.lock.lease import Lease, leased_run
from terralatent.pipeline.store.lock.run_note import Run, iso

__all__ = ["Writer", "read_run", "writer_lock"]

EVERY_S = 1.0
"""How often what is new is noted."""


def read_run(location: str | Path | Place) -> Run | None:
    """How far the run is that writes a store, or that was cut short; None if there is none.

    Changes nothing and stands in no writer's way.

    Raises:
        InputError: If the store lies in an object store that cannot be used.
    """
    location = location if isinstance(location, Place) else locate(location)
    return leased_run(location) if isinstance(location, Place) else noted_run(location)


@contextmanager
def writer_lock(location: str | Path | Place, command: str = "") -> Iterator[Writer]:
    """Be the one writer of a store for the time of a ``with`` block.

    The lock of a local store is a file beside it and ends with the process, however that ends, see
    :mod:`terralatent.pipeline.store.lock.file_lock`; that of a URL is an object beside it which is
    renewed, see :mod:`terralatent.pipeline.store.lock.lease`. It is removed when the block ends
    well. If it ends otherwise once work has begun, a note stays that says how far it was, and so
    does that of a process that is killed; the next writer takes it over.

    Args:
        location: Where the store lies: a path, a URL, or what was parsed of it.
        command: What runs, as somebody could type it again, for who reads the note.

    Yields:
        What notes how far this run is, see :func:`read_run`.

    Raises:
        InputError: If another process is writing, if a file lies there, if nothing can be written
            beside it, or if a new store would lie inside another one.
    """
    location = location if isinstance(location, Place) else locate(location)
    if isinstance(location, Path) and not location.exists():
        refuse_inside_store(location)
    lock = Lease(location) if isinstance(location, Place) else FileLock(location)
    left = lock.claim()  # a run that is refused leaves what an earlier one said of itself
    try:
        writer = Writer(lock, command)
        try:
            yield writer
            left = None
        except BaseException as error:
            if writer.began or not isinstance(error, Exception):
                left = writer.cut_short(error)
            raise
        finally:
            writer.stop()
    finally:
        lock.release(left)


class Writer:
    """Notes how far this run is. Cheap: what is new is written once a second.

    Args:
        lock: The lock of the store, which is held.
        command: What runs.
    """

    def __init__(self, lock: FileLock | Lease, command: str) -> None:
        self._lock = lock
        self._run = Run(
            going=True,
            pid=os.getpid(),
            host=platform.node(),
            command=command,
            folder=os.getcwd(),
            started=iso(),
            updated=iso(),
        )
        self._noted: Run | None = None
        self._writing = threading.Lock()
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None
        self._rate = StageRate()
        self._write()

    @property
    def began(self) -> bool:
        """Whether a stage was begun."""
        return bool(self._run.stage)

    def tee(self, progress: Progress | None) -> Progress:
        """Return a progress that is noted here, and passed on to ``progress``."""
        return _Tee(self, progress or Silent())

    def begin(self, total: int, title: str) -> None:
        """Note at once that a stage begins."""
        self._rate = StageRate()
        self._run = replace(
            self._run, stage=title, done=0, total=total, rate=None, fields={}, updated=iso()
        )
        self._write()
        if self._thread is None:
            self._thread = threading.Thread(target=self._keep_noting, daemon=True)
            self._thread.start()

    def count(self, n: int, fields: dict[str, float | str]) -> None:
        """Note that ``n`` more units are done; it is written within seconds.

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

    def note(self, *, now: bool = True) -> None:
        """Write what is new, at once or with the lock's next sign of life."""
        if self._run is not self._noted:
            self._write(now=now)

    def stop(self) -> None:
        """Note nothing any more."""
        self._stopped.set()
        if self._thread is not None:
            self._thread.join()

    def _keep_noting(self) -> None:
        while not self._stopped.wait(EVERY_S):
            self.note(now=False)

    def _write(self, *, now: bool = True) -> None:
        with self._writing:
            self._noted = self._run
            self._lock.keep(replace(self._noted, rate=self._rate.at(self._noted.done)), now=now)


class _Tee:
    """A progress that is noted beside the lock too."""

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
        self._writer.note()
        self._progress.close()
