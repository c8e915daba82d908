"""Missing bands are filled by their expectation, and what is there stays."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from terralatent.models.sensor.band_fill import BandFill

BANDS, ROWS = 5, 64


@pytest.fixture
def relations() -> tuple[np.ndarray, np.ndarray]:
    """Location and scatter of correlated bands."""
    generator = np.random.default_rng(0)
    mixing = generator.normal(size=(BANDS, BANDS))
    return generator.normal(size=BANDS), mixing @ mixing.T + 0.1 * np.eye(BANDS)


@pytest.fixture
def fill(relations: tuple[np.ndarray, np.ndarray]) -> BandFill:
    made = BandFill(BANDS)
    made.relate(*(torch.from_numpy(part) for part in relations))
    return made


def random_rows(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(ROWS, BANDS, generator=generator)
    valid = torch.rand(ROWS, BANDS, generator=generator) < 0.6
    return torch.where(valid, values, 0.0), valid


def test_what_is_missing_is_the_best_linear_guess(
    fill: BandFill, relations: tuple[np.ndarray, np.ndarray]
) -> None:
    location, scatter = relations
    values, valid = random_rows(1)
    filled = fill(values, valid).numpy()
    for row, there in enumerate(valid.numpy()):
        if not there.any():
            continue
        # The oracle minimises the quadratic form of the whole observation over what is missing.
        precision = np.linalg.inv(scatter)
        away = values[row].numpy()[there] - location[there]
        missing = -np.linalg.solve(
            precision[np.ix_(~there, ~there)], precision[np.ix_(~there, there)] @ away
        )
        scale = np.abs(precision).max() * np.linalg.cond(scatter) * np.finfo(np.float32).eps
        np.testing.assert_allclose(
            filled[row, ~there], location[~there] + missing, rtol=1e-4, atol=1e-5 + scale
        )


def test_bands_that_are_there_and_empty_rows_stay_to_the_bit(fill: BandFill) -> None:
    values, valid = random_rows(2)
    valid[:3] = False
    values[:3] = 0.0
    filled = fill(values, valid)
    assert torch.equal(filled[valid], values[valid])
    assert torch.equal(filled[:3], values[:3])
    assert fill(values[3:], torch.ones_like(valid[3:])) is not None
    assert torch.equal(fill(values, torch.ones_like(valid)), values)


def test_what_is_not_valid_is_not_read(fill: BandFill) -> None:
    values, valid = random_rows(3)
    other = torch.where(valid, values, 7.0)
    some = valid.any(-1)
    assert torch.equal(fill(values, valid)[some], fill(other, valid)[some])


def test_until_bands_are_related_they_say_nothing_of_each_other() -> None:
    values, valid = random_rows(4)
    assert torch.equal(BandFill(BANDS)(values, valid), values)
