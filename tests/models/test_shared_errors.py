"""The correlation of errors within squares is found again where it is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from terralatent.models.checkpoint import (
    keep_overview_correlation,
    latents_hash,
    load_model,
    model_hash,
    read_manifest,
    save_model,
)
from terralatent.models.config import ModelConfig, SensorConfig
from terralatent.models.gpvae import GPVAE
from terralatent.models.shared_errors import correlation_table, error_correlation

SHARES = (0.0, 0.1, 0.5, 1.0)


def drawn(side: int, scale: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Errors of squares that are alike to the :data:`SHARES`, (date, L, y, x), with variances that
    differ from pixel to pixel; a strip has none."""
    random = np.random.default_rng(3)
    shape = (6, len(SHARES), 128, 128)
    squares = random.normal(size=(*shape[:2], 128 // side, 128 // side))
    common = squares.repeat(side, axis=-2).repeat(side, axis=-1)
    rho = np.array(SHARES)[:, None, None]
    unit = np.sqrt(rho) * common + np.sqrt(1.0 - rho) * random.normal(size=shape)
    std = random.uniform(0.1, 0.5, size=shape)
    errors = scale * std * unit
    errors[..., 7:11, :] = np.nan
    return torch.from_numpy(errors).float(), torch.from_numpy(std**2).float()


@pytest.mark.parametrize(("side", "scale"), [(8, 1.0), (8, 1.7), (4, 1.0)])
def test_a_known_share_is_found_again_however_far_variances_are_off(
    side: int, scale: float
) -> None:
    errors, variance = drawn(side, scale)
    rho = error_correlation(errors, variance, [side])[0]
    np.testing.assert_allclose(rho, SHARES, atol=0.04)


def test_larger_squares_share_less_of_what_small_ones_share_and_odd_edges_count() -> None:
    errors, variance = drawn(8, 1.0)
    rho = error_correlation(errors[..., :121, :117], variance[..., :121, :117], (2, 4, 8, 16, 256))
    np.testing.assert_allclose(rho[:3, 3], 1.0, atol=0.02)
    # Of the pairs in a square of 16 x 16, 63 of 255 lie in the same square of 8 x 8.
    np.testing.assert_allclose(rho[3, 3], 63 / 255, atol=0.04)
    assert rho[4].max() < 0.05


def test_where_nothing_is_known_errors_count_as_the_same() -> None:
    nothing = torch.full((2, 4, 4), torch.nan)
    assert error_correlation(nothing, nothing, [2]).tolist() == [[1.0, 1.0]]


def test_a_model_keeps_it_and_stays_the_same_model(tmp_path: Path) -> None:
    sensor = SensorConfig(name="s", bands=("a",), units="1", centre=(0.0,), spread=(1.0,))
    save_model(GPVAE(ModelConfig(sensors=(sensor,), latents=2, hidden=8)), tmp_path, {})
    before = model_hash(tmp_path), latents_hash(tmp_path)
    table = correlation_table(torch.tensor([[0.5, 0.25]]), [2])

    keep_overview_correlation(tmp_path, table)

    assert read_manifest(tmp_path)["overview_correlation"] == {"sides": [2], "rho": [[0.5, 0.25]]}
    assert (model_hash(tmp_path), latents_hash(tmp_path)) == before
    load_model(tmp_path)
    with pytest.raises(ValueError, match="a row of rho from 0 to 1 is wanted for each side"):
        keep_overview_correlation(tmp_path, {"sides": [2, 4], "rho": [[0.5]]})
