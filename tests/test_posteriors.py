"""Laws of every posterior, against dense algebra in float64 that shares no code with them."""

import math
from collections.abc import Callable
from typing import NamedTuple

import gpytorch
import numpy as np
import pytest
import torch
from torch import Tensor

from terralatent.models.kernels import (
    Constant,
    Matern12,
    Matern32,
    Sum,
    TemporalKernel,
    default_kernel,
)
from terralatent.models.posteriors import POSTERIORS, Inference, markov, recursion

LATENTS = 3
LENGTHSCALES = torch.tensor([8.5, 60.0, 1500.0])
MINUTE = 1.0 / 1440.0

KERNELS: dict[str, Callable[[], TemporalKernel]] = {
    "constant": lambda: Constant(LATENTS),
    "matern12": lambda: Matern12(LATENTS, LENGTHSCALES),
    "matern32": lambda: Matern32(LATENTS, LENGTHSCALES),
    "default": lambda: Sum(
        [Constant(LATENTS), Matern32(LATENTS, LENGTHSCALES)], torch.tensor([0.4, 0.6])
    ),
    "four": lambda: Sum(
        [Matern12(LATENTS, LENGTHSCALES.flip(0)), Constant(LATENTS), Matern32(LATENTS)],
        torch.tensor([0.3, 0.2, 0.5]),
    ),
}


@pytest.fixture(params=POSTERIORS)
def form(request: pytest.FixtureRequest) -> Inference:
    return POSTERIORS[request.param]


@pytest.fixture(params=KERNELS)
def kernel(request: pytest.FixtureRequest) -> TemporalKernel:
    return KERNELS[request.param]().double()


class Case(NamedTuple):
    """A calendar with sites on it, float64."""

    days: Tensor
    w: Tensor
    eta: Tensor
    queries: Tensor

    def to(self, dtype: torch.dtype) -> "Case":
        return self._replace(w=self.w.to(dtype), eta=self.eta.to(dtype))


def make_case(series: int = 5, largest: float = 100.0, seed: int = 0) -> Case:
    """Return irregular sites: repeated days, 1-minute pairs, a 2-year gap, 0 to T seen."""
    rng = torch.Generator().manual_seed(seed)
    days = 19_000.0 + 300.0 * torch.rand(24, generator=rng).double().sort().values
    days[4] = days[3]
    days[9] = days[8] + MINUTE
    days[16:] += 730.0
    shape = (series, len(days), LATENTS)
    w = 10.0 ** (torch.rand(shape, generator=rng).double() * 4.0 - 4.0) * largest
    w *= torch.rand(shape, generator=rng) < torch.linspace(0.0, 1.0, series)[:, None, None]
    w[1:2] = 0.0
    w[1:2, 7] = 0.5 * largest  # after an empty series, one with a single site
    y = torch.randn(shape, generator=rng).double() + 0.5 * days[None, :, None].sub(19_000).div(90)
    queries = torch.tensor([20_500.0, 19_500.5, 18_000.0, float(days[8]), float(days[8]), 19_033.3])
    return Case(days, w, w * y, queries.double())


def prior(kernel: TemporalKernel, latent: int, lag: np.ndarray) -> list[np.ndarray]:
    """Return the covariance of each part at ``lag``, by the formulas of the textbook."""
    weights = kernel.weights[latent].tolist() if isinstance(kernel, Sum) else [1.0]
    parts = []
    for weight, (name, scales) in zip(weights, kernel.timescales().items(), strict=True):
        d = np.abs(lag) / float(scales[latent])
        if name == "matern12":
            parts.append(weight * np.exp(-d))
        elif name == "matern32":
            parts.append(weight * (1 + np.sqrt(3) * d) * np.exp(-np.sqrt(3) * d))
        else:
            assert name == "constant"
            parts.append(weight * np.ones_like(lag))
    return parts


class Answer(NamedTuple):
    """What dense conditioning gives, each array as in a Posterior; parts as ``components``."""

    mean: np.ndarray
    var: np.ndarray
    query_mean: np.ndarray
    query_var: np.ndarray
    kl: np.ndarray
    evidence: np.ndarray
    part_mean: np.ndarray
    part_var: np.ndarray


def oracle(kernel: TemporalKernel, case: Case) -> Answer:
    """Condition a dense Gaussian on the seen sites of each series and latent, one by one."""
    days, queries = case.days.numpy(), case.queries.numpy()
    everywhere = np.concatenate([days, queries])
    n, t, latents = case.w.shape
    mean = np.zeros((n, len(everywhere), latents))
    var = np.zeros_like(mean)
    kl, evidence = np.zeros((n, latents)), np.zeros((n, latents))
    parts = len(kernel.parts)
    part_mean = np.zeros((n, len(queries), latents, parts))
    part_var = np.zeros_like(part_mean)
    for i in range(n):
        for latent in range(latents):
            seen = np.flatnonzero(case.w[i, :, latent].numpy() > 0)
            w = case.w[i, seen, latent].numpy()
            y = case.eta[i, seen, latent].numpy() / w
            k = sum(prior(kernel, latent, days[seen, None] - days[seen]))
            noisy = k + np.diag(1 / w)
            cross = sum(prior(kernel, latent, everywhere[:, None] - days[seen]))
            gain = np.linalg.solve(noisy, cross.T).T
            mean[i, :, latent] = gain @ y
            var[i, :, latent] = 1.0 - (gain * cross).sum(1)
            log_det = np.linalg.slogdet(noisy)[1]
            evidence[i, latent] = -0.5 * (
                y @ np.linalg.solve(noisy, y) + log_det + len(seen) * np.log(2 * np.pi)
            )
            # KL of the Gaussians at the seen days, through eigenvalues of S K S.
            shrunk = np.linalg.eigvalsh(np.sqrt(w)[:, None] * k * np.sqrt(w))
            quadratic = np.linalg.solve(noisy, y)
            kl[i, latent] = 0.5 * (
                np.sum(np.log1p(shrunk) - shrunk / (1 + shrunk)) + quadratic @ k @ quadratic
            )
            for part in range(parts):
                here = prior(kernel, latent, queries[:, None] - days[seen])[part]
                gain = np.linalg.solve(noisy, here.T).T
                part_mean[i, :, latent, part] = gain @ y
                own = prior(kernel, latent, np.zeros(1))[part]
                part_var[i, :, latent, part] = own - (gain * here).sum(1)
    return Answer(
        mean[:, :t], var[:, :t], mean[:, t:], var[:, t:], kl.sum(1), evidence, part_mean, part_var
    )


def assert_near(got: Tensor, want: np.ndarray | Tensor, tolerance: float) -> None:
    """Compare absolutely below 1 and relatively above."""
    want = torch.as_tensor(want)
    torch.testing.assert_close(got.detach().to(want), want, rtol=tolerance, atol=tolerance)


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


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_an_empty_series_is_the_prior(
    form: Inference, kernel: TemporalKernel, dtype: torch.dtype
) -> None:
    case = make_case().to(dtype)
    nothing = torch.zeros_like(case.w)

    got = form.infer(kernel, case.days, nothing, nothing, case.queries)

    for mean in (got.mean, got.query_mean, got.kl):
        assert torch.equal(mean, torch.zeros_like(mean))
    close = 1e-5 if dtype == torch.float32 else 1e-13
    for var in (got.var, got.query_var):
        assert_near(var, torch.ones_like(var), close)
    assert not form.log_evidence(kernel, case.days, nothing, nothing).any()


@pytest.mark.parametrize("junk", [math.nan, math.inf, 1e30])
def test_a_masked_site_changes_nothing(form: Inference, junk: float) -> None:
    kernel = KERNELS["default"]().double()
    case = make_case()
    seen = case.w > 0
    answers = []
    for under in (0.0, junk):
        kernel.zero_grad()
        w = case.w.clone().requires_grad_()
        eta = case.eta.where(seen, under).requires_grad_()
        got = form.infer(kernel, case.days, w, eta, case.queries)
        evidence = form.log_evidence(kernel, case.days, w, eta)
        terms = (got.mean, got.var, got.query_mean, got.query_var, got.kl, evidence)
        sum(term.square().sum() for term in terms).backward()  # type: ignore[union-attr]
        assert w.grad is not None and eta.grad is not None  # noqa: PT018
        assert not w.grad[~seen].any()
        assert not eta.grad[~seen].any()
        gradients = [w.grad, eta.grad, *(p.grad for p in kernel.parameters())]
        answers.append([*terms, *gradients])

    for clean, dirty in zip(*answers, strict=True):
        assert bool(clean.isfinite().all())
        assert torch.equal(clean, dirty)


def test_dates_that_nobody_saw_can_be_left_out(form: Inference, kernel: TemporalKernel) -> None:
    case = make_case()
    kept = torch.arange(len(case.days)) % 3 > 0
    w = case.w * kept[:, None]

    with_them = form.infer(kernel, case.days, w, case.eta, case.queries)
    without = form.infer(kernel, case.days[kept], w[:, kept], case.eta[:, kept], case.queries)

    assert_near(with_them.mean[:, kept], without.mean, 1e-10)
    assert_near(with_them.query_var, without.query_var, 1e-10)
    assert_near(with_them.kl, without.kl, 1e-9)


def test_repeated_days_add_information(form: Inference, kernel: TemporalKernel) -> None:
    case = make_case()
    twice = case.days.repeat_interleave(2)
    shares = torch.tensor([0.3, 0.7]).double().repeat(len(case.days))[:, None]

    once = form.infer(kernel, *case)
    split = form.infer(
        kernel,
        twice,
        case.w.repeat_interleave(2, 1) * shares,
        case.eta.repeat_interleave(2, 1) * shares,
        case.queries,
    )

    assert_near(split.query_mean, once.query_mean, 1e-9)
    assert_near(split.query_var, once.query_var, 1e-9)
    assert_near(split.kl, once.kl, 1e-9)


def test_series_do_not_see_each_other(
    form: Inference, kernel: TemporalKernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recursion, "TILE", 64 * LATENTS)
    case = make_case(series=7)
    order = torch.randperm(7, generator=torch.Generator().manual_seed(1))

    whole = form.infer(kernel, *case)
    shuffled = form.infer(kernel, case.days, case.w[order], case.eta[order], case.queries)
    alone = form.infer(kernel, case.days, case.w[:1], case.eta[:1], case.queries)
    with torch.no_grad():
        many = make_case(series=7)
        reps = 50
        mean, var = form.marginals(
            kernel,
            case.days[:8],
            many.w[:, :8].repeat(reps, 1, 1),
            many.eta[:, :8].repeat(reps, 1, 1),
            case.queries[:2],
        )
        mean_of_few, var_of_few = form.marginals(
            kernel, case.days[:8], many.w[:, :8], many.eta[:, :8], case.queries[:2]
        )

    assert_near(shuffled.mean, whole.mean[order], 1e-12)
    assert_near(shuffled.kl, whole.kl[order], 1e-11)
    assert_near(alone.query_var, whole.query_var[:1], 1e-12)
    assert_near(mean, mean_of_few.repeat(reps, 1, 1), 1e-11)
    assert_near(var, var_of_few.repeat(reps, 1, 1), 1e-11)


def test_queries_do_not_see_each_other(form: Inference, kernel: TemporalKernel) -> None:
    case = make_case()

    _, var = form.marginals(kernel, *case)
    mean, last = form.marginals(kernel, *case[:3], case.queries[-1:])
    none = form.infer(kernel, *case[:3])

    assert_near(last, var[:, -1:], 1e-11)
    assert mean.shape == (5, 1, LATENTS)
    assert none.query_mean.shape == none.query_var.shape == (5, 0, LATENTS)


def test_more_data_never_raises_the_variance(form: Inference, kernel: TemporalKernel) -> None:
    case = make_case()
    more = case.w + torch.rand(case.w.shape, generator=torch.Generator().manual_seed(2)).double()

    before = form.infer(kernel, *case)
    after = form.infer(kernel, case.days, more, case.eta, case.queries)

    assert bool((after.var <= before.var + 1e-12).all())
    assert bool((after.query_var <= before.query_var + 1e-12).all())
    assert bool((after.query_var > 0).all())
    assert bool((before.var <= 1 + 1e-12).all())


def test_far_from_data_the_prior_returns(form: Inference) -> None:
    case = make_case()
    kernel = Matern32(LATENTS, 60.0).double()

    mean, var = form.marginals(kernel, *case[:3], case.days[-1:] + 36_500.0)

    assert_near(mean, torch.zeros_like(mean), 1e-12)
    assert_near(var, torch.ones_like(var), 1e-12)


def test_the_origin_of_the_calendar_means_nothing(form: Inference, kernel: TemporalKernel) -> None:
    case = make_case()
    millennium = 365_250.0

    here = form.infer(kernel, *case)
    there = form.infer(kernel, case.days + millennium, case.w, case.eta, case.queries + millennium)

    assert_near(there.mean, here.mean, 1e-7)
    assert_near(there.query_var, here.query_var, 1e-7)


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


def test_parts_add_up(form: Inference, kernel: TemporalKernel) -> None:
    case = make_case()

    mean, _ = form.marginals(kernel, *case)
    part_mean, part_var = form.components(kernel, *case)

    assert_near(part_mean.sum(-1), mean, 1e-9)
    assert bool((part_var > 0).all())


@pytest.mark.parametrize("name", ["matern12", "default"])
def test_gradients(form: Inference, name: str) -> None:
    kernel = KERNELS[name]().double()
    case = make_case(series=3)
    at = torch.tensor([2, 3, 4, 8, 9, 17])
    parameters = {key: p.detach().requires_grad_() for key, p in kernel.named_parameters()}

    def everything(w: Tensor, eta: Tensor, *values: Tensor) -> tuple[Tensor, ...]:
        class Whole(torch.nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.kernel = kernel

            def forward(self) -> tuple[Tensor, ...]:
                got = form.infer(self.kernel, case.days[at], w, eta, case.queries[:3])
                evidence = form.log_evidence(self.kernel, case.days[at], w, eta)
                return got.mean, got.var, got.query_mean, got.query_var, got.kl, evidence

        named = {f"kernel.{key}": v for key, v in zip(parameters, values, strict=True)}
        return torch.func.functional_call(Whole(), named, ())  # type: ignore[no-any-return]

    w = (case.w[:, at] + 0.1).requires_grad_()
    eta = case.eta[:, at].clone().requires_grad_()
    assert torch.autograd.gradcheck(everything, (w, eta, *parameters.values()), fast_mode=True)


def test_gradients_in_float32_point_the_same_way(form: Inference) -> None:
    case = make_case(series=8)
    gradients = []
    for dtype in (torch.float64, torch.float32):
        kernel = default_kernel(LATENTS).to(dtype)
        w = case.w.detach().clone().to(dtype).requires_grad_()
        eta = case.eta.clone().to(dtype).requires_grad_()
        got = form.infer(kernel, case.days, w, eta)
        (got.mean.square().sum() + got.var.sum() - got.kl.sum()).backward()
        gradients.append([p.grad.double() for p in (w, eta, *kernel.parameters())])  # type: ignore

    for exact, rounded in zip(*gradients, strict=True):
        assert bool(rounded.isfinite().all())
        cosine = torch.cosine_similarity(exact.flatten(), rounded.flatten(), dim=0)
        assert float(cosine) > 0.9999


@pytest.mark.parametrize(
    "compiled_from", [10**12, pytest.param(0, marks=pytest.mark.slow)], ids=["eager", "compiled"]
)
def test_any_precision_and_lengthscale_stays_finite(
    compiled_from: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only for the default: 20,000 random series in float32, w from 0 to 1e4."""
    monkeypatch.setattr(markov, "COMPILED_FROM", compiled_from)
    rng = torch.Generator().manual_seed(3)
    days = 19_000.0 + (1500.0 * torch.rand(40, generator=rng)).double().sort().values
    shape = (500, 40, 40)
    w = 1e4 * torch.rand(shape, generator=rng) ** 6 * (torch.rand(shape, generator=rng) < 0.4)
    lengthscales = torch.logspace(math.log10(8.01), math.log10(1999.0), 40)
    kernel = Sum([Constant(40), Matern32(40, lengthscales)])

    with torch.no_grad():
        got = markov.infer(kernel, days, w, w * torch.randn(shape, generator=rng))

    assert bool(got.mean.isfinite().all())
    assert bool(got.kl.isfinite().all())
    assert bool((got.kl > -1e-3).all())
    assert bool((got.var > 0).all())
    assert bool((got.var < 1 + 1e-4).all())


def test_no_days_and_no_series(form: Inference) -> None:
    kernel = default_kernel(LATENTS)
    days = torch.empty(0).double()
    sites = torch.zeros(2, 0, LATENTS)

    mean, var = form.marginals(kernel, days, sites, sites, make_case().queries)
    none = form.infer(kernel, make_case().days, torch.zeros(0, 24, 3), torch.zeros(0, 24, 3))

    assert torch.equal(mean, torch.zeros(2, 6, LATENTS))
    assert_near(var, torch.ones(2, 6, LATENTS), 1e-6)
    assert none.mean.shape == (0, 24, LATENTS)
    assert none.kl.shape == (0,)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"days": lambda d: d.flip(0)}, "must ascend.*sort the days"),
        ({"days": lambda d: d.where(d > d[0], math.nan)}, "days must be finite, got nan at 0"),
        ({"days": lambda d: d[1:]}, "w has 24 days and the calendar has 23"),
        ({"days": lambda d: d.float()}, "days must be float64"),
        ({"queries": lambda q: q * math.inf}, "query_days must be finite"),
        ({"w": lambda w: -w}, "not negative.*from -.* a masked observation has precision 0"),
        ({"w": lambda w: w * math.nan}, "must be finite"),
        ({"w": lambda w: w[..., :2]}, r"latents = 3\), got \(5, 24, 2\)"),
        ({"eta": lambda e: e[:1]}, r"got \(5, 24, 3\) and \(1, 24, 3\)"),
        ({"eta": lambda e: e.float()}, "one floating dtype, got torch.float64 and torch.float32"),
    ],
)
def test_bad_input_is_told(
    form: Inference, change: dict[str, Callable[[Tensor], Tensor]], words: str
) -> None:
    case = make_case()
    ((name, spoil),) = change.items()
    spoiled = case._replace(**{name: spoil(getattr(case, name))})

    with pytest.raises(ValueError, match=words):
        form.infer(default_kernel(LATENTS), *spoiled)
