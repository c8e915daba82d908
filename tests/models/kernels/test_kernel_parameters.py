"""Parameters of kernels: how they are set, bounded, fixed, stored and described."""

import math
from collections.abc import Callable

import pytest
import torch
from gpytorch.constraints import Interval
from gpytorch.kernels import MaternKernel

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
from terralatent.models.kernels.lengthscales import LONGEST, SHORTEST
from tests.made.kernels import KERNELS, LAGS, LENGTHSCALES, SPAN, calendar, level_and_matern32


@pytest.mark.parametrize("name", KERNELS)
def test_a_kernel_is_made_again_from_its_description(name: str) -> None:
    kernel = KERNELS[name](1.0)
    again = make_kernel(kernel.description, kernel.latents)

    assert again.description == kernel.description
    assert again.state_dim == kernel.state_dim
    assert [part.states for part in again.parts] == [part.states for part in kernel.parts]


@pytest.mark.parametrize("kind", [Matern12, Matern32, Matern52, Periodic])
def test_lengthscales_are_kept_and_bounded(kind: type[Matern32] | type[Periodic]) -> None:
    kernel = kind(3, LENGTHSCALES)
    torch.testing.assert_close(kernel.lengthscale, LENGTHSCALES, rtol=1e-3, atol=0.0)

    kernel.set_lengthscale(8.0)
    assert bool((kernel.lengthscale > 8.0).all())
    kernel.set_lengthscale(torch.tensor([8.0, 2000.0, 20.0]))
    assert bool(kernel.gpytorch.raw_lengthscale.isfinite().all())
    for bad in (7.9, 2001.0, math.nan, torch.tensor([20.0, 30.0, -1.0])):
        with pytest.raises(ValueError, match=r"within \[8, 2000\] days.*clamp"):
            kernel.set_lengthscale(bad)
    with pytest.raises(ValueError, match=r"3 latents cannot have shape \(2,\)"):
        kernel.set_lengthscale(torch.tensor([20.0, 30.0]))


@pytest.mark.parametrize("kind", [Matern12, Matern32, Matern52])
def test_a_lengthscale_is_kept_as_gpytorch_keeps_it(kind: type[Matern32]) -> None:
    ours = kind(3)
    theirs = MaternKernel(
        nu=ours.smoothness,
        batch_shape=torch.Size([3]),
        lengthscale_constraint=Interval(SHORTEST, LONGEST),
    )

    for days in (torch.full((3,), 60.0), LENGTHSCALES):
        ours.set_lengthscale(days)
        theirs.lengthscale = days[:, None, None]
        kept, wanted = ours.gpytorch.state_dict(), theirs.state_dict()
        assert list(kept) == list(wanted)
        assert all(torch.equal(kept[name], wanted[name]) for name in kept)
        assert torch.equal(ours.lengthscale, theirs.lengthscale.flatten())


def test_weights_stay_on_the_simplex() -> None:
    kernel = level_and_matern32(2)
    assert isinstance(kernel, Sum)

    kernel.set_weights(torch.tensor([1.0, 3.0]))

    torch.testing.assert_close(kernel.weights.detach(), torch.tensor([[0.25, 0.75]] * 2).double())
    with pytest.raises(ValueError, match="positive"):
        kernel.set_weights(torch.tensor([0.0, 1.0]))
    with pytest.raises(ValueError, match="shape"):
        kernel.set_weights(torch.tensor([1.0, 1.0, 1.0]))


def test_fixed_parameters_take_no_gradient() -> None:
    kinds = (Matern12, Matern32, Matern52, Periodic)
    parts = [Constant(2), White(2), *(kind(2, learnable=False) for kind in kinds)]
    fixed = Sum([*parts[:3], Product(parts[3:])], learnable=False)

    assert not any(parameter.requires_grad for parameter in fixed.parameters())


@pytest.mark.parametrize("name", [name for name in KERNELS if not name.startswith("nested sum")])
def test_state_is_saved_and_loaded(name: str) -> None:
    kernel = KERNELS[name](1.0)
    again = make_kernel(kernel.description, 3)

    again.load_state_dict(kernel.state_dict())

    assert torch.equal(again.covariance(LAGS), kernel.covariance(LAGS))


def test_names_in_checkpoints_stay() -> None:
    assert list(level_and_matern32(2).state_dict()) == [
        "raw_weights",
        "terms.1.gpytorch.raw_lengthscale",
        "terms.1.gpytorch.raw_lengthscale_constraint.lower_bound",
        "terms.1.gpytorch.raw_lengthscale_constraint.upper_bound",
    ]


@pytest.mark.parametrize(
    ("given", "description", "states"),
    [
        ("constant + matern32", "constant+matern32", 3),
        ("quasiperiodic", "periodic*matern32", 10),
        ("constant+quasiperiodic3@180+white", "constant+periodic3@180*matern32+white", 16),
        ("periodic4@182.62125", "periodic4@182.62125", 9),
        ("matern12 * matern52", "matern12*matern52", 3),
    ],
)
def test_descriptions_are_read(given: str, description: str, states: int) -> None:
    kernel = make_kernel(given, 2)

    assert kernel.description == description
    assert kernel.state_dim == states


def test_twin_parts_have_names_of_their_own() -> None:
    names = [part.name for part in make_kernel("matern32+quasiperiodic+quasiperiodic", 1).parts]

    assert names == ["matern32", "periodic*matern32", "periodic*matern32-2"]


def test_timescale_of_a_product_is_what_ends_its_memory() -> None:
    season, event = Periodic(2, 20.0), Matern32(2, torch.tensor([30.0, 500.0]))

    def days(*factors: TemporalKernel) -> list[float]:
        (scale,) = Product(factors).timescales().values()
        return [round(days, 2) for days in scale.tolist()]

    assert days(season, event) == [30.0, 500.0]
    assert days(season, event, Matern52(2, 100.0)) == [30.0, 100.0]
    assert days(Constant(2), season) == [20.0, 20.0]
    assert days(season, event, White(2)) == [0.0, 0.0]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: make_kernel("constant+matern99", 2), r"Unknown kernel 'matern99'.*'matern52'"),
        (lambda: make_kernel("constant*", 2), r"Unknown kernel ''.*'constant\*'.*'white'"),
        (lambda: make_kernel("periodic0", 2), "1 to 32 harmonics, got 0"),
        (lambda: Periodic(2, period=0.0), r"within \[1, 10000\] days, got 0.0"),
        (lambda: Constant(0), "at least one latent"),
        (lambda: Sum([Constant(2), Matern12(3)]), "same number of latents"),
        (lambda: Product([Constant(2), Matern12(3)]), "same number of latents"),
        (lambda: Product([]), "one or more kernels"),
        (
            lambda: Product([level_and_matern32(1), White(1)]),
            r"'constant\+matern32'; multiply it out",
        ),
        (
            lambda: Matern32(1).features(calendar(), (20_180.0, 20_000.0), 8),
            "first day to its last",
        ),
        (
            lambda: Matern32(1).features(calendar(), SPAN, 0),
            "at least one function",
        ),
    ],
)
def test_what_is_wrong_is_named(make: Callable[[], object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        make()
