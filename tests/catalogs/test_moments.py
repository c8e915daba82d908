"""What a date means does not depend on which library wrote it; that of pandas is the oracle."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from terralatent.catalogs.errors import InputError
from terralatent.catalogs.moments import read_span
from terralatent.catalogs.period import read_period

AHEAD = timezone(timedelta(hours=2))
WRONG = "{value} is no date."


@pytest.mark.parametrize(
    "text",
    [
        *("2018", "2018-02", "2020-02", "2018Q3", "2018-12-31"),
        *("2018-05-03T10", "2018-05-03 10:30", "2018-05-03T10:30:24"),
    ],
)
def test_a_text_spans_what_it_spans_in_pandas(text: str) -> None:
    wanted, span = pd.Period(text), read_span(text, WRONG)
    assert span.first == wanted.start_time.to_datetime64()
    assert span.last == wanted.end_time.floor("us").to_datetime64()
    assert span == read_span(wanted, WRONG)


@pytest.mark.parametrize(
    "same",
    [
        ["2018-05", np.datetime64("2018-05"), pd.Period("2018-05")],
        ["2018-05-03", date(2018, 5, 3), np.datetime64("2018-05-03"), pd.Period("2018-05-03")],
        [
            datetime(2018, 5, 3, 8, 30, 24, 5),
            pd.Timestamp("2018-05-03T08:30:24.000005"),
            np.datetime64("2018-05-03T08:30:24.000005000", "ns"),
            xr.DataArray(np.datetime64("2018-05-03T08:30:24.000005", "ns")),
            "2018-05-03T08:30:24.000005",
        ],
        [
            datetime(2018, 5, 3, 10, 30, tzinfo=AHEAD),
            datetime(2018, 5, 3, 8, 30, tzinfo=UTC),
            pd.Timestamp("2018-05-03T10:30", tz="Europe/Brussels"),
            "2018-05-03T10:30:00.0+02:00",
        ],
    ],
    ids=lambda same: str(same[0]),
)
def test_libraries_agree(same: list[Any]) -> None:
    first, *others = (read_span(value, WRONG)[:2] for value in same)
    assert all(other == first for other in others)


@pytest.mark.parametrize("value", [None, pd.NaT, np.datetime64("NaT"), "", "soon", "2018-13", 3.5])
def test_what_is_no_date_is_named(value: Any) -> None:
    with pytest.raises(InputError, match="is no date"):
        read_span(value, WRONG)


def test_a_period_has_all_days_of_its_months() -> None:
    whole = (date(2018, 5, 1), date(2018, 6, 30))
    for start, end in [
        ("2018-05", "2018-06"),
        (pd.Period("2018-05"), "2018-06-30"),
        (np.datetime64("2018-05-01T07:00"), pd.Timestamp("2018-06-30T23:59")),
        (pd.Timestamp("2018-05-01T01:00", tz="Europe/London"), pd.Timestamp("2018-06-30", tz=UTC)),
    ]:
        assert read_period(start, end) == whole
