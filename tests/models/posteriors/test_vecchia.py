"""Laws of the nearest-neighbour posterior, against its prior built day by day in numpy."""

import math
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor

from terralatent.models.kernels import TemporalKernel
from terralatent.models.posteriors import Vecchia
from terralatent.models.posteriors.kalman import dispatch
from terralatent.models.posteriors.vecchia import WHITE
from tests.made.kernels import level_and_matern32
from tests.made.sites import (
    KERNELS,
    LATENTS,
    Case,
    assert_near,
    digits_left,
    make_case,
    oracle,
    prior,
)


@pytest.fixture(params=["default", "matern52", "product", "white"])
def kernel(request: pytest.FixtureRequest) -> TemporalKernel:
    return KERNELS[request.param]().double()


def calm_case() -> Case:
    """Return 14 sites on 12 days at least two days apart, where dense algebra keeps its digits."""
    rng = torch.Generator().manual_seed(4)
    days = 19_000.0 + torch.cumsum(2.0 + 25.0 * torch.rand(12, generator=rng).double(), 0)
    days = days[[0, 1, 2, 3, 4, 4, 5, 6, 7, 8, 9, 10, 11, 11]]
    w = 50.0 * torch.rand(3, len(days), LATENTS, generator=rng).double()
    w *= torch.rand(w.shape, generator=rng) < 0.7
    queries = torch.tensor([19_300.0, 18_990.0, float(days[6]), 19_060.5, 19_061.5]).double()
    return Case(days, w, w * torch.randn(w.shape, generator=rng).double(), queries)


class Joint(NamedTuple):
    """The prior of one latent over sites and queries, and of each part with the sites."""

    whole: np.ndarray
    parts: list[np.ndarray]
    part_vars: list[float]


def sequential(kernel: TemporalKernel, latent: int, case: Case, m: int) -> Joint:
    """Let each day depend on the m before it, then each query on its window of m days."""
    nodes, place = np.unique(case.days.numpy(), return_inverse=True)
    queries = case.queries.numpy()
    count, n = len(nodes), min(m, len(nodes))

    def between(a: np.ndarray, b: np.ndarray) -> list[np.ndarray]:
        return [(1 - WHITE) * part for part in prior(kernel, latent, a[:, None] - b)]

    own = sum(between(nodes, nodes)) * (1 - np.eye(count)) + np.eye(count)
    cov = np.eye(count + len(queries))
    for i in range(1, count):
        near = np.arange(max(0, i - m), i)
        b = np.linalg.solve(own[np.ix_(near, near)], own[near, i])
        cov[i, :i] = cov[:i, i] = b @ cov[near, :i]
    parts = [np.zeros((len(queries), count)) for _ in kernel.parts]
    for j, day in enumerate(queries):
        first = np.clip(np.searchsorted(nodes, day) - n // 2, 0, count - n)
        near = np.arange(first, first + n)
        gains = np.linalg.solve(own[np.ix_(near, near)], np.stack(_at(between, nodes[near], day)).T)
        for part, gain in zip(parts, gains.T, strict=True):
            part[j] = gain @ cov[near, :count]
    cov[count:, :count] = sum(parts)
    cov[:count, count:] = cov[count:, :count].T
    for j in range(len(queries)):
        for other in range(j):
            first = np.clip(np.searchsorted(nodes, queries[j]) - n // 2, 0, count - n)
            near = np.arange(first, first + n)
            b = np.linalg.solve(own[np.ix_(near, near)], sum(_at(between, nodes[near], queries[j])))
            cov[count + j, count + other] = cov[count + other, count + j] = (
                b @ cov[near, count + other]
            )
    order = np.concatenate([place, count + np.arange(len(queries))])
    part_vars = [float(part[0]) for part in prior(kernel, latent, np.zeros(1))]
    return Joint(cov[np.ix_(order, order)], [part[:, place] for part in parts], part_vars)


def _at(between, days: np.ndarray, day: float) -> list[np.ndarray]:  # type: ignore[no-untyped-def]
    return [part[:, 0] for part in between(days, np.array([day]))]


def conditioned(cov: np.ndarray, w: np.ndarray, eta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and covariance of everything given the sites, which come first."""
    seen = np.flatnonzero(w > 0)
    noisy = cov[np.ix_(seen, seen)] + np.diag(1 / w[seen])
    gain = np.linalg.solve(noisy, cov[seen]).T
    return gain @ (eta[seen] / w[seen]), cov - gain @ cov[seen]


@pytest.mark.parametrize("neighbours", [1, 2, 4])
def test_a_dense_prior_of_the_same_neighbours(kernel: TemporalKernel, neighbours: int) -> None:
    case = calm_case()
    form = Vecchia(neighbours)
    with torch.no_grad():
        got = form.infer(kernel, *case)
        part_mean, part_var = form.components(kernel, *case)
        joint_mean, joint = form.joint(kernel, *case)
        evidence = form.log_evidence(kernel, *case[:3])

    for latent in range(LATENTS):
        dense = sequential(kernel, latent, case, neighbours)
        for i in range(len(case.w)):
            w, eta = case.w[i, :, latent].numpy(), case.eta[i, :, latent].numpy()
            mean, cov = conditioned(dense.whole, w, eta)
            t = len(w)
            assert_near(got.mean[i, :, latent], mean[:t], 1e-6)
            assert_near(got.var[i, :, latent], cov.diagonal()[:t].copy(), 1e-6)
            assert_near(got.query_mean[i, :, latent], mean[t:], 1e-6)
            assert_near(got.query_var[i, :, latent], cov.diagonal()[t:].copy(), 1e-6)
            assert_near(joint_mean[i, :, latent], mean[t:], 1e-6)
            assert_near(joint[i, latent], cov[t:, t:], 1e-6)
            seen = np.flatnonzero(w > 0)
            k, y = dense.whole[np.ix_(seen, seen)], eta[seen] / w[seen]
            noisy = k + np.diag(1 / w[seen])
            solved = np.linalg.solve(noisy, y)
            log_det = np.linalg.slogdet(2 * np.pi * noisy)[1]
            assert_near(evidence[i, latent], np.array(-0.5 * (y @ solved + log_det)), 1e-6)
            shrunk = np.linalg.eigvalsh(np.sqrt(w[seen])[:, None] * k * np.sqrt(w[seen]))
            kl = 0.5 * (np.sum(np.log1p(shrunk) - shrunk / (1 + shrunk)) + solved @ k @ solved)
            assert_near(got.kl_by_latent[i, latent], np.array(kl), 1e-6)
            for part, cross in enumerate(dense.parts):
                gain = np.linalg.solve(noisy, cross[:, seen].T).T
                left = dense.part_vars[part] - (gain * cross[:, seen]).sum(1)
                assert_near(part_mean[i, :, latent, part], gain @ y, 1e-6)
                assert_near(part_var[i, :, latent, part], left, 1e-6)


@pytest.mark.parametrize("name", KERNELS)
def test_all_neighbours_are_exact(name: str) -> None:
    """With a repeated day, two a minute apart and a gap of two years."""
    kernel = KERNELS[name]().double()
    case = make_case()
    some = torch.tensor([0, 3, 4, 8, 9, 12, 15, 17, 20, 22])
    case = case._replace(days=case.days[some], w=case.w[:, some], eta=case.eta[:, some])
    want, near = oracle(kernel, case), max(1e-6, digits_left(kernel, case))

    with torch.no_grad():
        got = Vecchia(9).infer(kernel, *case)
        part_mean, part_var = Vecchia(100).components(kernel, *case)
        evidence = Vecchia(100).log_evidence(kernel, *case[:3])

    for name in ("mean", "var", "query_mean", "query_var", "kl"):
        assert_near(getattr(got, name), getattr(want, name), near)
    assert_near(part_mean, want.part_mean, near)
    assert_near(part_var, want.part_var, near)
    assert_near(evidence, want.evidence, near)


def test_one_neighbour_is_exact_for_a_first_order_kernel_on_its_days() -> None:
    kernel = KERNELS["matern12"]().double()
    case = make_case()
    want = oracle(kernel, case)

    got = Vecchia(1).infer(kernel, *case)
    between = Vecchia(2).infer(kernel, *case)

    assert_near(got.mean, want.mean, 1e-7)
    assert_near(got.kl, want.kl, 1e-7)
    # A query needs the day before and the day after it.
    assert_near(between.query_mean, want.query_mean, 1e-7)
    assert_near(between.query_var, want.query_var, 1e-7)


def test_days_in_a_row_have_the_kernels_covariance(kernel: TemporalKernel) -> None:
    days = torch.unique(make_case().days)

    got = Vecchia(4).prior(kernel, days, days.new_zeros(0))

    wanted = kernel.covariance(days[:, None] - days).movedim(-1, 0)
    near = (torch.arange(len(days))[:, None] - torch.arange(len(days))).abs() <= 4
    assert_near(got[:, near], wanted[:, near], 1e-7)


def test_a_day_asked_for_twice_has_one_value(kernel: TemporalKernel) -> None:
    case = make_case()

    _, cov = Vecchia().joint(kernel, *case[:3], torch.tensor([19_050.3, 19_050.3]).double())

    assert_near(cov[..., 0, 1], cov[..., 0, 0], 1e-9)


@pytest.mark.parametrize(("largest", "tolerance"), [(100.0, 1e-4), (1e4, 1e-3)])
def test_float32_is_enough(kernel: TemporalKernel, largest: float, tolerance: float) -> None:
    """Also beside days a minute apart, whose regressions have coefficients of 1e4."""
    case = make_case(series=16, largest=largest)
    rough = case.to(torch.float32)
    for neighbours in (2, 6):
        form = Vecchia(neighbours)
        with torch.no_grad():
            want, got = form.infer(kernel, *case), form.infer(kernel, *rough)
            assert_near(got.mean, want.mean, tolerance)
            assert_near(got.var, want.var, tolerance)
            assert_near(got.query_mean, want.query_mean, tolerance)
            assert_near(got.query_var, want.query_var, tolerance)
            assert_near(got.kl, want.kl, tolerance)
            evidence = form.log_evidence(kernel, *rough[:3])
        assert got.mean.dtype == evidence.dtype == torch.float32
        assert_near(evidence, form.log_evidence(kernel, *case[:3]).detach(), tolerance)


@pytest.mark.slow
def test_the_compiled_walk_gives_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = level_and_matern32(LATENTS).double()
    case = make_case()
    with torch.no_grad():
        eager = Vecchia(2).infer(kernel, *case[:3])
        monkeypatch.setattr(dispatch, "COMPILED_FROM", 0)
        compiled = Vecchia(2).infer(kernel, *case[:3])

    assert_near(compiled.mean, eager.mean, 1e-10)
    assert_near(compiled.var, eager.var, 1e-10)
    assert_near(compiled.kl, eager.kl, 1e-10)


def test_samples_have_the_dense_mean_and_covariance() -> None:
    kernel = level_and_matern32(LATENTS).double()
    case = calm_case()
    with torch.no_grad():
        mean, cov = Vecchia().joint(kernel, *case)
        _, var = Vecchia().marginals(kernel, *case)

    rng = torch.Generator().manual_seed(5)
    drawn = Vecchia().sample(kernel, *case, 20_000, rng)

    assert_near(cov.diagonal(dim1=-2, dim2=-1).transpose(1, 2), var, 1e-9)
    assert drawn.shape == (20_000, 3, 5, LATENTS)
    assert_near(drawn.mean(0), mean, 5.0 / math.sqrt(20_000))
    off = drawn - drawn.mean(0)
    got = torch.einsum("snql,snrl->nlqr", off, off) / len(drawn)
    assert_near(got, cov, 10.0 / math.sqrt(20_000))


def test_the_means_are_linear_in_the_informations(kernel: TemporalKernel) -> None:
    case = calm_case()
    etas = torch.stack([case.eta, 2.0 * case.eta.flip(0) * (case.w > 0), torch.zeros_like(case.w)])

    means = Vecchia().means(kernel, case.days, case.w, etas, case.queries)

    for eta, mean in zip(etas, means, strict=True):
        want, _ = Vecchia().marginals(kernel, case.days, case.w, eta, case.queries)
        assert_near(mean, want.detach(), 1e-10)


def test_the_prior_depends_on_the_days_of_the_calendar() -> None:
    """So a day that nobody saw counts, unless the kernel is of first order."""
    case = make_case()
    kept = torch.arange(len(case.days)) % 3 > 0
    w = case.w * kept[:, None]
    moved = {}
    for name in ("matern12", "default"):
        kernel = KERNELS[name]().double()
        whole = Vecchia(2).infer(kernel, case.days, w, case.eta)
        left = Vecchia(2).infer(kernel, case.days[kept], w[:, kept], case.eta[:, kept])
        moved[name] = float((whole.mean[:, kept] - left.mean).detach().abs().max())

    assert moved["matern12"] < 1e-7
    assert moved["default"] > 1e-3


def test_gradients() -> None:
    kernel = level_and_matern32(1).double()
    case = calm_case()
    w = (case.w[:2, :8, :1] + 0.1).requires_grad_()
    eta = case.eta[:2, :8, :1].clone().requires_grad_()
    parameters = {key: p.detach().requires_grad_() for key, p in kernel.named_parameters()}

    def everything(w: Tensor, eta: Tensor, *values: Tensor) -> tuple[Tensor, ...]:
        class Whole(torch.nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.kernel = kernel

            def forward(self) -> tuple[Tensor, ...]:
                sites = (case.days[:8], w, eta, case.queries)
                got = Vecchia(3).infer(self.kernel, *sites)
                parts = Vecchia(3).components(self.kernel, *sites)
                return got.mean, got.var, got.query_mean, got.query_var, got.kl, *parts

        named = {f"kernel.{key}": v for key, v in zip(parameters, values, strict=True)}
        return torch.func.functional_call(Whole(), named, ())  # type: ignore[no-any-return]

    assert torch.autograd.gradcheck(
        everything, (w, eta, *parameters.values()), eps=1e-5, fast_mode=True
    )


def test_gradients_are_finite_beside_a_minute_and_for_an_empty_series(
    kernel: TemporalKernel,
) -> None:
    case = make_case()
    for neighbours in (1, 4, 8):
        w, eta = case.w.clone().requires_grad_(), case.eta.clone().requires_grad_()
        got = Vecchia(neighbours).infer(kernel, case.days, w, eta, case.queries)
        (got.kl.sum() + got.var.sum() + got.query_mean.sum() + got.query_var.sum()).backward()
        assert w.grad is not None
        assert bool(w.grad.isfinite().all())
        for parameter in filter(lambda weight: weight.requires_grad, kernel.parameters()):
            assert parameter.grad is not None
            assert bool(parameter.grad.isfinite().all())


def test_too_few_and_too_many_neighbours_are_refused() -> None:
    days = torch.arange(600.0).double()
    sites = torch.zeros(1, 600, 1)

    with pytest.raises(ValueError, match="at least one neighbour, got 0"):
        Vecchia(0)
    with pytest.raises(ValueError, match=r"64 states at 600 dates of 1 .* fewer neighbours"):
        Vecchia(64).infer(level_and_matern32(1), days, sites, sites)
