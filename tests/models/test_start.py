"""The linear start: robust covariances, noise fractions, and what step 0 predicts."""

import math
from dataclasses import replace

import pytest
import torch

from terralatent.models.config import ModelConfig, SensorConfig
from terralatent.models.gpvae import GPVAE
from terralatent.models.observations import Observations
from terralatent.models.start import components
from terralatent.models.start.covariances import (
    TooFewObservationsError,
    diagonal_plus_factor,
    lifted,
    robust_regression,
    robust_scatter,
)
from terralatent.models.start.linear import linear_start
from terralatent.models.start.noise_fractions import minimum_noise_fractions, neighbour_differences

SERIES, BANDS = 48, 4


@pytest.fixture(autouse=True)
def _few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(components, "EVIDENCE_STEPS", 20)


def drawn(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def some_covariance(bands: int, seed: int) -> torch.Tensor:
    root = drawn(bands, bands, seed=seed)
    return root @ root.T + 0.1 * torch.eye(bands, dtype=torch.float64)


def test_noise_fractions_diagonalise_both_covariances_and_fall() -> None:
    scatter, noise = some_covariance(6, 0), some_covariance(6, 1)
    split = minimum_noise_fractions(scatter, noise)
    inner = split.forward @ noise @ split.forward.T
    outer = split.forward @ scatter @ split.forward.T
    torch.testing.assert_close(inner, torch.eye(6, dtype=torch.float64))
    torch.testing.assert_close(outer, outer.diagonal().diag(), atol=1e-9, rtol=0)
    assert bool((outer.diagonal().diff() <= 1e-9).all())
    torch.testing.assert_close(split.backward @ split.forward, torch.eye(6, dtype=torch.float64))


def test_scatter_has_the_shape_of_the_covariance_in_spite_of_clouds() -> None:
    wanted = some_covariance(3, 2)
    rows = drawn(20_000, 3, seed=3) @ torch.linalg.cholesky(wanted).T
    rows[:1_000] = 30.0 + drawn(1_000, 3, seed=4)
    _, got = robust_scatter(rows)
    plain = torch.cov(rows.T)

    def shape(covariance: torch.Tensor) -> torch.Tensor:
        return covariance / covariance.trace()

    assert (shape(got) - shape(wanted)).abs().max() < 0.12
    assert (shape(plain) - shape(wanted)).abs().max() > 0.2


def test_too_few_observations_are_refused_with_the_remedy() -> None:
    with pytest.raises(TooFewObservationsError, match=r"more than 4 clear .*got 2.*train on"):
        robust_scatter(drawn(2, 4, seed=0))


def test_neighbours_cancel_what_is_linear_in_time_and_keep_the_scale_of_the_noise() -> None:
    days = torch.tensor([0.0, 3.0, 8.0, 10.0, 15.0, 21.0], dtype=torch.float64)
    line = (2.0 + 0.5 * days)[None, :, None].expand(5, -1, 2).float()
    valid = torch.ones(5, 6, dtype=torch.bool)
    valid[1, 2] = False
    dirty = torch.where(valid[..., None], line, float("nan"))
    assert neighbour_differences(dirty, valid, days).abs().max() < 1e-5
    noise = drawn(4_000, 6, 2, seed=1).float()
    left = neighbour_differences(noise, torch.ones(4_000, 6, dtype=torch.bool), days)
    assert float(left.std()) == pytest.approx(1.0, abs=0.03)


def test_diagonal_and_factor_keep_the_diagonal_and_find_what_has_that_form() -> None:
    factor = drawn(7, 2, seed=5)
    wanted = factor @ factor.T + torch.linspace(0.5, 1.0, 7, dtype=torch.float64).diag()
    diagonal, got = diagonal_plus_factor(wanted, 2)
    torch.testing.assert_close(got @ got.T + diagonal.diag(), wanted, atol=0.05, rtol=0.02)
    any_one = some_covariance(7, 6)
    diagonal, got = diagonal_plus_factor(any_one, 2)
    torch.testing.assert_close(diagonal + got.square().sum(-1), any_one.diagonal())
    assert bool((diagonal > 0).all())


def test_lifting_raises_no_direction_that_is_high_enough() -> None:
    covariance = some_covariance(4, 7)
    floor = torch.full((4,), 1e-6, dtype=torch.float64)
    torch.testing.assert_close(lifted(covariance, floor), covariance)
    raised = lifted(covariance - 5.0 * torch.eye(4, dtype=torch.float64), floor)
    assert float(torch.linalg.eigvalsh(raised)[0]) >= 0.99e-6


def test_regression_on_posterior_means_finds_slopes_and_noise() -> None:
    slopes = torch.tensor([[1.0, -0.5], [0.3, 2.0], [0.0, 0.7]], dtype=torch.float64)
    means, variance = drawn(50_000, 2, seed=8), torch.full((50_000, 2), 0.2, dtype=torch.float64)
    latents = means + math.sqrt(0.2) * drawn(50_000, 2, seed=9)
    rows = 1.0 + latents @ slopes.T + 0.5 * drawn(50_000, 3, seed=10)
    centre, got, noise = robust_regression(rows, means, variance)
    torch.testing.assert_close(got, slopes, atol=0.02, rtol=0)
    torch.testing.assert_close(centre, torch.ones(3, dtype=torch.float64), atol=0.02, rtol=0)
    # Normal rows weighed as Student-t ones: the scale is near, not equal.
    assert bool(((noise.diagonal() / 0.25 > 0.5) & (noise.diagonal() / 0.25 < 2.5)).all())


def world(seed: int, kind: str = "copy") -> tuple[dict[str, Observations], torch.Tensor]:
    """Four bands of two latent series plus noise that all bands share, and a second sensor."""
    days = torch.arange(0.0, 272.0, 8.0, dtype=torch.float64)
    lag = (days[:, None] - days).abs() * math.sqrt(3.0) / 40.0
    root = torch.linalg.cholesky((1 + lag) * torch.exp(-lag) + 1e-6 * torch.eye(len(days)))
    latents = root @ drawn(SERIES, len(days), 2, seed=seed) + drawn(SERIES, 1, 2, seed=seed + 1)
    mixing = torch.tensor([[1.0, 0.2], [0.8, -0.3], [0.1, 1.0], [-0.6, 0.7]], dtype=torch.float64)
    haze = 1.2 * drawn(SERIES, len(days), 1, seed=seed + 2)
    surface = latents @ mixing.T
    values = surface + haze + 0.1 * drawn(SERIES, len(days), BANDS, seed=seed + 3)
    second = latents @ mixing[:2].T if kind == "copy" else drawn(SERIES, len(days), 2, seed=77)
    second = second + 0.3 * drawn(SERIES, len(days), 2, seed=seed + 4)
    clear = torch.rand(SERIES, len(days), generator=torch.Generator().manual_seed(seed)) < 0.7
    return {"first": observed(values, days, clear), "second": observed(second, days + 3, None)}, (
        surface.float()
    )


def observed(values: torch.Tensor, days: torch.Tensor, clear: torch.Tensor | None) -> Observations:
    clear = torch.ones(values.shape[:2], dtype=torch.bool) if clear is None else clear
    return Observations(
        days=days,
        values=torch.where(clear[..., None], values, float("nan")).float(),
        valid=clear[..., None].expand(-1, -1, values.shape[-1]).clone(),
        distance=torch.full(values.shape[:2], 16.0),
        incidence=torch.full((len(days),), float("nan")),
    )


def started(pool: dict[str, Observations], latents: int, units: str = "dB") -> GPVAE:
    sensors = tuple(
        SensorConfig(
            name=name,
            bands=tuple(f"b{i}" for i in range(each.values.shape[-1])),
            units="reflectance" if name == "first" else units,
            centre=(0.0,) * each.values.shape[-1],
            spread=(1.0,) * each.values.shape[-1],
        )
        for name, each in pool.items()
    )
    model = GPVAE(ModelConfig(sensors=sensors, latents=latents, kernel="constant+matern32"))
    linear_start(model, [pool])
    return model


def test_the_start_sees_the_surface_through_haze_that_all_bands_share() -> None:
    pool, surface = world(0)
    first = {"first": pool["first"]}
    model = started(first, latents=6)
    days = first["first"].days
    mean, var = model.infer(first, days)
    predicted = model.decode("first", mean, var, days)
    error = (predicted.mean - surface).square().mean().sqrt()
    # What a band alone is off by where haze is all its noise, smoothed over some 5 observations.
    alone = 1.2 / math.sqrt(5.0)
    assert float(error) < 0.7 * alone
    inside = ((predicted.mean - surface).abs() < 1.645 * predicted.std_signal).float().mean()
    assert 0.75 < float(inside) < 0.99


@pytest.mark.parametrize("latents", [1, 7])
def test_any_number_of_latents_gives_finite_predictions(latents: int) -> None:
    pool, _ = world(3)
    model = started(pool, latents=latents)
    days = pool["first"].days
    for name in pool:
        predicted = model.decode(name, *model.infer(pool, days), days)
        assert bool(torch.isfinite(predicted.mean).all())
        assert bool((predicted.std > 0).all())


def test_a_second_sensor_of_noise_is_silenced_and_one_that_tells_is_heard() -> None:
    heard = {}
    for kind in ("copy", "noise"):
        pool, surface = world(5, kind)
        model = started(pool, latents=4, units="reflectance")
        hidden = pool["first"].hide(torch.arange(34) % 10 > 4)
        days = hidden.days
        mean, var = model.infer({"first": hidden}, days)
        alone = (model.decode("first", mean, var, days).mean - surface).square().mean()
        mean, var = model.infer({"first": hidden, "second": pool["second"]}, days)
        both = (model.decode("first", mean, var, days).mean - surface).square().mean()
        heard[kind] = float((both / alone).sqrt())
    assert heard["copy"] < 0.96
    assert heard["noise"] < 1.02


def test_the_start_depends_on_what_is_clear_alone() -> None:
    pool, _ = world(7)
    first = pool["first"]
    filled = replace(first, values=first.values.nan_to_num(9e9))
    one, two = (started({"first": each}, 4).state_dict() for each in (first, filled))
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_a_sensor_whose_hidden_dates_are_all_cloudy_keeps_the_noise_of_its_fit() -> None:
    pool, _ = world(3)
    one = pool["second"]
    for dates in (slice(4, 5), slice(4, 8)):
        few = one.at(torch.isin(torch.arange(34), torch.arange(34)[dates]))
        few = few.hide(torch.arange(len(few.days)) % 4 == 1)
        model = started({**pool, "second": few}, latents=4, units="reflectance")
        predicted = model.decode("second", *model.infer(pool, one.days), one.days)
        assert bool(torch.isfinite(predicted.std).all())


def radar_and_optical(clear: float) -> dict[str, Observations]:
    """Four optical bands of two latents, clear on a share of the dates, beside dense radar."""
    days = torch.arange(0.0, 300.0, 2.0, dtype=torch.float64)
    lag = (days[:, None] - days).abs() * math.sqrt(3.0) / 60.0
    root = torch.linalg.cholesky((1 + lag) * torch.exp(-lag) + 1e-6 * torch.eye(len(days)))
    latents = root @ drawn(SERIES, len(days), 2, seed=1)
    mixing = torch.tensor([[1.0, 0.2], [0.8, -0.3], [0.1, 1.0], [-0.6, 0.7]], dtype=torch.float64)
    optical = latents @ mixing.T + 0.1 * drawn(SERIES, len(days), BANDS, seed=2)
    speckle = 3.0 * drawn(SERIES, len(days), 2, seed=3)
    chance = torch.rand(SERIES, len(days), generator=torch.Generator().manual_seed(4))
    return {
        "first": observed(optical[:, ::5], days[::5], chance[:, ::5] < clear),
        "second": observed(latents @ mixing[:2].T + speckle, days + 1.0, None),
    }


@pytest.mark.parametrize("clear", [0.3, pytest.param(0.7, marks=pytest.mark.soak)])
def test_the_start_begins_with_the_sensor_that_says_most(
    clear: float, caplog: pytest.LogCaptureFixture
) -> None:
    pool = radar_and_optical(clear)
    numbers = {name: int(own.valid.sum()) for name, own in pool.items()}
    assert numbers["second"] > 2 * numbers["first"]
    caplog.set_level("INFO")
    started(pool, latents=4)
    assert "the linear start begins with first" in caplog.text


def test_where_sensors_say_too_little_the_one_with_most_values_is_first(
    caplog: pytest.LogCaptureFixture,
) -> None:
    pool, _ = world(3)
    few = pool["first"].select(slice(0, 1)).at(slice(0, 2))
    many = pool["second"].select(slice(0, 1)).at(slice(0, 2))
    caplog.set_level("INFO")
    with pytest.raises(TooFewObservationsError):
        started({"first": few, "second": many}, latents=4)
    assert "the linear start begins with" in caplog.text
