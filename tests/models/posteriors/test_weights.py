"""Laws of the posteriors over weights of features: inducing points and Hilbert-space bases."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from terralatent.models.kernels import TemporalKernel, make_kernel
from terralatent.models.posteriors import Exact, Hilbert, Inducing, Inference, weights
from tests.made.sites import KERNELS, LATENTS, Answer, Case, assert_near, make_case, prior

COARSE = (Inducing(points=7), Hilbert(functions=9))
"""Far from exact, so that an approximation differs from what it approximates."""


@pytest.fixture(params=COARSE, ids=["inducing", "hilbert"])
def form(request: pytest.FixtureRequest) -> Inference:
    return request.param  # type: ignore[no-any-return]


@pytest.fixture(params=["matern32", "default", "white", "quasiperiodic"])
def kernel(request: pytest.FixtureRequest) -> TemporalKernel:
    return KERNELS[request.param]().double()


def covariances(
    form: Inference, kernel: TemporalKernel, latent: int, case: Case
) -> tuple[np.ndarray, list[np.ndarray], list[np.ndarray]]:
    """Return what a form says of sites, (T, T), and of each part on sites and queries, S = T + Q.

    The last two are the covariances (S, T) of the parts with the sites, and their own (S, S).
    """
    everywhere = torch.cat([case.days, case.queries])
    if isinstance(form, Hilbert):
        first, last = float(case.days[0]), float(case.days[-1])
        with torch.no_grad():
            parts = kernel.part_features(everywhere, (first, last), form.functions)
        phi = [part[:, latent].numpy() for part in parts]
        own = [part @ part.T for part in phi]
        crosses = [k[:, : len(case.days)] for k in own]
        # Queries outside the calendar get back what the basis lacks there.
        s = everywhere.numpy()
        outside = (s < first) | (s > last)
        for k, whole in zip(own, prior(kernel, latent, s[:, None] - s), strict=True):
            lacking = np.sqrt(np.maximum(1 - k.diagonal() / whole.diagonal(), 0) * outside)
            k += lacking[:, None] * whole * lacking
        return sum(crosses)[: len(case.days)], crosses, own
    assert isinstance(form, Inducing)
    at, s = form.at(case.days).numpy(), everywhere.numpy()
    t = s[: len(case.days)]
    between = sum(prior(kernel, latent, at[:, None] - at)) + 1e-10 * np.eye(len(at))
    through = np.linalg.solve(between, sum(prior(kernel, latent, at[:, None] - t)))
    crosses = [part @ through for part in prior(kernel, latent, s[:, None] - at)]
    return sum(crosses)[: len(t)], crosses, prior(kernel, latent, s[:, None] - s)


def dense(form: Inference, kernel: TemporalKernel, case: Case) -> tuple[Answer, np.ndarray]:
    """Condition the form's own prior, one series and latent at a time; also the joint covariance.

    The evidence is that of the form's prior of the sites, less what their rests cost the bound.
    """
    n, t, latents = case.w.shape
    q, parts = len(case.queries), len(kernel.parts)
    mean, var = np.zeros((2, n, t + q, latents))
    kl, evidence = np.zeros((2, n, latents))
    part_mean, part_var = np.zeros((2, n, q, latents, parts))
    joint = np.zeros((n, latents, q, q))
    for latent in range(latents):
        sites, crosses, owns = covariances(form, kernel, latent, case)
        cross, own = sum(crosses), sum(owns)
        for i in range(n):
            seen = np.flatnonzero(case.w[i, :, latent].numpy() > 0)
            w = case.w[i, seen, latent].numpy()
            y = case.eta[i, seen, latent].numpy() / w
            k = sites[np.ix_(seen, seen)]
            noisy = k + np.diag(1 / w)
            gain = np.linalg.solve(noisy, cross[:, seen].T).T
            after = own - gain @ cross[:, seen].T
            mean[i, :, latent], var[i, :, latent] = gain @ y, after.diagonal()
            joint[i, latent] = after[t:, t:]
            quadratic = np.linalg.solve(noisy, y)
            rest = own.diagonal()[seen] - k.diagonal()
            evidence[i, latent] = -0.5 * (
                y @ quadratic
                + np.linalg.slogdet(noisy)[1]
                + len(seen) * np.log(2 * np.pi)
                + w @ rest
            )
            shrunk = np.linalg.eigvalsh(np.sqrt(w)[:, None] * k * np.sqrt(w))
            kl[i, latent] = 0.5 * (
                np.sum(np.log1p(shrunk) - shrunk / (1 + shrunk)) + quadratic @ k @ quadratic
            )
            for part in range(parts):
                here = crosses[part][t:, seen]
                part_mean[i, :, latent, part] = here @ quadratic
                drop = (here * np.linalg.solve(noisy, here.T).T).sum(1)
                part_var[i, :, latent, part] = owns[part].diagonal()[t:] - drop
    found = Answer(
        mean[:, :t], var[:, :t], mean[:, t:], var[:, t:], kl.sum(1), evidence, part_mean, part_var
    )
    return found, joint


@pytest.mark.parametrize(("largest", "tolerance"), [(100.0, 1e-8), (1e4, 1e-7)])
def test_dense_conditioning_of_the_forms_own_prior(
    form: Inference, kernel: TemporalKernel, largest: float, tolerance: float
) -> None:
    case = make_case(largest=largest)
    want, joint = dense(form, kernel, case)

    with torch.no_grad():
        got = form.infer(kernel, *case)
        mean, var = form.marginals(kernel, *case)
        part_mean, part_var = form.components(kernel, *case)
        joint_mean, cov = form.joint(kernel, *case)

    for name in ("mean", "var", "query_mean", "query_var", "kl"):
        assert_near(getattr(got, name), getattr(want, name), tolerance)
    for each in (mean, joint_mean, part_mean.sum(-1)):
        assert_near(each, want.query_mean, tolerance)
    for each in (var, cov.diagonal(dim1=-2, dim2=-1).mT):
        assert_near(each, want.query_var, tolerance)
    assert_near(part_mean, want.part_mean, tolerance)
    assert_near(part_var, want.part_var, tolerance)
    assert_near(cov, joint, tolerance)


def test_the_bound_of_inducing_points_is_that_of_titsias(kernel: TemporalKernel) -> None:
    case, form = make_case(), Inducing(points=7)
    want, _ = dense(form, kernel, case)

    bound = form.log_evidence(kernel, *case[:3])
    evidence = Exact().log_evidence(kernel, *case[:3])

    assert_near(bound, want.evidence, 1e-8)
    assert bool((bound <= evidence + 1e-9 * evidence.abs()).all())


def test_the_evidence_of_a_basis_is_that_of_its_prior(kernel: TemporalKernel) -> None:
    case, form = make_case(), Hilbert(functions=9)
    want, _ = dense(form, kernel, case)

    assert_near(form.log_evidence(kernel, *case[:3]), want.evidence, 1e-8)


def test_more_inducing_points_raise_the_bound_up_to_the_evidence(kernel: TemporalKernel) -> None:
    case = make_case()
    nested = (2, 3, 12, 23)
    calendars = [set(Inducing(points).at(case.days).tolist()) for points in nested]
    assert calendars[0] < calendars[1] < calendars[3] == set(case.days.tolist())
    assert calendars[0] < calendars[2]

    two, three, twelve, every = (
        Inducing(points).log_evidence(kernel, *case[:3]) for points in nested
    )

    for fewer, more in ((two, three), (two, twelve), (three, every), (twelve, every)):
        assert bool((fewer <= more + 1e-7 * more.abs()).all())
    assert_near(every, Exact().log_evidence(kernel, *case[:3]), 1e-6)


@pytest.mark.parametrize("name", KERNELS)
def test_inducing_points_at_all_dates_are_exact(name: str) -> None:
    case, kernel = make_case(), KERNELS[name]().double()
    form = Inducing(points=23)

    got, want = (each.infer(kernel, *case) for each in (form, Exact()))
    components = [each.components(kernel, *case) for each in (form, Exact())]

    # The prior is moved by its jitter of 1e-10, and by n eps times the condition number of a factor
    # of it, 5e5, to which that leads: 2e-9. Precisions of 100 and values of 10 make 2e-6 of it.
    for field in ("mean", "var", "query_mean", "query_var", "kl"):
        assert_near(getattr(got, field), getattr(want, field), 1e-5)
    for ours, exact in zip(*components, strict=True):
        assert_near(ours, exact, 1e-5)


def test_inducing_points_are_spread_evenly_over_the_different_days() -> None:
    days = torch.tensor([1.0, 1.0, 2.0, 5.0, 5.0, 9.0, 30.0], dtype=torch.float64)

    assert Inducing(1).at(days).tolist() == [5.0]
    assert Inducing(2).at(days).tolist() == [1.0, 30.0]
    assert Inducing(3).at(days).tolist() == [1.0, 5.0, 30.0]
    assert Inducing(9).at(days).tolist() == [1.0, 2.0, 5.0, 9.0, 30.0]


@pytest.mark.parametrize(
    ("name", "bounds"),
    [
        ("matern12", (1.4, 1.0, 0.3, 0.15)),
        ("matern32", (0.6, 0.2, 0.02, 0.002)),
        ("matern52", (0.3, 0.03, 0.001, 2e-4)),
    ],
)
def test_the_error_of_a_basis_falls_with_its_functions(
    name: str, bounds: tuple[float, ...]
) -> None:
    """Of means up to 6 and their deviations; a lengthscale of 60 days over three years."""
    case = make_case()
    case = case._replace(queries=torch.linspace(19_000, 20_030, 200).double())
    kernel = make_kernel(f"constant+{name}", LATENTS)
    exact = Exact().infer(kernel, *case)
    errors = []
    for functions in (32, 64, 128, 256):
        got = Hilbert(functions).infer(kernel, *case)
        away = [(got.mean, exact.mean), (got.query_mean, exact.query_mean)]
        away += [(got.var.sqrt(), exact.var.sqrt()), (got.query_var.sqrt(), exact.query_var.sqrt())]
        errors.append(max(float((ours - theirs).detach().abs().max()) for ours, theirs in away))

    assert errors == sorted(errors, reverse=True)
    assert all(error < bound for error, bound in zip(errors, bounds, strict=True))


def test_samples_have_the_dense_mean_and_covariance(form: Inference) -> None:
    kernel, case = KERNELS["default"]().double(), make_case(series=3)
    at = torch.tensor([0, 2, 3, 4, 8, 9, 12, 17, 20])
    case = Case(case.days[at], case.w[:, at], case.eta[:, at], case.queries[[1, 2, 5]])
    want, joint = dense(form, kernel, case)

    drawn = form.sample(kernel, *case, 20_000, torch.Generator().manual_seed(4)).numpy()

    # Standard errors are at most 1 / sqrt(20,000) = 0.007 for means, 0.01 for covariances.
    away = drawn - want.query_mean
    assert np.abs(away.mean(0)).max() < 0.03
    empirical = np.einsum("snql,snrl->nlqr", away, away) / len(away)
    assert np.abs(empirical - joint).max() < 0.045


def test_an_empty_series_keeps_the_forms_own_prior(form: Inference, kernel: TemporalKernel) -> None:
    case = make_case()
    nothing = torch.zeros_like(case.w)

    got = form.infer(kernel, case.days, nothing, nothing, case.queries)
    own = form.prior(kernel, case.days, case.queries).diagonal(dim1=1, dim2=2).mT

    assert not got.kl.any()
    assert not got.mean.any()
    assert not got.query_mean.any()
    assert_near(got.query_var, own[len(case.days) :].expand_as(got.query_var), 1e-12)
    if form.keeps_prior:
        assert_near(got.var, torch.ones_like(got.var), 1e-12)


@pytest.mark.parametrize("junk", [math.nan, math.inf])
def test_what_is_masked_changes_nothing(form: Inference, junk: float) -> None:
    case = make_case()
    seen = case.w > 0
    answers = []
    for under in (0.0, junk):
        kernel = KERNELS["default"]().double()
        w = case.w.clone().requires_grad_()
        eta = case.eta.where(seen, under).requires_grad_()
        got = form.infer(kernel, case.days, w, eta, case.queries)
        terms = (got.mean, got.var, got.query_mean, got.query_var, got.kl)
        torch.cat([term.square().flatten() for term in terms]).sum().backward()
        assert w.grad is not None
        assert not w.grad[~seen].any()
        answers.append([*terms, w.grad, eta.grad, *(p.grad for p in kernel.parameters())])

    for clean, dirty in zip(*answers, strict=True):
        assert bool(clean.isfinite().all())
        assert torch.equal(clean, dirty)


def test_sites_in_float32_lose_no_more_than_their_own_digits(
    form: Inference, kernel: TemporalKernel
) -> None:
    case = make_case(series=16, largest=1e4)

    want = form.infer(kernel, *case)
    got = form.infer(kernel.float(), *case.to(torch.float32))

    for name in ("mean", "var", "query_mean", "query_var", "kl"):
        assert getattr(got, name).dtype == torch.float32
        assert_near(getattr(got, name), getattr(want, name), 1e-4)


@pytest.mark.parametrize("name", ["matern32", "default", "quasiperiodic"])
def test_gradients(form: Inference, name: str) -> None:
    kernel, case = KERNELS[name]().double(), make_case(series=3)
    at = torch.tensor([2, 3, 4, 6, 7, 8, 9, 12, 15, 17, 19, 22])  # more than inducing points
    parameters = {key: p.detach().requires_grad_() for key, p in kernel.named_parameters()}

    def everything(w: Tensor, eta: Tensor, *values: Tensor) -> tuple[Tensor, ...]:
        class Whole(torch.nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.kernel = kernel

            def forward(self) -> tuple[Tensor, ...]:
                sites = self.kernel, case.days[at], w, eta
                got = form.infer(*sites, case.queries[:3])
                joint = form.joint(*sites, case.queries[:2])
                components = form.components(*sites, case.queries[:3])
                marginals = got.mean, got.var, got.query_mean, got.query_var, got.kl
                return (*marginals, *joint, *components)

        named = {f"kernel.{key}": v for key, v in zip(parameters, values, strict=True)}
        return torch.func.functional_call(Whole(), named, ())  # type: ignore[no-any-return]

    w = (case.w[:, at] + 0.1).requires_grad_()
    eta = case.eta[:, at].clone().requires_grad_()
    assert torch.autograd.gradcheck(everything, (w, eta, *parameters.values()), fast_mode=True)


def test_any_batch_size_gives_the_same(form: Inference, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel, case = KERNELS["default"]().double(), make_case(series=11)
    fields = ("mean", "var", "query_mean", "query_var", "kl")
    with torch.no_grad():
        whole = form.infer(kernel, *case)
        rows = [
            form.infer(kernel, case.days, w[None], eta[None], case.queries)
            for w, eta in zip(case.w, case.eta, strict=True)
        ]
        monkeypatch.setattr(weights, "CACHED", 300)  # a few series a tile
        tiled = form.infer(kernel, *case)

    for field in fields:
        alone = torch.cat([getattr(row, field) for row in rows])
        assert_near(alone, getattr(whole, field), 1e-11)
        assert_near(getattr(tiled, field), getattr(whole, field), 1e-11)


@pytest.mark.parametrize("make", [lambda: Inducing(points=0), lambda: Hilbert(functions=-1)])
def test_a_form_without_weights_is_refused(make: Callable[[], Inference]) -> None:
    with pytest.raises(ValueError, match=r"at least one .*, got "):
        make()


def test_features_that_would_need_too_much_memory_are_refused() -> None:
    kernel, days = make_kernel("matern32*matern52", 1), torch.arange(230.0).double()
    sites = torch.ones(1, 230, 1)

    with pytest.raises(ValueError, match=r"4096 features on 230 dates .* take fewer points"):
        Hilbert(64).infer(kernel, days, sites, sites)
