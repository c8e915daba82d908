"""Kernels by their names: what a checkpoint stores and a command line takes."""

import re
from collections.abc import Callable

from terralatent.models.kernels.constant import Constant
from terralatent.models.kernels.matern12 import Matern12
from terralatent.models.kernels.matern32 import Matern32
from terralatent.models.kernels.matern52 import Matern52
from terralatent.models.kernels.periodic import HARMONICS, YEAR, Periodic
from terralatent.models.kernels.products import Product
from terralatent.models.kernels.sums import Sum
from terralatent.models.kernels.temporal import TemporalKernel
from terralatent.models.kernels.white import White

KINDS: dict[str, Callable[[int], TemporalKernel]] = {
    Constant.kind: Constant,
    White.kind: White,
    Matern12.kind: Matern12,
    Matern32.kind: Matern32,
    Matern52.kind: Matern52,
}

SEASON = re.compile(r"(quasi)?periodic(\d+)?(?:@(\d+(?:\.\d+)?))?")


def make_kernel(description: str, latents: int) -> TemporalKernel:
    """Build a kernel from its :attr:`~TemporalKernel.description`, with its initial parameters.

    Terms are joined by ``+`` and their factors by ``*``, as in ``constant+periodic*matern32``.
    A periodic kernel may name its harmonics and its period in days: ``periodic4@182.62``.
    ``quasiperiodic``, with the same, stands for ``periodic*matern32``.

    Arguments:
        description: The terms.
        latents: The number of latents L, each with parameters of its own.

    Raises:
        ValueError: If a kernel is unknown.
    """
    terms = []
    for term in description.split("+"):
        factors = [
            kernel
            for factor in term.split("*")
            for kernel in _factors(factor.strip(), latents, description)
        ]
        terms.append(factors[0] if len(factors) == 1 else Product(factors))
    return terms[0] if len(terms) == 1 else Sum(terms)


def _factors(name: str, latents: int, description: str) -> list[TemporalKernel]:
    if name in KINDS:
        return [KINDS[name](latents)]
    season = SEASON.fullmatch(name)
    if season is None:
        raise ValueError(
            f"Unknown kernel {name!r} in {description!r}; join some of {sorted(KINDS)}, 'periodic' "
            "and 'quasiperiodic' with '+' and '*', as in 'constant+periodic*matern32'."
        )
    drifts, harmonics, period = season.groups()
    periodic = Periodic(
        latents,
        harmonics=int(harmonics) if harmonics else HARMONICS,
        period=float(period) if period else YEAR,
    )
    return [periodic, Matern32(latents)] if drifts else [periodic]
