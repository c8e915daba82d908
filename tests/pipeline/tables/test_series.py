"""Series are what a table holds, however it is given, and are refused where it has a mistake."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from terralatent.catalogs.errors import InputError
from terralatent.pipeline import Series
from terralatent.pipeline.tables.reading import chunks
from terralatent.pipeline.tables.table import Table
from tests.made.tables import COLUMNS, OPTICAL, RADAR, S1, S2, made_up_rows


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    return made_up_rows()


def assert_same(left: Series, right: Series) -> None:
    assert left.pixels.to_pydict() == right.pixels.to_pydict()
    np.testing.assert_array_equal(left.offsets, right.offsets)
    np.testing.assert_array_equal(left.times, right.times)
    assert left.sensors.keys() == right.sensors.keys()
    for name, own in left.sensors.items():
        other = right.sensors[name]
        assert (own.bands, own.units) == (other.bands, other.units)
        for field in ("values", "incidence", "distance"):
            np.testing.assert_array_equal(getattr(own, field), getattr(other, field))


def test_series_hold_the_rows_of_each_pixel(rows: pd.DataFrame) -> None:
    series = Series.from_table(rows, COLUMNS)
    assert len(series) == rows["pixel"].nunique()
    for place, (name, own) in enumerate(rows.groupby("pixel")):
        mine = slice(series.offsets[place], series.offsets[place + 1])
        assert series.column("pixel")[place] == name
        assert series.column("label")[place] == own["label"].iloc[0]
        np.testing.assert_array_equal(series.dates[mine], own["time"].to_numpy())
        for sensor, bands in ((S2, OPTICAL), (S1, RADAR)):
            np.testing.assert_array_equal(
                series.sensors[sensor].values[mine], own[list(bands)].to_numpy()
            )
            count = own[list(bands)].notna().any(axis=1).sum()
            assert series.observations()[sensor][place] == count
        np.testing.assert_array_equal(series.sensors[S1].incidence[mine], own["angle"])


def test_a_file_a_frame_and_an_arrow_table_are_the_same(rows: pd.DataFrame, tmp_path: Path) -> None:
    wanted = Series.from_table(rows, COLUMNS)
    rows.to_parquet(tmp_path / "t.parquet", index=False, row_group_size=97)
    rows.to_csv(tmp_path / "t.csv", index=False)
    shuffled = rows.groupby("pixel", sort=False).sample(frac=1.0, random_state=3)
    written = rows.assign(time=rows["time"].astype(str))
    for given in (tmp_path / "t.parquet", str(tmp_path / "t.csv"), shuffled, written):
        assert_same(Series.from_table(given, COLUMNS), wanted)
    for given in (wanted, wanted.to_arrow()):  # which name their columns
        assert_same(Series.from_table(given), wanted)


def test_a_frame_may_be_in_any_order(rows: pd.DataFrame) -> None:
    """Pixels come as they first occur."""
    mixed = rows.sample(frac=1.0, random_state=5)
    found = Series.from_table(mixed, COLUMNS)
    assert found.column("pixel").tolist() == mixed["pixel"].drop_duplicates().tolist()
    order = np.argsort(found.column("pixel"))
    assert_same(found.select(order), Series.from_table(rows, COLUMNS))


@pytest.mark.parametrize("most", [None, 1, 7])
def test_a_table_in_chunks_is_the_table(
    rows: pd.DataFrame, tmp_path: Path, most: int | None
) -> None:
    """Row groups end within series, and some hold no end of one at all."""
    path = tmp_path / "t.parquet"
    pq.write_table(pa.Table.from_pandas(rows), path, row_group_size=5)
    whole = Series.from_table(rows, COLUMNS)
    place = 0
    for first, part in chunks(Table.open(path, COLUMNS), pixels=most):
        assert most is None or len(part) <= most
        assert first == whole.offsets[place]
        assert_same(part, whole.select(range(place, place + len(part))))
        place += len(part)
    assert place == len(whole)


def test_pixels_may_lose_all_rows_and_are_kept(rows: pd.DataFrame) -> None:
    series = Series.from_table(rows, COLUMNS)
    kept = series.where((series.pixel_of_row != 3) & (series.times > np.median(series.times)))
    assert len(kept) == len(series)
    assert kept.counts[3] == 0
    assert kept.counts.sum() == len(kept.times) < len(series.times)
    again = Series.from_table(kept)
    assert again.observations()[S2][3] == again.observations()[S1][3] == 0
    np.testing.assert_array_equal(again.observations()[S2], kept.observations()[S2])
    np.testing.assert_array_equal(kept.select([4]).times, kept.times[kept.pixel_of_row == 4])


def test_dates_and_other_zones_are_utc() -> None:
    there = pd.Series(pd.date_range("2018-05-01", periods=3, tz="America/Toronto"))
    table = pd.DataFrame({"pixel": 1, "time": there, "B02": 0.1})
    found = Series.from_table(table, sensors=[S2])
    assert [str(date)[:16] for date in found.dates] == [
        "2018-05-01T04:00", "2018-05-02T04:00", "2018-05-03T04:00"
    ]  # fmt: skip


MISTAKES: dict[str, tuple[Callable[[pd.DataFrame], Any], dict[str, Any] | None, str]] = {
    "twice": (lambda t: pd.concat([t, t.iloc[[4]]]), COLUMNS, "pixel p000 has two rows of 2018-"),
    "percent": (lambda t: t.assign(**{band: 100 * t[band] for band in OPTICAL}), COLUMNS,
                "median of sentinel-2-l2a is .* not in units of '1' .*percent: divide by 100"),
    "digital": (lambda t: t.assign(**{band: 1e4 * t[band] for band in OPTICAL}), COLUMNS,
                "times 10,000: divide by 10000"),
    "power": (lambda t: t.assign(vv=10 ** (t.vv / 10), vh=10 ** (t.vh / 10)), COLUMNS,
              "median of sentinel-1-asc is .* not in units of 'dB' .*power, which is linear"),
    "hundredths": (lambda t: t.assign(vv=100 * t.vv, vh=100 * t.vh), COLUMNS, "hundredths of a d"),
    "label": (lambda t: t.assign(label=[*"ab", *t.label[2:]]), COLUMNS,
              "'label' changes within the rows of pixel p000"),
    "nobody": (lambda t: t.assign(pixel=[None, *t.pixel[1:]]), COLUMNS, "'pixel' is null in some"),
    "band": (lambda t: t, {S2: {"B99": "B02"}}, "sentinel-2-l2a has no band B99"),
    "sensor": (lambda t: t, {"venus": {"B02": "B02"}}, "venus must be a known sensor"),
    "column": (lambda t: t, {S2: {"B02": "blue"}}, "no column 'blue'; it has pixel, time, lon"),
    "carried": (lambda t: t, {**COLUMNS, "carry": ["crop"]}, "no column 'crop'; it has pixel"),
    "angle alone": (lambda t: t, {S1: {"incidence": "angle"}}, "no column of a band of sentinel-1"),
    "time": (lambda t: t.assign(time="May"), COLUMNS, "'time' holds text that is no time of ISO"),
    "both names": (lambda t: t.rename(columns={"B02": "venus:B02"}), None,
                   "'venus:B02' names the sensor 'venus', which is unknown"),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_are_named(rows: pd.DataFrame, name: str) -> None:
    change, columns, words = MISTAKES[name]
    with pytest.raises(InputError, match=words):
        Series.from_table(change(rows), columns)


def test_what_is_no_table_is_named(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a,b\n1\n")
    (tmp_path / "t.parquet").write_text("nothing")
    for name, words in (
        ("t.csv", "cannot be read as a CSV table"),
        ("t.parquet", "cannot be read as a Parquet table"),
        ("t.txt", "tables end in .parquet or .csv"),
    ):
        with pytest.raises(InputError, match=words):
            Series.from_table(tmp_path / name)
