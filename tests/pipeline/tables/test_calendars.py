"""Pixels laid on shared days keep what they were, however they are divided."""

from __future__ import annotations

import numpy as np
import pytest

from terralatent.pipeline import Series
from terralatent.pipeline.tables.calendars import Axis, alike, axes_of, lay
from tests.made.tables import COLUMNS, S1, S2, made_up_rows


@pytest.fixture(scope="module")
def series() -> Series:
    return Series.from_table(made_up_rows(60, shared=25), COLUMNS)


@pytest.mark.parametrize("most", [1, 500, 3000, 10**9])
def test_each_pixel_is_in_one_batch_that_is_not_too_large(series: Series, most: int) -> None:
    batches = list(alike(series, most))
    np.testing.assert_array_equal(np.sort(np.concatenate(batches)), np.arange(len(series)))
    for batch in batches:
        dates = np.unique(series.select(batch).times)
        assert len(batch) == 1 or len(batch) * len(dates) <= most
    if most == 10**9:
        assert len(batches) == 1


def test_pixels_of_the_same_dates_go_together(series: Series) -> None:
    """Of the first 25, which have the same times, those at one angle have the same dates."""
    flat = series.select([place for place in range(25) if place % 3])
    dates = int(flat.counts[0])
    assert [len(batch) for batch in alike(flat, 16 * dates)] == [16]
    assert [len(batch) for batch in alike(flat, 8 * dates)] == [8, 8]


@pytest.mark.parametrize("most", [1, 800, 10**9])
def test_laid_series_are_the_series(series: Series, most: int) -> None:
    for batch in alike(series, most):
        part = series.select(batch)
        block = lay(part, axes_of(part))
        for name, seen in block.series().items():
            own = part.sensors[name]
            pixel, date = seen.observed.nonzero(as_tuple=True)
            rows = np.flatnonzero(own.observed)
            order = np.lexsort((date, pixel))
            days = np.rint(seen.days[date].numpy() * 86_400e6)[order]
            np.testing.assert_array_equal(part.times[rows], days)
            np.testing.assert_array_equal(part.pixel_of_row[rows], pixel.numpy()[order])
            angle = seen.incidence[date].numpy()[order]
            np.testing.assert_array_equal(own.incidence[rows], angle)
            values = np.where(seen.valid, seen.values, np.nan)[pixel, date][order]
            np.testing.assert_array_equal(own.values[rows], values)
        for place, name in enumerate(block.sensors):
            wanted = part.observations()[name]
            np.testing.assert_array_equal(block.observations[place], wanted)


def test_bands_are_laid_as_a_model_has_them(series: Series) -> None:
    block = lay(series, axes_of(series), {S2: ("B04", "B08", "B02")})
    seen = block.series()[S2]
    assert not seen.valid[..., 1].any()
    plain = lay(series, axes_of(series)).series()[S2]
    assert (seen.valid[..., [2, 0]] == plain.valid[..., [0, 2]]).all()
    np.testing.assert_array_equal(seen.values[..., [2, 0]], plain.values[..., [0, 2]])


def test_an_acquisition_is_a_time_and_an_angle() -> None:
    times = np.array([5, 5, 3, 5, 9])
    angles = np.array([40.0, 30.0, np.nan, 40.0, -0.0], np.float32)
    axis = Axis.of(times, angles)
    np.testing.assert_array_equal(axis.times, [3, 5, 5, 9])
    np.testing.assert_array_equal(axis.incidence, [np.nan, 30.0, 40.0, 0.0])
    np.testing.assert_array_equal(axis.places(times, angles), [2, 1, 0, 2, 3])
    other = axis.places(np.array([5, 4]), np.array([31.0, np.nan], np.float32))
    np.testing.assert_array_equal(other, [-1, -1])


def test_an_axis_may_be_empty(series: Series) -> None:
    part = series.where(np.zeros(len(series.times), dtype=bool))
    block = lay(part, axes_of(part))
    assert block.series()[S1].values.shape == (len(series), 0, 2)
    assert not block.seen.any()
    assert len(list(alike(part, 100))) == 1
