"""A model at another place: its intervals hold there what they say, and no mean moves."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from terralatent.models.checkpoint import (
    hash_latents,
    latents_hash,
    load_model,
    model_hash,
    save_model,
)
from terralatent.models.gpvae import GPVAE
from terralatent.models.latent_model import LatentModel
from terralatent.models.local_calibration import (
    calibrate_locally,
    mean_squared_residual,
    without_local_widths,
)
from terralatent.models.observations import Observations
from terralatent.models.sensor.widths import LARGEST_POWER, LOCAL_RANGE, tempered
from tests.made.drawn import DATES, drawn_model, drawn_pool, drawn_surface

Z90 = 1.644854
WINDOW = torch.arange(DATES) // 12 % 2 == 1
SCATTERED = torch.arange(DATES) % 4 == 1


def held(inside: torch.Tensor) -> tuple[float, float]:
    """The share of what intervals hold, and its standard error over pixels, which are drawn."""
    by_pixel = inside.flatten(1).double().mean(1)
    return float(by_pixel.mean()), float(by_pixel.std() / math.sqrt(len(by_pixel)))


def coverage(model: LatentModel, seen: Observations, hidden: torch.Tensor) -> tuple[float, float]:
    """What 90 % intervals hold of hidden observations."""
    rest = seen.at(hidden)
    mean, var = model.infer({"optical": seen.hide(hidden)}, rest.days)
    predicted = model.decode("optical", mean, var, rest.days)
    return held((predicted.q05 <= rest.values) & (rest.values <= predicted.q95))


@pytest.fixture(scope="module")
def noisy() -> tuple[GPVAE, LatentModel]:
    """A model whose noise is half of the place's, before and after it was calibrated there."""
    made = drawn_model()
    local, _ = calibrate_locally(made, [drawn_pool(made, noise=2.0)])
    return made, local


def test_means_and_what_was_trained_stay_to_the_bit(noisy: tuple[GPVAE, LatentModel]) -> None:
    made, local = noisy
    seen = drawn_pool(made, noise=2.0, seed=9)
    query = torch.linspace(16_950.0, 17_400.0, 40, dtype=torch.float64)
    (mean, var), (again, wide) = (model.infer(seen, query) for model in noisy)
    assert torch.equal(mean, again)
    assert torch.equal(var, wide)
    before, after = (model.decode("optical", mean, var, query) for model in noisy)
    assert torch.equal(before.mean, after.mean)
    assert not torch.equal(before.std, after.std)
    weights = local.state_dict()
    assert all(torch.equal(values, weights[name]) for name, values in made.state_dict().items())
    assert hash_latents(made) == hash_latents(local)


@pytest.mark.parametrize("hidden", [SCATTERED, WINDOW], ids=["scattered", "window"])
def test_intervals_hold_where_the_model_was_wrong_about_the_noise(
    noisy: tuple[GPVAE, LatentModel], hidden: torch.Tensor
) -> None:
    made, local = noisy
    seen = drawn_pool(made, noise=2.0, seed=9)["optical"]
    before, _ = coverage(made, seen, hidden)
    after, error = coverage(local, seen, hidden)
    assert before < 0.87
    # One shape of the factors stands for gaps of all lengths: that is the 0.02.
    assert abs(after - 0.9) < 0.02 + 3.0 * error


def test_stds_of_latents_hold_the_truth(noisy: tuple[GPVAE, LatentModel]) -> None:
    made, local = noisy
    seen = drawn_pool(made, noise=2.0, seed=9)
    days, surface, _ = drawn_surface(made, seed=9)
    mean, var = made.infer(seen, days)
    before, _ = held((surface - mean).abs() < Z90 * made.latent_std(var))
    after, error = held((surface - mean).abs() < Z90 * local.latent_std(var))
    assert before < 0.75
    assert abs(after - 0.9) < 0.04 + 3.0 * error


def test_a_model_that_is_right_keeps_its_widths() -> None:
    made = drawn_model("student")
    local, fit = calibrate_locally(made, [drawn_pool(made, tails=True)])
    sensor = local.sensor("optical")
    for factor in (sensor.local_noise, sensor.local_signal, local.local_std):
        torch.testing.assert_close(factor, torch.ones(3), atol=0.2, rtol=0.0)
    assert abs(float(sensor.local_power)) < 0.2
    its = fit.coverage["optical"]
    assert (its.acquisitions, its.before) == (DATES, pytest.approx(0.9, abs=0.03))
    assert mean_squared_residual(made, [drawn_pool(made, tails=True)])["optical"] < 1.2


def test_a_calibration_takes_the_place_of_one_before(noisy: tuple[GPVAE, LatentModel]) -> None:
    made, local = noisy
    again, _ = calibrate_locally(local, [drawn_pool(made, noise=2.0)])
    assert all(map(torch.equal, local.state_dict().values(), again.state_dict().values()))
    forgotten = without_local_widths(local).state_dict()
    assert forgotten.keys() == made.state_dict().keys()


def test_few_acquisitions_move_the_factors_little() -> None:
    made = drawn_model()
    few = drawn_pool(made, noise=4.0, dates=4)
    sensor = calibrate_locally(made, [few])[0].sensor("optical")
    many = calibrate_locally(made, [drawn_pool(made, noise=4.0)])[0].sensor("optical")
    assert bool((sensor.local_noise < many.local_noise).all())


@pytest.mark.parametrize("power", [-LARGEST_POWER, -0.3, 0.0, 0.5, LARGEST_POWER])
@pytest.mark.parametrize("factor", [LOCAL_RANGE[0], 1.0, LOCAL_RANGE[1]])
def test_what_is_less_known_is_never_called_more_certain(power: float, factor: float) -> None:
    sensor = drawn_model().sensor("optical")
    sensor.local_power.fill_(power)
    sensor.local_signal.fill_(factor)
    sensor.local_noise.fill_(0.1)
    variance = torch.logspace(-4, 0, 60)[:, None].expand(-1, 3)
    days = torch.zeros(60, dtype=torch.float64)
    predicted = sensor.predict(torch.zeros(1, 60, 3), variance[None], days)
    assert bool((predicted.std_signal.diff(dim=1) >= -1e-6).all())
    assert bool((predicted.std >= predicted.std_signal).all())
    scale = (sensor.signal_scale(variance) / sensor.signal_factor).detach()
    assert float(scale.min()) >= 0.999 * LOCAL_RANGE[0]
    assert float(scale.max()) <= 1.001 * LOCAL_RANGE[1]


def test_tempering_leaves_the_prior_and_widens_what_is_known() -> None:
    variance = torch.tensor([0.0, 1e-3, 0.5, 1.0])
    wide = tempered(variance, torch.tensor(2.0))
    assert float(wide[1]) == pytest.approx(4e-3, rel=0.01)
    assert wide[[0, 3]].tolist() == [0.0, 1.0]
    assert torch.equal(tempered(variance, torch.tensor(1.0)), variance)
    information = 1.0 / variance[1:] - 1.0
    torch.testing.assert_close(1.0 / wide[1:] - 1.0, information / 4.0)


def test_factors_are_kept_with_the_model_and_only_by_one_that_has_them(
    noisy: tuple[GPVAE, LatentModel], tmp_path: Path
) -> None:
    made, local = noisy
    for name, model in (("made", made), ("local", local)):
        save_model(model, tmp_path / name, {})
        assert latents_hash(tmp_path / name) == hash_latents(made)
    assert model_hash(tmp_path / "made") != model_hash(tmp_path / "local")
    assert not any("local" in name for name in made.state_dict())
    loaded = load_model(tmp_path / "local")
    query = torch.tensor([17_100.0], dtype=torch.float64)
    mean, var = local.infer(drawn_pool(made), query)
    for model in (local, loaded):
        assert torch.equal(model.latent_std(var), local.latent_std(var))
    one, two = (model.decode("optical", mean, var, query).std for model in (local, loaded))
    assert torch.equal(one, two)


def test_whatever_moves_means_changes_the_hash_of_the_latents() -> None:
    made = drawn_model()
    first = hash_latents(made)
    sensor = made.sensor("optical")
    with torch.no_grad():
        sensor.noise_factor.mul_(2.0)
        sensor.decoder.bias.add_(1.0)
        assert hash_latents(made) == first
        for weight in (sensor.encoder.bias, next(made.kernel.parameters())):
            kept = weight.clone()
            weight.add_(1e-3)
            assert hash_latents(made) != first
            weight.copy_(kept)
            assert hash_latents(made) == first
    other = drawn_model()
    other.config = other.config.model_copy(update={"refinements": 1})
    before = hash_latents(other)
    with torch.no_grad():
        other.sensor("optical").decoder.bias.add_(1.0)
    assert hash_latents(other) != before
