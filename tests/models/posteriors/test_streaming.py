"""A filter that stops and goes on says what one over all sites says."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from terralatent.models.kernels import Constant, Matern12, Matern32, Sum, TemporalKernel
from terralatent.models.posteriors import Exact
from terralatent.models.posteriors.kalman import cpu, eager
from terralatent.models.posteriors.kalman.chain import link
from terralatent.models.posteriors.streaming import (
    FilterState,
    forecast,
    marginals,
    prior_state,
    update,
)
from tests.made.sites import KERNELS, LATENTS, Case, assert_near, make_case

LATER = torch.tensor([21_000.0, 20_050.0, 20_100.5]).double()
"""Days after all sites of a case, in any order."""


@pytest.fixture(params=KERNELS)
def kernel(request: pytest.FixtureRequest) -> TemporalKernel:
    return KERNELS[request.param]().double()


def many(dates: int = 50) -> Case:
    """Return a case of as many dates, some of them repeated or masked."""
    rng = torch.Generator().manual_seed(1)
    days = (19_000.0 + 800.0 * torch.rand(dates, generator=rng).double()).sort().values
    days[7] = days[6]
    w = 100.0 * torch.rand(4, dates, LATENTS, generator=rng).double()
    w = w * (
        torch.rand(4, dates, 1, generator=rng) < torch.tensor([0.0, 0.3, 0.8, 1.0])[:, None, None]
    )
    return Case(days, w, w * torch.randn(w.shape, generator=rng).double(), LATER)


def none(case: Case) -> tuple[Tensor, Tensor, Tensor]:
    """Return no sites at all, for the series of a case."""
    nothing = case.w[:, :0]
    return case.days[:0], nothing, nothing


def by_dates(kernel: TemporalKernel, case: Case) -> FilterState:
    state = None
    for at in range(len(case.days)):
        date = slice(at, at + 1)
        state = update(kernel, state, case.days[date], case.w[:, date], case.eta[:, date])
    assert state is not None
    return state


def test_fifty_updates_are_one_refit(kernel: TemporalKernel) -> None:
    case = many()
    state = by_dates(kernel, case)

    mean, var = marginals(kernel, state, *none(case), LATER)

    want = Exact().infer(kernel, *case)
    assert_near(mean, want.query_mean, 1e-8)
    assert_near(var, want.query_var, 1e-8)
    assert_near(state.evidence, Exact().log_evidence(kernel, *case[:3]), 1e-8)


def test_fifty_updates_in_float32() -> None:
    kernel, case = KERNELS["default"](), many()
    want = Exact().infer(kernel.double(), *case)

    state = by_dates(kernel.float(), case.to(torch.float32))
    mean, var = marginals(kernel, state, *none(case.to(torch.float32)), LATER)

    assert mean.dtype == torch.float32
    assert_near(mean, want.query_mean, 1e-4)
    assert_near(var, want.query_var, 1e-4)


def test_dates_after_the_state_are_smoothed_by_what_follows(kernel: TemporalKernel) -> None:
    case = make_case()
    first, last = slice(0, 10), slice(10, None)
    state = update(kernel, None, case.days[first], case.w[:, first], case.eta[:, first])
    later = torch.cat([case.days[last], LATER, case.days[9:10]])

    mean, var = marginals(kernel, state, case.days[last], case.w[:, last], case.eta[:, last], later)

    want_mean, want_var = Exact().marginals(kernel, *case[:3], later)
    assert_near(mean, want_mean, 1e-8)
    assert_near(var, want_var, 1e-8)


def test_a_forecast_is_what_a_smoother_without_sites_gives(kernel: TemporalKernel) -> None:
    case = many(20)
    state = by_dates(kernel, case)
    days = case.days[-1] + torch.tensor([40.0, 0.0, 3.5, 400.0], dtype=torch.float64)
    with torch.no_grad():
        given = forecast(kernel, state, days)
        for found, wanted in zip(given, marginals(kernel, state, *none(case), days), strict=True):
            assert_near(found, wanted, 1e-9)
        assert forecast(kernel, state, days[:0])[0].shape == (len(case.w), 0, LATENTS)


def test_nothing_seen_is_the_prior(kernel: TemporalKernel) -> None:
    day = torch.tensor(17_000.0, dtype=torch.float64)
    with torch.no_grad():
        mean, var = forecast(kernel, prior_state(kernel, 3, day), day + torch.tensor([0.0, 90.0]))
    assert not mean.any()
    assert_near(var, kernel.covariance(torch.zeros(1).double()).expand(3, 2, -1).to(var), 1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("begun", [False, True])
def test_the_compiled_filter_is_the_eager_one(dtype: torch.dtype, begun: bool) -> None:
    kernel, case = KERNELS["default"]().to(dtype), many(30)
    w, eta = case.w.to(dtype), case.eta.to(dtype)
    w[:, 3] = 0.0  # masked: eta is not read there
    since = case.days[0] - 5.0 if begun else None
    with torch.no_grad():
        chain = link(kernel, case.days, case.days[:0], w, since=since)
        start = None
        if begun:
            start, *_ = eager.carry(chain, 0.3 * w, 0.3 * eta, None)
        wanted = eager.carry(chain, w, eta.where(w > 0, 0.0), start)
        found = cpu.carry(chain, w, eta, start, predicted=True)
        alone = cpu.carry(chain, w, eta, start, predicted=False)[0]
    near = 1e-4 if dtype == torch.float32 else 1e-11
    for a, b in zip(found, wanted, strict=True):
        assert_near(a, b, near)
    assert torch.equal(alone, found[0])


def test_a_state_is_small_and_survives_a_file(tmp_path: Path) -> None:
    kernel, case = KERNELS["default"](), make_case().to(torch.float32)
    state = update(kernel, None, *case[:3])

    save_file(state.tensors(), tmp_path / "state.safetensors")
    again = FilterState.from_tensors(load_file(tmp_path / "state.safetensors"))

    assert again.moments.shape == (5, LATENTS, 3 + 6)
    for one, other in zip(
        marginals(kernel, state, *none(case), LATER),
        marginals(kernel, again, *none(case), LATER),
        strict=True,
    ):
        assert torch.equal(one, other)


def test_what_does_not_go_on_is_refused() -> None:
    kernel, case = KERNELS["default"](), make_case()
    state = update(kernel, None, *case[:3])

    with pytest.raises(
        ValueError, match=r"day 19\d+.* is before the state's own, 20\d+.*Infer from"
    ):
        update(kernel, state, *case[:3])
    with pytest.raises(ValueError, match="before the state's own"):
        marginals(kernel, state, *none(case), case.queries)
    with pytest.raises(ValueError, match="at least one day, got none"):
        update(kernel, state, *none(case))
    with pytest.raises(ValueError, match=r"shape \(5, 3, 9\), .* of 2 states want \(5, 3, 5\)"):
        marginals(KERNELS["matern32"](), state, *none(case), LATER)
    with pytest.raises(ValueError, match=r"has \['day', .*'moments'\], got \['day'\]"):
        FilterState.from_tensors({"day": state.day})
    with pytest.raises(ValueError, match="store what"):
        FilterState.from_tensors({**state.tensors(), "evidence": state.day})


def test_a_state_of_another_kernel_is_refused() -> None:
    """Also of one with as many states, or with other lengthscales."""
    case = make_case()
    state = update(KERNELS["matern32"](), None, *case[:3])
    longer = Matern32(LATENTS, 61.0)

    for other in (Sum([Constant(LATENTS), Matern12(LATENTS)]), longer):
        with pytest.raises(ValueError, match="is that of another kernel than"):
            marginals(other, state, *none(case), LATER)


def test_a_kernel_that_only_turns_is_filtered_in_float64() -> None:
    kernel, case = KERNELS["periodic"](), many()
    case = case._replace(w=100.0 * case.w, eta=100.0 * case.eta)

    state = by_dates(kernel, case.to(torch.float32))
    mean, _ = marginals(kernel, state, *none(case.to(torch.float32)), LATER)

    assert mean.dtype == torch.float32
    assert_near(mean, Exact().infer(kernel.double(), *case).query_mean, 1e-4)
