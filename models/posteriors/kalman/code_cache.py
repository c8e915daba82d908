"""Where compiled code is kept between processes: a folder of this user's own, or none.

What lies there is executed, so a folder that another user owns or may write to is refused: for the
text that is compiled, and for what numba keeps of it, in a folder beside or elsewhere.
"""

import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path


def cache_folder() -> Path | None:
    """Return the first folder that can be used, made where it is missing; None if there is none.

    The first of: ``NUMBA_CACHE_DIR``, ``XDG_CACHE_HOME``, the home's ``.cache``, and, where they
    are read-only as on many clusters, a private folder among the temporary files.
    """
    return next((folder for folder in _candidates() if is_ours(folder)), None)


def keep_text(path: Path, text: str) -> Path:
    """Have ``text`` at ``path``, whole whenever it is there; many processes may do so at once."""
    try:
        if path.read_text() == text:
            return path
    except (OSError, UnicodeDecodeError):
        pass
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.stem, suffix=".partial")
    try:
        with os.fdopen(handle, "w") as file:
            file.write(text)
        # Some versions of numba take a file for another when its time is: give all one time.
        os.utime(temporary, (0, 0))
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
    return path


def _candidates() -> Iterator[Path]:
    if os.environ.get("NUMBA_CACHE_DIR"):
        yield Path(os.environ["NUMBA_CACHE_DIR"], "terralatent")
    if os.environ.get("XDG_CACHE_HOME"):
        yield Path(os.environ["XDG_CACHE_HOME"], "terralatent", "compiled")
    yield Path(os.path.expanduser("~"), ".cache", "terralatent", "compiled")
    yield Path(tempfile.gettempdir(), f"terralatent-{os.getuid()}")


def is_ours(folder: Path) -> bool:
    """Whether only this user can write to a folder; makes it."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
        about = folder.lstat()
        if not stat.S_ISDIR(about.st_mode) or about.st_uid != os.getuid():
            return False
        if about.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            return False
        tempfile.TemporaryFile(dir=folder).close()
    except OSError:
        return False
    return True
