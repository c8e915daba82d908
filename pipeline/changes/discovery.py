r"""Which of many p-values are discoveries: the procedure of Benjamini and Hochberg, in pieces.

Of m tests, all are discoveries whose p-value is at most

.. math:: p^* = \max \{ p_{(k)} : p_{(k)} \, m / k \le q \}

The largest such k needs all p-values in their order. They are read piece by piece and counted by
the bits of their logarithms, which as float32 are ordered as the numbers are: first by the upper
half of the bits; then, of those bins alone in which the threshold may lie, one by one. So it is the
threshold that sorting all of them at once finds, in memory that does not depend on how many there
are.

References:
    | Controlling the false discovery rate (Benjamini & Hochberg, 1995)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Discoveries", "discover"]

HALF = 16
"""Bits of a float32 in either half."""

BINS = 1 << HALF

AT_ONCE = 32
"""Bins that are counted one by one in a pass over the pieces: 17 MB."""

Pieces = Callable[[], Iterable[NDArray[np.float32]]]


@dataclass(frozen=True)
class Discoveries:
    """What is found among some tests."""

    tests: int
    """m: pixels of which anything can be said."""

    count: int
    """Discoveries among them."""

    threshold: float
    """The smallest -log10 p of a discovery; infinite where there is none."""

    def among(self, values: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Which of these are discoveries; NaN is none."""
        return values >= np.float32(self.threshold)


def discover(pieces: Pieces, rate: float) -> Discoveries:
    """Find the discoveries at a false discovery rate. Reads the pieces twice, seldom oftener.

    Args:
        pieces: Gives all values of -log10 p, at least 0, in any pieces and any order, each time it
            is called; NaN is no test.
        rate: q, between 0 and 1.
    """
    coarse = np.zeros(BINS, np.int64)
    for bits in map(_bits, pieces()):
        coarse += np.bincount(bits >> HALF, minlength=BINS)
    tests = int(coarse.sum())
    if not tests:
        return Discoveries(0, 0, np.inf)
    rank = _from_the_top(coarse)
    # In a bin no p is smaller than that of its upper edge, and no rank larger than its last one.
    edges = _values(((np.arange(BINS) << HALF) | (BINS - 1)).astype(np.uint32))
    possible = np.flatnonzero((coarse > 0) & _is_found(edges, rank, tests, rate))
    for first in range(0, len(possible), AT_ONCE):
        some = possible[first : first + AT_ONCE]
        fine = np.zeros((len(some), BINS), np.int64)
        for bits in map(_bits, pieces()):
            upper = bits >> HALF
            place = np.searchsorted(some, upper).clip(max=len(some) - 1)
            mine = some[place] == upper
            flat = place[mine] * BINS + (bits[mine] & (BINS - 1))
            fine += np.bincount(flat, minlength=fine.size).reshape(fine.shape)
        for bin_, counts in zip(some, fine, strict=True):  # the least significant first
            there = np.flatnonzero(counts)
            values = _values(((int(bin_) << HALF) | there).astype(np.uint32))
            ranks = _from_the_top(counts)[there] + rank[bin_] - coarse[bin_]
            found = np.flatnonzero(_is_found(values, ranks, tests, rate))
            if found.size:
                at = found[0]
                return Discoveries(tests, int(ranks[at]), float(values[at]))
    return Discoveries(tests, 0, np.inf)


def _is_found(
    values: NDArray[np.float32], rank: NDArray[np.int64], tests: int, rate: float
) -> NDArray[np.bool_]:
    """Whether p m / k is at most the rate; as scipy.stats.false_discovery_control rounds it."""
    p = 10.0 ** -values.astype(np.float64)
    found: NDArray[np.bool_] = p * (tests / np.maximum(rank, 1)) <= rate
    return found


def _bits(values: NDArray[np.float32]) -> NDArray[np.int64]:
    """The bits of the tests among some values, which are ordered as these; -0 counts as 0."""
    tests = values[~np.isnan(values)] + np.float32(0.0)
    return tests.view(np.uint32).astype(np.int64)


def _values(bits: NDArray[np.uint32]) -> NDArray[np.float32]:
    """Undo :func:`_bits`; what no number has becomes infinite."""
    values = bits.view(np.float32)
    return np.where(np.isnan(values) | (values < 0), np.float32(np.inf), values)


def _from_the_top(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """How many lie in each bin and above it."""
    return counts[::-1].cumsum()[::-1]
