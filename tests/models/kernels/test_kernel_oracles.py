"""Kernels against GPyTorch and SciPy."""

import math
from collections.abc import Callable

import gpytorch
import pytest
import scipy.special
import torch

from terralatent.models.kernels import (
    Matern12,
    Matern32,
    Matern52,
    Periodic,
    Product,
    Sum,
    TemporalKernel,
)
from tests.made.kernels import LAGS, LENGTHSCALES, YEAR


def theirs(name: str) -> gpytorch.kernels.Kernel:
    """Return the kernel of GPyTorch, with its own words for the same parameters."""
    batch = torch.Size([3])
    if name == "periodic":
        periodic = gpytorch.kernels.PeriodicKernel(batch_shape=batch).double()
        periodic.period_length = torch.tensor(YEAR).double()
        periodic.lengthscale = (2 * math.pi * LENGTHSCALES.double() / YEAR)[:, None, None] ** 2
        return periodic
    nu = {"matern12": 0.5, "matern32": 1.5, "matern52": 2.5}[name]
    matern = gpytorch.kernels.MaternKernel(nu=nu, batch_shape=batch).double()
    matern.lengthscale = LENGTHSCALES.double()[:, None, None]
    return matern


def all_harmonics() -> Periodic:
    return Periodic(3, LENGTHSCALES, harmonics=32)


@pytest.mark.parametrize(
    ("ours", "expected"),
    [
        (lambda: Matern12(3, LENGTHSCALES), lambda: theirs("matern12")),
        (lambda: Matern32(3, LENGTHSCALES), lambda: theirs("matern32")),
        (lambda: Matern52(3, LENGTHSCALES), lambda: theirs("matern52")),
        (all_harmonics, lambda: theirs("periodic")),
        (
            lambda: Product([all_harmonics(), Matern32(3, LENGTHSCALES)]),
            lambda: theirs("periodic") * theirs("matern32"),
        ),
        (
            lambda: Sum([Matern52(3, LENGTHSCALES), all_harmonics()]).double(),
            lambda: theirs("matern52") + theirs("periodic"),
        ),
    ],
    ids=["matern12", "matern32", "matern52", "periodic", "product", "sum"],
)
def test_covariance_is_that_of_gpytorch(
    ours: Callable[[], TemporalKernel], expected: Callable[[], gpytorch.kernels.Kernel]
) -> None:
    dense = expected()(LAGS[:, None], torch.zeros(1, 1).double()).to_dense()[..., 0].T.detach()

    got = ours().covariance(LAGS).detach()

    torch.testing.assert_close(got, dense / dense[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("harmonics", [1, 2, 8, 32])
def test_shares_of_harmonics_are_bessel_functions(harmonics: int) -> None:
    """To all digits, the smallest ones included."""
    days = torch.tensor([8.0, 20.0, 60.0, 300.0, 2000.0])
    kernel = Periodic(5, days, harmonics=harmonics)
    order = torch.arange(harmonics + 1).double()
    z = (YEAR / (2 * math.pi * kernel.lengthscale.detach().double())).square()[:, None]
    expected = torch.as_tensor(scipy.special.ive(order.numpy(), z.numpy())) * torch.where(
        order > 0, 2.0, 1.0
    )

    got = kernel.double().shares().detach()

    torch.testing.assert_close(got.sum(-1), torch.ones(5).double())
    expected = expected / expected.sum(-1, keepdim=True)
    # The lengthscale went through float32, and the share of harmonic j through its power 2j.
    torch.testing.assert_close(got, expected, rtol=1e-6 * harmonics, atol=0.0)
