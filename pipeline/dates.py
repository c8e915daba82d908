"""Dates at which a result is wanted, from what a user gives to ascending times; gaps in days."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable
from datetime import date
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from terralatent.catalogs.errors import InputError
from terralatent.catalogs.moments import Moment, Span, read_span
from terralatent.catalogs.text_files import read_text

__all__ = [
    "FAR_DAYS",
    "GAP_DAYS",
    "When",
    "days_since_1970",
    "middles_of_months",
    "parse_when",
]

logger = logging.getLogger(__name__)

FAR_DAYS = 60
"""Further than this from the cube's observations a date earns a warning. Days."""

GAP_DAYS = 45.0
"""Length of the gaps that models are judged on, all acquisitions within hidden together. Days."""

MIDDLE = 14
"""Days from the first of a month to the date that stands for it, the 15th."""

MOST_DATES = 100_000
"""More dates than this are a slip of the keyboard, not a wish."""

LONGEST_STEP = 36_525
"""Longest step in days: a century."""

MONTH = np.timedelta64(27, "D")
"""A span longer than this, as every month is, stands for the 15ths in it."""

_OF_PERIOD = re.compile(r"\s*(monthly|acquisitions|\d{1,9}\s*[dD])\s*:\s*(.+?)\s*")
"""Dates of a year or a period of their own."""

Times = NDArray[np.datetime64]
Period = tuple[np.datetime64, np.datetime64]
"""First and last day or instant, both included."""
When = str | date | np.datetime64 | slice | Iterable[Moment] | Times
"""``monthly``, ``10D``, either of a year or a period (``monthly:2018``), ``acquisitions``, dates or
months with commas, the path of a file; one date or month, a slice of two, or several: a list,
an array, an index of pandas."""

FORMS = (
    "`monthly`, a step of days such as `10D`, `acquisitions`, each also of a year, month or period "
    "(`monthly:2018`, `10D:2018-04-01/2018-09-30`), ISO dates or months with commas "
    "(`2018-07-15,2018-08`), or a file with one ISO date or time a line"
)


def parse_when(when: When, period: Period, acquisitions: Times) -> Times:
    """Turn ``when`` into times, ascending and without repeats. Reads no pixels.

    Args:
        when: ``monthly`` is the 15th of each month within ``period``; ``10D`` (any number of days)
            steps from the first day of ``period``; ``acquisitions`` are the given ones. After a
            colon each has a year, a month or a period of its own: ``monthly:2018``,
            ``10D:2018-04-01/2018-09-30``, ``acquisitions:2018-03/2018-06``. Else dates or times
            in ISO form, UTC unless they say otherwise, with commas or in a file. A month, quarter
            or year among them (``2018-05``) stands for the 15ths in it. Dates of Python, numpy,
            pandas or xarray mean the same, one or several; a period of pandas shorter than a
            month is the day in its middle. ``slice("2018-03", "2018-06")`` are the acquisitions
            within, both ends included, as in an index of pandas.
        period: First and last day of the cube, both included.
        acquisitions: Times of the cube's acquisitions, datetime64, in any order.

    Returns:
        Times as datetime64[us], UTC, shape (dates,), at least one.

    Raises:
        InputError: If ``when`` is none of these, names a day that does not exist, means no date, or
            is a list whose times state different time zones.
    """
    given, own = when, None
    if isinstance(when, slice):
        own, when = _ends(when, period), "acquisitions"
    elif isinstance(when, str) and (parts := _OF_PERIOD.fullmatch(when)) and not _is_file(when):
        when, own = parts[1], _period(parts[2], when)
    first, last = (end.astype("datetime64[D]") for end in own or period)
    seen = np.unique(np.asarray(acquisitions, dtype="datetime64[us]"))
    if not isinstance(when, str):
        times = _given(when)
    elif when.strip() == "monthly":
        times = _middles(first, last)
    elif step := re.fullmatch(r"\s*(\d{1,9})\s*[dD]\s*", when):
        times = _steps(int(step[1]), first, last)
    elif when.strip() == "acquisitions":
        times = list(seen if own is None else seen[(seen >= own[0]) & (seen <= own[1])])
    elif _is_file(when):
        lines = read_text(when, errors="replace").splitlines()
        texts = [(n, line.split("#")[0].strip()) for n, line in enumerate(lines, start=1)]
        spans = [_span(text, f"{when}, line {n}") for n, text in texts if text]
        times = [time for span in spans for time in _meant(span)]
    else:
        words = [word.strip() for word in when.split(",")]
        spans = [_span(word, f"dates {when!r}") for word in words if word]
        times = [time for span in spans for time in _meant(span)]
    if not times:
        raise InputError(
            f"Dates {_brief(given)} mean no date at all: the period is from {first} to {last}. "
            f"Give {FORMS}."
        )
    wanted = np.unique(np.array(times, dtype="datetime64[us]"))
    if wanted.size > MOST_DATES:
        raise InputError(
            f"Dates {_brief(given)} mean {wanted.size:,} dates; {MOST_DATES:,} is the most."
        )
    _warn_of_far(wanted, seen, (first, last))
    return wanted


def middles_of_months(first: np.datetime64) -> Times:
    """Return the 15th of each month in the year that begins on a day, January first.

    Args:
        first: datetime64[D].

    Returns:
        datetime64[D], (12,); their order is that of the months, whatever month the year begins in.
    """
    month = first.astype("datetime64[M]")
    late = first > month.astype("datetime64[D]") + MIDDLE
    months = np.arange(month + late, month + late + 12)
    middles = months.astype("datetime64[D]") + MIDDLE
    return middles[np.argsort(months.astype(np.int64) % 12)]


def days_since_1970(times: Times) -> NDArray[np.float64]:
    """Return ``times`` as float64 days since 1970-01-01 UTC, the clock of the models."""
    micros = np.asarray(times, dtype="datetime64[us]").astype(np.int64)
    days: NDArray[np.float64] = micros / 86_400e6
    return days


def _given(when: Moment | Iterable[Moment]) -> list[np.datetime64]:
    """Times of one date that is no text, or of several."""
    if hasattr(when, "to_numpy") and hasattr(when, "dims"):
        when = when.to_numpy()  # what xarray iterates slowly
    several = isinstance(when, Iterable) and getattr(when, "shape", None) != ()
    spans = [_span(entry, "the dates given") for entry in (when if several else [when])]
    zones = sorted({span.zone or "UTC" for span in spans})
    if len(zones) > 1:
        raise InputError(
            f"Dates {_brief(when)} are of the time zones {' and '.join(zones)} (UTC where none is "
            "stated); give all in one."
        )
    return [time for span in spans for time in _meant(span)]


def _meant(span: Span) -> list[np.datetime64]:
    """The dates that a span stands for."""
    if span.last - span.first > MONTH:
        return _middles(span.first_day, span.last_day)
    if span.last_day > span.first_day:
        return [span.first_day + (span.last_day - span.first_day) // 2]
    return [span.first]


def _middles(first: np.datetime64, last: np.datetime64) -> list[np.datetime64]:
    """The 15th of each month from a day to another."""
    months = np.arange(first.astype("datetime64[M]"), last.astype("datetime64[M]") + 1)
    middles = months.astype("datetime64[D]") + MIDDLE
    return list(middles[(middles >= first) & (middles <= last)])


def _ends(dates: slice, period: Period) -> Period:
    """The first and the last instant of a slice; one that is left out is that of ``period``."""
    if dates.step is not None:
        raise InputError(
            f"A slice of dates means acquisitions and has no step, and {dates.step!r} is given; "
            "for dates in steps of days give a text such as `10D:2018-04-01/2018-09-30`."
        )
    start = period[0] if dates.start is None else _span(dates.start, "a slice").first
    stop = period[1] if dates.stop is None else dates.stop
    return start.astype("datetime64[us]"), _span(stop, "a slice").last


def _period(text: str, when: str) -> Period:
    """The first and the last instant of a year or month, or of two dates with a slash between."""
    wrong = (
        f"{text!r} (dates {when!r}) is no period; give a year or month such as 2018-05, or its "
        "first and last day such as 2018-04-01/2018-09-30."
    )
    parts = [part.strip() for part in text.split("/")]
    if len(parts) == 2:
        first, last = (_span(part, f"dates {when!r}") for part in parts)
    else:
        first = last = read_span(text, wrong)
    if first.first > last.last or (len(parts) == 1 and first.last - first.first < MONTH):
        raise InputError(wrong)
    return first.first, last.last


def _steps(days: int, first: np.datetime64, last: np.datetime64) -> list[np.datetime64]:
    if days < 1:
        raise InputError(f"Dates '{days}D' do not step forward; the step must be at least 1 day.")
    if days > LONGEST_STEP:
        raise InputError(
            f"Dates in steps of {days} days are further apart than satellites have observed; "
            "give a step such as `10D`."
        )
    return list(np.arange(first, last + 1, np.timedelta64(days, "D")))


def _span(value: Moment, where: str) -> Span:
    lost = ""
    if isinstance(value, str) and re.search(r"[/\\]|\.(txt|csv|dat)$", value):
        lost = " and no such file exists"
    return read_span(value, f"{{value}} ({where}) is no date{lost}. Give {FORMS}.")


def _is_file(text: str) -> bool:
    try:
        return Path(text).is_file()
    except OSError:  # such as a list of dates longer than a file name may be
        return False


def _brief(when: When) -> str:
    entries = [when] if isinstance(when, str) or not isinstance(when, Iterable) else when
    text = ", ".join(map(str, entries))
    return repr(text if len(text) <= 60 else text[:57] + "...")


def _warn_of_far(wanted: Times, seen: Times, period: Period) -> None:
    first = min([period[0].astype("datetime64[us]"), *seen[:1]])
    last = max([period[1].astype("datetime64[us]"), *seen[-1:]])
    margin = np.timedelta64(FAR_DAYS, "D")
    far = wanted[(wanted < first - margin) | (wanted > last + margin)]
    if far.size:
        logger.warning(
            "%d of %d dates lie more than %d days outside the period (%s to %s), such as %s: "
            "the posterior is the prior there.",
            far.size,
            wanted.size,
            FAR_DAYS,
            str(first)[:10],
            str(last)[:10],
            str(far[0])[:10],
        )
