"""Halves of a pixel's observations: the laws hold for draws from the model, and for no other."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from benchmarks.halves.blocks import common_shares
from benchmarks.halves.law import cross_covariance
from benchmarks.halves.measure import (
    DATED,
    NESTED,
    PRIOR,
    TWO,
    YEAR,
    Compared,
    Functional,
    compare,
    redrawn,
)
from benchmarks.halves.scores import ALL, BIN, bins, rows_of
from benchmarks.halves.sites import PixelSites, mid_months
from benchmarks.halves.splits import alternate, splits_by_platform, thinned
from benchmarks.halves.temper import fit_export, fit_precision, with_precision
from terralatent.models.gpvae import GPVAE, ModelConfig, SensorConfig
from terralatent.models.observations import Observations

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


@pytest.mark.parametrize("law", [NESTED, PRIOR, TWO])
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


def test_variances_of_a_map_are_those_of_dense_algebra(model: GPVAE, sites: PixelSites) -> None:
    """Oracle: by which weights of all pseudo-observations two means differ, and their dense
    covariance, summed over latents."""
    split, (queries, _) = alternate(sites), mid_months(sites.days)
    weights = torch.randn(1, 12, LATENTS, generator=torch.Generator().manual_seed(3)).double()
    compared = compare(model, split, {"map": Functional.of(weights)})
    found = {own.law: own.variance[:, 0] for own in compared if own.functional == "map"}
    with torch.no_grad():
        everywhere = torch.cat([sites.days, queries])
        lag = everywhere[:, None] - everywhere
        k = model.kernel.covariance(lag).movedim(-1, 0).double().numpy()
    count = len(sites.days)
    for pixel in (0, 7):
        expected, own = dict.fromkeys((NESTED, PRIOR, TWO), 0.0), 0.0
        for latent in range(LATENTS):
            a, w = weights[0, :, latent].numpy(), sites.w[pixel, :, latent].numpy()
            noisy = k[latent][:count, :count] + np.diag(1.0 / np.where(w > 0, w, np.inf))
            noisy += np.diag(np.where(w > 0, 0.0, 1.0))
            by = []
            for half in (split.first, split.second, split.first | split.second):
                seen = np.flatnonzero(half[pixel].numpy() & (w > 0))
                laid = np.zeros(count)
                laid[seen] = np.linalg.solve(noisy[np.ix_(seen, seen)], k[latent][seen, count:]) @ a
                by.append(laid)
            for law, move in ((NESTED, by[0] - by[2]), (PRIOR, by[2]), (TWO, by[0] - by[1])):
                expected[law] += move @ noisy @ move
            own += a @ k[latent][count:, count:] @ a
        for law, variance in expected.items():
            np.testing.assert_allclose(found[law][pixel], variance / own, rtol=1e-6)


def test_the_offset_of_a_map_turns_vectors_and_moves_no_difference(
    model: GPVAE, sites: PixelSites
) -> None:
    weights = torch.randn(3, 12, LATENTS, generator=torch.Generator().manual_seed(4)).double()
    maps = {"plain": Functional.of(weights), "moved": Functional.of(weights, torch.full((3,), 1e4))}
    compared = compare(model, alternate(sites), maps, laws=(TWO,))
    plain, moved = (own for own in compared if own.functional in maps)
    np.testing.assert_array_equal(plain.away, moved.away)
    assert moved.cosine.max() < 1e-3 < plain.cosine.max()


def test_satellites_are_compared_on_one_orbit_and_orbits_with_all_satellites(
    sites: PixelSites,
) -> None:
    splits = list(splits_by_platform(sites))
    assert {split.name.rpartition(", ")[2] for split in splits} == {"orbits", "satellites"}
    for split in splits:
        first, second = (half.any(0).numpy() for half in (split.first, split.second))
        of = split.sites.orbits if "orbits" in split.name else split.sites.satellites
        assert not set(of[first]) & set(of[second])
        assert "orbits" in split.name or len(set(split.sites.orbits[first | second])) == 1


def test_a_tempered_model_gives_the_sites_of_the_old_one_divided(model: GPVAE) -> None:
    filling = GPVAE(model.config.model_copy(update={"fills_bands": True}), seed=1).eval()
    generator = torch.Generator().manual_seed(0)
    seen = {
        name: Observations(
            days=torch.arange(6, dtype=torch.float64) + 17_000.0,
            values=torch.rand(3, 6, 1, generator=generator),
            valid=torch.rand(3, 6, 1, generator=generator) < 0.7,
            distance=torch.full((3, 6), 16.0),
            incidence=torch.full((6,), torch.nan),
        )
        for name in (S1, S2)
    }
    factors = {S1: torch.tensor([4.0, 0.5]), S2: torch.tensor([1.0, 2.0])}

    before, after = filling.sites(seen), with_precision(filling, factors).sites(seen)

    for name, places in before.places.items():
        for part in ("w", "eta"):
            expected = getattr(before, part)[:, places] / factors[name]
            torch.testing.assert_close(getattr(after, part)[:, places], expected)
    with pytest.raises(ValueError, match="fill missing bands"):
        with_precision(model, factors)


def test_what_a_block_shares_is_apart_from_what_pixels_have_alone(
    model: GPVAE, sites: PixelSites
) -> None:
    side = 16
    alike = replace(
        sites,
        w=sites.w[:1].expand(side * side, -1, -1).clone(),
        pixels=np.arange(side * side),
        shape=(side, side),
    )
    alone = redrawn(model, alike)
    shared = replace(alone, eta=alone.eta[:1].expand_as(alone.eta).clone())

    np.testing.assert_allclose(common_shares(model, shared)[4], 1.0, rtol=1e-9)
    np.testing.assert_allclose(common_shares(model, alone)[4], 1 / 16, rtol=0.5)
