"""Annual vectors as integers: what rounding does, what it adds, and what does not fit."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from terralatent.pipeline.embeddings.packing import LOG_CENTRE, PRECISIONS

COUNT = 20_000


def drawn() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    mean = torch.randn(COUNT, 3, generator=generator)
    return mean, torch.rand(COUNT, 3, generator=generator) * 0.2 + 0.01


def opened(name: str, packed: np.ndarray, precision: str) -> np.ndarray:
    """By the rules of CF."""
    attrs = PRECISIONS[precision].attrs(name)
    values = packed.astype(np.float64)
    return values * attrs.get("scale_factor", 1.0) + attrs.get("add_offset", 0.0)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_what_is_packed_is_within_half_a_step(precision: str) -> None:
    mean, variance = drawn()
    own = PRECISIONS[precision]
    means, logs, clipped = own.pack(mean, variance)
    assert means.dtype == logs.dtype == own.dtype
    assert means.shape == (3, COUNT)
    assert clipped == 0
    half = (own.mean_step or 0.0) / 2 + 1e-6
    np.testing.assert_allclose(opened("mean", means, precision), mean.T, rtol=0, atol=half)
    kept = np.exp(opened("log_std", logs, precision))
    rounding = (own.mean_step or 0.0) ** 2 / 12
    wanted = np.sqrt(variance.T.numpy() + rounding)
    np.testing.assert_allclose(kept, wanted, rtol=np.expm1((own.log_step or 0.0) / 2) + 1e-5)


def test_the_variance_that_is_added_is_that_of_rounding() -> None:
    """Errors of rounding, counted, are what the formula says within their sampling error."""
    mean, variance = drawn()
    step = PRECISIONS["int8"].mean_step
    assert step is not None
    means, _, _ = PRECISIONS["int8"].pack(mean, variance)
    errors = opened("mean", means, "int8") - mean.T.numpy()
    assert errors.var() == pytest.approx(step**2 / 12, rel=6 / errors.size**0.5)


def test_what_does_not_fit_is_counted_and_set_to_the_end() -> None:
    own = PRECISIONS["int8"]
    assert own.mean_step is not None
    far = torch.tensor([[1e3, -1e3, 0.0]])
    means, logs, clipped = own.pack(far, torch.tensor([[1e9, 0.0, np.exp(2 * LOG_CENTRE)]]))
    assert means[:, 0].tolist() == [127, -127, 0]
    assert logs[0, 0] == 127
    assert clipped == 3
    assert logs[2, 0] == 0, "rounding adds less than a step to the middle"


def test_pixels_outside_every_scene_have_a_value_of_their_own() -> None:
    assert (PRECISIONS["int8"].blank((2, 2)) == -128).all()
    assert np.isnan(PRECISIONS["float32"].blank((2, 2))).all()
