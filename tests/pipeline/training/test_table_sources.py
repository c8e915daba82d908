"""A table of pixel series trains as the cube whose series it holds."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from terralatent.catalogs.errors import InputError
from terralatent.models.checkpoint import load_model, read_manifest
from terralatent.models.observations import Observations
from terralatent.pipeline import Series
from terralatent.pipeline.training import sampler as sample
from terralatent.pipeline.training.cubes import open_training_cubes
from terralatent.pipeline.training.holdout import hold_out
from terralatent.pipeline.training.sampler import PixelSampler
from terralatent.pipeline.training.tables import index
from terralatent.pipeline.training.tables.calendars import open_table
from terralatent.pipeline.training.train import train
from tests.made.tables import COLUMNS, made_up_rows
from tests.made.tiny import tiny_cube

S1, S2 = "sentinel-1-asc", "sentinel-2-l2a"
BOTH = [S2, S1]
SIDE = 12
MICROSECONDS = 86_400_000_000


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tables")


@pytest.fixture(scope="module")
def cube(folder: Path) -> Path:
    return tiny_cube(folder / "cube", side=SIDE, block=SIDE)


@pytest.fixture(scope="module")
def rows(cube: Path) -> pd.DataFrame:
    """The series of the cube in long form: all dates of both sensors, NaN where not seen."""
    (whole,) = open_training_cubes(cube, seed=0)
    block = whole.read(0)
    parts = []
    for name, series in block.series().items():
        values = torch.where(series.valid, series.values, torch.nan).numpy()
        pixel, date = (axis.ravel() for axis in np.indices(values.shape[:2]))
        bands = dict(
            zip(whole.sensors[name].names, values.reshape(-1, values.shape[-1]).T, strict=True)
        )
        times = np.rint(series.days.numpy() * MICROSECONDS).astype("datetime64[us]")
        parts.append(pd.DataFrame({"pixel": pixel, "time": times[date], **bands}))
    return pd.concat(parts).groupby(["pixel", "time"], as_index=False).first()


@pytest.fixture(scope="module")
def table(rows: pd.DataFrame, folder: Path) -> Path:
    """Its row groups end within series."""
    path = folder / "table.parquet"
    pq.write_table(pa.Table.from_pandas(rows, preserve_index=False), path, row_group_size=3000)
    return path


@pytest.fixture
def written(tmp_path: Path) -> Callable[[pd.DataFrame], Path]:
    def write(rows: pd.DataFrame) -> Path:
        rows.to_parquet(tmp_path / "t.parquet", index=False)
        return tmp_path / "t.parquet"

    return write


def values(series: Observations) -> np.ndarray:
    """NaN where not valid, rows in an order that does not depend on that of pixels."""
    seen = torch.where(series.valid, series.values, torch.nan).numpy().reshape(len(series), -1)
    return seen[np.lexsort(np.nan_to_num(seen, nan=-99.0).T)]


def test_a_table_of_the_series_of_a_cube_gives_the_same_batches(
    cube: Path,
    rows: pd.DataFrame,
    written: Callable[[pd.DataFrame], Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A batch that takes every pixel once is the same pixels in both."""
    monkeypatch.setattr(sample, "BUFFER_BATCHES", 1)
    pixels = SIDE * (SIDE - 1)  # the last column is never seen
    batches = [
        PixelSampler(open_training_cubes(place, BOTH, seed=0), seed=0, batch=pixels).batch(0)
        for place in (cube, written(rows))
    ]
    for name in (S1, S2):
        of_cube, of_table = (batch.observations[name] for batch in batches)
        seen = of_cube.observed.any(0)
        assert torch.equal(of_table.days, of_cube.days[seen])
        np.testing.assert_array_equal(values(of_table), values(of_cube.at(seen)))
        assert (of_table.distance == 16.0).all()


def test_a_pixel_is_read_the_same_whatever_the_row_groups(
    rows: pd.DataFrame, table: Path, written: Callable[[pd.DataFrame], Path]
) -> None:
    (one,), (many,) = open_table(written(rows), BOTH, seed=0), open_table(table, BOTH, seed=0)
    assert len(one.parts) == 1
    assert len(many.parts) == -(-len(rows) // 3000) > 1
    whole = one.read(0).series()
    parts = [many.read(part).series() for part in range(len(many.parts))]
    for name in BOTH:
        joined = Observations.concatenate([part[name] for part in parts])
        assert torch.equal(joined.valid, whole[name].valid)
        assert torch.equal(joined.values, whole[name].values)
    assert sum(many.sizes) == SIDE * SIDE
    assert many.identity != one.identity


def test_pixels_share_a_calendar_and_rare_ones_the_union_of_theirs(
    rows: pd.DataFrame, written: Callable[[pd.DataFrame], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index, "FEWEST_PIXELS", 20)
    times = np.sort(rows["time"].unique())
    keep = (
        (rows["pixel"] < 60)
        | ((rows["pixel"] < 100) & rows["time"].isin(times[::2]))
        | ((rows["pixel"] == 100) & rows["time"].isin(times[:3]))
        | ((rows["pixel"] == 101) & rows["time"].isin(times[2:5]))
    )
    found = open_table(written(rows[keep]), BOTH, seed=0)
    assert [sum(own.sizes) for own in found] == [60, 40, 2]
    days = np.unique(np.concatenate([axis.days for axis in found[2].axes.values()])) * MICROSECONDS
    wanted = rows[keep & (rows["pixel"] >= 100)].set_index("time")[["vv", "vh", "B02"]]
    seen = np.sort(wanted.dropna(how="all").index.unique())
    np.testing.assert_array_equal(np.rint(days).astype("datetime64[us]"), seen)
    pixel = found[2].read(0).series()[S1]
    assert pixel.valid[0].any()
    assert not (pixel.valid[0] & pixel.valid[1])[3:].any()


def test_columns_may_have_other_names(
    rows: pd.DataFrame, table: Path, tmp_path: Path, written: Callable[[pd.DataFrame], Path]
) -> None:
    other = rows.rename(columns={"pixel": "sample", "time": "date", "vv": "VV_db", "B02": "blue_"})
    columns = {"pixel": "sample", "time": "date", S1: {"vv": "VV_db"}, S2: {"B02": "blue_"}}
    (tmp_path / "c.json").write_text(json.dumps(columns))
    (tmp_path / "c.toml").write_text(
        f'pixel = "sample"\ntime = "date"\n[{S1}]\nvv = "VV_db"\n[{S2}]\nB02 = "blue_"\n'
    )
    (plain,) = open_table(table, BOTH, seed=0)
    wanted = Observations.concatenate(
        [plain.read(part).series()[S1] for part in range(len(plain.parts))]
    )
    for given in (columns, tmp_path / "c.json", tmp_path / "c.toml"):
        (named,) = open_table(written(other), seed=0, columns=given)
        assert {name: own.names for name, own in named.sensors.items()} == {
            S1: ("vv",),
            S2: ("B02",),
        }
        assert torch.equal(named.read(0).series()[S1].values[..., 0], wanted.values[..., 0])


def test_a_table_and_a_cube_of_other_bands_make_one_model(
    rows: pd.DataFrame, cube: Path, folder: Path
) -> None:
    path = folder / "fewer.parquet"
    rows.drop(columns=["B03", "vv", "vh"]).to_parquet(path, index=False)
    cubes, request = [cube, path], {"sensors": [S2], "model": "linear", "steps": 0}
    train(cubes, folder / "model", **request)
    assert load_model(folder / "model").config.sensor(S2).bands == ("B02", "B03", "B04")
    record = read_manifest(folder / "model")["training"]["cubes"]
    assert [entry["store"] for entry in record] == [str(cube), str(path)]
    assert train(cubes, folder / "model", **request).repeated
    rows.iloc[40:].drop(columns=["B03", "vv", "vh"]).to_parquet(path, index=False)
    with pytest.raises(InputError, match="another training: cubes is"):
        train(cubes, folder / "model", **request)


@pytest.mark.parametrize("most", [60, 10_000])
def test_pixels_with_dates_of_their_own_do_not_make_one_calendar_of_all(
    monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    monkeypatch.setattr(index, "FEWEST_PIXELS", 5)
    monkeypatch.setattr(index, "MOST_DATES", most)
    series = Series.from_table(made_up_rows(40, shared=18), COLUMNS)
    found = open_table(series, seed=0)
    assert sum(sum(own.sizes) for own in found) == len(series)
    assert [own.together for own in found[:2]] == [True, True]  # those at either angle
    mixed = found[2:]
    assert not any(own.together for own in mixed)
    assert (len(mixed) == 1) == (most > 60)
    for own in mixed:
        dates = {time for axis in own.axes.values() for time in axis.times}
        assert len(dates) <= most or sum(own.sizes) < 2 * 5
    for name in BOTH:
        seen = sum(int(own.read(part).series()[name].observed.sum())
                   for own in found for part in range(len(own.parts)))  # fmt: skip
        assert seen == series.observations()[name].sum()


def test_of_dates_of_their_own_some_are_held_out(folder: Path) -> None:
    series = Series.from_table(made_up_rows(12), COLUMNS)
    (own,) = open_table(series, seed=0)
    pool = own.read(0).series()
    assert hold_out(pool, 0).empty
    held = hold_out(pool, 0, together=False)
    for name in BOTH:
        assert 0 < held.acquisitions[name].float().mean() < 0.5
    train(series, folder / "own-dates", model="linear", steps=0)
    again = Series.from_table(series)
    assert train(again, folder / "own-dates", model="linear", steps=0).repeated


CHANGES: dict[str, tuple[Callable[[pd.DataFrame], Any], dict[str, Any], str]] = {
    "pixel": (lambda t: t.drop(columns="pixel"), {}, "no column 'pixel'; it has time, "),
    "time": (lambda t: t.astype({"time": str}), {}, "'time' holds .*string, not timestamps or d"),
    "text": (lambda t: t.astype({"B03": str}), {}, "'B03' holds .*string, not numbers"),
    "null": (lambda t: t.assign(time=t["time"].where(t.index != 7)), {}, "'time' is null in some"),
    "twice": (lambda t: pd.concat([t.iloc[:1], t]), {},
              "pixel 0 has two rows of 2017-08-01T00:00:00; leave one"),
    "scattered": (lambda t: t.sort_values("time"), {}, "rows of pixel 0 do not follow one another"),
    "empty": (lambda t: t.iloc[:0], {}, "holds no value"),
    "unseen": (lambda t: t.assign(B02=np.nan, B03=np.nan, B04=np.nan, vv=np.nan, vh=np.nan), {},
               "holds no value"),
    "digital": (lambda t: t.assign(B02=t["B02"] * 1e4, B03=3e3, B04=3e3), {},
                f"median of {S2} is .*e.03, which is not in units of '1' .*: divide by 10000"),
    "power": (lambda t: t.assign(vv=10 ** (t["vv"] / 10), vh=0.01), {},
              f"median of {S1} is 0.01, .* 10 . log10"),
    "nothing": (lambda t: t[["pixel", "time"]], {}, "no column of a band of .*; it has pixel, t"),
    "two": (lambda t: t, {"sensors": None}, r"B02, B03, B04 may be of sentinel-2-l2a or landsat"),
    "unknown": (lambda t: t, {"columns": {"venus": {"B1": "B02"}}}, "venus must be a known sensor"),
    "band": (lambda t: t, {"columns": {S2: {"B99": "B02"}}}, f"{S2} has no band B99"),
    "file": (lambda t: t, {"columns": "nowhere.toml"}, "nowhere.toml cannot be read as TOML"),
}  # fmt: skip


@pytest.mark.parametrize("name", CHANGES)
def test_what_does_not_fit_is_refused_by_name(
    rows: pd.DataFrame, written: Callable[[pd.DataFrame], Path], name: str
) -> None:
    change, request, words = CHANGES[name]
    path = written(change(rows))
    with pytest.raises(InputError, match=words):
        open_table(path, **{"sensors": BOTH, "seed": 0, **request})


def test_what_is_no_table_is_refused(tmp_path: Path) -> None:
    (tmp_path / "noise.parquet").write_bytes(bytes(range(256)))
    for name in ("noise", "missing"):
        with pytest.raises(InputError, match=f"{name}.parquet cannot be read as a Parquet table"):
            open_training_cubes(tmp_path / f"{name}.parquet", seed=0)
