"""Laws of every temporal kernel: its covariance and its state-space model are one process."""

import math
from decimal import Decimal, localcontext
from fractions import Fraction

import pytest
import torch
from torch import Tensor

from terralatent.models.kernels import (
    Matern12,
    Matern32,
    Matern52,
    TemporalKernel,
    White,
)
from tests.made.kernels import KERNELS, LAGS, LENGTHSCALES, SPAN, calendar


@pytest.fixture(params=KERNELS)
def kernel(request: pytest.FixtureRequest) -> TemporalKernel:
    return KERNELS[request.param](1.0)


def test_variance_is_one(kernel: TemporalKernel) -> None:
    h, p = kernel.measurement(), kernel.stationary()

    torch.testing.assert_close(kernel.covariance(torch.zeros(2)), torch.ones(2, 3).double())
    torch.testing.assert_close(torch.einsum("li,lij,lj->l", h, p, h), torch.ones(3).double())


def test_state_space_gives_the_covariance(kernel: TemporalKernel) -> None:
    h, p = kernel.measurement(), kernel.stationary()
    a, _ = kernel.transition(LAGS)

    from_states = torch.einsum("li,slij,ljk,lk->sl", h, a, p, h)

    torch.testing.assert_close(from_states, kernel.covariance(LAGS), rtol=1e-13, atol=1e-13)
    torch.testing.assert_close(kernel.covariance(-LAGS), kernel.covariance(LAGS))


def test_two_gaps_make_one(kernel: TemporalKernel) -> None:
    s, t = LAGS.flip(0), LAGS
    (a_s, q_s), (a_t, q_t), (a, q) = map(kernel.transition, (s, t, s + t))

    torch.testing.assert_close(a_t @ a_s, a, rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(a_t @ q_s @ a_t.mT + q_t, q, rtol=1e-10, atol=1e-15)


def test_the_state_is_stationary(kernel: TemporalKernel) -> None:
    a, q = kernel.transition(LAGS)
    p = kernel.stationary()

    torch.testing.assert_close(a @ p @ a.mT + q, p.expand_as(q), rtol=1e-12, atol=1e-12)


def test_no_time_changes_nothing(kernel: TemporalKernel) -> None:
    a, q = kernel.transition(torch.zeros(1).double())

    assert torch.equal(a[0], torch.eye(kernel.state_dim).double().expand_as(a[0]))
    assert torch.equal(q, torch.zeros_like(q))


@pytest.mark.parametrize(
    ("kind", "drift", "diffusion"),
    [
        (Matern12, [[-1]], Fraction(2)),
        (Matern32, [[0, 1], [-1, -2]], Fraction(4)),
        (Matern52, [[0, 1, 0], [0, 0, 1], [-1, -3, -3]], Fraction(16, 3)),
    ],
)
def test_noise_keeps_its_digits_however_short_the_gap(
    kind: type[Matern12], drift: list[list[int]], diffusion: Fraction
) -> None:
    """Against the Taylor series of dQ/dx = F Q + Q F^T + q e e^T, summed with 60 digits."""
    kernel = kind(3, LENGTHSCALES)
    steps = torch.tensor([1e-6, 1.0 / 1440.0, 0.1, 1.0, 8.0]).double()
    q = kernel.transition(steps)[1].detach()
    n = len(drift)
    for i, j in [(i, j) for i in range(len(steps)) for j in range(3)]:
        x = Decimal(kernel.scaled(steps).detach()[i, j].item())
        term = [[diffusion * (row == column == n - 1) for column in range(n)] for row in range(n)]
        with localcontext(prec=60):
            sums = [[Decimal(0)] * n for _ in range(n)]
            for order in range(1, 60):
                for row, column in [(r, c) for r in range(n) for c in range(n)]:
                    share = term[row][column] / math.factorial(order)
                    size = Decimal(share.numerator) / Decimal(share.denominator)
                    sums[row][column] += size * x**order
                moved = [
                    [sum(drift[r][k] * term[k][c] for k in range(n)) for c in range(n)]
                    for r in range(n)
                ]
                term = [[Fraction(moved[r][c] + moved[c][r]) for c in range(n)] for r in range(n)]
            total = torch.tensor([list(map(float, row)) for row in sums], dtype=torch.float64)
        scale = total.diagonal().sqrt()
        wrong = (q[i, j] - total) / scale[:, None] / scale

        assert float(wrong.abs().max()) < 1e-13


def test_noise_is_a_covariance_in_float32(kernel: TemporalKernel) -> None:
    _, q = kernel.transition(LAGS[1:])
    q = q.float().double()

    # Variances below the smallest float32 have no digits left that could be right.
    scale = q.diagonal(dim1=-2, dim2=-1).clamp_min(torch.finfo(torch.float32).tiny).sqrt()
    correlation = q / scale[..., None] / scale[..., None, :]
    assert bool((torch.linalg.eigvalsh(correlation) > -1e-6).all())


def test_white_noise_forgets_within_a_millisecond() -> None:
    lag = torch.tensor([0.0, -0.0, 1e-8, -1e-8, 1.0]).double()
    a, q = White(1).transition(lag.abs())

    assert White(1).covariance(lag)[:, 0].tolist() == [1.0, 1.0, 0.0, 0.0, 0.0]
    assert a.flatten().tolist() == [1.0, 1.0, 0.0, 0.0, 0.0]
    assert q.flatten().tolist() == [0.0, 0.0, 1.0, 1.0, 1.0]


def test_parts_sum_to_the_covariance(kernel: TemporalKernel) -> None:
    lag = LAGS.reshape(2, 27)

    shares = kernel.part_covariance(lag)

    assert shares.shape == (2, 27, 3, len(kernel.parts))
    torch.testing.assert_close(shares.sum(-1), kernel.covariance(lag), rtol=1e-14, atol=1e-14)


def test_parts_cover_the_state_and_have_names_of_their_own(kernel: TemporalKernel) -> None:
    states = [i for part in kernel.parts for i in range(kernel.state_dim)[part.states]]

    assert states == list(range(kernel.state_dim))
    assert len({part.name for part in kernel.parts}) == len(kernel.parts)
    assert list(kernel.timescales()) == [part.name for part in kernel.parts]


def test_parts_share_nothing(kernel: TemporalKernel) -> None:
    a, q = kernel.transition(LAGS)
    own = torch.zeros(kernel.state_dim, kernel.state_dim, dtype=torch.bool)
    for part in kernel.parts:
        own[part.states, part.states] = True

    assert not a[..., ~own].any()
    assert not q[..., ~own].any()


@pytest.mark.parametrize("name", KERNELS)
def test_unit_of_time_is_free(name: str) -> None:
    one, two = KERNELS[name](1.0), KERNELS[name](2.0)
    days, span = calendar(), SPAN

    for got, expected in zip(
        (two.covariance(2 * LAGS), two.stationary(), *two.transition(2 * LAGS)),
        (one.covariance(LAGS), one.stationary(), *one.transition(LAGS)),
        strict=True,
    ):
        torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)
    twice = two.features(2 * days, (2 * span[0], 2 * span[1]), 8)
    torch.testing.assert_close(twice, one.features(days, span, 8), rtol=1e-4, atol=1e-5)


def everything(kernel: TemporalKernel) -> Tensor:
    """Return one number that all answers of a kernel go into, each element with its own sign."""
    features = kernel.features(calendar(), SPAN, 8)
    answers = [kernel.covariance(LAGS), kernel.stationary(), *kernel.transition(LAGS), features]
    waves = [
        torch.arange(answer.numel()).double().cos().reshape(answer.shape) for answer in answers
    ]
    return sum(
        ((wave * answer).sum() for wave, answer in zip(waves, answers, strict=True)), LAGS[0]
    )


def test_gradients_are_finite_and_those_of_differences(kernel: TemporalKernel) -> None:
    kernel = kernel.double()
    parameters = [p for p in kernel.parameters() if p.requires_grad]
    if not parameters:
        return
    gradients = torch.autograd.grad(everything(kernel), parameters)

    for parameter, gradient in zip(parameters, gradients, strict=True):
        assert bool(gradient.isfinite().all())
        with torch.no_grad():
            parameter += 1e-5
            above = everything(kernel)
            parameter -= 2e-5
            below = everything(kernel)
            parameter += 1e-5
        torch.testing.assert_close(gradient.sum(), (above - below) / 2e-5, rtol=1e-5, atol=1e-5)
