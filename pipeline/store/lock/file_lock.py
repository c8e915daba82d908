"""The writer's lock of a local store: a hidden file beside it, which ends with the process."""

from __future__ import annotations

import fcntl
import logging
import os
import time
from pathlib import Path

from terralatent.catalogs.errors import InputError
from terralatent.pipeline.store.lock.run_note import (
    Run,
    content,
    decode_run,
    has_writer,
    lies_at,
    lock_file,
)
from terralatent.pipeline.store.storage import local_path

__all__ = ["FileLock"]

log = logging.getLogger(__name__)

PATIENCE_S, PAUSE_S = 10.0, 0.001
"""How long, and how often, a lock is tried that is held by those alone who read the note."""


class FileLock:
    """The lock of one store; not taken yet.

    Args:
        store: Path of the store. Icechunk wants its folder for itself, so the file lies beside it.

    Raises:
        InputError: If ``store`` is a file.
    """

    def __init__(self, store: str | Path) -> None:
        path, name = local_path(store), lock_file(store)
        assert path is not None
        assert name is not None
        if path.exists() and not path.is_dir():
            raise InputError(f"{path} is a file; a store is a folder. Choose another --out.")
        self._store, self._name = path, name

    def claim(self) -> bytes:
        """Take the lock.

        Returns:
            What an earlier run left, where it was cut short.

        Raises:
            InputError: If another process holds it, or if nothing can be written beside the store.
        """
        try:
            self._name.parent.mkdir(parents=True, exist_ok=True)
            self._file = self._locked()
        except OSError as error:
            raise InputError(
                f"{self._store} cannot be written: {error.strerror or error}. Choose another --out."
            ) from error
        return content(self._file)

    def keep(self, note: bytes, *, now: bool = False) -> None:
        """Replace what the file holds; a reader that sees half of it knows by the checksum."""
        try:
            os.pwrite(self._file, note, 0)
            os.ftruncate(self._file, len(note))
        except OSError as error:  # a full disk: what stops the run is for the run to say
            log.debug("cannot tell how far the run is: %s", error)

    def require(self) -> None:
        """Check that the lock is still held, as it is until this process ends."""

    def release(self, left: bytes) -> None:
        """Let go, and leave a note of a run that was cut short, or nothing."""
        if left:
            self.keep(left)
        else:
            self._name.unlink(missing_ok=True)
        os.close(self._file)

    def _locked(self) -> int:
        """Lock the file and return its descriptor."""
        until = time.monotonic() + PATIENCE_S
        while True:
            lock = os.open(self._name, os.O_RDWR | os.O_CREAT, 0o644)
            if _is_ours(lock):
                # The last writer may have removed the file between our opening and locking it.
                if lies_at(self._name, lock):
                    return lock
            elif has_writer(lock):
                told = decode_run(content(lock))
                os.close(lock)
                who = Run(going=True, **(told or {})).who
                raise InputError(
                    f"{self._store} is being written by {who}; wait until it ends, or end it."
                )
            elif time.monotonic() > until:
                os.close(lock)
                raise InputError(
                    f"{self._store} cannot be locked: for {PATIENCE_S:g} s some process has been "
                    f"reading {self._name}; end it."
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
