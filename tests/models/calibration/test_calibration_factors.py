"""Calibration after training: the factors of noise and signal are those that made the data."""

from __future__ import annotations

import pytest
import torch

from terralatent.models.calibration import calibrate
from tests.made.drawn import DATES, PIXELS
from tests.made.drawn import drawn_model as model
from tests.made.drawn import drawn_pool as pool


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
    got = made.sensor("optical").signal_factor
    torch.testing.assert_close(got, torch.full((3,), wanted), atol=0.0, rtol=0.2)


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
