"""Straight-line programs of scalars: written as Python, differentiated, run over many lanes.

A recursion whose step is small algebra on a few numbers is slow as a loop over array operations
and fast as one loop over lanes that holds the whole step. :class:`Program` records such a step from
ordinary Python expressions, so that it can be written once for any number of states, derives its
adjoint, and gives the source of the loop.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

GROUP = 16
"""Lanes of a group: the widest vector of today's CPUs in float32."""

GROUPS = 4
"""Groups that go through a program together: enough to hide how long an operation takes, few
enough for what they leave behind to stay in a cache."""

LANES = GROUPS * GROUP


@dataclass(frozen=True)
class Scalar:
    """A number of a program that is only known by name while the program is written."""

    program: Program
    name: str

    def __add__(self, other: Scalar) -> Scalar:
        return self.program.record("+", self, other)

    def __sub__(self, other: Scalar) -> Scalar:
        return self.program.record("-", self, other)

    def __mul__(self, other: Scalar) -> Scalar:
        return self.program.record("*", self, other)

    def __truediv__(self, other: Scalar) -> Scalar:
        return self.program.record("/", self, other)


class Program:
    """The operations of one step, in order. Its ``zero`` and ``one`` cost nothing."""

    def __init__(self) -> None:
        self.operations: list[tuple[Scalar, str, Scalar, Scalar]] = []
        self.zero, self.one = Scalar(self, "zero"), Scalar(self, "one")

    def inputs(self, names: list[str]) -> list[Scalar]:
        """Return scalars that the caller sets before the program runs."""
        return [Scalar(self, name) for name in names]

    def record(self, sign: str, a: Scalar, b: Scalar) -> Scalar:
        """Append ``a sign b`` and return its result."""
        if sign == "*" and self.zero.name in (a.name, b.name):
            return self.zero
        if sign in "+-" and b.name == self.zero.name:
            return a
        if sign == "+" and a.name == self.zero.name:
            return b
        result = Scalar(self, f"t{len(self.operations)}")
        self.operations.append((result, sign, a, b))
        return result

    def adjoint(self, seeds: Mapping[str, Scalar]) -> dict[str, Scalar]:
        """Append the program that carries adjoints back from results to all they depend on.

        Arguments:
            seeds: The adjoint of each result, by the name of the result.

        Returns:
            The adjoint of every scalar that has one, by name.
        """
        bar = dict(seeds)

        def give(to: Scalar, sign: str, share: Scalar) -> None:
            bar[to.name] = self.record(sign, bar.get(to.name, self.zero), share)

        for result, sign, a, b in reversed(self.operations[:]):
            if result.name not in bar:
                continue
            seed = bar[result.name]
            if sign in "+-":
                give(a, "+", seed)
                give(b, sign, seed)
            elif sign == "*":
                give(a, "+", seed * b)
                give(b, "+", seed * a)
            else:
                share = seed / b
                give(a, "+", share)
                give(b, "-", share * result)
        return bar


@dataclass(frozen=True)
class Cell:
    """A row of lanes in a record: ``array[step + ahead, row]``, or ``array[row]`` of one."""

    array: str
    row: int
    ahead: int | None = 0
    """None where the array is one record, not one for each step."""

    shared: bool = False
    """Whether the row has one group of lanes, which all groups share."""

    @property
    def record(self) -> str:
        """The name of the record in the source of a sweep."""
        return self.array if self.ahead is None else f"{self.array}_{self.ahead}"

    @property
    def source(self) -> str:
        if self.shared:
            return f"{self.record}[k + {GROUP * self.row}]"
        return f"{self.record}[{GROUP} * g + k + {LANES * self.row}]"


def sweep_source(
    name: str,
    program: Program,
    *,
    forward: bool,
    loads: Mapping[str, Cell],
    stores: Sequence[tuple[Cell, Scalar]],
    additions: Sequence[tuple[Cell, Scalar]] = (),
) -> str:
    """Return the source of a function that runs ``program`` at all steps, over their lanes.

    The function takes ``tape, bar, state, moves, moves_bar``: of the first and second one record a
    step, (steps, rows * LANES), of the last two one more, (steps + 1, rows * GROUP), and of
    the state one, (rows * LANES,). Rows lie at fixed places in few records, so that the compiler
    can prove that none overlaps another and use vector instructions.

    Arguments:
        name: The function's.
        program: What happens in a lane at a step.
        forward: Whether steps are taken in their order, or in the reverse.
        loads: Scalars of a lane, and where they are read.
        stores: Where results are written.
        additions: Where results are added.
    """
    cells = [*loads.values(), *(cell for cell, _ in [*stores, *additions])]
    records = {cell.record: cell for cell in cells if cell.ahead is not None}
    order = "range(len(tape))" if forward else "range(len(tape) - 1, -1, -1)"
    lines = [
        f"def {name}(tape, bar, state, moves, moves_bar):",
        f"    for v in {order}:",
        *(
            f"        {record} = {cell.array}[v + {cell.ahead}]"
            for record, cell in sorted(records.items())
        ),
        f"        for g in range({GROUPS}):",
        f"            for k in range({GROUP}):",
        *(f"                {scalar} = {cell.source}" for scalar, cell in loads.items()),
        *(
            f"                {r.name} = {a.name} {sign} {b.name}"
            for r, sign, a, b in program.operations
        ),
        *(f"                {cell.source} = {value.name}" for cell, value in stores),
        *(f"                {cell.source} += {value.name}" for cell, value in additions),
    ]
    return "\n".join(lines) + "\n"
