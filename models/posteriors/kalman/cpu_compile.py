"""Compiled loops for a number of states and a dtype, kept on disk for the next process.

The whole module that numba compiles, walks and loops, is one text, which names its place in the
cache by its hash. What numba keeps of it is native code, so the folder must be the user's own. A
cache that cannot be used costs the seconds to compile, never the run.
"""

import hashlib
import inspect
import logging
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from threading import Lock
from types import FunctionType, ModuleType
from typing import Any, cast

import numba
from numba import types

from terralatent.models.posteriors.kalman.code_cache import cache_folder, is_ours, keep_text
from terralatent.models.posteriors.kalman.cpu_loops import GIVEN, LOOPS
from terralatent.models.posteriors.kalman.step import sweep_sources

Loop = Callable[..., None]

SOURCES = tuple(inspect.getsource(loop) for loop in LOOPS)
"""Read at import: the files may change while a process lives."""

_logger = logging.getLogger(__name__)
_compiling = Lock()


@cache
def compiled_loop(name: str, states: int, dtype: str) -> Loop:
    """Return a loop of :mod:`loops`, from the cache or compiled now (seconds), once in a process.

    Arguments:
        name: ``forward`` or ``backward``.
        states: Number of states n.
        dtype: ``float32`` or ``float64``.
    """
    text = module_text(states, dtype)
    stem = f"recursion_{states}_{dtype}_{hashlib.sha256(text.encode()).hexdigest()[:16]}"
    signature = _signature(name, dtype)
    # Two threads must not compile at once, nor one find what another has half done.
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
                return _compiled(loop, signature)
            except Exception as error:
                # Damage raises whatever it may, and is first compiled over; an error of our own
                # comes again below.
                _logger.warning("compiled code in %s cannot be used: %r", folder, error)
        return _compiled(_loop(text, Path(f"<{stem}>"), name, kept=False), signature)


def module_text(states: int, dtype: str) -> str:
    """Return all that numba compiles for a number of states."""
    names = {**GIVEN, "zero": f"np.{dtype}(0)", "one": f"np.{dtype}(1)"}
    return "\n\n".join(
        [
            "from __future__ import annotations\n\nimport math\n\nimport numpy as np\n",
            "\n".join(f"{name} = {value}" for name, value in names.items()),
            *sweep_sources(states).values(),
            *SOURCES,
        ]
    )


def _loop(text: str, path: Path, name: str, *, kept: bool) -> Any:
    """Return the dispatcher of a loop; nothing is compiled yet."""
    module = ModuleType(path.stem)
    sys.modules[module.__name__] = module  # where numba looks when it loads what it kept
    exec(compile(text, path, "exec"), module.__dict__)
    for each, function in list(module.__dict__.items()):
        if isinstance(function, FunctionType):
            # The loop holds the code of all it calls, so that it alone is kept.
            module.__dict__[each] = numba.njit(
                nogil=True,
                error_model="numpy",
                fastmath={"contract"},
                cache=kept and each == name,
            )(function)
    return module.__dict__[name]


def _compiled(loop: Any, signature: tuple[types.Type, ...]) -> Loop:
    loop.compile(signature)
    return cast(Loop, loop)


def _signature(name: str, dtype: str) -> tuple[types.Type, ...]:
    """Return numba's types of a loop's arguments."""
    number, whole = getattr(types, dtype), types.int64
    kinds = {
        "begin": whole,
        "end": whole,
        "chunk": whole,
        "visited": whole[::1],
        "rows": whole[::1],
        "state": number[::1],
        **dict.fromkeys(
            ("moves", "start", "tape", "bar", "moves_bar", "start_bar"), number[:, ::1]
        ),
    }
    of_series = number[:, :, :, ::1]
    loop = next(each for each in LOOPS if each.__name__ == name)
    return tuple(kinds.get(argument, of_series) for argument in inspect.signature(loop).parameters)


def _forget(loop: Any, stem: str) -> None:
    """Remove what numba kept of a module."""
    for path in Path(loop.stats.cache_path).glob(f"{stem}.*.nb[ic]"):
        path.unlink(missing_ok=True)
