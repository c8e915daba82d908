"""Laws of the exact posteriors, against dense algebra in float64 that shares no code with them."""

import math

import gpytorch
import numpy as np
import pytest
import torch
from torch import Tensor

from terralatent.models.kernels import Constant, Matern32, Sum, TemporalKernel
from terralatent.models.posteriors import POSTERIORS, Inference, Markov, make_posterior
from terralatent.models.posteriors.kalman import dispatch
from tests.made.sites import KERNELS, assert_near, make_case, oracle, prior


@pytest.fixture(params=["exact", "markov"])
def form(request: pytest.FixtureRequest) -> Inference:
    return make_posterior(request.param)


@pytest.fixture(params=KERNELS)
def kernel(request: pytest.FixtureRequest) -> TemporalKernel:
    return KERNELS[request.param]().double()


@pytest.mark.parametrize(("largest", "tolerance"), [(100.0, 1e-8), (1e4, 1e-8)])
def test_dense_conditioning(
    form: Inference, kernel: TemporalKernel, largest: float, tolerance: float
) -> None:
    case = make_case(largest=largest)
    want = oracle(kernel, case)

    got = form.infer(kernel, *case)
    mean, var = form.marginals(kernel, *case)
    part_mean, part_var = form.components(kernel, *case)

    for name in ("mean", "var", "query_mean", "query_var", "kl"):
        assert_near(getattr(got, name), getattr(want, name), tolerance)
    assert_near(mean, want.query_mean, tolerance)
    assert_near(var, want.query_var, tolerance)
    assert_near(part_mean, want.part_mean, tolerance)
    assert_near(part_var, want.part_var, tolerance)
    assert_near(form.log_evidence(kernel, *case[:3]), want.evidence, tolerance)


@pytest.mark.parametrize(("largest", "tolerance"), [(100.0, 1e-4), (1e4, 1e-3)])
def test_float32_is_enough(
    form: Inference, kernel: TemporalKernel, largest: float, tolerance: float
) -> None:
    case = make_case(series=16, largest=largest)
    want = oracle(kernel, case)

    got = form.infer(kernel.float(), *case.to(torch.float32))

    assert got.mean.dtype == torch.float32
    for name in ("mean", "var", "query_mean", "query_var", "kl"):
        assert_near(getattr(got, name), getattr(want, name), tolerance)
    evidence = form.log_evidence(kernel, *case.to(torch.float32)[:3])
    assert_near(evidence, want.evidence, tolerance)


@pytest.mark.parametrize(
    "name",
    ["default", *(pytest.param(n, marks=pytest.mark.slow) for n in ("matern32", "four"))],
)
@pytest.mark.parametrize(("largest", "tolerance"), [(100.0, 1e-4), (1e4, 1e-3)])
def test_float32_is_enough_compiled(
    name: str, largest: float, tolerance: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatch, "COMPILED_FROM", 0)
    kernel, case = KERNELS[name]().double(), make_case(series=16, largest=largest)
    want = oracle(kernel, case)

    with torch.no_grad():
        got = Markov().infer(kernel.float(), *case.to(torch.float32))

    for name in ("mean", "var", "query_mean", "query_var", "kl"):
        assert_near(getattr(got, name), getattr(want, name), tolerance)


def test_what_lets_networks_round_leaves_the_posterior_alone(form: Inference) -> None:
    kernel, case = KERNELS["default"](), make_case().to(torch.float32)
    exact = form.infer(kernel, *case)

    with torch.autocast("cpu", torch.bfloat16):
        rounded = form.infer(kernel, *case)

    assert torch.equal(rounded.mean, exact.mean)
    assert torch.equal(rounded.query_var, exact.query_var)


@pytest.mark.parametrize(
    "name",
    [
        "white",
        *(
            pytest.param(n, marks=pytest.mark.soak)
            for n in ("matern52", "quasiperiodic", "product")
        ),
    ],
)
def test_gradients_through_every_kernel(form: Inference, name: str) -> None:
    kernel, case = KERNELS[name]().double(), make_case(series=3)
    at = torch.tensor([2, 3, 8, 9, 17])
    w = (case.w[-1:, at] + 0.1).requires_grad_()  # of the only one that is seen on all dates
    eta = case.eta[-1:, at].clone().requires_grad_()
    learned = [p for p in kernel.parameters() if p.requires_grad]

    def everything(*_: Tensor) -> tuple[Tensor, ...]:
        got = form.infer(kernel, case.days[at], w, eta, case.queries[:2])
        return got.mean, got.var, got.query_mean, got.query_var, got.kl

    # The parameters are changed in place, so the kernel sees each step.
    inputs = (w, eta, *learned)
    assert torch.autograd.gradcheck(everything, inputs, fast_mode=False, eps=1e-4, atol=1e-4)


def test_gpytorch_gives_the_same_values(form: Inference) -> None:
    """One series of the default kernel, as an exact GP of GPyTorch with fixed noise."""
    case = make_case()
    kernel = Sum([Constant(1), Matern32(1, 60.0)], torch.tensor([0.4, 0.6])).double()
    seen = case.w[-1, :, 0] > 0
    w, eta = case.w[-1, seen, 0], case.eta[-1, seen, 0]
    x = (case.days[seen] - 19_000)[:, None]

    class Series(gpytorch.models.ExactGP):  # type: ignore[misc]
        def __init__(self) -> None:
            noise = gpytorch.likelihoods.FixedNoiseGaussianLikelihood(1.0 / w)
            super().__init__(x, eta / w, noise)
            self.mean_module = gpytorch.means.ZeroMean()
            matern = gpytorch.kernels.MaternKernel(nu=1.5)
            constant = gpytorch.kernels.ConstantKernel()
            scaled = gpytorch.kernels.ScaleKernel(matern)
            self.covar_module = constant + scaled
            self.double()
            constant.constant, scaled.outputscale = kernel.weights[0]
            matern.lengthscale = kernel.timescales()["matern32"]

        def forward(self, at: Tensor) -> gpytorch.distributions.MultivariateNormal:
            return gpytorch.distributions.MultivariateNormal(
                self.mean_module(at), self.covar_module(at)
            )

    series = Series().eval()
    with torch.no_grad(), gpytorch.settings.fast_computations(False, False, False):
        theirs = series((case.queries - 19_000)[:, None])
        mean, var = form.marginals(
            kernel, case.days[seen], w[None, :, None], eta[None, :, None], case.queries
        )

    assert_near(mean[0, :, 0], theirs.mean, 1e-6)
    assert_near(var[0, :, 0], theirs.variance, 1e-6)


def test_elbo_of_the_pseudo_observations_is_their_evidence(
    form: Inference, kernel: TemporalKernel
) -> None:
    case = make_case()
    got = form.infer(kernel, *case)
    seen = case.w > 0
    safe = case.w.where(seen, 1.0)

    misfit = (case.eta / safe - got.mean).square() + got.var
    expected = 0.5 * (safe.log() - math.log(2 * math.pi) - safe * misfit).where(seen, 0.0)

    evidence = form.log_evidence(kernel, *case[:3])
    assert_near(expected.sum(1) - got.kl_by_latent, evidence.detach(), 1e-8)


@pytest.mark.parametrize(
    ("compiled_from", "series"),
    [(10**12, 500), (0, 2_500)],
    ids=["eager", "compiled"],
)
def test_any_precision_and_lengthscale_stays_finite(
    compiled_from: int, series: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """100,000 random series of the default form in float32, w from 0 to 1e4; a fifth eagerly."""
    monkeypatch.setattr(dispatch, "COMPILED_FROM", compiled_from)
    with torch.no_grad():
        got = Markov().infer(*stress(series=series, latents=40, dates=40))

    assert bool(got.mean.isfinite().all())
    assert bool(got.kl.isfinite().all())
    assert bool((got.kl > -1e-3).all())
    assert bool((got.var > 0).all())
    assert bool((got.var < 1 + 1e-4).all())


@pytest.mark.soak
@pytest.mark.parametrize("name", POSTERIORS)
def test_every_form_stays_finite(name: str) -> None:
    """100,000 random series of each form in float32, w from 0 to 1e4."""
    with torch.no_grad():
        got = make_posterior(name).infer(*stress(series=2_500, latents=40, dates=24))

    for part in (got.mean, got.var, got.kl):
        assert bool(part.isfinite().all())
    assert bool((got.kl_by_latent > -1e-3).all())
    assert bool((got.var > 0).all())


def test_the_joint_covariance_is_that_of_dense_conditioning(
    form: Inference, kernel: TemporalKernel
) -> None:
    case = make_case()
    days, queries = case.days.numpy(), case.queries.numpy()

    mean, cov = form.joint(kernel, *case)

    assert_near(mean, oracle(kernel, case).query_mean, 1e-8)
    for series, latent in ((0, 0), (1, 1), (2, 0), (4, 2)):
        seen = np.flatnonzero(case.w[series, :, latent].numpy() > 0)
        noisy = sum(prior(kernel, latent, days[seen, None] - days[seen]))
        noisy = noisy + np.diag(1 / case.w[series, seen, latent].numpy())
        cross = sum(prior(kernel, latent, queries[:, None] - days[seen]))
        own = sum(prior(kernel, latent, queries[:, None] - queries))
        want = own - cross @ np.linalg.solve(noisy, cross.T) if len(seen) else own
        assert_near(cov[series, latent], want, 1e-8)


def test_time_may_run_backwards(form: Inference, kernel: TemporalKernel) -> None:
    """Stationary processes are the same in both directions: dates reversed, answers reversed."""
    case = make_case()

    there = form.infer(kernel, *case)
    back = form.infer(kernel, -case.days.flip(0), case.w.flip(1), case.eta.flip(1), -case.queries)

    assert_near(back.mean.flip(1), there.mean, 1e-8)
    assert_near(back.var.flip(1), there.var, 1e-8)
    assert_near(back.query_mean, there.query_mean, 1e-8)
    assert_near(back.kl, there.kl, 1e-8)


def stress(series: int, latents: int, dates: int) -> tuple[TemporalKernel, Tensor, Tensor, Tensor]:
    """Return kernel and sites, float32: lengthscales 8 to 2,000 days, w from 0 to 1e4."""
    rng = torch.Generator().manual_seed(3)
    days = 19_000.0 + (1500.0 * torch.rand(dates, generator=rng)).double().sort().values
    shape = (series, dates, latents)
    w = 1e4 * torch.rand(shape, generator=rng) ** 6 * (torch.rand(shape, generator=rng) < 0.4)
    lengthscales = torch.logspace(math.log10(8.01), math.log10(1999.0), latents)
    kernel = Sum([Constant(latents), Matern32(latents, lengthscales)])
    return kernel, days, w, w * torch.randn(shape, generator=rng)
