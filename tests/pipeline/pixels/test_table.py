"""A table embedded: what it was read as and in which batches changes nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch

from terralatent.catalogs.errors import InputError
from terralatent.models.checkpoint import CheckpointError, load_model, save_model
from terralatent.models.gpvae import GPVAE, ModelConfig, SensorConfig
from terralatent.models.observations import Observations
from terralatent.pipeline import Masking, Series, embed, features
from terralatent.pipeline.pixels import model as pixel_model
from terralatent.pipeline.pixels import table as embedding
from tests.made.tables import COLUMNS, OPTICAL, RADAR, S1, S2, made_up_rows
from tests.waiting import WITHIN_S

LATENTS = 3
DATES = "monthly:2018"
CANADA = Path(__file__).resolve().parents[4] / "shared" / "tables" / "canada-2017.parquet"


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    return made_up_rows()


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """None of whose parts is at its start; it knows a band that the table lacks."""
    sensors = (
        SensorConfig(name=S2, bands=(*OPTICAL, "B08"), units="1", centre=(0.2,) * 4,
                     spread=(0.15,) * 4),
        SensorConfig(name=S1, bands=RADAR, units="dB", centre=(-12.0,) * 2, spread=(4.0,) * 2),
    )  # fmt: skip
    made = GPVAE(ModelConfig(sensors=sensors, latents=LATENTS, hidden=8), seed=1)
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for name, parameter in made.named_parameters():
            if "kernel" not in name:
                parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    folder = tmp_path_factory.mktemp("model")
    save_model(made, folder, {})
    return folder


def long(path: Path, variable: str) -> np.ndarray:
    """(N * Q, L)."""
    return pd.read_parquet(path)[[f"{variable}_{n}" for n in range(LATENTS)]].to_numpy()


def alone(
    model: GPVAE, rows: pd.DataFrame, days: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and variance of one pixel from its rows, by no code of tables."""
    seen = {}
    for name, bands in ((S2, (*OPTICAL, "B08")), (S1, RADAR)):
        values = rows.reindex(columns=[*bands]).to_numpy(np.float32)[None]
        micros = rows["time"].to_numpy().astype("datetime64[us]").astype(np.int64)
        angle = rows["angle"].to_numpy(np.float32).copy()
        seen[name] = Observations(
            days=torch.from_numpy(micros / 86_400e6),
            values=torch.from_numpy(np.nan_to_num(values)),
            valid=torch.from_numpy(np.isfinite(values)),
            distance=torch.full(values.shape[:2], 16.0),
            incidence=torch.from_numpy(angle if name == S1 else np.full_like(angle, np.nan)),
        )
    return model.infer(seen, days)


def test_each_pixel_is_as_if_it_were_alone(rows: pd.DataFrame, model: Path, tmp_path: Path) -> None:
    embed(rows, model, tmp_path / "f.parquet", dates=DATES, columns=COLUMNS)
    found = pd.read_parquet(tmp_path / "f.parquet")
    assert list(found) == ["pixel", "time", "lon", "lat", "group", "label"] + [
        f"{variable}_{n}" for variable in ("mean", "std") for n in range(LATENTS)
    ]
    made = load_model(model)
    assert isinstance(made, GPVAE)
    for name, own in rows.groupby("pixel"):
        mine = found[found["pixel"] == name]
        assert [str(time)[:10] for time in mine["time"]] == [
            f"2018-{n:02d}-15" for n in range(1, 13)
        ]
        days = torch.from_numpy(mine["time"].to_numpy("datetime64[us]").astype(np.int64) / 86_400e6)
        mean, var = alone(made, own, days)
        std = mine[[f"std_{n}" for n in range(LATENTS)]]
        np.testing.assert_allclose(mine[[f"mean_{n}" for n in range(LATENTS)]], mean[0], atol=2e-5)
        np.testing.assert_allclose(std, var[0].sqrt(), atol=2e-5)
        assert set(mine["label"]) == set(own["label"])


def test_row_groups_batches_and_chunks_mean_nothing(
    rows: pd.DataFrame, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows.to_parquet(tmp_path / "t.parquet", index=False, row_group_size=31)
    embed(rows, model, tmp_path / "one.parquet", dates=DATES, columns=COLUMNS)
    monkeypatch.setattr(pixel_model, "BATCH_OBSERVATIONS", 200)
    monkeypatch.setattr(embedding, "MOST_ROWS", 40)
    embed(tmp_path / "t.parquet", model, tmp_path / "many.parquet", dates=DATES, columns=COLUMNS)
    one, many = (pd.read_parquet(tmp_path / f"{name}.parquet") for name in ("one", "many"))
    assert one["pixel"].tolist() == many["pixel"].tolist()
    for variable in ("mean", "std"):
        np.testing.assert_allclose(
            long(tmp_path / "many.parquet", variable),
            long(tmp_path / "one.parquet", variable),
            atol=2e-5,
        )


def test_at_its_own_dates_a_pixel_has_its_rows(
    rows: pd.DataFrame, model: Path, tmp_path: Path
) -> None:
    """And is there what it is where such a date is wanted of all."""
    out = tmp_path / "own.parquet"
    embed(rows, model, out, dates="acquisitions", columns=COLUMNS)
    found = pd.read_parquet(out)
    assert found["pixel"].tolist() == rows["pixel"].tolist()
    times = found["time"].dt.tz_localize(None).to_numpy()
    np.testing.assert_array_equal(times, rows["time"].to_numpy())
    series = Series.from_table(rows, COLUMNS)
    for row in (0, 100, len(rows) - 1):
        one = series.select([int(series.pixel_of_row[row])])
        asked = features(model, one, [str(times[row])], parts=("mean", "std"))
        own = [f"{variable}_{n}" for variable in ("mean", "std") for n in range(LATENTS)]
        np.testing.assert_allclose(found.loc[row, own].to_numpy(float), asked.values[0], atol=2e-5)


def test_wide_is_long_and_what_a_year_has_beside(
    rows: pd.DataFrame, model: Path, tmp_path: Path
) -> None:
    embed(rows, model, tmp_path / "l.parquet", dates=DATES, columns=COLUMNS)
    embed(rows, model, tmp_path / "w.parquet", dates=DATES, columns=COLUMNS, wide=True)
    wide = pd.read_parquet(tmp_path / "w.parquet").set_index("pixel")
    found = features(model, Series.from_table(rows, COLUMNS), DATES)
    pd.testing.assert_frame_equal(found.to_frame().set_index("pixel"), wide)
    for variable in ("mean", "std"):
        laid = long(tmp_path / "l.parquet", variable).reshape(len(wide), -1)
        np.testing.assert_allclose(found.part(variable), laid, atol=2e-5)


def test_the_same_again_does_nothing_and_another_is_refused(
    rows: pd.DataFrame, model: Path, tmp_path: Path
) -> None:
    out = tmp_path / "f.parquet"
    assert not embed(rows, model, out, dates=DATES, columns=COLUMNS).repeated
    before = out.read_bytes()
    assert embed(rows, model, out, dates=DATES, columns=COLUMNS).repeated
    for given, more, words in (
        (rows, {"dates": "monthly:2019"}, "its dates is"),
        (rows, {"dates": DATES, "wide": True}, 'its kind is "latents", that of this .*"features"'),
        (rows.iloc[:-1], {"dates": DATES}, "its table is"),
    ):
        with pytest.raises(InputError, match=words):
            embed(given, model, out, columns=COLUMNS, **more)
    assert out.read_bytes() == before
    assert list(tmp_path.iterdir()) == [out]


@pytest.mark.soak
def test_a_killed_run_leaves_nothing_that_the_next_does_not_take_away(
    rows: pd.DataFrame, model: Path, tmp_path: Path
) -> None:
    """It is killed with a chunk written; the whole table is checked before the first."""
    table, out = tmp_path / "in" / "t.parquet", tmp_path / "out" / "f.parquet"
    table.parent.mkdir()
    pq.write_table(Series.from_table(rows, COLUMNS).to_arrow(), table)
    program = f"""
import os, signal
from terralatent.pipeline.pixels import table
table.MOST_ROWS = 40
before, count = table._of_chunk, []
def of_chunk(*given):
    count.append(1)
    if len(count) == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return before(*given)
table._of_chunk = of_chunk
table.embed_table({str(table)!r}, {str(model)!r}, {str(out)!r}, dates={DATES!r})
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, timeout=WITHIN_S, env=os.environ
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert not out.exists()
    assert len(list(out.parent.iterdir())) == 1
    embed(table, model, out, dates=DATES)
    assert list(out.parent.iterdir()) == [out]


def test_a_mistake_in_the_last_rows_is_named_before_anything_is_computed(
    rows: pd.DataFrame, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = pd.concat([rows, rows.iloc[:1].assign(time=rows["time"].max())])
    bad.to_parquet(tmp_path / "t.parquet", index=False, row_group_size=50)
    monkeypatch.setattr(embedding, "_of_chunk", None)
    with pytest.raises(InputError, match="rows of pixel p000 do not follow one another"):
        embed(tmp_path / "t.parquet", model, tmp_path / "f.parquet", columns=COLUMNS)


def test_what_does_not_fit_is_named(rows: pd.DataFrame, model: Path, tmp_path: Path) -> None:
    out = tmp_path / "f.parquet"
    landsat = {"landsat-c2-l2": {"B02": "B02"}}
    empty = rows.assign(**dict.fromkeys((*OPTICAL, *RADAR), np.nan))
    for given, more, words in (
        (rows, {"columns": landsat}, "has landsat-c2-l2 B02, and the model reads .*none is shared"),
        (rows, {"columns": COLUMNS, "dates": "monthly:18"}, "'18' .* is no period; give a year"),
        (
            rows,
            {"columns": COLUMNS, "dates": "acquisitions", "wide": True},
            "each pixel's own; giv",
        ),
        (rows, {"columns": COLUMNS, "at": "ABC"}, "no mask, no snapshots and no items"),
        (
            rows,
            {"columns": COLUMNS, "masking": Masking(dilate=1)},
            "no mask, no snapshots and no items",
        ),
        (rows, {"columns": COLUMNS, "encoder": "int8"}, "float32 or bfloat16, not in 'int8'"),
        (rows, {"columns": COLUMNS, "device": "tpu"}, "device 'tpu' is unknown"),
        (empty, {"columns": COLUMNS}, "holds no value"),
        ("cube", {"columns": COLUMNS}, "are of tables of pixel series"),
    ):
        with pytest.raises(InputError, match=words):
            embed(given, model, out, **more)
    with pytest.raises(CheckpointError):
        embed(rows, tmp_path / "nowhere", out, columns=COLUMNS)
    assert not out.exists()


def test_real_series_are_embedded_by_the_model_that_comes_with_the_package(tmp_path: Path) -> None:
    if not CANADA.is_file():
        pytest.skip(f"the table of real series is not there: no {CANADA}")
    columns = {"pixel": "sample", "time": "date", "group": "cell", "label": "crop"}
    series = Series.from_table(CANADA, columns, [S2, "sentinel-1-desc"]).select(range(200))
    found = features("s1s2l8", series, "monthly:2017", joint=True)
    assert found.values.shape == (200, 2 * 12 * 16 + 4 * 16 + 2)
    assert np.isfinite(found.values).all()
    assert (found.part("std") < 1.0001).all()
    assert found.part("std").mean() < 0.7
    np.testing.assert_array_equal(found.part("count")[:, 1], series.observations()[S2])
    assert found.covariance is not None
    diagonal = np.diagonal(found.covariance, axis1=2, axis2=3).transpose(0, 2, 1)
    np.testing.assert_allclose(np.sqrt(diagonal).reshape(200, -1), found.part("std"), atol=1e-4)
