"""Windows of one year: which there are by default, their dates, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from terralatent.catalogs.errors import InputError
from terralatent.pipeline.embeddings.windows import Window, parse_windows

PERIOD = (np.datetime64("2017-02-10"), np.datetime64("2019-11-20"))
SEEN = np.arange("2017-02-10", "2019-11-20", 10, dtype="datetime64[D]")


def windows(window: Any = None, every: str | None = None) -> list[str]:
    return [str(own) for own in parse_windows(window, every, PERIOD, SEEN)]


@pytest.mark.parametrize(
    "window", ["2018-03/2019-02", slice("2018-03", "2019-02"), slice("2018-03-01", "2019-02-28")]
)
def test_a_window_is_given_by_its_months_too(window: Any) -> None:
    assert windows(window) == ["2018-03-01/2019-02-28"]
    assert windows(pd.Period("2018")) == windows(2018) == windows("2018")


@pytest.mark.parametrize("first", ["2018-01-01", "2018-10-01", "2018-10-15", "2018-10-16",
                                   "2019-12-31", "2020-02-29", "2019-03-01"])  # fmt: skip
def test_a_year_has_each_month_once_in_the_order_of_the_calendar(first: str) -> None:
    """Oracle: every day of the year, one by one."""
    begin = np.datetime64(first)
    days = np.arange(begin, begin + 366)
    fifteenths = {day.item().month: day.item() for day in days[:365] if day.item().day == 15}
    own = Window(begin, begin + 364)
    assert own.dates.tolist() == [fifteenths[month] for month in range(1, 13)]


def test_by_default_there_are_the_years_of_the_calendar_within_the_cube() -> None:
    assert windows() == ["2018-01-01/2018-12-31"]


def test_a_cube_without_such_a_year_gives_its_last() -> None:
    period = (np.datetime64("2017-08-01"), np.datetime64("2018-11-15"))
    (own,) = parse_windows(None, None, period, SEEN)
    assert str(own) == "2017-11-16/2018-11-15"


def test_windows_are_given_one_by_one_or_begin_a_month_or_a_year_apart() -> None:
    assert windows("2018") == windows("2018-01-01/2018-12-31") == ["2018-01-01/2018-12-31"]
    assert windows(["2018-10-01/2019-09-30", "2018", "2018"]) == [
        "2018-01-01/2018-12-31",
        "2018-10-01/2019-09-30",
    ]
    assert windows("2018-09-01/2019-08-31", "month") == [
        "2018-09-01/2019-08-31",
        "2018-10-01/2019-09-30",
        "2018-11-01/2019-10-31",
    ]
    assert windows("2017-03-01/2018-02-28", "year") == [
        "2017-03-01/2018-02-28",
        "2018-03-01/2019-02-28",
    ]
    assert windows("2018-02-28/2019-02-27") == ["2018-02-28/2019-02-27"]
    assert len(windows(every="month")) == 22


@pytest.mark.parametrize(
    ("window", "every", "message"),
    [
        ("2018-04-01/2018-09-30", None, "has 183 days.*give 2018-04-01/2019-03-31"),
        ("2017", None, "is not within the cube, whose period is 2017-02-10/2019-11-20"),
        ("2019-01-01/2019-12-31", None, "is not within the cube"),
        ("summer", None, "'summer' is no window; give first and last day of one year"),
        ("2018-13-01/2019-12-31", None, "is no date"),
        (None, "week", "Windows every 'week' are unknown; give year or month"),
        (["2018", "2018-10-01/2019-09-30"], "month", "begin at one, and 2 are given"),
    ],
)
def test_what_is_no_window_is_refused(window: str | None, every: str | None, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_windows(window, every, PERIOD, SEEN)


def test_a_window_in_which_nothing_was_acquired_is_refused() -> None:
    with pytest.raises(InputError, match="2018-01-01/2018-12-31 has no acquisition of a sensor"):
        parse_windows("2018", None, PERIOD, SEEN[np.datetime64("2018") > SEEN])
