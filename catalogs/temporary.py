"""Folders among the temporary files that do not outlive their process, however that ends."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

__all__ = ["temporary_folder"]

LOCK = ".lock"
"""File in each of them that is locked for as long as its process lives."""


@contextmanager
def temporary_folder(prefix: str, base: str | Path | None = None) -> Iterator[Path]:
    """Yield a folder of this user alone (mode 0700), gone when the ``with`` block ends.

    What a process that was killed has left is removed by the next that asks for the same prefix:
    its lock is free, which no living one's is.

    Args:
        prefix: Of its name.
        base: Where it lies; among the temporary files by default.

    Raises:
        OSError: If it cannot be made.
    """
    base = Path(base or tempfile.gettempdir())
    _remove_dead(base, prefix)
    # Under its name only once it is locked: else another process might take it for a dead one's.
    made = Path(tempfile.mkdtemp(prefix=f".{prefix}", dir=base))
    folder = base / made.name.removeprefix(".")
    lock = FileLock(made / LOCK)
    try:
        lock.acquire(timeout=0)
        made.rename(folder)
        yield folder
    finally:
        shutil.rmtree(made, ignore_errors=True)
        shutil.rmtree(folder, ignore_errors=True)
        with suppress(OSError):
            lock.release()


def _remove_dead(base: Path, prefix: str) -> None:
    for folder in base.glob(f"{prefix}*"):
        with suppress(OSError, Timeout):
            if folder.is_symlink() or folder.lstat().st_uid != os.getuid():
                continue  # of another user, or a trap
            if (folder / LOCK).is_file():
                with FileLock(folder / LOCK).acquire(timeout=0):
                    shutil.rmtree(folder, ignore_errors=True)
