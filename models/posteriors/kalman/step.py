r"""One step of the Kalman filter and smoother, for n states, and its adjoint, written as source.

The recursion is that of :mod:`terralatent.models.posteriors.markov`, whose symbols are used here.
All numbers of a step are one record on a tape: the site's w and eta, the smoothed mean and
variance, the innovation r, the predicted moments x, and the adjoints y that arrive from the steps
behind it. Their derivatives are a record of the same form on another tape. What goes from step to
step is the state, and A and Q are the moves.
"""

from dataclasses import replace

from terralatent.models.posteriors.kalman.chain import pairs
from terralatent.models.posteriors.kalman.program import Cell, Program, Scalar, sweep_source

W, ETA, MEAN, VAR, INNOVATION, MOMENTS = range(6)
"""Rows of a record; then those of :func:`moment_rows`, and the adjoints y that arrive."""

SPREAD = MOMENTS + 1
"""The variance of the series itself among the predicted moments."""

CROSS = INNOVATION
"""Where ``carry`` leaves covariances: once smoothed, innovations are not needed any more."""


def moment_count(states: int) -> int:
    """Return r, the number of means and different covariances."""
    return states + states * (states + 1) // 2


def move_count(states: int) -> int:
    """Return the number of elements of A and of different elements of Q."""
    return states**2 + states * (states + 1) // 2


def moment_rows(states: int) -> list[int]:
    """Return the row of each predicted moment: first those that the smoother needs."""
    first = [0, *range(states, 2 * states)]
    order = first + [i for i in range(moment_count(states)) if i not in first]
    return [MOMENTS + order.index(i) for i in range(len(order))]


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


def filter_step(
    program: Program,
    a: list[list[Scalar]],
    q: list[Scalar],
    w: Scalar,
    eta: Scalar,
    x: list[Scalar],
) -> tuple[Scalar, list[Scalar]]:
    """Return the innovation, and the moments predicted at the step after this one."""
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


def smooth_step(
    program: Program,
    a: list[list[Scalar]],
    w: Scalar,
    eta: Scalar,
    x: list[Scalar],
    y: list[Scalar],
) -> tuple[Scalar, Scalar, list[Scalar]]:
    """Return mean and variance here, and the adjoints that reach the step before this one."""
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


def sweep_sources(states: int) -> dict[str, str]:
    """Write the seven walks along a tape for a number of states, by name.

    ``filter_sites`` and ``smooth_sites`` leave on the tape what the smoother needs; ``filter_all``
    and ``smooth_all`` what their adjoints ``filter_back`` and ``smooth_back`` need as well.
    ``carry`` takes an error from one step to another, after the filter.
    """
    return _filter_sources(states) | _smooth_sources(states) | _carry_source(states)


def _filter_sources(n: int) -> dict[str, str]:
    r = moment_count(n)
    program, moves = Program(), _Moves(n, ahead=1)
    here = {"w": Cell("tape", W), "eta": Cell("tape", ETA)}
    names = [f"x{i}" for i in range(r)]
    state = {name: Cell("state", i, None) for i, name in enumerate(names)}
    w, eta, *x = program.inputs([*here, *names])
    a, q = moves.inputs(program)
    innovation, after = filter_step(program, a, q, w, eta, x)
    on_tape = {name: Cell("tape", row) for name, row in zip(names, moment_rows(n), strict=True)}
    results = [(Cell("tape", INNOVATION), innovation), *zip(state.values(), after, strict=True)]
    loads = here | moves.a | moves.q
    seen, whole = (
        sweep_source(
            name,
            program,
            forward=True,
            loads=loads | state,
            stores=[(on_tape[value.name], value) for value in kept] + results,
        )
        for name, kept in (("filter_sites", [x[0], *x[n : 2 * n]]), ("filter_all", x))
    )
    seeds = {f"x{i}_seed": Cell("state", i, None) for i in range(r)}
    seeds["innovation_seed"] = Cell("bar", INNOVATION)
    more = {f"x{i}_more": Cell("bar", moment_rows(n)[i]) for i in [0, *range(n, 2 * n)]}
    *x_seeds, innovation_seed = program.inputs(list(seeds))
    bar = program.adjoint(
        {innovation.name: innovation_seed}
        | {value.name: seed for value, seed in zip(after, x_seeds, strict=True)}
    )
    for scalar in program.inputs(list(more)):
        name = scalar.name.removesuffix("_more")
        bar[name] = bar[name] + scalar
    back = sweep_source(
        "filter_back",
        program,
        forward=False,
        loads=loads | on_tape | seeds | more,
        stores=[(state[name], bar[name]) for name in names],
        additions=[(Cell("bar", cell.row), bar[name]) for name, cell in here.items()]
        + moves.additions(bar),
    )
    return {"filter_sites": seen, "filter_all": whole, "filter_back": back}


def _smooth_sources(n: int) -> dict[str, str]:
    r, rows = moment_count(n), moment_rows(n)
    program, moves = Program(), _Moves(n, ahead=0)
    here = {"w": Cell("tape", W), "eta": Cell("tape", ETA)}
    here |= {f"x{i}": Cell("tape", rows[i]) for i in [0, *range(n, 2 * n)]}
    behind = [f"y{i}" for i in range(r)]
    state = {name: Cell("state", i, None) for i, name in enumerate(behind)}
    on_tape = {name: Cell("tape", MOMENTS + r + i) for i, name in enumerate(behind)}
    w, eta, *rest = program.inputs(["w", "eta", *(f"x{i}" for i in range(r)), *behind])
    a, _ = moves.inputs(program)
    mean, var, before = smooth_step(program, a, w, eta, rest[:r], rest[r:])
    results = [
        (Cell("tape", MEAN), mean),
        (Cell("tape", VAR), var),
        *zip(state.values(), before, strict=True),
    ]
    seen, whole = (
        sweep_source(
            name,
            program,
            forward=False,
            loads=here | moves.a | state,
            stores=[(on_tape[value.name], value) for value in kept] + results,
        )
        for name, kept in (("smooth_sites", []), ("smooth_all", rest[r:]))
    )
    seeds = {"mean_seed": Cell("bar", MEAN), "var_seed": Cell("bar", VAR)}
    seeds |= {f"{name}_seed": cell for name, cell in state.items()}
    given = program.inputs(list(seeds))
    bar = program.adjoint(
        {value.name: seed for value, seed in zip([mean, var, *before], given, strict=True)}
    )
    back = sweep_source(
        "smooth_back",
        program,
        forward=True,
        loads=here | moves.a | on_tape | seeds,
        stores=[(state[name], bar[name]) for name in behind],
        additions=[(Cell("bar", cell.row), bar[name]) for name, cell in here.items()]
        + moves.additions(bar),
    )
    return {"smooth_sites": seen, "smooth_all": whole, "smooth_back": back}


def carry_step(
    program: Program, a: list[list[Scalar]], w: Scalar, p: list[Scalar], u: list[Scalar]
) -> list[Scalar]:
    r"""Return what an error of the prediction here is at the step after this one.

    Errors pass a site and a move as :math:`u \leftarrow A (I - w g p e_0^T) u`.
    """
    n = len(a)
    pull = w * u[0] / (program.one + w * p[0])
    return [_dot(row, [u[i] - p[i] * pull for i in range(n)]) for row in a]


def _carry_source(n: int) -> dict[str, str]:
    rows = moment_rows(n)
    program, moves = Program(), _Moves(n, ahead=1)
    loads = {"w": Cell("tape", W)}
    loads |= {f"p{i}": Cell("tape", rows[n + i]) for i in range(n)}
    state = {f"u{i}": Cell("state", i, None) for i in range(n)}
    a, _ = moves.inputs(program)
    w, *p = program.inputs(["w", *(f"p{i}" for i in range(n))])
    after = carry_step(program, a, w, p, program.inputs(list(state)))
    stores = list(zip(state.values(), after, strict=True))
    source = sweep_source(
        "carry", program, forward=True, loads=loads | moves.a | state, stores=stores
    )
    return {"carry": source}


class _Moves:
    """Where the chain's A and Q are read, and where their adjoints are added."""

    def __init__(self, n: int, *, ahead: int) -> None:
        cells = iter(Cell("moves", row, ahead, shared=True) for row in range(move_count(n)))
        self.states = n
        self.a = {f"a{i}{j}": next(cells) for i in range(n) for j in range(n)}
        self.q = {f"q{i}": cell for i, cell in enumerate(cells)}

    def inputs(self, program: Program) -> tuple[list[list[Scalar]], list[Scalar]]:
        n, flat = self.states, program.inputs(list(self.a))
        return [flat[i * n : (i + 1) * n] for i in range(n)], program.inputs(list(self.q))

    def additions(self, bar: dict[str, Scalar]) -> list[tuple[Cell, Scalar]]:
        return [
            (replace(cell, array="moves_bar"), bar[name])
            for name, cell in (self.a | self.q).items()
            if name in bar
        ]
