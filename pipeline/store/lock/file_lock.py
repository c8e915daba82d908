"""The writer's lock of a local store: a hidden file beside it, which ends with the process.

The run of its holder is noted in a second file, which is replaced as a whole. A note beside a lock
that nobody holds is that of a run that was cut short.
"""

from __future__ import annotations

import fcntl
import logging
import os
import time
from dataclasses import replace
from pathlib import Path

import filelock

from terralatent.catalogs.errors import InputError
from terralatent.pipeline.store.lock.run_note import Run, decode_run, encode_run

__all__ = ["FileLock", "lock_file", "note_file", "noted_run"]

log = logging.getLogger(__name__)

PATIENCE_S, PAUSE_S = 10.0, 0.001
"""How long, and how often, a lock is tried that is held by those alone who check for a writer."""

TRIES = 20
"""How often a note is read that is just being made or removed."""


class FileLock:
    """The lock of one store; not taken yet.

    Args:
        path: Where the store lies. Icechunk wants its folder for itself, so the files lie beside.

    Raises:
        InputError: If ``path`` is a file.
    """

    def __init__(self, path: Path) -> None:
        if path.exists() and not path.is_dir():
            raise InputError(f"{path} is a file; a store is a folder. Choose another out=.")
        self._path, self._file, self._note = path, lock_file(path), note_file(path)
        self._next_note = self._note.with_suffix(".new")
        self._lock = filelock.FileLock(self._file, thread_local=False, fallback_to_soft=False)

    def claim(self) -> Run | None:
        """Take the lock.

        Returns:
            An earlier run that was cut short.

        Raises:
            InputError: If another process holds it, or if nothing can be written beside the store.
        """
        try:
            self._lock.acquire(
                PATIENCE_S, poll_interval=PAUSE_S, cancel_check=lambda: has_writer(self._file)
            )
        except filelock.Timeout:
            raise self._refusal() from None
        except OSError as error:
            raise InputError(
                f"{self._path} cannot be written: {error.strerror or error}. Choose another out=."
            ) from error
        return _read(self._note)

    def keep(self, run: Run, *, now: bool = False) -> None:
        """Replace the note."""
        try:
            self._next_note.write_bytes(encode_run(run))
            os.replace(self._next_note, self._note)
        except OSError as error:  # a full disk: what stops the run is for the run to say
            log.debug("cannot note how far the run is: %s", error)

    def require(self) -> None:
        """Check that the lock is still held, as it is until this process ends."""

    def release(self, left: Run | None) -> None:
        """Let go, and leave the note of a run that was cut short, or nothing."""
        if left is not None:
            self.keep(left)
        else:
            self._note.unlink(missing_ok=True)
        self._next_note.unlink(missing_ok=True)
        self._file.unlink(missing_ok=True)  # whoever waits for it sees that it is gone
        self._lock.release()

    def _refusal(self) -> InputError:
        run = noted_run(self._path)
        if run is None or not run.going:
            return InputError(
                f"{self._path} cannot be locked: for {PATIENCE_S:g} s some process has been "
                f"reading {self._file}; end it."
            )
        return InputError(
            f"{self._path} is being written by {run.who}; wait until it ends, or end it."
        )


def noted_run(path: Path) -> Run | None:
    """How far the run is that writes the local store at ``path``, or that was cut short.

    Makes and removes nothing, and stands in no writer's way, see :func:`has_writer`.
    """
    file, note = lock_file(path), note_file(path)
    for _ in range(TRIES):
        run = _read(note)
        if has_writer(file):
            if run is not None:
                return run
        elif _read(note) == run:  # else its writer has ended meanwhile
            return run and replace(run, going=False)
        time.sleep(PAUSE_S)
    return Run(going=True)


def has_writer(file: Path) -> bool:
    """Whether somebody holds the lock of ``file`` as its writer.

    A shared lock is taken for an instant to find out. A writer that comes in that instant cannot
    take its own, but does have a shared one beside it: so it knows that it only has to try again.
    """
    try:
        descriptor = os.open(file, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def lock_file(path: Path) -> Path:
    """The file that the writer of the store at ``path`` locks. Links lead to one file."""
    path = path.resolve()
    return path.parent / f".{path.name}.lock"


def note_file(path: Path) -> Path:
    """The file in which the writer of the store at ``path`` notes how far it is."""
    path = path.resolve()
    return path.parent / f".{path.name}.run.json"


def _read(note: Path) -> Run | None:
    try:
        return decode_run(note.read_bytes())
    except OSError:
        return None
