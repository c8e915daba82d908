"""Calibration after training: the factors of noise and signal are those that made the data."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from terralatent.models.calibration import calibrate
from terralatent.models.config import ModelConfig, SensorConfig
from terralatent.models.gpvae import GPVAE
from terralatent.models.observations import Observations

PIXELS, DATES, BANDS = 160, 90, 3
NOISE = torch.tensor([0.1, 0.2, 0.3])


def model(likelihood: str = "gaussian") -> GPVAE:
    """Three latents of a Matern-3/2 kernel, read off three bands with the noise of the series."""
    sensor = SensorConfig(
        name="optical", bands=("a", "b", "c"), units="1", centre=(0.0,) * 3, spread=(1.0,) * 3
    )
    config = ModelConfig(
        sensors=(sensor,), latents=3, hidden=8, kernel="matern32", likelihood=likelihood
    )
    made = GPVAE(config)
    with torch.no_grad():
        made.kernel.set_lengthscale(torch.full((3,), 60.0))  # type: ignore[operator]
    its, eye = made.sensor("optical"), torch.eye(3)
    precision = 1.0 / NOISE.square() / config.precision_cap
    its.encoder.set_linear(eye, torch.logit(precision.clamp_max(0.99)), eye)
    its.decoder.set_linear(torch.zeros(3), eye, 2.0 * NOISE.log(), torch.zeros(3, 2))
    return made.eval()


def pool(
    made: GPVAE, noise: float = 1.0, signal: float | Tensor = 1.0, tails: bool = False
) -> dict[str, Observations]:
    """Series drawn from the model, with other standard deviations than it thinks.

    Those of the surface may be one for each pixel, shape (PIXELS, 1, 1); with ``tails`` the noise
    is a Student-t of 6 degrees of freedom.
    """
    draw = torch.Generator().manual_seed(3)
    days = 17_000.0 + 365.0 * torch.rand(DATES, generator=draw, dtype=torch.float64).sort().values
    with torch.no_grad():
        covariance = made.kernel.covariance(days[:, None] - days[None]).double().permute(2, 0, 1)
    root = torch.linalg.cholesky(covariance + 1e-9 * torch.eye(DATES))
    white = torch.randn(PIXELS, BANDS, DATES, generator=draw, dtype=torch.float64)
    surface = signal * torch.einsum("lts,nls->ntl", root, white).float()
    off = noise * NOISE * torch.randn(PIXELS, DATES, BANDS, generator=draw)
    if tails:
        off = (
            off
            / torch.from_numpy(np.random.default_rng(3).chisquare(6.0, (PIXELS, DATES, 1)) / 6.0)
            .float()
            .sqrt()
        )
    return {
        "optical": Observations(
            days=days,
            values=surface + off,
            valid=torch.ones(PIXELS, DATES, BANDS, dtype=torch.bool),
            distance=torch.full((PIXELS, DATES), 16.0),
            incidence=torch.full((DATES,), torch.nan),
        )
    }


def test_a_model_that_is_right_keeps_its_widths() -> None:
    made = model()
    calibrate(made, [pool(made)])
    sensor = made.sensor("optical")
    torch.testing.assert_close(sensor.noise_factor, torch.ones(3), atol=0.12, rtol=0.0)
    torch.testing.assert_close(sensor.signal_factor, torch.ones(3), atol=0.12, rtol=0.0)


def test_noise_and_signal_are_separated() -> None:
    made = model()
    calibrate(made, [pool(made, noise=1.6)])
    assert float(made.sensor("optical").noise_factor.min()) > 1.7
    other = model()
    calibrate(other, [pool(other, signal=1.6)])
    assert float(other.sensor("optical").signal_factor.min()) > 1.7


def test_surfaces_that_differ_in_how_they_vary_have_their_mean_square() -> None:
    """Densities would take what the lively few are missed by for tails of the noise."""
    made = model("student")
    amplitude = torch.where(torch.arange(PIXELS) % 8 == 0, 3.0, 0.7).reshape(-1, 1, 1)
    calibrate(made, [pool(made, signal=amplitude, tails=True)])
    wanted = float(amplitude.square().mean())
    found = made.sensor("optical").signal_factor
    torch.testing.assert_close(found, torch.full((3,), wanted), atol=0.0, rtol=0.2)


@pytest.mark.parametrize(("noise", "signal"), [(0.6, 1.0), (1.6, 1.0), (1.0, 1.6)])
def test_intervals_hold_what_they_claim_over_short_and_long_gaps(
    noise: float, signal: float
) -> None:
    made = model()
    truth = pool(made, noise, signal)
    calibrate(made, [truth])
    seen = truth["optical"]
    window = torch.arange(DATES) // 12 % 2 == 1
    for hidden in (torch.arange(DATES) % 4 == 1, window):
        held = seen.at(hidden)
        mean, var = made.infer({"optical": seen.hide(hidden)}, held.days)
        predicted = made.decode("optical", mean, var, held.days)
        inside = (predicted.q05 <= held.values) & (held.values <= predicted.q95)
        # The surface's variance is wrong in another way after short gaps than after long ones.
        assert 0.86 < float(inside.float().mean()) < 0.96


def test_only_the_sensors_asked_for_change() -> None:
    made = model()
    calibrate(made, [pool(made, noise=1.6)], [])
    assert torch.equal(made.sensor("optical").noise_factor, torch.ones(3))
    calibrate(made, [{}])
    assert torch.equal(made.sensor("optical").noise_factor, torch.ones(3))
