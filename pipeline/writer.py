"""A store's one writer: its lock, and what it tells there of how far it is."""

from __future__ import annotations

import fcntl
import logging
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
from terralatent.pipeline.runs import (
    Run,
    content,
    decode_run,
    encode_run,
    has_writer,
    iso,
    lies_at,
    lock_file,
)
from terralatent.pipeline.storage import local_path

__all__ = ["Writer", "writer_lock"]

log = logging.getLogger(__name__)

EVERY_S = 1.0
"""How often the lock file tells what is new."""

PATIENCE_S, PAUSE_S = 10.0, 0.001
"""How long, and how often, a lock is tried that is held by those alone who read the note."""


@contextmanager
def writer_lock(store: str | Path) -> Iterator[Writer]:
    """Be the one writer of ``store`` for the time of a ``with`` block.

    Local stores only: in an object store the commit itself refuses the second writer. The lock is
    a hidden file beside the store (Icechunk wants a store's folder for itself); it ends with the
    process, however that ends. The file is removed when the block ends well. If it ends otherwise
    once work has begun, the file stays and says how far it was, and so does that of a process that
    is killed; the next writer takes it over.

    Yields:
        What tells others how far this run is, see :func:`terralatent.pipeline.runs.read_run`.

    Raises:
        InputError: If another process is writing, if ``store`` is a file, or if nothing can be
            written beside it.
    """
    path, name = local_path(store), lock_file(store)
    if path is None or name is None:
        yield Writer(None)
        return
    if path.exists() and not path.is_dir():
        raise InputError(f"{path} is a file; a store is a folder. Choose another --out.")
    try:
        name.parent.mkdir(parents=True, exist_ok=True)
        lock = _locked(name, path)
    except OSError as error:
        raise InputError(
            f"{path} cannot be written: {error.strerror or error}. Choose another --out."
        ) from error
    try:
        last = content(lock)
        # A run that is refused leaves what an earlier one said of itself.
        left = last if decode_run(last) else b""
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
            if left:
                _write(lock, left)
            else:
                name.unlink(missing_ok=True)
    finally:
        os.close(lock)


class Writer:
    """Tells in the lock file how far this run is. Cheap: what is new is written once a second.

    Args:
        lock: Descriptor of the locked file; None tells nobody.
    """

    def __init__(self, lock: int | None) -> None:
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
        return (progress or Silent()) if self._lock is None else _Told(self, progress or Silent())

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
        """Note that ``n`` more units are done; it is told within a second."""
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

    def tell(self) -> None:
        """Tell at once what is new."""
        if self._run is not self._told:
            self._tell()

    def stop(self) -> None:
        """Tell nothing any more."""
        self._stopped.set()
        if self._thread is not None:
            self._thread.join()

    def _keep_telling(self) -> None:
        while not self._stopped.wait(EVERY_S):
            self.tell()

    def _tell(self) -> None:
        with self._writing:
            self._told = self._run
            if self._lock is not None:
                _write(self._lock, encode_run(replace(self._told, rate=self._rate(self._told))))

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
    """A progress that is told in the lock file too."""

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


def _locked(name: Path, store: Path) -> int:
    """Lock the file ``name`` and return its descriptor."""
    until = time.monotonic() + PATIENCE_S
    while True:
        lock = os.open(name, os.O_RDWR | os.O_CREAT, 0o644)
        if _is_ours(lock):
            # The last writer may have removed the file between our opening and locking it.
            if lies_at(name, lock):
                return lock
        elif has_writer(lock):
            told = decode_run(content(lock))
            os.close(lock)
            who = Run(going=True, **(told or {})).who
            raise InputError(f"{store} is being written by {who}; wait until it ends, or end it.")
        elif time.monotonic() > until:
            os.close(lock)
            raise InputError(
                f"{store} cannot be locked: for {PATIENCE_S:g} s some process has been reading "
                f"{name}; end it."
            )
        os.close(lock)
        time.sleep(PAUSE_S)


def _is_ours(lock: int) -> bool:
    """Try to become the one who holds the lock: not beside another writer, nor beside a reader."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _write(lock: int, line: bytes) -> None:
    """Replace what the file holds; a reader that sees half of it knows by the checksum."""
    try:
        os.pwrite(lock, line, 0)
        os.ftruncate(lock, len(line))
    except OSError as error:  # a full disk: what stops the run is for the run to say
        log.debug("cannot tell how far the run is: %s", error)
