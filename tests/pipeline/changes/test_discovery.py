"""Discoveries piece by piece are those that sorting all p-values at once finds."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from terralatent.pipeline.changes import discovery
from terralatent.pipeline.changes.discovery import discover
from terralatent.pipeline.changes.significance import minus_log10_p

Pieces = Callable[[], Iterator[NDArray[np.float32]]]


def pieces_of(values: NDArray[np.float32], size: int) -> Pieces:
    return lambda: (values[first : first + size] for first in range(0, len(values), size))


def mixed(seed: int, count: int, moved: float) -> NDArray[np.float32]:
    """-log10 p of two-sided tests of normals, of which a share is off its mean by 3."""
    random = np.random.default_rng(seed)
    z = random.normal(size=count) + 3.0 * (random.random(count) < moved)
    return minus_log10_p(z**2, np.ones(count, np.int64)).astype(np.float32)


@pytest.mark.parametrize("moved", [0.0, 0.001, 0.1, 0.8])
@pytest.mark.parametrize("rate", [0.01, 0.05, 0.5])
@pytest.mark.parametrize("seed", [0, 1])
def test_discoveries_are_those_of_scipy(moved: float, rate: float, seed: int) -> None:
    values = mixed(seed, 20_000, moved)
    wanted = stats.false_discovery_control(10.0 ** -values.astype(np.float64)) <= rate

    found = discover(pieces_of(values, 777), rate)

    assert found.tests == len(values)
    assert found.count == wanted.sum()
    np.testing.assert_array_equal(found.among(values), wanted)


def test_ties_at_the_threshold_are_discoveries_together() -> None:
    values = np.round(mixed(3, 5_000, 0.1), 1)
    wanted = stats.false_discovery_control(10.0 ** -values.astype(np.float64)) <= 0.05

    found = discover(pieces_of(values, 100), 0.05)

    np.testing.assert_array_equal(found.among(values), wanted)
    assert 0 < found.count == wanted.sum()


def test_neither_order_nor_pieces_matter_nor_what_is_no_test() -> None:
    values = mixed(4, 3_000, 0.2)
    holes = np.full(500, np.nan, np.float32)
    shuffled = np.random.default_rng(5).permutation(np.concatenate([values, holes]))

    assert discover(pieces_of(values, 3_000), 0.05) == discover(pieces_of(shuffled, 64), 0.05)


def test_bins_that_lack_the_threshold_are_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    # A bin is entered wherever its upper edge could do: one at a time, until one has it.
    monkeypatch.setattr(discovery, "AT_ONCE", 1)
    values = mixed(6, 20_000, 0.05)
    wanted = stats.false_discovery_control(10.0 ** -values.astype(np.float64)) <= 0.05

    np.testing.assert_array_equal(discover(pieces_of(values, 999), 0.05).among(values), wanted)


@pytest.mark.parametrize(
    ("values", "count"),
    [([], 0), ([np.nan], 0), ([0.0, -0.0, 0.1], 0), ([400.0, 1e9, 0.2], 2), ([2.0], 1)],
)
def test_none_few_and_underflowing_tests(values: list[float], count: int) -> None:
    array = np.array(values, np.float32)

    found = discover(pieces_of(array, 2), 0.05)

    assert found.count == count == found.among(array).sum()


def test_logarithms_of_tails_are_those_of_scipy_and_go_on_below_what_floats_hold() -> None:
    degrees = np.array([1, 2, 5, 16, 33, 64])
    for squared in (0.0, 0.3, 10.0, 1_000.0, 1_250.0, 1_400.0):
        found = minus_log10_p(np.full(6, squared), degrees)
        wanted = -stats.chi2.logsf(squared, degrees) / np.log(10.0)
        np.testing.assert_allclose(found, wanted, atol=1e-14)
    two = np.array([2])  # the tail of two degrees is exp(-x / 2)
    far = minus_log10_p(np.array([1e6]), two)
    np.testing.assert_allclose(far, 5e5 / np.log(10.0), rtol=1e-12)
    assert np.isnan(minus_log10_p(np.array([3.0]), np.array([0])))
