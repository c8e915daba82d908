"""The requested period: two days, both included, in UTC."""

from __future__ import annotations

from datetime import date

import numpy as np

from terralatent.catalogs.errors import InputError
from terralatent.catalogs.moments import Moment, read_span

__all__ = ["YEARS", "Period", "read_period", "within"]

Period = tuple[date, date]
"""First and last day, both included."""

YEARS = range(1972, 2101)
"""In which something can have been sensed: from the first Landsat on."""


def read_period(start: Moment, end: Moment) -> Period:
    """Read and check a period.

    Args:
        start: First day, or what begins with it: ``2018-05`` is the first of May. See
            :data:`~terralatent.catalogs.moments.Moment`; a time that states its zone is
            converted to UTC.
        end: Last day, which is included: of ``2018-05`` the 31st.

    Raises:
        InputError: If a day is no date, lies outside the age of satellites, or if the period ends
            before it starts.
    """
    days = read_span(start, _WRONG["start"]).first_day, read_span(end, _WRONG["end"]).last_day
    first, last = (_of_satellites(day, name) for day, name in zip(days, _WRONG, strict=True))
    if last < first:
        raise InputError(
            f"The period ends before it starts: from {first} to {last}; swap the two dates."
        )
    return first, last


def within(time: np.datetime64, period: Period) -> bool:
    """Return whether ``time`` in UTC lies on one of the days of ``period``."""
    start, end = (np.datetime64(day, "D") for day in period)
    return bool(start <= time.astype("datetime64[D]") <= end)


_WRONG = {
    name: f"The {name} {{value}} is no date; give YYYY-MM-DD, or a month as YYYY-MM."
    for name in ("start", "end")
}


def _of_satellites(day: np.datetime64, name: str) -> date:
    if int(day.astype("datetime64[Y]").astype(int)) + 1970 not in YEARS:
        raise InputError(
            f"The {name} {day} lies outside {YEARS[0]} to {YEARS[-1]}, the years of satellites."
        )
    return date.fromisoformat(str(day))
