"""Days, times and months as people and their libraries write them, as spans of time in UTC."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from typing import Any, Literal, NamedTuple

import numpy as np

from terralatent.catalogs.errors import InputError

__all__ = ["Moment", "Span", "read_span"]

Moment = Any
"""A text (``2018``, ``2018-05``, ``2018-05-03``, a time in ISO form), a ``date`` or ``datetime``,
``np.datetime64``, ``pd.Timestamp`` or ``pd.Period``, or an array of one of them without dims."""

Unit = Literal["h", "m", "s"]
"""Of a time that is not written to its fractions."""

_PARTIAL = re.compile(r"(\d{4})(?:-(\d\d)|-?[qQ]([1-4]))?")
"""A year, a month or a quarter."""

_SHORT: dict[Unit, str] = {
    "h": r"\S{8,10}[T ]\d\d(?![:.,\d])",
    "m": r"\S{8,10}[T ]\d\d:\d\d(?![:.,\d])",
    "s": r"\S{8,10}[T ]\d\d:\d\d:\d\d(?![.,\d])",
}
"""Times that are written in hours, in minutes and in seconds, by their units."""

_MICROSECOND = np.timedelta64(1, "us")

_UTC = ("UTC", "UTC+00:00")
"""What its zones are called."""


class Span(NamedTuple):
    """What a date or time means: an instant, or all of a day, month or year. As in the indices of
    pandas a text is as long as it is exact: ``2018-05-03T10:30`` is a minute."""

    first: np.datetime64
    """Its first microsecond, datetime64[us], UTC."""

    last: np.datetime64
    """Its last, included; of an instant the same."""

    zone: str
    """The time zone that it stated; empty where it did not, which is UTC."""

    @property
    def first_day(self) -> np.datetime64:
        """datetime64[D], UTC."""
        day: np.datetime64 = self.first.astype("datetime64[D]")
        return day

    @property
    def last_day(self) -> np.datetime64:
        """datetime64[D], UTC, included."""
        day: np.datetime64 = self.last.astype("datetime64[D]")
        return day


def read_span(value: Moment, wrong: str) -> Span:
    """Read a date, time, month, quarter or year; without a zone it is UTC.

    A day is all of its 24 hours, as a month is all of its days: who wants an instant takes the
    first. Of what pandas knows, times are instants and periods spans.

    Args:
        value: See :data:`Moment`.
        wrong: The message where it is none of these; ``{value}`` in it stands for what was given.

    Raises:
        InputError: If it is no date.
    """
    try:
        span = _span(value)
    except (ValueError, TypeError, OverflowError, ArithmeticError):
        span = None
    if span is None:
        raise InputError(wrong.replace("{value}", repr(str(value))))
    return span


def _span(value: Moment) -> Span | None:
    if getattr(value, "shape", None) == () and not isinstance(value, np.generic):
        value = np.asarray(value)[()]  # an array without dims
    if isinstance(value, np.datetime64):
        unit = np.datetime_data(value.dtype)[0]
        return None if np.isnat(value) else _of_unit(value, unit if unit in "YMWD" else "")
    if hasattr(value, "start_time") and hasattr(value, "end_time"):  # a period of pandas
        return Span(np.datetime64(value.start_time, "us"), np.datetime64(value.end_time, "us"), "")
    if isinstance(value, datetime):
        return _of_time(value) if value == value else None  # pandas has a time that is none
    if isinstance(value, date):
        return _of_unit(np.datetime64(value, "D"), "D")
    text = str(value).strip()
    if partial := _PARTIAL.fullmatch(text):
        year, month, quarter = partial.groups()
        if quarter:
            first = np.datetime64(f"{year}-{3 * int(quarter) - 2:02}", "M")
            return _between(first, first + 3)
        return _of_unit(np.datetime64(text), "M" if month else "Y")
    try:
        time = datetime.fromisoformat(text)
    except ValueError:  # numpy's own printing has nine decimals, more than datetime reads
        if re.match(r"\d{4}-\d\d-\d\dT", text):
            return _of_unit(np.datetime64(text, "us"), "")
        raise
    if re.fullmatch(r"[\dW-]+", text):
        return _of_unit(np.datetime64(time, "D"), "D")
    return _of_time(time, next((unit for unit in _SHORT if re.match(_SHORT[unit], text)), None))


def _of_time(time: datetime, unit: Unit | None = None) -> Span:
    """A time; of a text in hours, minutes or seconds all of that."""
    zone = ""
    if time.tzinfo is not None:
        name = str(time.tzinfo)
        zone = "UTC" if name in _UTC else name
        time = time.astimezone(UTC).replace(tzinfo=None)
    instant = np.datetime64(time, "us")
    last = instant if unit is None else instant + np.timedelta64(1, unit) - _MICROSECOND
    return Span(instant, last, zone)


def _of_unit(value: np.datetime64, unit: str) -> Span:
    """An instant, where it has no unit."""
    if not unit:
        instant = value.astype("datetime64[us]")
        return Span(instant, instant, "")
    return _between(value, value + 1)


def _between(first: np.datetime64, end: np.datetime64) -> Span:
    return Span(first.astype("datetime64[us]"), end.astype("datetime64[us]") - _MICROSECOND, "")
