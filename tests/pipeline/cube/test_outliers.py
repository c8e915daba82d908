"""Observations that no neighbour in time supports are found; what was seen twice, or stays, not."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from terralatent.pipeline.cube import outliers
from terralatent.pipeline.cube.outliers import FAR, FEWEST, LEAST_SPREAD, WINDOW_DAYS, find_outliers

PIXELS, DATES, BANDS = 300, 80, 6
DAYS = 17_000.0 + np.cumsum(np.random.default_rng(5).choice([2.0, 3.0, 5.0, 8.0], DATES))
HIT = 40


@pytest.fixture
def packed() -> np.ndarray:
    """Seasons and noise of Sentinel-2 in steps of 1e-4; half of the noise is of all bands."""
    rng = np.random.default_rng(0)
    season = np.sin(2 * np.pi * (DAYS / 365.25))[None, :, None] * rng.uniform(
        -1, 1, (PIXELS, 1, BANDS)
    )
    noise = rng.normal(size=(PIXELS, DATES, BANDS)) + rng.normal(size=(PIXELS, DATES, 1))
    return np.rint(4000 + 800 * season + 100 * noise).astype(np.int32)


@pytest.fixture
def observed() -> np.ndarray:
    """A third is clouded, in runs; the dates around the one that is hit are clear."""
    clouded = np.random.default_rng(1).random((PIXELS, DATES)) < 0.33
    clouded[:, HIT - 4 : HIT + 5] = False
    return ~clouded


@pytest.mark.parametrize("size", [1500, -1200])
def test_a_spike_is_taken_and_nothing_beside_it(
    packed: np.ndarray, observed: np.ndarray, size: int
) -> None:
    before = find_outliers(packed, observed, DAYS)
    packed[:, HIT] = packed[:, HIT] + size

    unsupported = find_outliers(packed, observed, DAYS)

    assert unsupported[:, HIT].mean() > 0.99
    assert np.delete(unsupported, HIT, axis=1).sum() <= before.sum() + 2


@pytest.mark.parametrize("height", [3000, -3000])
def test_a_step_stays(packed: np.ndarray, observed: np.ndarray, height: int) -> None:
    packed[:, HIT:] = packed[:, HIT:] + height
    assert find_outliers(packed, observed, DAYS)[:, HIT - 2 : HIT + 2].mean() < 0.002


def test_a_slope_stays(packed: np.ndarray, observed: np.ndarray) -> None:
    rise = (100 * (DAYS - DAYS[HIT - 3])).clip(0, 2500).astype(np.int32)
    assert find_outliers(packed + rise[:, None], observed, DAYS).mean() < 0.002


def test_what_was_seen_twice_stays(packed: np.ndarray, observed: np.ndarray) -> None:
    packed[:, HIT : HIT + 2] = packed[:, HIT : HIT + 2] - 1500
    assert find_outliers(packed, observed, DAYS)[:, HIT : HIT + 2].mean() < 0.05


def test_one_band_that_is_far_off_is_enough(packed: np.ndarray, observed: np.ndarray) -> None:
    packed[:, HIT, 2] += 2500
    assert find_outliers(packed, observed, DAYS)[:, HIT].mean() > 0.9


@pytest.mark.parametrize("bands", [BANDS, 1])
def test_a_series_without_outliers_loses_next_to_nothing(
    packed: np.ndarray, observed: np.ndarray, bands: int
) -> None:
    share = find_outliers(packed[..., :bands], observed, DAYS).sum() / observed.sum()
    assert share < (0.001 if bands > 1 else 0.015)


def test_what_is_no_observation_is_neither_found_nor_a_neighbour(
    packed: np.ndarray, observed: np.ndarray
) -> None:
    packed[:, HIT] = packed[:, HIT] + 1500
    unsupported = find_outliers(packed, observed, DAYS)
    other = np.where(observed[:, :, None], packed, 65_000)

    np.testing.assert_array_equal(find_outliers(other, observed, DAYS), unsupported)
    assert not (unsupported & ~observed).any()
    dates = np.delete(np.arange(DATES), [3, 20, 61])
    observed[:, [3, 20, 61]] = False
    np.testing.assert_array_equal(
        find_outliers(packed[:, dates], observed[:, dates], DAYS[dates]),
        find_outliers(packed, observed, DAYS)[:, dates],
    )


def test_a_pixel_is_judged_by_itself(
    packed: np.ndarray, observed: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed[::2, HIT] = packed[::2, HIT] + 800
    unsupported = find_outliers(packed, observed, DAYS)
    assert unsupported.any()
    some = np.random.default_rng(2).permutation(PIXELS)[:77]

    np.testing.assert_array_equal(
        find_outliers(packed[some], observed[some], DAYS), unsupported[some]
    )
    monkeypatch.setattr(outliers, "VALUES", 7 * DATES * BANDS)
    np.testing.assert_array_equal(find_outliers(packed, observed, DAYS), unsupported)


def test_time_has_no_direction(packed: np.ndarray, observed: np.ndarray) -> None:
    packed[:, HIT] = packed[:, HIT] + 700
    back = find_outliers(packed[:, ::-1], observed[:, ::-1], -DAYS[::-1])
    np.testing.assert_array_equal(back[:, ::-1], find_outliers(packed, observed, DAYS))


def test_an_observation_far_from_others_on_one_side_is_left(
    packed: np.ndarray, observed: np.ndarray
) -> None:
    packed[:, HIT] = packed[:, HIT] + 3000
    days = DAYS.copy()
    days[HIT + 1 :] += WINDOW_DAYS
    assert not find_outliers(packed, observed, days)[:, HIT].any()
    observed[:, HIT + 1 :] = False
    assert not find_outliers(packed, observed, DAYS)[:, HIT].any()


def test_few_observations_give_no_spread(packed: np.ndarray) -> None:
    packed[:, HIT] = packed[:, HIT] + 3000
    near = np.argsort(np.abs(np.arange(DATES) - HIT), kind="stable")
    for count, taken in ((FEWEST + 1, False), (FEWEST + 2, True)):
        observed = np.zeros((PIXELS, DATES), dtype=bool)
        observed[:, near[:count]] = True
        assert find_outliers(packed, observed, DAYS)[:, HIT].any() == taken
    assert not find_outliers(packed, np.zeros_like(observed), DAYS).any()
    assert find_outliers(packed[:0], observed[:0], DAYS).shape == (0, DATES)


def plain(values: np.ndarray, observed: np.ndarray, days: np.ndarray) -> set[int]:
    """The outliers of one pixel, by the words of the module and one observation after the other."""
    seen = [int(date) for date in np.flatnonzero(observed)]
    off, middles = {}, {}
    for place, date in enumerate(seen):
        before, after = (
            [near for near in side if abs(days[near] - days[date]) <= WINDOW_DAYS]
            for side in (seen[max(0, place - 2) : place][::-1], seen[place + 1 : place + 3])
        )
        if before and after:
            # A side with one neighbour counts it twice.
            four = values[[before[0], before[-1], after[0], after[-1]]].astype(float)
            off[date] = np.abs(values[date] - np.clip(values[date], four.min(0), four.max(0)))
            middles[date] = np.abs(values[date] - np.sort(four, axis=0)[1:3].mean(0))
    if len(off) < FEWEST:
        return set()
    ordered = np.sort(list(middles.values()), axis=0)
    spread = np.maximum(1.4826 * ordered[len(ordered) // 2], LEAST_SPREAD)
    return {date for date, away in off.items() if np.sqrt(np.mean((away / spread) ** 2)) > FAR}


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32), st.integers(1, 4), st.floats(0.3, 1.0))
def test_the_search_is_what_its_words_say(seed: int, bands: int, share: float) -> None:
    rng = np.random.default_rng(seed)
    values = (rng.standard_t(1.5, (3, 40, bands)) * 200 + 5000).clip(0, 65_000).astype(np.uint16)
    observed, days = rng.random((3, 40)) < share, np.cumsum(rng.integers(1, 12, 40)).astype(float)
    unsupported = find_outliers(values, observed, days)
    for pixel in range(3):
        wanted = plain(values[pixel].astype(float), observed[pixel], days)
        assert set(np.flatnonzero(unsupported[pixel]).tolist()) == wanted
