"""Whether values can be in a sensor's units, by their median."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from terralatent.catalogs.errors import InputError

__all__ = ["check_units"]


@dataclass(frozen=True)
class _Range:
    """Between which the median of values of a unit lies, and what others are most likely."""

    low: float
    high: float
    below: str
    above: tuple[tuple[float, str], ...]
    """Up to which median, and what it then is."""


_RANGES: Mapping[str, _Range] = {
    "1": _Range(
        -1.0,
        7.0,
        "decibel, which no reflectance is",
        ((150.0, "percent: divide by 100"), (np.inf, "reflectance times 10,000: divide by 10000")),
    ),
    "dB": _Range(
        -60.0,
        0.0,
        "hundredths of a decibel: divide by 100",
        ((np.inf, "power, which is linear: 10 * log10 of it is dB"),),
    ),
}
"""Reflectance is 0 to 1 but for glint and snow; backscatter of land lies below 0 dB."""


def check_units(values: NDArray[np.float32], sensor: str, units: str, where: str) -> None:
    """Refuse values that cannot be in a sensor's units, and say what they may be.

    Args:
        values: Of a sensor, any shape; NaN where there is none.
        sensor: Its name.
        units: What they should be in; others than reflectance and dB are not checked.
        where: The table, for messages.

    Raises:
        InputError: If their median is none that values of these units have.
    """
    known, finite = _RANGES.get(units), values[np.isfinite(values)]
    if known is None or not len(finite):
        return
    median = float(np.median(finite))
    if known.low <= median <= known.high:
        return
    guess = known.below
    if median > known.high:
        guess = next(text for most, text in known.above if median <= most)
    raise InputError(
        f"{where}: the median of {sensor} is {median:.3g}, which is not in units of {units!r} "
        f"(perhaps it is {guess}); write values in the sensor's units."
    )
