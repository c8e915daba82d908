"""Loops that numba compiles for the CPU, kept on disk for the next process.

A loop and all that it calls are one text, which names its place in the cache by its hash. What lies
there is executed, so a folder that another user owns or may write to is refused: for the text that
is compiled, and for the native code that numba keeps of it, in a folder beside or elsewhere. A
cache that cannot be used costs the seconds to compile, never the run.
"""

from __future__ import annotations

import hashlib
import inspect
import logging
import os
import stat
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from threading import Lock
from types import FunctionType, ModuleType
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:  # it takes a second to import, which who coordinates others need not wait for
    from numba import types

__all__ = ["Loop", "cache_folder", "compiled", "is_ours", "keep_text", "source_of"]

Loop = Callable[..., Any]

IMPORTS = "from __future__ import annotations\n\nimport math\n\nimport numpy as np\n"
"""Before every text: all that loops use but for what the text itself defines."""

KEPT, NOT_KEPT = (
    "compiling for this machine, for some seconds: once, as it is kept",
    "compiling, for some seconds: each time, as there is no folder to keep it in",
)
"""What is logged where code is not in the cache, and where there is no cache."""

_logger = logging.getLogger(__name__)
_compiling = Lock()


def source_of(functions: Sequence[Callable[..., Any]]) -> str:
    """Return the text of functions, to be read at import: files may change while a process lives.

    They are the Python that numba compiles, and use nothing but numpy, math and one another.
    """
    return "\n\n".join(inspect.getsource(function) for function in functions)


@cache
def compiled(text: str, name: str, signature: tuple[types.Type, ...], stem: str) -> Loop:
    """Return a function of a text, from the cache or compiled now (seconds), once in a process.

    Args:
        text: Of functions without imports.
        name: Which of them is called from Python.
        signature: Of which types its arguments are.
        stem: What the text is called in the cache, before its hash.
    """
    text = "\n\n".join([IMPORTS, text])
    stem = f"{stem}_{hashlib.sha256(text.encode()).hexdigest()[:16]}"
    # Two threads must not compile at once, nor one meet what another has half done.
    with _compiling:
        folder = cache_folder()
        for fresh in (False, True):
            if folder is None:
                break
            try:
                loop = _loop(text, keep_text(folder / f"{stem}.py", text), name, kept=True)
                if not is_ours(Path(loop.stats.cache_path)):  # which numba chooses
                    break
                if fresh:
                    _forget(loop, stem)
                return _compiled(loop, signature, kept=True)
            except Exception as error:
                # Damage raises whatever it may, and is first compiled over; an error of our own
                # comes again below.
                _logger.warning("compiled code in %s cannot be used: %r", folder, error)
        return _compiled(_loop(text, Path(f"<{stem}>"), name, kept=False), signature, kept=False)


def _loop(text: str, path: Path, name: str, *, kept: bool) -> Any:
    """Return the dispatcher of a loop; nothing is compiled yet."""
    import numba

    module = ModuleType(path.stem)
    sys.modules[module.__name__] = module  # where numba looks when it loads what it kept
    exec(compile(text, path, "exec"), module.__dict__)
    for attribute, function in list(module.__dict__.items()):
        if isinstance(function, FunctionType):
            # The loop holds the code of all it calls, so that it alone is kept.
            module.__dict__[attribute] = numba.njit(
                nogil=True,
                error_model="numpy",
                fastmath={"contract"},
                cache=kept and attribute == name,
            )(function)
    return module.__dict__[name]


def _compiled(loop: Any, signature: tuple[types.Type, ...], *, kept: bool) -> Loop:
    from numba.core import event

    class Notice(event.Listener):
        """Says that code is compiled, which numba begins where its cache has none."""

        said = False

        def on_start(self, event: Any) -> None:
            if not self.said:  # what a loop calls is compiled too
                _logger.info(KEPT if kept else NOT_KEPT)
                self.said = True

        def on_end(self, event: Any) -> None:
            pass

    with event.install_listener("numba:compile", Notice()):
        loop.compile(signature)
    return cast(Loop, loop)


def _forget(loop: Any, stem: str) -> None:
    """Remove what numba kept of a module."""
    for path in Path(loop.stats.cache_path).glob(f"{stem}.*.nb[ic]"):
        path.unlink(missing_ok=True)


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
