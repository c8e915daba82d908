"""Dates at which a result is wanted, from what a user gives to ascending times; gaps in days."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from terralatent.catalogs.errors import InputError
from terralatent.catalogs.text_files import read_text

__all__ = [
    "FAR_DAYS",
    "GAP_DAYS",
    "When",
    "days_since_1970",
    "middles_of_months",
    "parse_day",
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

_OF_PERIOD = re.compile(r"\s*(monthly|\d{1,9}\s*[dD])\s*:\s*(.+?)\s*")
"""Dates of a year or a period of their own."""

Times = NDArray[np.datetime64]
When = str | Sequence[str | date | np.datetime64] | Times
"""``monthly``, ``10D``, either of a year or a period (``monthly:2018``), ``acquisitions``, dates
with commas, the path of a file, or the dates."""

FORMS = (
    "`monthly`, a step of days such as `10D`, either of a year or a period (`monthly:2018`, "
    "`10D:2018-04-01/2018-09-30`), `acquisitions`, ISO dates with commas "
    "(`2018-07-15,2018-08-15`), or a file with one ISO date or time a line"
)


def parse_when(
    when: When, period: tuple[np.datetime64, np.datetime64], acquisitions: Times
) -> Times:
    """Turn ``when`` into times, ascending and without repeats. Reads no pixels.

    Args:
        when: ``monthly`` is the 15th of each month within ``period``; ``10D`` (any number of days)
            steps from the first day of ``period``; ``monthly:2018`` and
            ``10D:2018-04-01/2018-09-30`` mean a year or a period of their own; ``acquisitions``
            are the given ones; else dates or times in ISO form, UTC unless they say otherwise,
            with commas or in a file.
        period: First and last day of the cube, both included.
        acquisitions: Times of the cube's acquisitions, datetime64, in any order.

    Returns:
        Times as datetime64[us], UTC, shape (dates,), at least one.

    Raises:
        InputError: If ``when`` is none of these, names a day that does not exist, or means no date.
    """
    given = when
    if isinstance(when, str) and (own := _OF_PERIOD.fullmatch(when)) and not _is_file(when):
        when, period = own[1], _period(own[2], when)
    first, last = (day.astype("datetime64[D]") for day in period)
    seen = np.unique(np.asarray(acquisitions, dtype="datetime64[us]"))
    if not isinstance(when, str):
        times = [_time(str(date), "the dates given") for date in when]
    elif when.strip() == "monthly":
        months = np.arange(first.astype("datetime64[M]"), last.astype("datetime64[M]") + 1)
        middles = months.astype("datetime64[D]") + MIDDLE
        times = list(middles[(middles >= first) & (middles <= last)])
    elif step := re.fullmatch(r"\s*(\d{1,9})\s*[dD]\s*", when):
        times = _steps(int(step[1]), first, last)
    elif when.strip() == "acquisitions":
        times = list(seen)
    elif _is_file(when):
        lines = read_text(when, errors="replace").splitlines()
        texts = [(n, line.split("#")[0].strip()) for n, line in enumerate(lines, start=1)]
        times = [_time(text, f"{when}, line {n}") for n, text in texts if text]
    else:
        times = [_time(text.strip(), f"dates {when!r}") for text in when.split(",") if text.strip()]
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


def parse_day(text: str, where: str) -> np.datetime64:
    """Read an ISO date, datetime64[D]; of a time its day in UTC.

    Raises:
        InputError: If it is none; ``where`` says what it was given for.
    """
    return _time(text, where).astype("datetime64[D]")


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


def _period(text: str, when: str) -> tuple[np.datetime64, np.datetime64]:
    """The first and the last day of a year, or of days with a slash between them."""
    if year := re.fullmatch(r"\d{4}", text):
        return np.datetime64(f"{year[0]}-01-01"), np.datetime64(f"{year[0]}-12-31")
    parts = text.split("/")
    days = [_time(day.strip(), f"dates {when!r}") for day in parts if len(parts) == 2]
    if len(days) != 2 or days[0] > days[1]:
        raise InputError(
            f"{text!r} (dates {when!r}) is no period; give a year such as 2018, or its first and "
            "last day such as 2018-04-01/2018-09-30."
        )
    return days[0], days[1]


def _steps(days: int, first: np.datetime64, last: np.datetime64) -> list[np.datetime64]:
    if days < 1:
        raise InputError(f"Dates '{days}D' do not step forward; the step must be at least 1 day.")
    if days > LONGEST_STEP:
        raise InputError(
            f"Dates in steps of {days} days are further apart than satellites have observed; "
            "give a step such as `10D`."
        )
    return list(np.arange(first, last + 1, np.timedelta64(days, "D")))


def _time(text: str, where: str) -> np.datetime64:
    """Read one ISO date or time; without a zone it is UTC."""
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        try:  # numpy's own printing has nine decimals, more than datetime reads
            return (
                np.datetime64(text, "us")
                if re.match(r"\d{4}-\d\d-\d\dT", text)
                else _fail(text, where)
            )
        except ValueError:
            return _fail(text, where)
    if time.tzinfo is not None:
        try:
            time = time.astimezone(UTC).replace(tzinfo=None)
        except OverflowError:  # before the year 1, after the year 9999
            return _fail(text, where)
    return np.datetime64(time, "us")


def _fail(text: str, where: str) -> np.datetime64:
    lost = " and no such file exists" if re.search(r"[/\\]|\.(txt|csv|dat)$", text) else ""
    raise InputError(f"{text!r} ({where}) is no date{lost}. Give {FORMS}.") from None


def _is_file(text: str) -> bool:
    try:
        return Path(text).is_file()
    except OSError:  # such as a list of dates longer than a file name may be
        return False


def _brief(when: When) -> str:
    text = when if isinstance(when, str) else ", ".join(str(date) for date in when)
    return repr(text if len(text) <= 60 else text[:57] + "...")


def _warn_of_far(wanted: Times, seen: Times, period: tuple[np.datetime64, np.datetime64]) -> None:
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
