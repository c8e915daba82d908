"""The requested period: two days, both included, in UTC."""

from __future__ import annotations

from datetime import date, datetime

import numpy as np

from terralatent.catalogs.errors import InputError

__all__ = ["YEARS", "Period", "read_period", "within"]

Period = tuple[date, date]
"""First and last day, both included."""

YEARS = range(1972, 2101)
"""In which something can have been sensed: from the first Landsat on."""


def read_period(start: str | date, end: str | date) -> Period:
    """Read and check a period.

    Args:
        start: First day, ``YYYY-MM-DD`` or a date.
        end: Last day, which is included.

    Raises:
        InputError: If a day is no date, lies outside the age of satellites, or if the period ends
            before it starts.
    """
    first, last = _day(start, "start"), _day(end, "end")
    if last < first:
        raise InputError(
            f"The period ends before it starts: from {first} to {last}; swap the two dates."
        )
    return first, last


def within(time: np.datetime64, period: Period) -> bool:
    """Return whether ``time`` in UTC lies on one of the days of ``period``."""
    start, end = (np.datetime64(day, "D") for day in period)
    return bool(start <= time.astype("datetime64[D]") <= end)


def _day(value: str | date, name: str) -> date:
    if isinstance(value, datetime):
        day = value.date()
    elif isinstance(value, date):
        day = value
    else:
        try:
            day = date.fromisoformat(value.strip())
        except (ValueError, AttributeError) as error:
            raise InputError(
                f"The {name} {value!r} is no date ({error}); give YYYY-MM-DD."
            ) from error
    if day.year not in YEARS:
        raise InputError(
            f"The {name} {day} lies outside {YEARS[0]} to {YEARS[-1]}, the years of satellites."
        )
    return day
