"""Moments of bands in one compiled pass are those of the decoder at every node."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from terralatent.models.config import ModelConfig, SensorConfig
from terralatent.models.gpvae import GPVAE
from terralatent.models.sensor.model import Moments, SensorModel
from terralatent.models.sensor.networks import season

BANDS = 5

# What float32 leaves of means of some dozen values of up to a hundred, which are squared.
CLOSE = {"rtol": 2e-5, "atol": 2e-5}


def make(latents: int, *, seasons: bool = True) -> SensorModel:
    """A decoder of odd sizes, awake in all layers."""
    config = SensorConfig(
        name="optical",
        bands=tuple(f"b{band}" for band in range(BANDS)),
        units="1",
        centre=(0.3,) * BANDS,
        spread=(0.7,) * BANDS,
    )
    model = GPVAE(ModelConfig(sensors=(config,), latents=latents, hidden=13, season=seasons))
    generator = torch.Generator().manual_seed(latents)
    for parameter in model.parameters():
        parameter.data += 0.3 * torch.randn(parameter.shape, generator=generator)
    return model.sensor("optical")


def latents_of(latents: int, rows: int = 150) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Means and variances, some far outside of what networks see, none below 0, and seasons."""
    generator = torch.Generator().manual_seed(3)
    mean = 2.0 * torch.randn(rows, latents, generator=generator)
    mean[::7] *= 8.0
    variance = torch.rand(rows, latents, generator=generator)
    variance[::5] = 0.0
    return mean, variance, season(torch.linspace(17_000.0, 17_400.0, rows, dtype=torch.float64))


def alike(found: Moments, wanted: Moments) -> None:
    for name in ("location", "covariance", "log_diag"):
        np.testing.assert_allclose(getattr(found, name), getattr(wanted, name).detach(), **CLOSE)


@pytest.mark.parametrize("seasons", [True, False])
@pytest.mark.parametrize("latents", [1, 3, 8])
def test_moments_are_those_of_the_decoder(latents: int, seasons: bool) -> None:
    """With gradients the decoder itself is asked, node by node."""
    sensor, given = make(latents, seasons=seasons), latents_of(latents)

    with torch.no_grad():
        found = sensor.moments(*given)

    assert not found.location.requires_grad
    alike(found, sensor.moments(*given))


def test_the_full_covariance_has_the_same_diagonal() -> None:
    sensor, given = make(3), latents_of(3)
    with torch.no_grad():
        found, whole = sensor.moments(*given), sensor.moments(*given, full=True)

    diagonal = whole.covariance.diagonal(dim1=-2, dim2=-1)
    alike(found, Moments(whole.location, diagonal, whole.log_diag))


@torch.no_grad()
def test_what_comes_with_a_row_does_not_change_a_bit_of_it() -> None:
    sensor, given = make(8), latents_of(8)
    whole = sensor.moments(*given)
    for rows in (slice(70, 71), slice(3, 140), torch.arange(149, -1, -1)):
        part = sensor.moments(*(own[rows] for own in given))
        for name in ("location", "covariance", "log_diag"):
            assert torch.equal(getattr(part, name), getattr(whole, name)[rows])


@torch.no_grad()
def test_no_rows_have_no_moments() -> None:
    assert make(3).moments(*(own[:0] for own in latents_of(3))).location.shape == (0, BANDS)
