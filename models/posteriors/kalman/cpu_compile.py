"""The compiled loops of a number of states and a dtype, see :mod:`terralatent.models.compiled`."""

import inspect
from functools import cache

from numba import types

from terralatent.models.compiled import Loop, compiled, source_of
from terralatent.models.posteriors.kalman.cpu_loops import GIVEN, LOOPS
from terralatent.models.posteriors.kalman.step import sweep_sources

SOURCES = source_of(LOOPS)


@cache
def compiled_loop(name: str, states: int, dtype: str) -> Loop:
    """Return a loop of ``cpu_loops``, from the cache or compiled now (seconds), once in a process.

    Arguments:
        name: ``forward``, ``advance``, ``covary`` or ``backward``.
        states: Number of states n.
        dtype: ``float32`` or ``float64``.
    """
    text = module_text(states, dtype)
    return compiled(text, name, _signature(name, dtype), f"recursion_{states}_{dtype}")


def module_text(states: int, dtype: str) -> str:
    """Return all that numba compiles for a number of states."""
    names = {**GIVEN, "STATES": states, "zero": f"np.{dtype}(0)", "one": f"np.{dtype}(1)"}
    return "\n\n".join(
        [
            "\n".join(f"{name} = {value}" for name, value in names.items()),
            *sweep_sources(states).values(),
            SOURCES,
        ]
    )


def _signature(name: str, dtype: str) -> tuple[types.Type, ...]:
    """Return numba's types of a loop's arguments."""
    number, whole = getattr(types, dtype), types.int64
    kinds = {
        "begin": whole,
        "end": whole,
        "chunk": whole,
        "site_of": whole[::1],
        "rows": whole[::1],
        "queries": whole[::1],
        "every": whole[::1],
        "pair_rows": whole[:, ::1],
        "state": number[::1],
        **dict.fromkeys(
            ("moves", "start", "tape", "bar", "moves_bar", "start_bar"), number[:, ::1]
        ),
    }
    of_series = number[:, :, :, ::1]
    if name == "advance":  # begins at moments of each series
        kinds["start"] = of_series
    loop = next(loop for loop in LOOPS if loop.__name__ == name)
    return tuple(kinds.get(argument, of_series) for argument in inspect.signature(loop).parameters)
