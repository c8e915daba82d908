"""Whole acquisitions and blocks are kept from training, always the same ones."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from terralatent.models.observations import Observations, clear_dates
from terralatent.pipeline.dates import GAP_DAYS
from terralatent.pipeline.training.holdout import FEWEST_CLEAR, blocks_apart, hold_out
from tests.made.tiny import tiny_pixels, tiny_series


@pytest.mark.parametrize("seed", range(5))
def test_an_acquisition_is_hidden_for_all_pixels_or_for_none(seed: int) -> None:
    series = tiny_pixels(50)
    held = hold_out(series, seed)

    for name, training in held.training(series).items():
        before, after = series[name].observed.any(0), training.observed.any(0)
        assert torch.equal(before & ~held.acquisitions[name], after)
        kept = ~held.acquisitions[name]
        assert torch.equal(training.valid[:, kept], series[name].valid[:, kept])


def test_training_and_validation_share_no_observation_and_miss_none() -> None:
    series = tiny_pixels(50)
    held = hold_out(series, 0)
    training, validation = held.training(series), held.validation(series)

    for name, one in series.items():
        assert not (training[name].valid & validation[name].valid).any()
        assert torch.equal(training[name].valid | validation[name].valid, one.valid)
        assert validation[name].valid.any()


def test_the_choice_depends_on_seed_and_calendar_only() -> None:
    series = tiny_pixels(50)
    first = hold_out(series, 3)
    again = hold_out(dict(reversed(series.items())), 3)
    alone = hold_out({"sentinel-1-asc": series["sentinel-1-asc"]}, 3)
    shuffled = hold_out({n: s.select(torch.arange(50).flip(0)) for n, s in series.items()}, 3)

    for name, held in first.acquisitions.items():
        assert torch.equal(held, again.acquisitions[name])
        assert torch.equal(held, shuffled.acquisitions[name])
    assert torch.equal(first.acquisitions["sentinel-1-asc"], alone.acquisitions["sentinel-1-asc"])
    others = [hold_out(series, seed).acquisitions["sentinel-1-asc"] for seed in range(8)]
    assert len({tuple(held.tolist()) for held in others}) > 4


@pytest.mark.parametrize("seed", range(8))
def test_a_window_is_hidden_and_most_of_the_clear_acquisitions_stay(seed: int) -> None:
    series = tiny_series(50, "sentinel-1-asc")
    held = hold_out({"s": series}, seed).acquisitions["s"]
    gaps = series.days[~held].diff()

    assert float(gaps.max()) >= GAP_DAYS - 9.5
    assert 0.1 <= float(held.float().mean()) <= 0.35


def test_a_sensor_with_few_clear_acquisitions_keeps_them() -> None:
    few = tiny_series(20, "sentinel-1-asc").at(slice(0, FEWEST_CLEAR - 1))
    held = hold_out({"few": few}, 0)

    assert held.empty
    assert torch.equal(held.training({"few": few})["few"].valid, few.valid)


def test_the_edge_of_a_swath_does_not_make_an_acquisition_cloudy() -> None:
    inside = tiny_series(20, "sentinel-1-asc")
    outside = inside.hide(torch.ones(len(inside.days), dtype=torch.bool))
    both = Observations.concatenate([inside, outside, outside])

    assert clear_dates(both.observed).all()


def test_blocks_apart_are_few_of_full_size_and_the_same_again() -> None:
    full = np.array([True, False] * 20)
    apart = blocks_apart(full, 7)

    assert apart.sum() == 2
    assert full[apart].all()
    assert np.array_equal(apart, blocks_apart(full, 7))
    assert not blocks_apart(np.array([True, True, True, False]), 7).any()
    assert blocks_apart(np.ones(4, dtype=bool), 7).sum() == 1
