"""Differences between two dates: of latents by other algebra, of surfaces by many draws."""

from __future__ import annotations

import pytest
import torch
from scipy import stats
from torch import Tensor

from terralatent.models.config import ModelConfig, SensorConfig
from terralatent.models.differences import (
    latent_differences,
    latents_at_two,
    surfaces_at_two,
)
from terralatent.models.gpvae import GPVAE
from terralatent.models.observations import Observations
from terralatent.models.sensor.networks import season
from tests.made.drawn import drawn_model, drawn_pool, drawn_surface
from tests.made.tiny import FIRST_DAY, tiny_pixels

A, B = FIRST_DAY + 40.0, FIRST_DAY + 95.0


def pair(first: float, second: float) -> Tensor:
    return torch.tensor([first, second], dtype=torch.float64)


def awake(kernel: str = "constant+matern12", **more: object) -> GPVAE:
    """A model of the sensors of the tiny series whose random decoders are not linear."""
    sensors = tuple(
        SensorConfig(
            name=name, bands=bands, units=units, centre=(0.2,) * len(bands),
            spread=(0.15,) * len(bands),
        )
        for name, bands, units in (
            ("sentinel-2-l2a", ("B02", "B03", "B04"), "1"),
            ("sentinel-1-asc", ("vv", "vh"), "dB"),
        )
    )  # fmt: skip
    config = ModelConfig(sensors=sensors, latents=4, hidden=8, kernel=kernel, **more)
    model = GPVAE(config, seed=2)
    draw = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "kernel" not in name:
                parameter.add_(0.15 * torch.randn(parameter.shape, generator=draw))
    return model.eval()


def by_algebra(model: GPVAE, seen: dict[str, Observations], days: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance of differences from the prior's covariance and dense solves, (N, L)."""
    sites = model.sites(seen)
    w, eta = sites.w.double(), sites.eta.double()
    every = torch.cat([sites.days, days])
    prior = model.kernel.covariance(every[:, None] - every).double().movedim(-1, 0)
    count = len(sites.days)
    own, cross, two = prior[:, :count, :count], prior[:, :count, count:], prior[:, count:, count:]
    step = cross[..., 1] - cross[..., 0]
    prior_variance = two[:, 0, 0] + two[:, 1, 1] - 2.0 * two[:, 0, 1]
    inner = torch.eye(count) + w.movedim(1, -1)[..., None] * own  # (N, L, T, T): I + W K
    solved = torch.linalg.solve(inner, w.movedim(1, -1)[..., None] * step[None, ..., None])
    variance = prior_variance - (step[None, ..., None] * solved).sum((-2, -1))
    mean = (step * torch.linalg.solve(inner, eta.movedim(1, -1)[..., None])[..., 0]).sum(-1)
    return mean.detach(), variance.detach()


@pytest.mark.parametrize("pixels", [3, 2_000])  # eager, and compiled
@pytest.mark.parametrize("kernel", ["constant+matern12", "matern32", "constant+matern52"])
def test_differences_are_those_of_dense_algebra(kernel: str, pixels: int) -> None:
    model, seen = awake(kernel), tiny_pixels(pixels)
    some = {name: own.select(slice(0, 3)) for name, own in seen.items()}
    mean, variance = by_algebra(model, some, pair(A, B))

    found = latent_differences(*latents_at_two(model, seen, pair(A, B)))

    torch.testing.assert_close(found.mean[:3], mean, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(found.variance[:3], variance, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("pixels", [3, 2_000])
def test_two_minutes_apart_nothing_is_lost(pixels: int) -> None:
    """The variance is 3e-5 of those that it is the difference of; float32 would leave noise."""
    model, seen = awake("constant+matern12"), tiny_pixels(pixels)
    some = {name: own.select(slice(0, 3)) for name, own in seen.items()}
    days = pair(A, A + 2.0 / 1440.0)
    _, variance = by_algebra(model, some, days)

    found = latent_differences(*latents_at_two(model, seen, days))

    torch.testing.assert_close(found.variance[:3], variance, rtol=1e-4, atol=1e-12)
    assert bool((found.variance > 0).all())


@pytest.mark.parametrize("pixels", [3, 2_000])
@pytest.mark.parametrize("days", [pair(A, B), pair(A, A)])
def test_what_never_moves_differs_by_nothing(days: Tensor, pixels: int) -> None:
    kernel = "constant" if days[0] != days[1] else "constant+matern32"
    found = latent_differences(*latents_at_two(awake(kernel), tiny_pixels(pixels), days))

    assert not found.variance.any()
    assert not found.standardised().any()


def test_there_is_as_far_as_back() -> None:
    model, seen = awake(), tiny_pixels(5)
    there = latent_differences(*latents_at_two(model, seen, pair(A, B)))
    back = latent_differences(*latents_at_two(model, seen, pair(B, A)))

    torch.testing.assert_close(there.mean, -back.mean)
    torch.testing.assert_close(there.variance, back.variance)


def test_masked_dates_change_nothing() -> None:
    model, seen = awake(), tiny_pixels(5)
    own = seen["sentinel-2-l2a"]
    kept = own.observed.any(0)
    kept[::3] = False
    hidden = own.hide(~kept)
    without = {**seen, "sentinel-2-l2a": own.at(kept)}

    masked = latents_at_two(model, {**seen, "sentinel-2-l2a": hidden}, pair(A, B))

    for found, wanted in zip(masked, latents_at_two(model, without, pair(A, B)), strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-6)


def test_distances_of_the_truth_of_a_model_are_chi_squared() -> None:
    """(E d - d)^2 / V, added over latents, where latents and series are drawn from the model."""
    made = drawn_model()
    days, surface, _ = drawn_surface(made)
    noisy = drawn_pool(made)
    found = latent_differences(*latents_at_two(made, noisy, days[[20, 27]]))
    missed = found.mean - (surface[:, 27] - surface[:, 20]).double()
    squared = (missed.square() / found.variance).sum(-1)

    assert stats.kstest(squared.numpy(), stats.chi2(3).cdf).pvalue > 0.01
    flagged = (missed.abs() / found.variance.sqrt() > 1.96).any(-1).double().mean()
    assert flagged > 0.08  # an interval a latent would flag 14 % of these by chance


@pytest.mark.parametrize("wide", [False, True])
def test_surfaces_are_those_of_many_draws(wide: bool) -> None:
    """Of decoders that are not linear, with factors of calibration, and after 50,000 draws."""
    model, days, bands = awake(local_widths=wide), pair(A, B), [2, 0]
    with torch.no_grad():
        model.local_std.fill_(1.3 if wide else 1.0)
    mean, covariance = latents_at_two(model, tiny_pixels(2), days)
    covariance = 0.2 * covariance  # as of a pixel that is seen often; the rule is one of low order
    found, spread = surfaces_at_two(model, "sentinel-2-l2a", mean, covariance, days, bands)

    draw = torch.Generator().manual_seed(1)
    root = torch.linalg.cholesky(covariance)
    white = torch.randn(50_000, *root.shape[:-1], generator=draw, dtype=torch.float64)
    drawn = mean + torch.einsum("nlij,knlj->knil", root, white)
    own = model.sensor("sentinel-2-l2a")
    seasons = season(days).expand(drawn.shape[0], 2, 2, 2).reshape(-1, 2)
    with torch.no_grad():
        location = own.location(drawn.flatten(0, 2).float(), seasons)[:, bands]
    surface = (own.centre[bands] + own.spread[bands] * location).unflatten(0, drawn.shape[:3])
    flat = surface.flatten(2).double()
    wanted = torch.stack([torch.cov(flat[:, pixel].T) for pixel in range(2)])

    torch.testing.assert_close(found, surface.double().mean(0), rtol=0.0, atol=3e-3)
    torch.testing.assert_close(spread, wanted, rtol=0.1, atol=0.02 * float(wanted.max()))


def test_surfaces_are_as_wide_on_each_date_as_decoding_says() -> None:
    model, days = awake(), pair(A, B)
    with torch.no_grad():
        model.sensor("sentinel-2-l2a").signal_factor.copy_(torch.tensor([1.5, 0.5, 2.0]))
    mean, covariance = latents_at_two(model, tiny_pixels(4), days)
    found, spread = surfaces_at_two(model, "sentinel-2-l2a", mean, covariance, days, [0, 1, 2])

    variance = covariance.diagonal(dim1=-2, dim2=-1).mT
    decoded = model.decode("sentinel-2-l2a", mean.float(), variance.float(), days)

    torch.testing.assert_close(found.float(), decoded.mean, rtol=0.0, atol=2e-3)
    std = spread.diagonal(dim1=-2, dim2=-1).sqrt().unflatten(-1, (2, 3))
    torch.testing.assert_close(std.float(), decoded.std_signal, rtol=0.1, atol=0.0)
