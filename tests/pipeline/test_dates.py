"""What a user may type for dates, and what it means."""

from __future__ import annotations

import logging
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from terralatent.catalogs.errors import InputError
from terralatent.pipeline.dates import days_since_1970, parse_when

PERIOD = (np.datetime64("2017-08-20"), np.datetime64("2018-02-16"))
SEEN = np.array(["2017-12-01T10:30", "2017-09-01T10:30", "2017-12-01T10:30"], "datetime64[us]")


def parse(when: object) -> list[str]:
    times = parse_when(when, PERIOD, SEEN)  # type: ignore[arg-type]
    assert times.dtype == np.dtype("datetime64[us]")
    return [str(time).removesuffix("T00:00:00.000000") for time in times]


def test_monthly_is_the_15th_of_each_month_within_the_period() -> None:
    assert parse("monthly") == [
        f"{month}-15"
        for month in ("2017-09", "2017-10", "2017-11", "2017-12", "2018-01", "2018-02")
    ]


@pytest.mark.parametrize(("step", "days"), [("10D", 10), ("1d", 1), (" 45D ", 45)])
def test_a_step_begins_on_the_first_day_and_ends_within_the_period(step: str, days: int) -> None:
    times = parse_when(step, PERIOD, SEEN)

    assert times[0] == PERIOD[0]
    assert (np.diff(times) == np.timedelta64(days, "D")).all()
    assert PERIOD[1] - np.timedelta64(days, "D") < times[-1] <= PERIOD[1]


def test_acquisitions_are_each_once_and_ascend() -> None:
    assert parse("acquisitions") == [str(SEEN[1]), str(SEEN[0])]


def test_dates_in_any_order_and_zone_ascend_in_utc() -> None:
    when = "2018-01-02T02:00+03:00, 2017-12-31,2018-01-01T23:00Z,2017-12-31"
    assert parse(when) == ["2017-12-31", "2018-01-01T23:00:00.000000"]


MONTHS = ["2017-12-15", "2018-01-15"]


@pytest.mark.parametrize(
    "when",
    [
        "2017-12,2018-01",
        "monthly:2017-12/2018-01",
        ["2017-12", np.datetime64("2018-01")],
        np.array(MONTHS, "datetime64[D]"),
        pd.DatetimeIndex(MONTHS),
        pd.DatetimeIndex(MONTHS, tz="UTC"),
        pd.Series(pd.DatetimeIndex(MONTHS)),
        pd.period_range("2017-12", "2018-01", freq="M"),
        xr.DataArray(np.array(MONTHS, "datetime64[ns]"), dims="time"),
        [date(2017, 12, 15), datetime(2018, 1, 15, tzinfo=UTC)],
        pd.DatetimeIndex(["2017-12-15T01:00", "2018-01-15T01:00"], tz="Europe/Brussels"),
    ],
    ids=lambda when: type(when).__name__,
)
def test_dates_mean_the_same_in_every_library(when: object) -> None:
    assert parse(when) == MONTHS


@pytest.mark.parametrize(
    "when", ["2018-01", "monthly:2018-01", pd.Period("2018-01"), np.datetime64("2018-01")]
)
def test_a_month_alone_is_the_15th(when: object) -> None:
    assert parse(when) == ["2018-01-15"]


def test_a_shorter_period_is_the_day_in_its_middle() -> None:
    assert parse(pd.period_range("2018-01-01", periods=2, freq="W")) == ["2018-01-04", "2018-01-11"]


@pytest.mark.parametrize(
    ("start", "stop"),
    [
        *(("2017-09", "2017-11"), ("2017-12-01", None), (None, "2017-12-01T10:30"), (None, None)),
        *(("2017-09-01T10:31", "2017-12-01T10:29:59"), ("2017-08", "2017-12-01")),
    ],
)
def test_a_slice_holds_the_acquisitions_that_it_holds_in_pandas(
    start: str | None, stop: str | None
) -> None:
    series = pd.Series(0, pd.DatetimeIndex(np.unique(SEEN)))
    wanted = [str(time) for time in series[start:stop].index.values.astype("datetime64[us]")]
    if not wanted:
        with pytest.raises(InputError, match="no date at all"):
            parse(slice(start, stop))
        return
    assert parse(slice(start, stop)) == wanted
    if start and stop:
        assert parse(f"acquisitions:{start}/{stop}") == wanted


def test_lists_of_several_zones_are_refused() -> None:
    brussels = pd.Timestamp("2018-01-02", tz="Europe/Brussels")
    for others in ([pd.Timestamp("2018-01-03", tz="UTC")], ["2018-01-03"]):
        with pytest.raises(InputError, match="time zones Europe/Brussels and UTC"):
            parse([brussels, *others])
    assert parse(["2018-01-02T00:00Z", "2018-01-03"]) == ["2018-01-02", "2018-01-03"]


def test_a_slice_has_no_step() -> None:
    with pytest.raises(InputError, match="has no step, and '10D' is given"):
        parse(slice("2018-01", "2018-02", "10D"))


def test_a_file_has_one_date_a_line(tmp_path: Path) -> None:
    file = tmp_path / "dates.txt"
    file.write_text("# wanted\n2018-01-02\n\n2017-12-24T12:00:00Z  # noon\n")
    assert parse(str(file)) == ["2017-12-24T12:00:00.000000", "2018-01-02"]


def test_dates_that_were_parsed_mean_themselves() -> None:
    times = parse_when("2017-12-31,2018-01-01T10:30:00.123456", PERIOD, SEEN)
    again = parse_when(times, PERIOD, SEEN)
    np.testing.assert_array_equal(again, times)


@pytest.mark.parametrize(
    ("when", "words"),
    [
        ("soon", "'soon' .* is no date. Give `monthly`"),
        ("2018-02-30", "'2018-02-30' .* is no date"),
        ("2018-01-01,x", "'x' .* is no date"),
        ("0D", "do not step forward"),
        (",", "no date at all"),
        ("", "no date at all"),
        ([], "no date at all"),
        ("18", "is no date"),
        (["2018-01-01", "NaT"], "'NaT' .* is no date"),
    ],
)
def test_nonsense_is_refused(when: object, words: str) -> None:
    with pytest.raises(InputError, match=words):
        parse(when)


def test_a_bad_line_of_a_file_is_named(tmp_path: Path) -> None:
    file = tmp_path / "dates.txt"
    file.write_text("2018-01-02\nmonday\n")
    with pytest.raises(InputError, match=r"'monday' \(.*dates.txt, line 2\) is no date"):
        parse(str(file))


def test_a_period_without_a_15th_has_no_monthly_dates() -> None:
    short = (np.datetime64("2018-01-16"), np.datetime64("2018-02-14"))
    with pytest.raises(InputError, match="2018-01-16 to 2018-02-14"):
        parse_when("monthly", short, SEEN)


def test_dates_far_outside_the_cube_earn_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        parse("2018-03-01,2018-01-01")
        assert not caplog.records
        parse("2018-01-01,2031-01-01")
    assert "1 of 2 dates" in caplog.text
    assert "2031-01-01: the posterior is the prior there" in caplog.text


def test_days_count_from_1970() -> None:
    times = np.array(["1970-01-01", "1970-01-02T12:00", "1969-12-31"], "datetime64[us]")
    assert days_since_1970(times).tolist() == [0.0, 1.5, -1.0]
