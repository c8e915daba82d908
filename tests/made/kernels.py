"""Kernels of every kind, and the days on which their laws are tested."""

from collections.abc import Callable

import torch
from torch import Tensor

from terralatent.models.kernels import (
    Constant,
    Matern12,
    Matern32,
    Matern52,
    Periodic,
    Product,
    Sum,
    TemporalKernel,
    White,
    make_kernel,
)

YEAR = 365.2425
LENGTHSCALES = torch.tensor([9.0, 45.0, 900.0])
LAGS = torch.cat([torch.tensor([0.0, 1e-6, 1.0 / 1440.0, 0.1]), torch.linspace(1, 2000, 50)])
LAGS = LAGS.double()

# Each takes the length of a day, which all lengthscales and periods go with.
KERNELS: dict[str, Callable[[float], TemporalKernel]] = {
    "constant": lambda day: Constant(3),
    "white": lambda day: White(3),
    "matern12": lambda day: Matern12(3, day * LENGTHSCALES),
    "matern32": lambda day: Matern32(3, day * LENGTHSCALES),
    "matern52": lambda day: Matern52(3, day * LENGTHSCALES),
    "periodic": lambda day: Periodic(3, day * LENGTHSCALES, period=day * YEAR),
    "half years": lambda day: Periodic(3, day * LENGTHSCALES, harmonics=5, period=day * 182.5),
    "quasi-periodic": lambda day: Product(
        [Periodic(3, day * LENGTHSCALES, period=day * YEAR), Matern32(3, day * LENGTHSCALES)]
    ),
    "product": lambda day: Product(
        [Matern32(3, day * LENGTHSCALES), Matern52(3, day * LENGTHSCALES.flip(0))]
    ),
    "nested product": lambda day: Product(
        [Product([White(3), Constant(3)]), Matern12(3, day * LENGTHSCALES)]
    ),
    "sum": lambda day: Sum(
        [Constant(3), Matern32(3, day * LENGTHSCALES)], torch.tensor([0.3, 0.7])
    ),
    "three": lambda day: Sum(
        [Matern12(3, day * LENGTHSCALES.flip(0)), Constant(3), Matern32(3, day * LENGTHSCALES)],
        torch.tensor([[0.2, 0.3, 0.5], [0.1, 0.8, 0.1], [0.6, 0.2, 0.2]]),
    ),
    "nested sum": lambda day: Sum(
        [
            Sum([Matern12(3, day * 60.0), KERNELS["quasi-periodic"](day)]),
            KERNELS["product"](day),
            White(3),
        ],
        torch.tensor([0.5, 0.3, 0.2]),
    ),
}


SPAN = (20_000.0, 20_180.0)


def calendar() -> Tensor:
    """Days of half a year, unsorted, with a duplicate and two a minute apart."""
    days = 20_000.0 + 180.0 * torch.rand(40, generator=torch.Generator().manual_seed(1)).double()
    return torch.cat([days, days[:1], days[1:2] + 1.0 / 1440.0])


def level_and_matern32(latents: int) -> TemporalKernel:
    """A pixel's own level, and smooth paths around it, with their first lengthscales."""
    return make_kernel("constant+matern32", latents)
