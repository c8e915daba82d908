r"""From sums over blocks to each field's mean and its standard deviation.

The mean square of a field's shift over the draws is the variance by errors that its pixels share.
What is left of the pixels' own variance is taken to have the same correlation rho between any two
of n pixels (Kish's design effect):

.. math:: \sigma^2 = \sigma^2_{shared} + (\rho + (1 - \rho) / n)\,
    \overline{\sigma^2_p}\, \frac{\sum_s (\sigma^2_s - \sigma^2_{shared, s})_+}{\sum_s \sigma^2_s}

where p are all pixels and s those that stand for them: the share that is left is a ratio estimate.

References:
    | Survey Sampling (Kish, 1965), of the effective number of things that are alike
    | Sampling Techniques (Cochran, 1977), of ratio estimates
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from terralatent.pipeline.cube.losses import PENDING
from terralatent.pipeline.field_labels import NONE
from terralatent.pipeline.fields.sums import ERRORS, SUMS

__all__ = ["FieldEstimates", "estimate_fields"]

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class FieldEstimates:
    """What is known of each field."""

    values: Mapping[str, Array]
    """``mean``, ``std``, ``std_shared`` and ``std_pixel``, (field, time, band)."""

    pixels: NDArray[np.int64]
    """Inside some scene, (field,); 0 for a field that has a block which failed."""

    correlation: float
    """Rho."""


def estimate_fields(root: zarr.Group) -> FieldEstimates:
    """Add up the blocks, some dates at a time. Computes.

    Draws are held of fields alone whose last block is not added yet. A field that has a block which
    is not done is NaN: the mean of a part of it would be another field's.

    Args:
        root: Of the store of sums.
    """
    held: Any = np.asarray(root["field"])
    lost = np.unique(held[np.asarray(root["state"]) == PENDING])
    fields = len(np.asarray(root["total"]))
    correlation = float(root.attrs[ERRORS]["correlation"])
    pixels, sampled = (_counts(root, name, held, fields) for name in ("pixels", "sampled"))
    lost = lost[lost != NONE]
    pixels[lost] = 0
    dates, bands = root["mean"].shape[-2:]
    values = {
        name: np.full((fields, dates, bands), np.nan)
        for name in ("mean", "std", "std_shared", "std_pixel")
    }
    step = root["mean"].chunks[-2]
    for first in range(0, dates, step):
        some = slice(first, min(first + step, dates))
        for own, sums, shift in _whole_fields(root, held, some):
            known = pixels[own] > 0
            parts = _statistics(
                {name: total[known] for name, total in sums.items()},
                shift[:, known], pixels[own][known], sampled[own][known], correlation,
            )  # fmt: skip
            for name, part in parts.items():
                values[name][own[known], some] = part
    return FieldEstimates(values, pixels, correlation)


def _counts(root: zarr.Group, name: str, held: Any, fields: int) -> NDArray[np.int64]:
    counts, total = np.asarray(root[name]), np.zeros(fields, np.int64)
    np.add.at(total, held[held != NONE], counts[held != NONE])
    return total


def _whole_fields(
    root: zarr.Group, held: Any, dates: slice
) -> Iterator[tuple[NDArray[np.intp], dict[str, Array], Array]]:
    """Yield fields whose last block is added, their sums (n, Q, B) and shifts (D, n, Q, B)."""
    left = np.bincount(held[held != NONE], minlength=held.max() + 1)
    begun: dict[int, tuple[dict[str, Array], Array]] = {}
    for y, x in np.ndindex(held.shape[:2]):
        own = held[y, x][held[y, x] != NONE]
        if not own.size:
            continue
        count = slice(0, own.size)
        sums = {name: np.asarray(root[name][y, x, count, dates]) for name in SUMS}
        shift = np.asarray(root["shift"][y, x, :, count, dates])
        for place, number in enumerate(map(int, own)):
            if number in begun:
                before, moved = begun.pop(number)
                for name, values in before.items():
                    sums[name][place] += values
                shift[:, place] += moved
        left[own] -= 1
        for place in map(int, np.flatnonzero(left[own] > 0)):
            mine = {name: values[place].copy() for name, values in sums.items()}
            begun[int(own[place])] = (mine, shift[:, place].copy())
        last = left[own] == 0
        yield own[last], {name: values[last] for name, values in sums.items()}, shift[:, last]


def _statistics(
    sums: Mapping[str, Array],
    shift: Array,
    pixels: NDArray[np.int64],
    sampled: NDArray[np.int64],
    correlation: float,
) -> dict[str, Array]:
    """The four of some fields, all of which have pixels."""
    count, some = pixels[:, None, None], sampled[:, None, None]
    with np.errstate(invalid="ignore", divide="ignore"):  # 0 / 0, of fields that nothing stands for
        mean, pixel = sums["mean"] / count, sums["variance"] / count
        shared = np.square(shift / some).mean(axis=0)
        rest = pixel * np.where(sums["signal"] > 0.0, sums["rest"] / sums["signal"], 0.0)
        alone = (correlation + (1.0 - correlation) / count) * rest
    # Pixels of which nothing shows what they share are not taken to be independent.
    variance = np.where(some > 0, shared + alone, pixel)
    return {
        "mean": mean,
        "std": np.sqrt(variance),
        "std_shared": np.sqrt(shared),
        "std_pixel": np.sqrt(pixel),
    }
