r"""The Kalman filter and smoother, and their adjoint, as the source of two Triton kernels.

Experimental: the kernels have never run on a GPU.

A program of a kernel takes tiles of series through all steps, one lane a (series, latent) pair.
What passes from step to step stays in registers; what one sweep leaves for a later one lies on
the program's own tape. The step itself is a recorded
:class:`~terralatent.models.posteriors.kalman.program.Program`, written line by line: the same
algebra as on the CPU, for any number of states.

It is text because Triton compiles from text, and because plain variables are what all its versions
take alike; lists of them, which a step of n states would need, they do not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache

from terralatent.models.posteriors.kalman.program import Program, Scalar
from terralatent.models.posteriors.kalman.step import filter_step, moment_count, smooth_step

HEAD = """\
@triton.jit(do_not_specialize={names})
def {name}(
    {arguments},
    ROWS: tl.constexpr, MOVES: tl.constexpr, LATENTS: tl.constexpr,
    WIDE: tl.constexpr, DEEP: tl.constexpr,
):
    program = tl.program_id(0).to(tl.int64)
    alike = tl.zeros((DEEP, WIDE), tl.int32)
    latent = alike + tl.arange(0, WIDE)[None, :]
    lane = latent + tl.arange(0, DEEP)[:, None] * WIDE
    real = latent < LATENTS
    zero = tl.zeros((DEEP, WIDE), w_in.dtype.element_ty)
    one = zero + 1.0
    records = tape + program * steps * (ROWS * DEEP * WIDE) + lane
    {setup}
    for tile in range(tl.program_id(0), tl.cdiv(series, DEEP), tl.num_programs(0)):
        number = (alike + tile * DEEP + tl.arange(0, DEEP)[:, None]).to(tl.int64)
        inside = (number < series) & real
        first_site = number * (sites * LATENTS) + latent
        first_row = number * (shown * LATENTS) + latent
"""
"""A tile is DEEP series of LATENTS latents, which are padded to WIDE and lie side by side in
memory; so do the lanes. Offsets among series need 64 bits, those inside one 32. Whatever is read
or written has the shape of a tile, which ``alike`` gives it, so that each thread keeps its lanes
throughout. Nothing is compiled anew for other sizes or addresses."""

TAKEN = "site_of", "rows", "moves", "start", "w_in", "eta_in", "tape"
SIZES = "series", "sites", "steps", "shown"

SETUP = """sums = moves_bar + program * (steps + 1) * (MOVES * LATENTS)
    starts = start_bar + program * ({count} * LATENTS) + latent
    first = (lane < WIDE) & real"""


@dataclass(frozen=True)
class KernelSource:
    """A kernel as text."""

    name: str
    text: str
    rows: int
    """Rows of lanes that a step has on the tape."""


@cache
def forward_source(states: int, *, smoothed: bool, predicted: bool) -> KernelSource:
    """Return the kernel that fills ``mean, var, spread, innovation``.

    Arguments:
        states: n.
        smoothed: Whether mean and variance are wanted at any step.
        predicted: Whether spread and innovation are wanted at the sites.
    """
    step = _Step(states)
    kept = step.seen if smoothed else []
    tape = {name: _tape(row) for row, name in enumerate(kept)}
    stores = [(tape[name], step.filter.inputs([name])[0]) for name in kept]
    if predicted:
        stores.append((_at_site("spread"), step.spread))
        stores.append((_at_site("innovation"), step.innovation))
    lines = step.filter_lines(stores)
    if smoothed:
        marginals = [(_at_row("mean"), step.mean), (_at_row("var"), step.var)]
        lines += step.smooth_lines(tape, marginals)
    return _kernel("forward", ["mean", "var", "spread", "innovation"], "", lines, len(kept))


@cache
def backward_source(states: int, *, smoothed: bool, predicted: bool) -> KernelSource:
    """Return the kernel that is the adjoint of :func:`forward_source`'s.

    It takes the adjoints of all outputs, filters and smooths again, and then walks both ways back.
    Adjoints of w and eta are added to ``w_bar`` and ``eta_bar``; those of moves and start, summed
    over series, to the program's own part of ``moves_bar`` and ``start_bar``. No two programs add
    to one place, so the order of each sum is fixed.
    """
    step = _Step(states)
    size = len(step.x)
    x_tape = {name: _tape(row) for row, name in enumerate(step.x)}
    kept = [(place, step.filter.inputs([name])[0]) for name, place in x_tape.items()]
    lines = step.filter_lines(kept)
    shares: list[tuple[str, _Place]] = []
    if smoothed:
        y_tape = {name: _tape(size + row) for row, name in enumerate(step.y)}
        kept = [(place, step.smooth.inputs([name])[0]) for name, place in y_tape.items()]
        lines += step.smooth_lines(x_tape, kept)
        # What the smoother's adjoint leaves for the filter's takes the place of the adjoints y.
        shares += [(name, _tape(size + row)) for row, name in enumerate(step.seen)]
        lines += step.smooth_back_lines(x_tape | y_tape, shares)
    if predicted:
        shares.append((step.spread.name, _at_site("spread_bar")))
    lines += step.filter_back_lines(x_tape, shares, predicted=predicted)
    lines += [
        _Place(f"starts + {row} * LATENTS", "first").add(_total(f"{name}_bar"))
        for row, name in enumerate(step.x[states:])
    ]
    setup = SETUP.format(count=size - states)
    seeds = ["mean_bar", "var_bar", "spread_bar", "innovation_bar"]
    bars = ["moves_bar", "start_bar", "w_bar", "eta_bar"]
    return _kernel("backward", seeds + bars, setup, lines, size * (2 if smoothed else 1))


class _Step:
    """The programs of a step for n states, and the walks that take them along the steps."""

    def __init__(self, n: int) -> None:
        r = moment_count(n)
        self.x, self.y = [f"x{i}" for i in range(r)], [f"y{i}" for i in range(r)]
        turns = [f"a{i}{j}" for i in range(n) for j in range(n)]
        gains = [f"q{i}" for i in range(r - n)]
        width = len(turns) + len(gains)
        self.states = n
        # The filter goes on to the next step, the smoother comes from the one before its own.
        self.filter_moves = {name: width + at for at, name in enumerate([*turns, *gains])}
        self.smooth_moves = {name: at for at, name in enumerate(turns)}

        self.filter = Program()
        w, eta, *x = self.filter.inputs(["w", "eta", *self.x])
        flat, q = self.filter.inputs(turns), self.filter.inputs(gains)
        a = [flat[i * n : (i + 1) * n] for i in range(n)]
        self.innovation, self.after = filter_step(self.filter, a, q, w, eta, x)
        self.spread = x[n]

        self.smooth = Program()
        w, eta, *x = self.smooth.inputs(["w", "eta", *self.x])
        flat, y = self.smooth.inputs(turns), self.smooth.inputs(self.y)
        a = [flat[i * n : (i + 1) * n] for i in range(n)]
        self.mean, self.var, self.before = smooth_step(self.smooth, a, w, eta, x, y)
        _, used = _needed(self.smooth, [self.mean, self.var, *self.before])
        self.seen = [name for name in self.x if name in used]
        """The predicted moments that the smoother needs: not all of them."""

    def filter_lines(self, stores: Sequence[tuple[_Place, Scalar]]) -> list[str]:
        means, variances = self.x[: self.states], self.x[self.states :]
        begin = [f"{name} = zero" for name in means]
        for at, name in enumerate(variances):
            begin.append(f"{name} = {_Place(f'start + {at} * LATENTS + latent', 'real').load()}")
        after = dict(zip(self.x, self.after, strict=True))
        return begin + _Sweep(self.filter, True, {}, self.filter_moves, after, stores).lines()

    def smooth_lines(
        self, tape: Mapping[str, _Place], stores: Sequence[tuple[_Place, Scalar]]
    ) -> list[str]:
        before = dict(zip(self.y, self.before, strict=True))
        sweep = _Sweep(self.smooth, False, tape, self.smooth_moves, before, stores)
        return [f"{name} = zero" for name in before] + sweep.lines()

    def smooth_back_lines(
        self, tape: Mapping[str, _Place], shares: Sequence[tuple[str, _Place]]
    ) -> list[str]:
        loads = {"mean_seed": _at_row("mean_bar"), "var_seed": _at_row("var_bar")}
        given = self.smooth.inputs([*loads, *(f"{name}_bar" for name in self.y)])
        results = [self.mean, self.var, *self.before]
        bar = self.smooth.adjoint({s.name: g for s, g in zip(results, given, strict=True)})
        after = {f"{name}_bar": bar[name] for name in self.y}
        stores = [(place, bar[name]) for name, place in shares]
        sweep = _Sweep(self.smooth, True, {**tape, **loads}, self.smooth_moves, after, stores, bar)
        return [f"{name} = zero" for name in after] + sweep.lines()

    def filter_back_lines(
        self, tape: Mapping[str, _Place], shares: Sequence[tuple[str, _Place]], *, predicted: bool
    ) -> list[str]:
        loads = {f"share{at}": place for at, (_, place) in enumerate(shares)}
        given = self.filter.inputs([f"{name}_bar" for name in self.x])
        seeds = {s.name: g for s, g in zip(self.after, given, strict=True)}
        if predicted:
            loads["innovation_seed"] = _at_site("innovation_bar")
            seeds[self.innovation.name] = self.filter.inputs(["innovation_seed"])[0]
        bar = self.filter.adjoint(seeds)
        for (name, _), share in zip(shares, self.filter.inputs(list(loads)), strict=False):
            bar[name] = bar[name] + share
        before = {f"{name}_bar": bar[name] for name in self.x}
        sweep = _Sweep(self.filter, False, {**tape, **loads}, self.filter_moves, before, (), bar)
        return [f"{name} = zero" for name in before] + sweep.lines()


@dataclass(frozen=True)
class _Place:
    """Where a tensor of lanes lies; ``{}`` stands before the names that belong to a step."""

    pointer: str
    mask: str

    def load(self, step: str = "") -> str:
        return f"tl.load({self.pointer}, mask={self.mask}, other=0.0)".replace("{}", step)

    def store(self, value: str) -> str:
        return f"tl.store({self.pointer}, {value}, mask={self.mask})".replace("{}", "")

    def add(self, value: str) -> str:
        return self.store(f"{self.load()} + {value}")


def _at_site(array: str) -> _Place:
    return _Place(f"{array} + first_site + {{}}site * LATENTS", "inside & (alike + {}site >= 0)")


def _at_row(array: str) -> _Place:
    return _Place(f"{array} + first_row + {{}}row * LATENTS", "inside & (alike + {}row >= 0)")


def _tape(row: int) -> _Place:
    return _Place(f"{{}}record + {row} * DEEP * WIDE", "inside")


@dataclass(frozen=True)
class _Sweep:
    """A program that is taken along the steps."""

    program: Program
    forward: bool
    """Whether steps are taken in their order, or in the reverse."""

    loads: Mapping[str, _Place]
    """Scalars of a lane that are read, beside w and eta."""

    moves: Mapping[str, int]
    """Scalars of a latent, and where they are from the moves of a step on."""

    carried: Mapping[str, Scalar]
    """Scalars that are 0 or else set at the first step, and what they become at each."""

    stores: Sequence[tuple[_Place, Scalar]] = ()
    bar: Mapping[str, Scalar] = field(default_factory=dict)
    """Adjoints of w, eta and the moves, to be added to those that are there."""

    def lines(self) -> list[str]:
        """Return the loop over the steps."""
        sites = {name: _at_site(f"{name}_bar") for name in ("w", "eta") if name in self.bar}
        moved = {name: at for name, at in self.moves.items() if name in self.bar}
        added = [self.bar[name] for name in [*sites, *moved]]
        stored = [value for _, value in self.stores]
        operations, used = _needed(self.program, [*self.carried.values(), *stored, *added])
        places = {"w": _at_site("w_in"), "eta": _at_site("eta_in"), **self.loads}
        loads = {name: place for name, place in places.items() if name in used}
        shared = {name: at for name, at in self.moves.items() if name in used}
        following = "tl.minimum(k + 1, steps - 1)" if self.forward else "tl.maximum(v - 1, 0)"
        inner = [
            f"v = {'k' if self.forward else 'steps - 1 - k'}",
            "record = records + v * (ROWS * DEEP * WIDE)",
            # Once for all moves: what is left to add for each is a constant, and costs nothing.
            "move = moves + v * (MOVES * LATENTS) + latent",
            *(f"{name} = ahead_{name}" for name in ["site", "row", *loads]),
            *_fetch(following, loads),
            *(
                f"{name} = {_Place(f'move + {at} * LATENTS', 'real').load()}"
                for name, at in shared.items()
            ),
            *(f"{r.name} = {a.name} {sign} {b.name}" for r, sign, a, b in operations),
            *(place.store(value.name) for place, value in self.stores),
            *(place.add(self.bar[name].name) for name, place in sites.items()),
            "sum = sums + v * (MOVES * LATENTS) + latent" if moved else "",
            *(
                _Place(f"sum + {at} * LATENTS", "first").add(_total(self.bar[name].name))
                for name, at in moved.items()
            ),
            # In two steps: what one becomes may be what another is.
            *(f"{name}_then = {value.name}" for name, value in self.carried.items()),
            *(f"{name} = {name}_then" for name in self.carried),
        ]
        return [
            *_fetch("0" if self.forward else "(steps - 1)", loads),
            "for k in range(steps):",
            *(f"    {line}" for line in inner if line),
            # What a thread left on the tape, another may take.
            "tl.debug_barrier()",
        ]


def _fetch(step: str, loads: Mapping[str, _Place]) -> list[str]:
    """Return the lines that read what a step needs, a step ahead: memory answers late."""
    return [
        f"ahead_site = tl.load(site_of + {step})",
        f"ahead_row = tl.load(rows + {step})",
        f"ahead_record = records + {step} * (ROWS * DEEP * WIDE)",
        *(f"ahead_{name} = {place.load('ahead_')}" for name, place in loads.items()),
    ]


def _total(value: str) -> str:
    return f"tl.sum({value}, axis=0, keep_dims=True)"


def _needed(
    program: Program, results: Sequence[Scalar]
) -> tuple[list[tuple[Scalar, str, Scalar, Scalar]], set[str]]:
    """Return the operations behind some results, and the names of all that they use."""
    used = {result.name for result in results}
    kept = []
    for operation in reversed(program.operations):
        result, _, a, b = operation
        if result.name in used:
            used |= {a.name, b.name}
            kept.append(operation)
    return kept[::-1], used


def _kernel(
    name: str, others: Sequence[str], setup: str, lines: Sequence[str], rows: int
) -> KernelSource:
    names = [*TAKEN, *others, *SIZES]
    head = HEAD.format(name=name, names=names, arguments=", ".join(names), setup=setup)
    return KernelSource(name, head + "".join(f"        {line}\n" for line in lines), rows)
