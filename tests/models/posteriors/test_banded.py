"""Laws of the banded posterior, against its precision written out and inverted in numpy."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from terralatent.models.kernels import TemporalKernel
from terralatent.models.posteriors import Banded, banded
from terralatent.models.posteriors.tiles import ROOM
from terralatent.models.posteriors.tridiagonal import WHITE
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
    prior_of,
    rounding,
)


def calm_case(series: int = 3) -> Case:
    """Return 14 sites on 12 days at least two days apart, where dense algebra keeps its digits."""
    rng = torch.Generator().manual_seed(4)
    days = 19_000.0 + torch.cumsum(2.0 + 25.0 * torch.rand(12, generator=rng).double(), 0)
    days = days[[0, 1, 2, 3, 4, 4, 5, 6, 7, 8, 9, 10, 11, 11]]
    w = 50.0 * torch.rand(series, len(days), LATENTS, generator=rng).double()
    w *= torch.rand(w.shape, generator=rng) < 0.7
    queries = torch.tensor([19_300.0, 18_990.0, float(days[6]), 19_060.5, 19_061.5]).double()
    return Case(days, w, w * torch.randn(w.shape, generator=rng).double(), queries)


def any_coupling(case: Case) -> Tensor:
    """Return couplings of any sign, with what must not matter where nothing was seen."""
    rng = torch.Generator().manual_seed(6)
    drawn = 1.9 * torch.rand(case.w.shape, generator=rng).double() - 0.95
    return drawn.where(case.w > 0, math.nan)


def default_coupling(kernel: TemporalKernel, case: Case) -> Tensor:
    """Return the kernel's correlation from each seen site to the next seen day, by loops."""
    found = torch.zeros_like(case.w)
    days = case.days.numpy()
    for i, t, latent in (case.w > 0).nonzero().tolist():
        seen = case.w[i, :, latent].numpy() > 0
        after = days[seen & (days > days[t])]
        if len(after):
            found[i, t, latent] = float(sum(prior(kernel, latent, after[:1] - days[t]))[0])
    return found * (1.0 - WHITE)


@pytest.mark.parametrize("given", [False, True], ids=["of the kernel", "given"])
@pytest.mark.parametrize("name", ["default", "matern32", "product", "white"])
def test_a_dense_precision(name: str, given: bool) -> None:
    kernel = KERNELS[name]().double()
    case = calm_case()
    coupling = any_coupling(case) if given else None
    pairs = default_coupling(kernel, case) if coupling is None else coupling
    form = Banded()
    with torch.no_grad():
        got = form.infer(kernel, *case, coupling=coupling)
        marginal_mean, marginal_var = form.marginals(kernel, *case, coupling=coupling)
        part_mean, part_var = form.components(kernel, *case, coupling=coupling)
        joint_mean, joint = form.joint(kernel, *case, coupling=coupling)

    days = case.days.numpy()
    everywhere = np.concatenate([days, case.queries.numpy()])
    t = len(days)
    for i in range(len(case.w)):
        for latent in range(LATENTS):
            w, eta, rho = (each[i, :, latent].numpy() for each in (case.w, case.eta, pairs))
            valid = np.unique(days[w > 0])
            count = len(valid)
            precision = np.zeros((count, count))
            precision[0, 0] = 1.0
            told = np.zeros(count)
            for at, day in enumerate(valid):
                here = np.flatnonzero((days == day) & (w > 0))
                told[at] = eta[here].sum()
                precision[at, at] += w[here].sum()
                if at + 1 < count:
                    r = rho[here[-1]]
                    pair = np.array([[r * r, -r], [-r, 1.0]]) / (1.0 - r * r)
                    precision[at : at + 2, at : at + 2] += pair
            sigma = np.linalg.inv(precision)
            mean = sigma @ told
            k = prior_of(kernel, latent, valid)
            # Of a lengthscale of 1,500 days neighbours say nearly the same: a condition number of
            # 3e9. The floor is for the precision, which couplings below 0.95 leave at 1e3.
            near = max(1e-9, rounding(k))
            crosses = [
                (1 - WHITE) * part for part in prior(kernel, latent, everywhere[:, None] - valid)
            ]
            g = np.linalg.solve(k, sum(crosses).T).T
            own = sum(prior(kernel, latent, everywhere[:, None] - everywhere))
            cov = own - g @ sum(crosses).T + g @ sigma @ g.T
            wanted, var = g @ mean, cov.diagonal().copy()
            for site in range(t):
                at = np.flatnonzero(valid == days[site])
                if len(at):
                    wanted[site], var[site] = mean[at[0]], sigma[at[0], at[0]]
            assert_near(got.mean[i, :, latent], wanted[:t], near)
            assert_near(got.var[i, :, latent], var[:t], near)
            assert_near(got.query_mean[i, :, latent], wanted[t:], near)
            assert_near(got.query_var[i, :, latent], var[t:], near)
            assert_near(joint[i, latent], cov[t:, t:], near)
            solved = np.linalg.inv(k)
            kl = 0.5 * (
                np.linalg.slogdet(k)[1]
                - np.linalg.slogdet(sigma)[1]
                - count
                + np.trace(solved @ sigma)
                + mean @ solved @ mean
            )
            assert_near(got.kl_by_latent[i, latent], np.array(kl), near)
            own_parts = prior(kernel, latent, np.zeros(1))
            for part, cross in enumerate(crosses):
                g = np.linalg.solve(k, cross[t:].T).T
                spread = own_parts[part] - (g * cross[t:]).sum(1) + ((g @ sigma) * g).sum(1)
                assert_near(part_mean[i, :, latent, part], g @ mean, near)
                assert_near(part_var[i, :, latent, part], spread, near)
    assert_near(marginal_mean, got.query_mean, 1e-12)
    assert_near(marginal_var, got.query_var, 1e-12)
    assert_near(joint_mean, got.query_mean, 1e-12)
    assert_near(joint.diagonal(dim1=-2, dim2=-1).transpose(1, 2), got.query_var, 1e-12)


def test_a_first_order_prior_is_exact() -> None:
    kernel = KERNELS["matern12"]().double()
    case = make_case()
    want, near = oracle(kernel, case), digits_left(kernel, case)

    got = Banded().infer(kernel, *case)
    part_mean, part_var = Banded().components(kernel, *case)

    assert near < 1e-6  # a first-order path may jump within a minute
    for name in ("mean", "var", "query_mean", "query_var", "kl"):
        assert_near(getattr(got, name), getattr(want, name), near)
    assert_near(part_mean, want.part_mean, near)
    assert_near(part_var, want.part_var, near)
    assert_near(Banded().log_evidence(kernel, *case[:3]), want.evidence, near)


@pytest.mark.parametrize("name", KERNELS)
def test_the_bound_is_never_above_the_evidence(name: str) -> None:
    kernel = KERNELS[name]().double()
    case = make_case()
    evidence = torch.as_tensor(oracle(kernel, case).evidence)

    bound = Banded().log_evidence(kernel, *case[:3])

    assert bool((bound <= evidence + 1e-8 * evidence.abs()).all())
    assert bool(bound.isfinite().all())


def test_precision_at_a_date_never_raises_a_variance() -> None:
    case = make_case()
    for name in ("default", "quasiperiodic"):
        kernel = KERNELS[name]().double()
        more = case.w * (1.0 + torch.rand(case.w.shape, dtype=torch.float64))
        before = Banded().infer(kernel, *case)
        after = Banded().infer(kernel, case.days, more, case.eta, case.queries)

        assert bool((after.var <= before.var * (1 + 1e-9)).all())
        assert bool((after.query_var <= before.query_var * (1 + 1e-9)).all())


def test_a_new_date_may_raise_a_variance_unless_the_prior_is_of_first_order() -> None:
    """What the family is: pairs of a smooth prior say less than the whole of it."""
    days = torch.tensor([0.0, 10.0, 10.2]).double()
    w = torch.tensor([50.0, 50.0, 0.0]).double()[:, None].expand(-1, LATENTS)[None]
    more = torch.tensor([50.0, 50.0, 1e-3]).double()[:, None].expand(-1, LATENTS)[None]
    query = torch.tensor([30.0]).double()
    raised = {}
    for name in ("matern12", "default"):
        kernel = KERNELS[name]().double()
        _, before = Banded().marginals(kernel, days, w, w, query)
        _, after = Banded().marginals(kernel, days, more, w, query)
        raised[name] = float((after - before).detach().max())

    assert raised["matern12"] < 1e-9
    assert raised["default"] > 5e-3


def test_nothing_holds_a_variance_below_that_of_the_prior() -> None:
    kernel = level_and_matern32(LATENTS).double()
    case = make_case()

    faint = Banded().infer(kernel, case.days, torch.full_like(case.w, 1e-9), case.eta)

    assert bool((faint.var > 1.0 - 1e-6).all())


def test_no_coupling_leaves_each_date_to_itself() -> None:
    kernel = level_and_matern32(LATENTS).double()
    case = calm_case()
    seen = case.w > 0
    apart = torch.arange(len(case.days)) != 5  # one of two on a day, and one of the last
    apart[-1] = False
    w, eta = case.w[:, apart], case.eta[:, apart]

    got = Banded().infer(kernel, case.days[apart], w, eta, coupling=torch.zeros_like(w))

    own = eta / (1.0 + w)
    assert_near(got.mean.where(seen[:, apart], 0.0), own, 1e-12)
    assert_near(got.var[seen[:, apart]], (1.0 / (1.0 + w))[seen[:, apart]], 1e-12)


def test_the_kernels_own_coupling_may_be_given() -> None:
    kernel = level_and_matern32(LATENTS).double()
    case = calm_case()

    given = Banded().infer(kernel, *case, coupling=default_coupling(kernel, case))
    own = Banded().infer(kernel, *case)

    assert_near(given.mean, own.mean.detach(), 1e-9)
    assert_near(given.kl, own.kl.detach(), 1e-9)


def test_coupling_under_the_mask_means_nothing() -> None:
    kernel = level_and_matern32(LATENTS).double()
    case = make_case()
    answers = []
    for under in (0.0, math.nan, math.inf, 1.0):
        kernel.zero_grad()
        pairs = any_coupling(case).nan_to_num(under).requires_grad_()
        got = Banded().infer(kernel, *case, coupling=pairs)
        (got.mean.square().sum() + got.query_var.sum() + got.kl.sum()).backward()
        assert pairs.grad is not None
        assert not pairs.grad[case.w == 0].any()
        gradients = [pairs.grad, *(p.grad for p in kernel.parameters())]
        answers.append([got.mean, got.query_var, got.kl, *gradients])

    for each in answers[1:]:
        for clean, dirty in zip(answers[0], each, strict=True):
            assert bool(clean.isfinite().all())  # type: ignore[union-attr]
            assert torch.equal(clean, dirty)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda c: c[:1], r"shape of w, \(5, 24, 3\), got \(1, 24, 3\); give one for each"),
        (lambda c: c + 1.0, "above -1 and below 1, got 1.0 at .*such as a tanh"),
        (lambda c: c - 1.0, "above -1 and below 1, got -1.0 at"),
        (lambda c: c * math.nan, "got nan at"),
    ],
)
def test_bad_coupling_is_told(change: Callable[[Tensor], Tensor], words: str) -> None:
    case = make_case()

    with pytest.raises(ValueError, match=words):
        Banded().infer(
            level_and_matern32(LATENTS), *case, coupling=change(torch.zeros_like(case.w))
        )


@pytest.mark.parametrize("case", [calm_case(series=7), make_case(series=7)], ids=["calm", "minute"])
def test_series_do_not_see_each_other_in_tiles(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """To the digits that the prior leaves: a tile of another size is factored in another order."""
    kernel = level_and_matern32(LATENTS).double()
    pairs = any_coupling(case)
    with torch.no_grad():
        whole = Banded().infer(kernel, *case, coupling=pairs)
        monkeypatch.setattr(banded, "_room", lambda calendar: ROOM)
        alone = Banded().infer(kernel, *case, coupling=pairs)

    near = digits_left(kernel, case)
    for name in ("mean", "var", "query_mean", "query_var", "kl"):
        assert_near(getattr(alone, name), getattr(whole, name), near)


def test_float32_sites_and_couplings() -> None:
    kernel = level_and_matern32(LATENTS).double()
    case = calm_case()
    pairs = any_coupling(case)

    want = Banded().infer(kernel, *case, coupling=pairs)
    got = Banded().infer(kernel, *case.to(torch.float32), coupling=pairs.float())

    for name in ("mean", "var", "query_mean", "query_var", "kl_by_latent"):
        assert getattr(got, name).dtype == torch.float32
        assert_near(getattr(got, name), getattr(want, name).detach(), 1e-5)


def test_samples_have_the_dense_mean_and_covariance() -> None:
    kernel = level_and_matern32(LATENTS).double()
    case = calm_case()
    with torch.no_grad():
        mean, cov = Banded().joint(kernel, *case, coupling=any_coupling(case))

    rng = torch.Generator().manual_seed(5)
    drawn = Banded().sample(kernel, *case, 20_000, rng, coupling=any_coupling(case))

    assert drawn.shape == (20_000, 3, 5, LATENTS)
    scale = cov.diagonal(dim1=-2, dim2=-1).amax().sqrt()
    assert_near(drawn.mean(0) / scale, mean / scale, 5.0 / math.sqrt(20_000))
    off = (drawn - drawn.mean(0)) / scale
    found = torch.einsum("snql,snrl->nlqr", off, off) / len(drawn)
    assert_near(found, cov / scale**2, 10.0 / math.sqrt(20_000))


def test_the_means_are_linear_in_what_they_are_told() -> None:
    kernel = level_and_matern32(LATENTS).double()
    case = calm_case()
    etas = torch.stack([case.eta, 2.0 * case.eta.flip(0) * (case.w > 0), torch.zeros_like(case.w)])

    means = Banded().means(kernel, case.days, case.w, etas, case.queries)

    for eta, mean in zip(etas, means, strict=True):
        want, _ = Banded().marginals(kernel, case.days, case.w, eta, case.queries)
        assert_near(mean, want.detach(), 1e-10)


def test_gradients() -> None:
    kernel = level_and_matern32(1).double()
    case = calm_case()
    w = (case.w[:2, :8, :1] + 0.1).requires_grad_()
    eta = case.eta[:2, :8, :1].clone().requires_grad_()
    pairs = any_coupling(case)[:2, :8, :1].nan_to_num(0.3).requires_grad_()
    parameters = {key: p.detach().requires_grad_() for key, p in kernel.named_parameters()}

    def everything(
        w: Tensor, eta: Tensor, pairs: Tensor | None, *values: Tensor
    ) -> tuple[Tensor, ...]:
        class Whole(torch.nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.kernel = kernel

            def forward(self) -> tuple[Tensor, ...]:
                sites = (case.days[:8], w, eta, case.queries)
                got = Banded().infer(self.kernel, *sites, coupling=pairs)
                parts = Banded().components(self.kernel, *sites, coupling=pairs)
                return got.mean, got.var, got.query_mean, got.query_var, got.kl, *parts

        named = {f"kernel.{key}": v for key, v in zip(parameters, values, strict=True)}
        return torch.func.functional_call(Whole(), named, ())  # type: ignore[no-any-return]

    for given in (pairs, None):
        values = (w, eta, given, *parameters.values())
        assert torch.autograd.gradcheck(everything, values, eps=1e-5, fast_mode=True)


def test_gradients_are_finite_beside_a_minute_and_for_an_empty_series() -> None:
    case = make_case()
    for name in ("constant", "default", "quasiperiodic"):
        kernel = KERNELS[name]().double()
        w, eta = case.w.clone().requires_grad_(), case.eta.clone().requires_grad_()
        got = Banded().infer(kernel, case.days, w, eta, case.queries)
        (got.kl.sum() + got.var.sum() + got.query_mean.sum() + got.query_var.sum()).backward()
        assert w.grad is not None
        assert bool(w.grad.isfinite().all())
        for parameter in filter(lambda each: each.requires_grad, kernel.parameters()):
            assert parameter.grad is not None
            assert bool(parameter.grad.isfinite().all())
