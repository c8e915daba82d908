"""Windows of one year, from what a user gives to first and last days and the twelve dates."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from terralatent.catalogs.errors import InputError
from terralatent.catalogs.moments import Moment, read_span
from terralatent.pipeline.dates import Times, middles_of_months

__all__ = ["EVERY", "Window", "parse_windows"]

EVERY = ("year", "month")
"""How far apart windows begin."""

FORM = "first and last day of one year, such as 2018-10-01/2019-09-30"


@dataclass(frozen=True, order=True)
class Window:
    """One year."""

    first: np.datetime64
    """Its first day."""

    last: np.datetime64
    """Its last day."""

    def __str__(self) -> str:
        return f"{self.first}/{self.last}"

    @property
    def end(self) -> np.datetime64:
        """The day after the last."""
        return self.last + 1

    @property
    def dates(self) -> Times:
        """The 15th of each month within, datetime64[D], (12,), January first in any window."""
        return middles_of_months(self.first)


def parse_windows(
    window: Moment | slice | Sequence[Moment | slice] | None,
    every: str | None,
    period: tuple[np.datetime64, np.datetime64],
    acquisitions: Times,
) -> tuple[Window, ...]:
    """Turn what a user gives into windows, ascending. Reads no pixels.

    Args:
        window: One or more, each ``FIRST/LAST``, a year, or a year of the calendar such as
            ``2018``; a slice of two days or months, or a period of pandas, too. By default all
            years of the calendar that lie in ``period``; where there is none, the last year of it.
        every: ``year`` or ``month``: further windows that begin so far apart, from the first one
            to the end of ``period``.
        period: First and last day of the cube.
        acquisitions: Times of all that the model reads, datetime64, in any order.

    Raises:
        InputError: If a window is not of one year, leaves the period or has no acquisition.
    """
    first, last = (day.astype("datetime64[D]") for day in period)
    if every not in (None, *EVERY):
        raise InputError(f"Windows every {every!r} are unknown; give {' or '.join(EVERY)}.")
    alone = isinstance(window, str | slice) or not isinstance(window, Iterable)
    given: list[Any] = [] if window is None else [window] if alone else [*cast("Any", window)]
    windows = [_parse(_as_text(own)) for own in given] or _default(first, last, every)
    if every:
        if len(given) > 1:
            raise InputError(
                f"Windows every {every} begin at one, and {len(given)} are given; give the first."
            )
        windows = _repeated(windows[0], 12 if every == "year" else 1, last) or windows
    days = np.asarray(acquisitions, dtype="datetime64[us]")
    for year in windows:
        if year.first < first or year.last > last:
            raise InputError(
                f"The window {year} is not within the cube, whose period is {first}/{last}; give "
                "another window=, or build the cube for longer."
            )
        if not ((days >= year.first) & (days < year.end)).any():
            raise InputError(
                f"The window {year} has no acquisition of a sensor that the model reads: its "
                "vectors would be those of the prior. Give another window=."
            )
    return tuple(sorted(set(windows)))


def _as_text(window: Moment | slice) -> str:
    if isinstance(window, slice):
        return f"{window.start}/{window.stop}"
    return str(window)


def _parse(text: str) -> Window:
    if len(text.strip()) == 4 and text.strip().isdecimal():
        text = f"{text.strip()}-01-01/{text.strip()}-12-31"
    parts = text.split("/")
    if len(parts) != 2:
        raise InputError(f"{text!r} is no window; give {FORM}, or a year such as 2018.")
    spans = [read_span(part.strip(), f"{{value}} (window {text!r}) is no date.") for part in parts]
    first, last = spans[0].first_day, spans[-1].last_day
    year = _year(first)
    if last != year.last:
        raise InputError(
            f"The window {text} has {int((last - first).astype(int)) + 1} days; annual vectors are "
            f"of one year: give {year}."
        )
    return year


def _year(first: np.datetime64) -> Window:
    """The year that begins on a day."""
    month = first.astype("datetime64[M]")
    day = first - month.astype("datetime64[D]")
    next_first = (month + 12).astype("datetime64[D]") + day
    if next_first.astype("datetime64[M]") != month + 12:  # from 29 February on
        next_first = (month + 13).astype("datetime64[D]")
    return Window(first, next_first - 1)


def _default(first: np.datetime64, last: np.datetime64, every: str | None) -> list[Window]:
    """Years of the calendar within a period, or its last year; its first where more follow."""
    if every:
        return [_year(first)]
    years = np.arange(first.astype("datetime64[Y]"), last.astype("datetime64[Y]") + 1)
    whole = [_year(year.astype("datetime64[D]")) for year in years]
    whole = [own for own in whole if own.first >= first and own.last <= last]
    if whole:
        return whole
    begin = last + 1
    month = begin.astype("datetime64[M]")
    earlier = (month - 12).astype("datetime64[D]") + (begin - month.astype("datetime64[D]"))
    return [_year(max(earlier, first))]


def _repeated(window: Window, months: int, last: np.datetime64) -> list[Window]:
    """Windows that begin so many months apart, up to the last that ends in time."""
    found: list[Window] = []
    month = window.first.astype("datetime64[M]")
    day = window.first - month.astype("datetime64[D]")
    while True:
        begin = (month + months * len(found)).astype("datetime64[D]") + day
        later = _year(begin)
        if later.last > last:
            return found
        found.append(later)
