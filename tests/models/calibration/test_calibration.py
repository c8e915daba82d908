"""Intervals hold what they say: series drawn from a known model, hidden days, counted truths.

References:
    | Validating Bayesian inference algorithms with simulation-based
    | calibration (Talts et al., 2018)
"""

import sys

import pytest
import torch
from torch import Tensor

from terralatent.models.kernels import Constant, Matern32, Sum
from terralatent.models.posteriors import POSTERIORS, Inference, make_posterior
from terralatent.models.posteriors.contract import draws

LEVELS = {0.5: 0.674490, 0.9: 1.644854}
"""Probability of a central interval, and its half-width in standard deviations."""

LENGTHSCALES = torch.tensor([9.0, 30.0, 60.0, 120.0, 300.0, 1200.0])
ALLOWED = 0.01


def coverage(form: Inference, hiding: str, series: int, seed: int) -> dict[float, float]:
    """Return the share of hidden truths inside the intervals of each level."""
    rng = torch.Generator().manual_seed(seed)
    latents = len(LENGTHSCALES)
    weights = torch.tensor([[0.3, 0.7]]).expand(latents, -1)
    kernel = Sum([Constant(latents), Matern32(latents, LENGTHSCALES)], weights).double()
    days = (19_000.0 + 480.0 * torch.rand(80, generator=rng).double()).sort().values
    hidden = _hidden(hiding, days, series, rng)[..., None]
    w = 10.0 ** (2.0 * torch.rand(series, 80, latents, generator=rng).double())
    with torch.no_grad():
        own = kernel.covariance(days[:, None] - days).movedim(-1, 0)
        truth = draws(own, (series,), rng)
        noise = torch.randn(truth.shape, generator=rng, dtype=torch.float64) / w.sqrt()
        seen = w * ~hidden
        mean, var = form.marginals(kernel, days, seen, seen * (truth + noise))
    away = ((truth - mean) / var.sqrt()).abs()
    counted = hidden.expand_as(away)
    return {level: float((away[counted] < z).double().mean()) for level, z in LEVELS.items()}


def _hidden(hiding: str, days: Tensor, series: int, rng: torch.Generator) -> Tensor:
    """Return what is hidden, (N, T): dates at random, or all of a window of 90 days."""
    if hiding == "random":
        return torch.rand(series, len(days), generator=rng) < 0.6
    start = 19_000.0 + 390.0 * torch.rand(series, 1, generator=rng).double()
    return (days >= start) & (days < start + 90.0)


@pytest.mark.parametrize("hiding", ["random", "gap"])
@pytest.mark.parametrize("name", ["exact", "markov"])
def test_intervals_of_exact_posteriors_hold_what_they_say(name: str, hiding: str) -> None:
    got = coverage(make_posterior(name), hiding, series=600, seed=1)

    # 3,600 series: what chance moves is below 0.005 (two standard errors) even at one date each.
    for level, share in got.items():
        assert abs(share - level) < ALLOWED, got


@pytest.mark.parametrize(
    "name", [name for name, form in POSTERIORS.items() if name not in ("exact", "markov")]
)
def test_intervals_of_approximations_are_not_far_off(name: str) -> None:
    """Measured on 18,000 series by the test below: 1 % too few of most, 5 % of banded."""
    got = coverage(make_posterior(name), "random", series=100, seed=1)

    for level, share in got.items():
        assert abs(share - level) < 0.08, got


@pytest.mark.soak
@pytest.mark.parametrize("hiding", ["random", "gap"])
@pytest.mark.parametrize("name", POSTERIORS)
def test_intervals_of_every_posterior_are_counted(
    name: str, hiding: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Those of exact forms must hold; approximations that do not are printed."""
    form = make_posterior(name)
    shares = [coverage(form, hiding, series=600, seed=seed) for seed in range(2, 7)]
    got = {level: sum(share[level] for share in shares) / len(shares) for level in LEVELS}

    missed = {level: share for level, share in got.items() if abs(share - level) >= ALLOWED}
    text = ", ".join(f"{level:.0%} intervals hold {share:.1%}" for level, share in got.items())
    with capsys.disabled():
        verdict = "does not hold" if missed else "holds"
        sys.stdout.write(f"\ncalibration over {hiding} hiding, {form}: {text}: {verdict}\n")
    assert all(0.0 < share < 1.0 for share in got.values())
    if name in ("exact", "markov"):
        assert not missed, got
