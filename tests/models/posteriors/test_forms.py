"""Laws of every posterior, exact or not, whatever prior it keeps."""

import dataclasses
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from terralatent.models.kernels import (
    Constant,
    Matern12,
    Matern32,
    Sum,
    TemporalKernel,
)
from terralatent.models.posteriors import POSTERIORS, Banded, Inference, make_posterior
from terralatent.models.posteriors.kalman import dispatch, eager
from tests.made.kernels import level_and_matern32
from tests.made.sites import KERNELS, LATENTS, assert_near, digits_left, make_case

SOME = (
    *("matern12", "default", "white"),
    pytest.param("quasiperiodic", marks=pytest.mark.soak),
)
"""Kernels with which these laws are tried: of one, three and more states, and one with a jump."""


@pytest.fixture(params=POSTERIORS)
def form(request: pytest.FixtureRequest) -> Inference:
    return make_posterior(request.param)


@pytest.fixture(params=SOME)
def kernel(request: pytest.FixtureRequest) -> TemporalKernel:
    return KERNELS[request.param]().double()


def near(form: Inference, tolerance: float) -> float:
    """Return how near two answers of a form are that differ in the order of roundings alone.

    Banded sees through one factor of its dense prior each time, whose condition number is the root
    of that of the prior, at most 24 days / WHITE: 2 n eps times that is 5e-9.
    """
    return max(tolerance, 1e-8) if isinstance(form, Banded) else tolerance


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_an_empty_series_is_the_prior(
    form: Inference, kernel: TemporalKernel, dtype: torch.dtype
) -> None:
    case = make_case().to(dtype)
    nothing = torch.zeros_like(case.w)

    got = form.infer(kernel, case.days, nothing, nothing, case.queries)

    for mean in (got.mean, got.query_mean, got.kl):
        assert torch.equal(mean, torch.zeros_like(mean))
    close = 1e-5 if dtype == torch.float32 else 1e-12
    own = torch.ones(30, LATENTS).double()
    if not form.keeps_prior:
        own = form.prior(kernel, case.days, case.queries).diagonal(dim1=-2, dim2=-1).T.detach()
    assert_near(torch.cat([got.var, got.query_var], 1), own.expand(5, -1, -1), close)
    assert not form.log_evidence(kernel, case.days, nothing, nothing).any()


def test_a_masked_site_changes_nothing(form: Inference, kernel: TemporalKernel) -> None:
    case = make_case()
    seen = case.w > 0
    junk = torch.tensor([math.nan, math.inf, -math.inf, 1e30]).double()
    turns = junk[torch.arange(seen.numel()) % len(junk)].reshape(seen.shape)
    assert all((turns[~seen] == one).any() for one in junk[1:])
    answers = []
    for under in (torch.zeros_like(turns), turns):
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
        learned = [p.grad for p in kernel.parameters() if p.requires_grad]
        gradients = [w.grad, eta.grad, *learned]
        answers.append([*terms, *gradients])

    for clean, dirty in zip(*answers, strict=True):
        assert bool(clean.isfinite().all())
        assert torch.equal(clean, dirty)


def test_series_do_not_see_each_other(
    form: Inference, kernel: TemporalKernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(eager, "TILE", 64 * LATENTS)
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
    # Banded factors the prior of these eight days, days apart, anew for each batch.
    close = 1e-11
    if isinstance(form, Banded):
        close = max(close, digits_left(kernel, case._replace(days=case.days[:8])))
    assert_near(mean, mean_of_few.repeat(reps, 1, 1), close)
    assert_near(var, var_of_few.repeat(reps, 1, 1), close)


def test_queries_do_not_see_each_other(form: Inference, kernel: TemporalKernel) -> None:
    case = make_case()

    _, var = form.marginals(kernel, *case)
    mean, last = form.marginals(kernel, *case[:3], case.queries[-1:])
    none = form.infer(kernel, *case[:3])

    assert_near(last, var[:, -1:], near(form, 1e-11))
    assert mean.shape == (5, 1, LATENTS)
    assert none.query_mean.shape == none.query_var.shape == (5, 0, LATENTS)


def test_more_data_never_raises_the_variance(form: Inference, kernel: TemporalKernel) -> None:
    case = make_case()
    added = torch.rand(case.w.shape, generator=torch.Generator().manual_seed(2)).double()
    # A new date takes the place of a pair site, so banded promises this of known dates only.
    more = case.w + (added * (case.w > 0) if isinstance(form, Banded) else added)

    before = form.infer(kernel, *case)
    after = form.infer(kernel, case.days, more, case.eta, case.queries)

    slack = near(form, 1e-12)
    assert bool((after.var <= before.var + slack).all())
    assert bool((after.query_var <= before.query_var + slack).all())
    assert bool((after.query_var > 0).all())
    if not isinstance(form, Banded):
        assert bool((before.var <= 1 + 1e-12).all())


def test_the_origin_of_the_calendar_means_nothing(form: Inference, kernel: TemporalKernel) -> None:
    case = make_case()
    millennium = 365_250.0

    here = form.infer(kernel, *case)
    there = form.infer(kernel, case.days + millennium, case.w, case.eta, case.queries + millennium)

    # Days of 4e5 are rounded at 6e-11, which is 1e-7 of the minute over which a slope is read.
    assert_near(there.mean, here.mean, 1e-6)
    assert_near(there.query_var, here.query_var, 1e-6)


def test_parts_add_up(form: Inference, kernel: TemporalKernel) -> None:
    case = make_case()

    mean, _ = form.marginals(kernel, *case)
    part_mean, part_var = form.components(kernel, *case)

    assert_near(part_mean.sum(-1), mean, near(form, 1e-9))
    assert bool((part_var > 0).all())


@pytest.mark.parametrize("name", ["matern12", "default"])
def test_gradients(form: Inference, name: str) -> None:
    kernel = KERNELS[name]().double()
    case = make_case(series=3)
    # Beside a pair a minute apart outputs are rounded at 1e-9: steps must be larger than usual.
    # Banded inverts the whole prior, whose condition number of 5e10 there leaves KL rounded at
    # 1e-7, and a difference of it over a step at 1e-3: it has days at least days apart instead.
    at = torch.tensor([2, 3, 4, 8, 10 if isinstance(form, Banded) else 9, 17])
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
    inputs = (w, eta, *parameters.values())
    assert torch.autograd.gradcheck(everything, inputs, fast_mode=True, eps=1e-4)


def test_gradients_in_float32_point_the_same_way(form: Inference) -> None:
    case = make_case(series=8)
    gradients = []
    for dtype in (torch.float64, torch.float32):
        kernel = level_and_matern32(LATENTS).to(dtype)
        w = case.w.detach().clone().to(dtype).requires_grad_()
        eta = case.eta.clone().to(dtype).requires_grad_()
        got = form.infer(kernel, case.days, w, eta)
        (got.mean.square().sum() + got.var.sum() - got.kl.sum()).backward()
        gradients.append([p.grad.double() for p in (w, eta, *kernel.parameters())])  # type: ignore

    for exact, rounded in zip(*gradients, strict=True):
        assert bool(rounded.isfinite().all())
        cosine = torch.cosine_similarity(exact.flatten(), rounded.flatten(), dim=0)
        assert float(cosine) > 0.9999


def test_no_days_and_no_series(form: Inference) -> None:
    kernel = level_and_matern32(LATENTS)
    days = torch.empty(0).double()
    sites = torch.zeros(2, 0, LATENTS)

    mean, var = form.marginals(kernel, days, sites, sites, make_case().queries)
    none = form.infer(kernel, make_case().days, torch.zeros(0, 24, 3), torch.zeros(0, 24, 3))

    assert torch.equal(mean, torch.zeros(2, 6, LATENTS))
    assert_near(var, torch.ones(2, 6, LATENTS), 1e-6 if form.keeps_prior else 0.02)
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
        ({"w": lambda w: w.half(), "eta": lambda e: e.half()}, "float32 or float64, got torch.fl"),
        ({"eta": lambda e: e[:1]}, r"got \(5, 24, 3\) and \(1, 24, 3\)"),
        (
            {"eta": lambda e: e.float()},
            r"one floating dtype, .* torch.float64 and torch.fl",
        ),
    ],
)
def test_bad_input_is_refused(
    form: Inference, change: dict[str, Callable[[Tensor], Tensor]], words: str
) -> None:
    case = make_case()
    spoiled = case._replace(**{name: spoil(getattr(case, name)) for name, spoil in change.items()})

    with pytest.raises(ValueError, match=words):
        form.infer(level_and_matern32(LATENTS), *spoiled)


def test_without_queries_the_marginals_are_those_of_the_sites(
    form: Inference, kernel: TemporalKernel
) -> None:
    case = make_case()

    whole = form.infer(kernel, *case)
    mean, var = form.marginals(kernel, *case[:3])

    assert_near(mean, whole.mean, near(form, 1e-11))
    assert_near(var, whole.var, near(form, 1e-11))


def test_the_order_of_queries_series_and_latents_means_nothing(form: Inference) -> None:
    case = make_case()
    scales = torch.tensor([10.0, 60.0, 400.0])
    kernel, turned = (
        Sum([Constant(3), Matern32(3, scales[order])]).double() for order in ([0, 1, 2], [2, 0, 1])
    )
    order = torch.tensor([3, 0, 5, 1, 4, 2])

    mean, var = form.marginals(kernel, *case)
    mean_turned, var_turned = form.marginals(
        turned, case.days, case.w[..., [2, 0, 1]], case.eta[..., [2, 0, 1]], case.queries[order]
    )

    assert_near(mean_turned, mean[:, order][..., [2, 0, 1]], 1e-10)
    assert_near(var_turned, var[:, order][..., [2, 0, 1]], 1e-10)


def test_the_unit_of_time_means_nothing(form: Inference) -> None:
    case = make_case()
    slow, fast = (
        Sum([Matern12(LATENTS, factor * 30.0), Matern32(LATENTS, factor * 100.0)]).double()
        for factor in (1.0, 3.0)
    )

    here = form.infer(slow, *case)
    there = form.infer(fast, 3.0 * case.days, case.w, case.eta, 3.0 * case.queries)

    # A lengthscale is kept in float32 at first, and through a sigmoid.
    for name in ("mean", "var", "query_mean", "query_var", "kl"):
        assert_near(getattr(there, name), getattr(here, name), 1e-5)


def test_the_joint_covariance_has_the_marginals_on_its_diagonal(
    form: Inference, kernel: TemporalKernel
) -> None:
    case = make_case()
    days = case.queries[[0, 1, 2, 3, 5]]

    mean, cov = form.joint(kernel, *case[:3], days)
    want, var = form.marginals(kernel, *case[:3], days)

    assert cov.shape == (5, LATENTS, 5, 5)
    assert_near(mean, want, near(form, 1e-9))
    assert_near(cov.diagonal(dim1=-2, dim2=-1).mT, var, 1e-8)
    assert torch.equal(cov, cov.mT)
    assert bool((torch.linalg.eigvalsh(cov) > -1e-8).all())


def test_samples_have_the_joint_mean_and_covariance(
    form: Inference, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Loops that are compiled give the same, see kalman/; to compile takes longer than to draw.
    monkeypatch.setattr(dispatch, "COMPILED_FROM", 10**12)
    kernel = KERNELS["default"]().double()
    case = make_case(series=3)
    at = torch.tensor([2, 3, 4, 8, 9, 17])
    sites = (case.days[at], case.w[:, at], case.eta[:, at])
    rng = torch.Generator().manual_seed(5)

    drawn = form.sample(kernel, *sites, case.queries[:4], 20_000, rng)
    with torch.no_grad():
        mean, cov = form.joint(kernel, *sites, case.queries[:4])

    away = drawn - mean
    # Standard errors are at most 1 / sqrt(20,000) = 0.007 for means, 0.01 for covariances.
    assert float(away.mean(0).abs().max()) < 0.03
    empirical = torch.einsum("snql,snrl->nlqr", away, away) / len(away)
    assert float((empirical - cov).abs().max()) < 0.045


def test_samples_repeat_with_their_generator(form: Inference) -> None:
    kernel, case = KERNELS["default"](), make_case().to(torch.float32)

    one, again = (
        form.sample(kernel, *case, 2, torch.Generator().manual_seed(seed)) for seed in (1, 1)
    )

    assert one.shape == (2, 5, 6, LATENTS)
    assert one.dtype == torch.float32
    assert torch.equal(one, again)


def test_the_bound_stays_below_the_evidence(form: Inference, kernel: TemporalKernel) -> None:
    """For forms that keep the prior; for the others the number is of another prior."""
    case = make_case()

    bound = form.log_evidence(kernel, *case[:3])
    evidence = make_posterior("exact").log_evidence(kernel, *case[:3])

    assert bool(bound.isfinite().all())
    if form.keeps_prior:
        assert bool((bound <= evidence + 1e-7 * evidence.abs()).all())


def test_a_size_is_taken_where_there_is_one() -> None:
    for name, kind in POSTERIORS.items():
        settings = dataclasses.fields(kind)  # type: ignore[arg-type]
        if settings:
            assert getattr(make_posterior(name, 7), settings[0].name) == 7
            with pytest.raises(ValueError, match=r"of at least 1, got 0"):
                make_posterior(name, 0)
        else:
            with pytest.raises(ValueError, match="takes no size, got 7; leave it out"):
                make_posterior(name, 7)
    with pytest.raises(ValueError, match=r"no posterior is called 'best'; there are \['banded'"):
        make_posterior("best")


def test_a_calendar_without_days_gives_the_prior_jointly_too(form: Inference) -> None:
    kernel, queries = level_and_matern32(LATENTS).double(), make_case().queries[:3]
    days, sites = torch.empty(0).double(), torch.zeros(2, 0, LATENTS).double()

    mean, cov = form.joint(kernel, days, sites, sites, queries)
    part_mean, _ = form.components(kernel, days, sites, sites, queries[:0])
    drawn = form.sample(kernel, days, sites, sites, queries, 2, torch.Generator())

    # Vecchia's queries know of each other through dates of the calendar only.
    own = kernel.covariance(queries[:, None] - queries).movedim(-1, 0)
    own = own if form.keeps_prior else form.prior(kernel, days, queries)
    assert not mean.any()
    assert_near(cov, own.detach().expand(2, -1, -1, -1), 1e-8)
    assert part_mean.shape == (2, 0, LATENTS, 2)
    assert drawn.shape == (2, 2, 3, LATENTS)


def test_far_from_data_the_prior_returns(form: Inference) -> None:
    case = make_case()
    kernel = Matern32(LATENTS, 60.0).double()

    mean, var = form.marginals(kernel, *case[:3], case.days[-1:] + 36_500.0)

    assert_near(mean, torch.zeros_like(mean), 1e-9)
    assert_near(var, torch.ones_like(var), 1e-9)


def test_repeated_days_add_information(form: Inference, kernel: TemporalKernel) -> None:
    case = make_case()
    twice = case.days.repeat_interleave(2)
    shares = torch.tensor([0.3, 0.7]).double().repeat(len(case.days))[:, None]
    split = (case.w.repeat_interleave(2, 1) * shares, case.eta.repeat_interleave(2, 1) * shares)

    once = form.infer(kernel, *case)
    parted = form.infer(kernel, twice, *split, case.queries)

    assert_near(parted.query_mean, once.query_mean, 1e-7)
    assert_near(parted.query_var, once.query_var, 1e-7)
    assert_near(parted.kl, once.kl, 1e-7)


def test_dates_that_nobody_saw_can_be_left_out(form: Inference, kernel: TemporalKernel) -> None:
    """Of forms that say so: the others lay points, functions or neighbours by the calendar."""
    case = make_case()
    kept = torch.arange(len(case.days)) % 3 > 0
    w = case.w * kept[:, None]

    with_them = form.infer(kernel, case.days, w, case.eta, case.queries)
    without = form.infer(kernel, case.days[kept], w[:, kept], case.eta[:, kept], case.queries)

    if form.calendar_free:
        assert_near(with_them.mean[:, kept], without.mean, 1e-8)
        assert_near(with_them.query_var, without.query_var, 1e-8)
        assert_near(with_them.kl, without.kl, 1e-8)
    assert bool(with_them.mean.isfinite().all())
