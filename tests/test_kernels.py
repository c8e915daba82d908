"""Laws of every temporal kernel: its covariance and its state-space model are one process."""

import math

import pytest
import torch
from gpytorch.kernels import MaternKernel

from terralatent.models.kernels import (
    Constant,
    Matern12,
    Matern32,
    Sum,
    TemporalKernel,
    default_kernel,
    make_kernel,
)

LENGTHSCALES = torch.tensor([9.0, 45.0, 1900.0])
LAGS = torch.cat([torch.tensor([0.0, 1e-6, 1.0 / 1440.0, 0.1]), torch.linspace(1, 2000, 50)])
LAGS = LAGS.double()

KERNELS = {
    "constant": lambda: Constant(3),
    "matern12": lambda: Matern12(3, LENGTHSCALES),
    "matern32": lambda: Matern32(3, LENGTHSCALES),
    "sum": lambda: Sum([Constant(3), Matern32(3, LENGTHSCALES)], torch.tensor([0.3, 0.7])),
    "three": lambda: Sum(
        [Matern12(3, LENGTHSCALES.flip(0)), Constant(3), Matern32(3, LENGTHSCALES)],
        torch.tensor([[0.2, 0.3, 0.5], [0.1, 0.8, 0.1], [0.6, 0.2, 0.2]]),
    ),
    "nested": lambda: Sum([Sum([Matern12(3), Matern32(3)]), Matern32(3, LENGTHSCALES)]),
}


@pytest.fixture(params=KERNELS)
def kernel(request: pytest.FixtureRequest) -> TemporalKernel:
    return KERNELS[request.param]()


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


def test_noise_over_short_gaps_keeps_its_digits() -> None:
    """Against the Taylor series of Q of the Matérn-3/2, where a subtraction has no digit left."""
    step = 1.0 / 1440.0
    _, q = Matern32(3, LENGTHSCALES).transition(torch.tensor([step]).double())

    for latent, lengthscale in enumerate(LENGTHSCALES.double()):
        x = math.sqrt(3.0) * step / float(lengthscale)
        series = [4 / 3 * x**3 * (1 - 1.5 * x), 2 * x**2 * (1 - 2 * x), 4 * x * (1 - 2 * x)]
        got = q[0, latent].flatten()[[0, 1, 3]]
        torch.testing.assert_close(got, torch.tensor(series).double(), rtol=1e-6, atol=0.0)


def test_noise_is_a_covariance_in_float32(kernel: TemporalKernel) -> None:
    _, q = kernel.transition(LAGS[1:])
    q = q.float().double()

    scale = q.diagonal(dim1=-2, dim2=-1).clamp_min(1e-300).sqrt()
    correlation = q / scale[..., None] / scale[..., None, :]
    assert bool((torch.linalg.eigvalsh(correlation) > -1e-6).all())


@pytest.mark.parametrize(("ours", "nu"), [(Matern12, 0.5), (Matern32, 1.5)])
def test_covariance_is_that_of_gpytorch(ours: type[Matern12] | type[Matern32], nu: float) -> None:
    theirs = MaternKernel(nu=nu, batch_shape=torch.Size([3])).double()
    theirs.lengthscale = LENGTHSCALES.double()[:, None, None]

    expected = theirs(LAGS[:, None], torch.zeros(1, 1).double()).to_dense()[..., 0].T
    got = ours(3, LENGTHSCALES).double().covariance(LAGS)

    torch.testing.assert_close(got.detach(), expected.detach(), rtol=1e-5, atol=1e-6)


def test_a_kernel_is_made_again_from_its_description(kernel: TemporalKernel) -> None:
    again = make_kernel(kernel.description, kernel.latents)

    assert again.description == kernel.description
    assert again.state_dim == kernel.state_dim
    assert [part.states for part in again.parts] == [part.states for part in kernel.parts]


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


def test_gradients_are_finite_at_every_gap(kernel: TemporalKernel) -> None:
    a, q = kernel.transition(LAGS)
    parameters = [p for p in kernel.parameters() if p.requires_grad]
    (a.sum() + q.sum()).backward() if parameters else None

    assert all(p.grad is None or bool(p.grad.isfinite().all()) for p in parameters)


def test_lengthscales_are_kept_and_bounded() -> None:
    kernel = Matern32(3, LENGTHSCALES)
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


def test_weights_stay_on_the_simplex() -> None:
    kernel = default_kernel(2)
    assert isinstance(kernel, Sum)

    kernel.set_weights(torch.tensor([1.0, 3.0]))

    torch.testing.assert_close(kernel.weights.detach(), torch.tensor([[0.25, 0.75]] * 2).double())
    with pytest.raises(ValueError, match="positive"):
        kernel.set_weights(torch.tensor([0.0, 1.0]))
    with pytest.raises(ValueError, match="shape"):
        kernel.set_weights(torch.tensor([1.0, 1.0, 1.0]))


def test_fixed_parameters_take_no_gradient() -> None:
    fixed = Sum([Constant(2), Matern32(2, learnable=False)], learnable=False)

    assert not any(parameter.requires_grad for parameter in fixed.parameters())


def test_state_is_saved_and_loaded() -> None:
    kernel, again = KERNELS["three"](), make_kernel("matern12+constant+matern32", 3)

    again.load_state_dict(kernel.state_dict())

    assert torch.equal(again.covariance(LAGS), kernel.covariance(LAGS))


def test_what_is_unknown_is_named() -> None:
    with pytest.raises(ValueError, match=r"Unknown kernel 'matern99'.*matern32"):
        make_kernel("constant+matern99", 2)
    with pytest.raises(ValueError, match="at least one latent"):
        Constant(0)
    with pytest.raises(ValueError, match="same number of latents"):
        Sum([Constant(2), Matern12(3)])
