"""Halves of a pixel's observations: the laws hold for draws from the model, and for no other."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from benchmarks.halves.law import cross_covariance
from benchmarks.halves.measure import DATED, NESTED, TWO, YEAR, Compared, compare, redrawn
from benchmarks.halves.scores import ALL, BIN, bins, rows_of
from benchmarks.halves.sites import PixelSites, mid_months
from benchmarks.halves.splits import alternate, splits_by_platform, thinned
from benchmarks.halves.temper import fit_export, fit_precision
from terralatent.models.gpvae import GPVAE, ModelConfig, SensorConfig

PIXELS, DATES, LATENTS = 120, 40, 2
S1, S2 = "sentinel-1-asc", "sentinel-2-l2a"


@pytest.fixture(scope="module")
def model() -> GPVAE:
    sensors = tuple(
        SensorConfig(name=name, bands=("B",), units="1", centre=(0.0,), spread=(1.0,))
        for name in (S1, S2)
    )
    return GPVAE(ModelConfig(sensors=sensors, latents=LATENTS, hidden=4), seed=0).eval()


@pytest.fixture(scope="module")
def sites(model: GPVAE) -> PixelSites:
    """Pixels with precise and vague observations, drawn from the model itself."""
    generator = torch.Generator().manual_seed(0)
    days = 17_500.0 + 400.0 * torch.rand(DATES, generator=generator).double().sort().values
    w = 10.0 * torch.rand(PIXELS, DATES, LATENTS, generator=generator).double()
    seen = torch.rand(PIXELS, DATES, 1, generator=generator) < 0.5
    sensors = np.where(np.arange(DATES) % 3 == 0, S1, S2)
    made = PixelSites(
        days=days,
        w=w * seen,
        eta=torch.zeros_like(w),
        sensors=sensors.astype(np.str_),
        orbits=np.arange(DATES) % 2,
        satellites=np.arange(DATES) // 2 % 2,
        pixels=np.arange(PIXELS),
        shape=(12, 10),
    )
    return redrawn(model, made)


def scored(compared: list[Compared], law: str, functional: str) -> np.ndarray:
    """z of one law and kind of functionals."""
    (found,) = [own for own in compared if (own.law, own.functional) == (law, functional)]
    z = found.z
    return z[np.isfinite(z)]


@pytest.mark.parametrize("law", [NESTED, TWO])
@pytest.mark.parametrize("functional", [DATED, YEAR])
def test_draws_from_the_model_differ_as_it_says(
    model: GPVAE, sites: PixelSites, law: str, functional: str
) -> None:
    """z of one pixel hang together, so that only pixels and latents count as draws: the mean square
    of K of them is 1 within 5 sqrt(2 / K)."""
    z = scored(compare(model, alternate(sites), {}), law, functional)
    wide = 5.0 * (2.0 / (PIXELS * LATENTS)) ** 0.5
    assert np.square(z).mean() == pytest.approx(1.0, abs=wide)
    assert abs(z.mean()) < wide


def test_observations_that_are_worse_than_they_say_differ_by_more(
    model: GPVAE, sites: PixelSites
) -> None:
    """Oracle of what a failure reads: precisions four times too large."""
    vain = replace(sites, w=4.0 * sites.w, eta=4.0 * sites.eta)
    assert scored(compare(model, alternate(vain), {}), NESTED, DATED).std() > 1.3


def test_the_covariance_of_two_halves_is_the_dense_one(model: GPVAE, sites: PixelSites) -> None:
    """Oracle: gains by solving with the dense covariance of each half, pixel by pixel."""
    split = alternate(sites)
    queries, _ = mid_months(sites.days)
    halves = [sites.w * half[..., None] for half in (split.first, split.second)]
    with torch.no_grad():
        found = cross_covariance(model.inference, model.kernel, sites.days, *halves, queries)
        everywhere = torch.cat([sites.days, queries])
        lag = everywhere[:, None] - everywhere
        k = model.kernel.covariance(lag).movedim(-1, 0).double().numpy()
    count = len(sites.days)
    for pixel in (0, 7):
        for latent in range(LATENTS):
            gains, seen = [], []
            for half in halves:
                own = np.flatnonzero(half[pixel, :, latent].numpy() > 0)
                noise = np.diag(1.0 / half[pixel, own, latent].numpy())
                inner = k[latent][np.ix_(own, own)] + noise
                gains.append(np.linalg.solve(inner, k[latent][own, count:]).T)
                seen.append(own)
            wanted = gains[0] @ k[latent][np.ix_(*seen)] @ gains[1].T
            np.testing.assert_allclose(found[pixel, latent], wanted, atol=1e-6)


def test_halves_are_apart_and_together_all_that_was_seen(sites: PixelSites) -> None:
    for split in (alternate(sites), *splits_by_platform(sites)):
        assert not (split.first & split.second).any(), split.name
    whole = alternate(sites)
    assert torch.equal(whole.first | whole.second, sites.observed)
    few = thinned(sites)
    assert (few.observed <= sites.observed).all()
    assert few.observed.sum() < sites.observed.sum()


def test_pixels_with_nothing_in_a_half_are_counted_and_not_scored(
    model: GPVAE, sites: PixelSites
) -> None:
    once = torch.zeros(PIXELS, DATES, dtype=torch.bool)
    once[:30, 3] = True
    once[30:] = sites.observed[30:]
    compared = compare(model, alternate(sites.kept(once)), {}, laws=(NESTED,))
    (found,) = [own for own in compared if own.functional == DATED]
    (row,) = [own for own in rows_of(found) if own["by"] == ALL]
    blank = int((~(sites.observed & once)[:30].any(1)).sum())
    assert blank < 30
    assert row["empty"] == 2 * 30 * 12 * LATENTS
    assert row["pixels"] == PIXELS - 30
    by_bin = [own for own in rows_of(found) if own["by"] == BIN]
    assert sum(own["pairs"] for own in by_bin) == row["pairs"]
    assert {own["of"] for own in by_bin} <= set(bins())


def test_factors_bring_precisions_back_that_were_too_large(model: GPVAE, sites: PixelSites) -> None:
    """Radar says four times its precision: its factor is near 4, that of the other near 1."""
    wrong = sites.divided({S1: torch.full((LATENTS,), 0.25, dtype=torch.float64)})
    factors = fit_precision(model, [wrong])
    assert (factors[S1] > 2.0).all()
    assert (factors[S1] < 8.0).all()
    assert (factors[S2] > 0.6).all()
    assert (factors[S2] < 1.7).all()


def test_a_right_model_needs_no_factor_of_its_standard_deviations(
    model: GPVAE, sites: PixelSites
) -> None:
    factor = fit_export(model, [sites])
    assert (factor - 1.0).abs().max() < 0.35
