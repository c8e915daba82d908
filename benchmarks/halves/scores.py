"""Bias, spread and coverage of what was compared, as rows: in all, by bin and by dimension."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.halves.measure import Compared

__all__ = ["ALL", "BIN", "DIMENSION", "bins", "rows_of"]

ALL, BIN, DIMENSION = "all", "bin", "dimension"

EDGES = (5, 10, 15, 20, 25, 30, 35, 40)
"""Clear observations of a pixel in the year, between which bins are."""

WITHIN90 = 1.6448536269514722
"""Standard deviations to either side that hold 90 % of a Gaussian."""


def bins() -> list[str]:
    """Names of the bins: 0-5 holds 0 to 4."""
    lower = (0, *EDGES)
    return [f"{low}-{high}" for low, high in zip(lower, EDGES, strict=False)] + [f"{EDGES[-1]}+"]


def rows_of(compared: Compared, **labels: Any) -> Iterator[dict[str, Any]]:
    """The scores of all pairs, of each bin of clear observations, and of each dimension.

    Args:
        compared: Pairs.
        labels: What each row says beside, such as the region.

    Yields:
        ``pixels`` and ``pairs`` that were scored; ``little`` pairs that the model expects to differ
        by too little and ``empty`` ones of pixels with nothing in a half, neither of them scored;
        ``bias`` and ``spread``, mean and standard deviation of z, and ``rms``, the root of its mean
        square; ``covers``, the share of z within 90 % intervals; ``cosine``, the median distance of
        the vectors. NaN where nothing is.
    """
    whole = np.ones(compared.away.shape, dtype=bool)
    names = bins()
    place = np.digitize(compared.clear, EDGES)
    common = {
        **labels,
        "split": compared.split,
        "law": compared.law,
        "functional": compared.functional,
    }
    yield {**common, "by": ALL, "of": "", **_scores(compared, whole)}
    for number, name in enumerate(names):
        rows = (place == number)[:, None] & whole
        if rows.any():
            yield {**common, "by": BIN, "of": name, **_scores(compared, rows)}
    for dimension in np.unique(compared.dimension):
        columns = whole & (compared.dimension == dimension)
        yield {**common, "by": DIMENSION, "of": str(dimension), **_scores(compared, columns)}


def _scores(compared: Compared, chosen: NDArray[np.bool_]) -> dict[str, float | int]:
    scored = chosen & compared.scored
    empty = chosen & compared.empty[:, None]
    z = compared.z[scored]
    rows = chosen.any(1) & ~compared.empty
    return {
        "pixels": len(np.unique(compared.pixel[scored.any(1)])),
        "pairs": int(scored.sum()),
        "little": int((chosen & ~scored & ~empty).sum()),
        "empty": int(empty.sum()),
        "bias": float(z.mean()) if len(z) else np.nan,
        "spread": float(z.std()) if len(z) else np.nan,
        "rms": float(np.sqrt(np.square(z).mean())) if len(z) else np.nan,
        "covers": float((np.abs(z) <= WITHIN90).mean()) if len(z) else np.nan,
        "cosine": float(np.median(compared.cosine[rows])) if rows.any() else np.nan,
    }
