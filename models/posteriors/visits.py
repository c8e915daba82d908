r"""One visit of the Kalman filter and smoother, for n states, and its adjoint, compiled.

The recursion is that of :mod:`terralatent.models.posteriors.markov`, whose symbols are used here.
All numbers of a visit are one record on a tape: the site's w and eta, the smoothed mean and
variance, the innovation r, the predicted moments x, and the adjoints y that arrive from the visits
behind it. Their derivatives are a record of the same form on another tape.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numba
import numpy as np

from terralatent.models.posteriors.chain import pairs
from terralatent.models.posteriors.straightline import Cell, Program, Scalar, sweep_source

W, ETA, MEAN, VAR, INNOVATION, MOMENTS = range(6)
"""Rows of a record; the moments are followed by the adjoints."""

Sweep = Callable[..., None]


@dataclass(frozen=True)
class Sweeps:
    """The four walks along a tape; each takes ``tape, bar, a, q, a_bar, q_bar``."""

    filter: Sweep
    """Forward: fills innovations and moments."""

    smooth: Sweep
    """Backward: fills means, variances and adjoints."""

    smooth_back: Sweep
    """Forward: the adjoint of ``smooth``."""

    filter_back: Sweep
    """Backward: the adjoint of ``filter``."""


def moment_count(states: int) -> int:
    """Return r, the number of means and different covariances."""
    return states + states * (states + 1) // 2


@cache
def compiled_sweeps(states: int, dtype: str) -> Sweeps:
    """Write and compile the walks for a number of states, once in a process (seconds)."""
    options: dict[str, Any] = {
        "nogil": True,
        "error_model": "numpy",
        "fastmath": {"contract", "reassoc"},
    }
    scope: dict[str, Any] = {"zero": np.dtype(dtype).type(0), "one": np.dtype(dtype).type(1)}
    for source in _filter_sources(states) + _smooth_sources(states):
        exec(source, scope)
    return Sweeps(*(numba.njit(**options)(scope[name]) for name in Sweeps.__dataclass_fields__))


def _matrix(rows: list[Scalar], n: int) -> list[list[Scalar]]:
    """Lay the different elements of a symmetric matrix out in full."""
    place = {pair: at for at, pair in enumerate(pairs(n))}
    return [[rows[place[min(i, j), max(i, j)]] for j in range(n)] for i in range(n)]


def _dot(a: list[Scalar], b: list[Scalar]) -> Scalar:
    total = a[0] * b[0]
    for left, right in zip(a[1:], b[1:], strict=True):
        total = total + left * right
    return total


def moved(a: list[list[Scalar]], mean: list[Scalar], cov: list[list[Scalar]]) -> list[Scalar]:
    """Return the moments (A m, A P A^T)."""
    n = len(a)
    half = [[_dot(a[i], [cov[h][j] for h in range(n)]) for j in range(n)] for i in range(n)]
    return [_dot(row, mean) for row in a] + [_dot(half[i], a[j]) for i, j in pairs(n)]


def filter_visit(
    program: Program,
    a: list[list[Scalar]],
    q: list[Scalar],
    w: Scalar,
    eta: Scalar,
    x: list[Scalar],
) -> tuple[Scalar, list[Scalar]]:
    """Return the innovation, and the moments predicted at the visit after this one."""
    n = len(a)
    p = _matrix(x[n:], n)
    gain = program.one / (program.one + w * p[0][0])
    innovation = eta - w * x[0]
    push = gain * innovation
    mean = [x[i] + p[i][0] * push for i in range(n)]
    seen = [gain * p[i][0] for i in range(n)]
    cov = [
        [
            seen[i + j] if i * j == 0 else p[i][j] - w * seen[min(i, j)] * p[max(i, j)][0]
            for j in range(n)
        ]
        for i in range(n)
    ]
    after = moved(a, mean, cov)
    return innovation, after[:n] + [m + gained for m, gained in zip(after[n:], q, strict=True)]


def smooth_visit(
    program: Program,
    a: list[list[Scalar]],
    w: Scalar,
    eta: Scalar,
    x: list[Scalar],
    y: list[Scalar],
) -> tuple[Scalar, Scalar, list[Scalar]]:
    """Return mean and variance here, and the adjoints that reach the visit before this one."""
    n = len(a)
    p = x[n : 2 * n]
    gain = program.one / (program.one + w * p[0])
    push = gain * (eta - w * x[0])
    seen = [gain * value for value in p]
    pull, hold = y[:n], _matrix(y[n:], n)
    mean = x[0] + p[0] * push - _dot(seen, pull)
    var = seen[0] - _dot(seen, [_dot(row, seen) for row in hold])
    clear = [gain] + [program.zero - w * value for value in seen[1:]]
    held = [_dot(row, clear) for row in hold]
    pull = [_dot(clear, pull) - push, *pull[1:]]
    hold = [[held[i + j] if i * j == 0 else hold[i][j] for j in range(n)] for i in range(n)]
    hold[0][0] = _dot(clear, held) + w * gain
    transposed = [list(column) for column in zip(*a, strict=True)]
    return mean, var, moved(transposed, pull, hold)


def _filter_sources(n: int) -> list[str]:
    r = moment_count(n)
    names = [f"x{i}" for i in range(r)]
    shared = {f"a{i}{j}": f"a[v + 1, {i}, {j}]" for i in range(n) for j in range(n)}
    gains = {f"q{i}": f"q[v + 1, {i}]" for i in range(r - n)}
    loads = {
        "w": Cell("tape", 0, W),
        "eta": Cell("tape", 0, ETA),
        **{name: Cell("tape", 0, MOMENTS + i) for i, name in enumerate(names)},
    }
    program = Program()
    w, eta, *x = program.inputs(["w", "eta", *names])
    flat = program.inputs(list(shared))
    a = [flat[i * n : (i + 1) * n] for i in range(n)]
    innovation, after = filter_visit(program, a, program.inputs(list(gains)), w, eta, x)
    there = [Cell("tape", 1, MOMENTS + i) for i in range(r)]
    walk = sweep_source(
        "filter",
        program,
        forward=True,
        constants=shared | gains,
        loads=loads,
        stores=[(Cell("tape", 0, INNOVATION), innovation), *zip(there, after, strict=True)],
    )
    seeds = {f"x{i}_seed": Cell("bar", 1, MOMENTS + i) for i in range(r)}
    seeds["innovation_seed"] = Cell("bar", 0, INNOVATION)
    *x_seeds, innovation_seed = program.inputs(list(seeds))
    bar = program.adjoint(
        {innovation.name: innovation_seed}
        | {value.name: seed for value, seed in zip(after, x_seeds, strict=True)}
    )
    back = sweep_source(
        "filter_back",
        program,
        forward=False,
        constants=shared | gains,
        loads=loads | seeds,
        stores=[],
        additions=[(Cell("bar", 0, cell.row), bar[name]) for name, cell in loads.items()],
        sums={place.replace("a[", "a_bar["): bar[name] for name, place in shared.items()}
        | {place.replace("q[", "q_bar["): bar[name] for name, place in gains.items()},
    )
    return [walk, back]


def _smooth_sources(n: int) -> list[str]:
    r = moment_count(n)
    names, behind = [f"x{i}" for i in range(r)], [f"y{i}" for i in range(r)]
    shared = {f"a{i}{j}": f"a[v, {i}, {j}]" for i in range(n) for j in range(n)}
    here = {
        "w": Cell("tape", 0, W),
        "eta": Cell("tape", 0, ETA),
        **{name: Cell("tape", 0, MOMENTS + i) for i, name in enumerate(names)},
    }
    loads = here | {name: Cell("tape", 1, MOMENTS + r + i) for i, name in enumerate(behind)}
    program = Program()
    w, eta, *rest = program.inputs(["w", "eta", *names, *behind])
    flat = program.inputs(list(shared))
    a = [flat[i * n : (i + 1) * n] for i in range(n)]
    mean, var, before = smooth_visit(program, a, w, eta, rest[:r], rest[r:])
    results = {MEAN: mean, VAR: var} | {MOMENTS + r + i: y for i, y in enumerate(before)}
    walk = sweep_source(
        "smooth",
        program,
        forward=False,
        constants=shared,
        loads=loads,
        stores=[(Cell("tape", 0, row), value) for row, value in results.items()],
    )
    seeds = {f"seed{row}": Cell("bar", 0, row) for row in results}
    given = program.inputs(list(seeds))
    bar = program.adjoint(
        {value.name: seed for value, seed in zip(results.values(), given, strict=True)}
    )
    back = sweep_source(
        "smooth_back",
        program,
        forward=True,
        constants=shared,
        loads=loads | seeds,
        stores=[(Cell("bar", 1, loads[name].row), bar[name]) for name in behind],
        additions=[
            (Cell("bar", 0, cell.row), bar[name]) for name, cell in here.items() if name in bar
        ],
        sums={place.replace("a[", "a_bar["): bar[name] for name, place in shared.items()},
    )
    return [walk, back]
