"""Series drawn from a model that is known, or from one that it is wrong about."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from terralatent.models.config import ModelConfig, SensorConfig
from terralatent.models.gpvae import GPVAE
from terralatent.models.observations import Observations

PIXELS, DATES, BANDS = 160, 90, 3
NOISE = torch.tensor([0.1, 0.2, 0.3])


def drawn_model(likelihood: str = "gaussian") -> GPVAE:
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


def drawn_surface(
    made: GPVAE, signal: float | Tensor = 1.0, *, dates: int = DATES, seed: int = 3
) -> tuple[Tensor, Tensor, torch.Generator]:
    """Draw days (T,), float64, and the latents there, (PIXELS, T, 3), with the generator left."""
    draw = torch.Generator().manual_seed(seed)
    days = 17_000.0 + 365.0 * torch.rand(dates, generator=draw, dtype=torch.float64).sort().values
    with torch.no_grad():
        covariance = made.kernel.covariance(days[:, None] - days[None]).double().permute(2, 0, 1)
    root = torch.linalg.cholesky(covariance + 1e-9 * torch.eye(dates))
    white = torch.randn(PIXELS, BANDS, dates, generator=draw, dtype=torch.float64)
    return days, signal * torch.einsum("lts,nls->ntl", root, white).float(), draw


def drawn_pool(
    made: GPVAE,
    noise: float = 1.0,
    signal: float | Tensor = 1.0,
    tails: bool = False,
    *,
    dates: int = DATES,
    seed: int = 3,
) -> dict[str, Observations]:
    """Series drawn from the model, with other standard deviations than it expects.

    Those of the surface may be one for each pixel, shape (PIXELS, 1, 1); with ``tails`` the noise
    is a Student-t of 6 degrees of freedom.
    """
    days, surface, draw = drawn_surface(made, signal, dates=dates, seed=seed)
    off = noise * NOISE * torch.randn(PIXELS, dates, BANDS, generator=draw)
    if tails:
        off = (
            off
            / torch.from_numpy(np.random.default_rng(3).chisquare(6.0, (PIXELS, dates, 1)) / 6.0)
            .float()
            .sqrt()
        )
    return {
        "optical": Observations(
            days=days,
            values=surface + off,
            valid=torch.ones(PIXELS, dates, BANDS, dtype=torch.bool),
            distance=torch.full((PIXELS, dates), 16.0),
            incidence=torch.full((dates,), torch.nan),
        )
    }
