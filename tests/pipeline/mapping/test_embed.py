"""Latents of a cube: what each pixel gets, whatever the tiling, the order and the interruptions."""

from __future__ import annotations

import json
import re
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
import zarr
from distributed import Client

from terralatent.catalogs.errors import InputError
from terralatent.catalogs.scenes.scenes import Scenes
from terralatent.models.checkpoint import CheckpointError, load_model, model_hash
from terralatent.models.gpvae import GPVAE
from terralatent.pipeline import embed, open_latents
from terralatent.pipeline.cube.series import read_series
from terralatent.pipeline.dates import days_since_1970
from terralatent.pipeline.ingest.build import build_cube
from terralatent.pipeline.mapping.inference import loaded_once
from terralatent.pipeline.mapping.latents.packing import (
    MEAN_END,
    MEAN_FILL,
    MEAN_STEP,
    STD_STEP,
    pack,
)
from terralatent.pipeline.mapping.memory import MemoryPlan
from terralatent.pipeline.store.arrays import TIME_CHUNK
from terralatent.pipeline.store.repository import Store
from tests.commands.processes import Launcher
from tests.made.models import made_up_model, outside_every_scene, wide_region
from tests.netcdf import assert_same_in_netcdf
from tests.servers.schedulers import cluster_in

DATES = "2018-05-04,2018-05-20"


@pytest.fixture(scope="module")
def cubes(
    made_up: Scenes, workers: Client, tmp_path_factory: pytest.TempPathFactory
) -> dict[int, Path]:
    """The same scenes in blocks of 16 and of 64 pixels, with pixels outside every scene."""
    folder = tmp_path_factory.mktemp("cubes")
    for block in (16, 64):
        build_cube(made_up, wide_region(), folder / str(block), block=block, client=workers)
    return {block: folder / str(block) for block in (16, 64)}


@pytest.fixture(scope="module")
def model(cubes: dict[int, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_up_model(cubes[16], tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def latents(
    cubes: dict[int, Path], model: Path, workers: Client, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Latents in float32 of the cube in blocks of 16; not to be changed."""
    out = tmp_path_factory.mktemp("latents") / "latents"
    embed(cubes[16], model, out, dates=DATES, precision="float32", client=workers)
    return out


def same(latents: xr.Dataset, expected: xr.Dataset, mean: float, std: float) -> None:
    """Check that two stores of latents agree, and are empty in the same places."""
    for name, tolerance in (("mean", mean), ("std", std)):
        np.testing.assert_allclose(
            latents[name].values, expected[name].values, rtol=0, atol=tolerance
        )
    counts = (store["observations"].values for store in (latents, expected))
    np.testing.assert_array_equal(*counts)


def test_a_pixel_gets_what_the_model_infers_from_its_series(
    cubes: dict[int, Path], model: Path, latents: Path
) -> None:
    opened = open_latents(latents)
    y, x = 21, 33
    sensors = [str(name) for name in opened.sensor.values]
    series = read_series(Store.of(cubes[16]).group(), sensors, slice(y, y + 1), slice(x, x + 1))
    days = torch.from_numpy(days_since_1970(opened.time.values))

    mean, var = load_model(model).infer(series.series(), days)

    pixel = opened.isel(y=y, x=x)
    np.testing.assert_allclose(pixel["mean"].values, mean[0].numpy(), rtol=0, atol=1e-5)
    np.testing.assert_allclose(pixel["std"].values, var[0].sqrt().numpy(), rtol=0, atol=1e-5)
    np.testing.assert_array_equal(pixel["observations"].values, series.observations[:, 0])


def test_two_tilings_give_the_same_latents(
    cubes: dict[int, Path], model: Path, latents: Path, workers: Client, tmp_path: Path
) -> None:
    embed(cubes[64], model, tmp_path / "64", dates=DATES, precision="float32", client=workers)
    same(open_latents(tmp_path / "64"), open_latents(latents), 1e-5, 1e-5)


def test_coarse_encoders_give_nearly_the_same_latents(
    cubes: dict[int, Path], model: Path, latents: Path, workers: Client, tmp_path: Path
) -> None:
    out = tmp_path / "coarse"
    embed(
        cubes[64], model, out, dates=DATES, precision="float32", encoder="bfloat16", client=workers
    )

    same(open_latents(out), open_latents(latents), 0.05, 0.01)
    assert not np.array_equal(
        open_latents(out)["mean"].values, open_latents(latents)["mean"].values
    )
    with pytest.raises(InputError, match="Encoder 'float8' is unknown; give float32 or bfloat16"):
        embed(cubes[64], model, out, dates=DATES, encoder="float8", client=workers)


def test_packed_latents_are_within_half_a_step(
    cubes: dict[int, Path], model: Path, latents: Path, workers: Client, tmp_path: Path
) -> None:
    for block, cube in cubes.items():
        embed(cube, model, tmp_path / str(block), dates=DATES, client=workers)
        opened = open_latents(tmp_path / str(block))
        assert opened["mean"].dtype == opened["std"].dtype == np.float32
        same(opened, open_latents(latents), 0.51 * MEAN_STEP, 0.51 * STD_STEP)
    groups = [Store.of(tmp_path / str(block)).group() for block in cubes]
    for name in ("mean", "std"):
        integers = (np.asarray(group[name]).astype(int) for group in groups)
        assert np.abs(np.subtract(*integers)).max() <= 1


def test_pixels_outside_every_scene_are_empty_and_all_others_are_not(latents: Path) -> None:
    opened = open_latents(latents)
    outside = outside_every_scene(opened.odc.geobox)
    assert outside.any()
    assert not outside.all()
    for name in ("mean", "std"):
        empty = np.isnan(opened[name].values)
        np.testing.assert_array_equal(empty, np.broadcast_to(outside, empty.shape))
    assert (opened["observations"].values[:, outside] == 0).all()


def test_latents_are_lazy_and_know_where_they_are_and_where_from(
    cubes: dict[int, Path], model: Path, latents: Path
) -> None:
    opened = open_latents(latents)

    assert opened["mean"].dims == ("time", "latent", "y", "x")
    assert opened["observations"].dims == ("sensor", "y", "x")
    assert all(array.chunks is not None for array in opened.data_vars.values())
    assert [str(day)[:10] for day in opened.time.values] == DATES.split(",")
    assert opened.rio.crs == opened.odc.crs == "EPSG:32631"
    assert opened.odc.geobox.resolution.x == 10
    assert opened.attrs["model_hash"] == model_hash(model)
    assert opened.attrs["cube_snapshot"] == Store.of(cubes[16]).snapshot()
    assert len(opened.attrs["cube_items_hash"]) == 64
    kernel = json.loads(opened.attrs["kernel_days"])
    assert set(kernel) == {"constant", "matern12"}
    assert len(kernel["matern12"]) == opened.sizes["latent"]


def test_latents_are_written_to_netcdf(latents: Path, tmp_path: Path) -> None:
    opened = open_latents(latents)
    assert opened["latent"].attrs["long_name"]
    assert_same_in_netcdf(opened, tmp_path)


def test_the_same_command_again_computes_nothing(
    cubes: dict[int, Path], model: Path, latents: Path
) -> None:
    before = Store.of(latents).snapshot()

    report = embed(
        cubes[16], model, latents, dates=DATES, precision="float32", client="tcp://nobody:1"
    )

    assert report.computed == report.pixels == 0
    assert report.losses == ()
    assert Store.of(latents).snapshot() == before


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"dates": "2018-05-04"}, "dates is"),
        ({"precision": "packed"}, 'precision is "float32" there, "packed" here'),
        ({"model": 1}, "latents_hash is"),
        ({"cube": 64}, "cube.snapshot is"),
        ({"encoder": "bfloat16"}, "encoder is"),
    ],
)
def test_a_store_that_holds_something_else_is_refused_and_unharmed(
    cubes: dict[int, Path],
    model: Path,
    latents: Path,
    workers: Client,
    tmp_path: Path,
    changed: dict[str, Any],
    words: str,
) -> None:
    before = Store.of(latents).snapshot()
    cube = cubes[changed.pop("cube", 16)]
    if changed.pop("model", 0):
        model = made_up_model(cube, tmp_path / "other", seed=1)
    request = {"dates": DATES, "precision": "float32", **changed}

    with pytest.raises(InputError, match=f"holds something else: .*{words}"):
        embed(cube, model, latents, client=workers, **request)

    assert Store.of(latents).snapshot() == before


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        ("missing", "no such file"),
        ("short", "was changed or cut short"),
        ("bands", "the model reads the bands .* none is shared"),
    ],
)
def test_a_model_that_cannot_be_used_is_refused_before_anything_is_made(
    cubes: dict[int, Path], model: Path, workers: Client, tmp_path: Path, harm: str, words: str
) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(model, broken)
    weights, manifest = broken / "weights.safetensors", broken / "model.json"
    if harm == "missing":
        manifest.unlink()
    elif harm == "short":
        weights.write_bytes(weights.read_bytes()[:-4])
    else:
        text = re.sub(r'"(B\w\w|vv|vh)"', r'"X\1"', manifest.read_text())
        manifest.write_text(text)

    with pytest.raises((CheckpointError, InputError), match=words):
        embed(cubes[16], broken, tmp_path / "out", dates=DATES, client=workers)
    if harm != "short":  # weights are read by workers alone
        assert not (tmp_path / "out").exists()


def test_what_is_no_cube_is_refused(model: Path, latents: Path, tmp_path: Path) -> None:
    for cube, words in ((tmp_path / "nothing", "no store here"), (latents, "is a latents store")):
        with pytest.raises(InputError, match=words):
            embed(cube, model, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_store_is_made_only_where_there_are_workers_to_fill_it(
    cubes: dict[int, Path], model: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=r"neither `local`, .* nor the address"):
        embed(cubes[16], model, tmp_path / "out", dates=DATES, client="nobody")
    assert not Store.of(tmp_path / "out").exists()


def test_a_block_that_fails_is_named_and_done_by_the_next_run(
    cubes: dict[int, Path],
    model: Path,
    latents: Path,
    workers: Client,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fails(cube: Any, sensors: Any, y: slice, x: slice, *how: Any) -> Any:
        if (y.start, x.start) == (16, 32):
            raise OSError("the disk is on fire")
        return read_series(cube, sensors, y, x, *how)

    request: dict[str, Any] = {"dates": DATES, "precision": "float32", "client": workers}
    with monkeypatch.context() as patch:
        patch.setattr("terralatent.pipeline.mapping.job.read_series", fails)
        first = embed(cubes[16], model, tmp_path / "out", **request)
    (lost,) = first.losses
    assert str(lost).startswith("block (1, 2): OSError: the disk is on fire (x ")
    assert np.isnan(open_latents(tmp_path / "out")["mean"].values[..., 16:32, 32:48]).all()

    second = embed(cubes[16], model, tmp_path / "out", **request)

    assert (first.computed, second.computed) == (first.blocks - 1, 1)
    assert second.losses == ()
    same(open_latents(tmp_path / "out"), open_latents(latents), 0.0, 0.0)


def test_latents_of_a_cube_that_is_not_whole_are_marked(
    cubes: dict[int, Path], model: Path, workers: Client, tmp_path: Path
) -> None:
    cube = tmp_path / "cube"
    shutil.copytree(cubes[16], cube)
    session = Store.of(cube).repository().writable_session("main")
    zarr.open_group(session.store)["sentinel-2-l2a/state"][0, 0, 1] = 2
    session.commit("a scene failed")

    report = embed(cube, model, tmp_path / "out", dates=DATES, client=workers)

    assert report.computed == report.blocks
    assert report.losses == ("the cube is not whole in 1 blocks: (0, 1)",)
    state = np.asarray(Store.of(tmp_path / "out").group()["state"])
    assert state[0, 1] == 2
    assert np.delete(state.ravel(), 1).tolist() == [1] * (state.size - 1)


def test_latents_that_are_not_finite_are_never_stored(
    cubes: dict[int, Path],
    model: Path,
    workers: Client,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def infer(self: GPVAE, observations: Any, days: torch.Tensor) -> tuple[Any, Any]:
        shape = (len(next(iter(observations.values()))), len(days), self.config.latents)
        return torch.full(shape, torch.nan), torch.ones(shape)

    monkeypatch.setattr(GPVAE, "infer", infer)
    report = embed(cubes[64], model, tmp_path / "out", dates=DATES, client=workers)
    assert "not finite" in str(report.losses[0])
    assert np.isnan(open_latents(tmp_path / "out")["mean"].values).all()


def test_values_beyond_the_packing_are_clipped_and_counted() -> None:
    values = np.linspace(-9.0, 9.0, 1801, dtype=np.float32)

    stored, outside = pack(torch.from_numpy(values)[:, None, None], MEAN_STEP, MEAN_END, True)

    packed = stored[0, 0]
    wanted = np.clip(values, -MEAN_END * MEAN_STEP, MEAN_END * MEAN_STEP)
    np.testing.assert_allclose(packed * MEAN_STEP, wanted, rtol=0, atol=0.51 * MEAN_STEP)
    assert outside == np.count_nonzero(np.abs(values) > (MEAN_END + 0.5) * MEAN_STEP) > 0
    assert packed.min() > MEAN_FILL


SMALL = MemoryPlan(rows=24, dates=TIME_CHUNK, observations=300)
"""Strips that end anywhere, dates in groups, and batches of a few pixels."""


@pytest.mark.parametrize("precision", ["packed", pytest.param("float32", marks=pytest.mark.soak)])
def test_latents_are_the_same_whatever_is_planned_for_the_memory(
    cubes: dict[int, Path],
    model: Path,
    workers: Client,
    tmp_path: Path,
    precision: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    dates = ",".join(f"2018-05-{day:02d}" for day in range(1, 20))
    how = {"dates": dates, "precision": precision, "client": workers}
    whole = embed(cubes[64], model, tmp_path / "whole", **how)
    monkeypatch.setattr(
        sys.modules["terralatent.pipeline.mapping.latents.product"],
        "plan_memory",
        lambda *given, **more: SMALL,
    )

    cut = embed(cubes[64], model, tmp_path / "cut", **how)

    expected, latents = open_latents(tmp_path / "whole"), open_latents(tmp_path / "cut")
    steps = (1.01 * MEAN_STEP, 1.01 * STD_STEP) if precision == "packed" else (1e-5, 1e-5)
    same(latents, expected, *steps)
    assert (cut.pixels, cut.clipped, cut.outliers) == (whole.pixels, whole.clipped, whole.outliers)


def test_too_little_memory_is_refused_before_anything_is_laid_out(
    cubes: dict[int, Path], model: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=r"a worker of one thread at least 0\.8GB"):
        embed(cubes[64], model, tmp_path / "out", dates=DATES, memory="500MB")
    assert not Store.of(tmp_path / "out").exists()


@pytest.mark.parametrize(("share", "warned"), [(0.5e-4, False), (2e-4, True)])
def test_a_warning_is_for_many_clipped_values(
    cubes: dict[int, Path],
    model: Path,
    latents: Path,
    workers: Client,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    share: float,
    warned: bool,
) -> None:
    count = round(share * 2 * open_latents(latents)["mean"].size)
    module = sys.modules["terralatent.pipeline.mapping.embed"]
    done = module.fill

    def clipping(*arguments: Any, **options: Any) -> Any:
        return replace(done(*arguments, **options), clipped=count)

    monkeypatch.setattr(module, "fill", clipping)
    embed(cubes[16], model, latents, dates=DATES, precision="float32", client=workers)
    assert ("were clipped" in caplog.text) is warned


def loads() -> int:
    return loaded_once.cache_info().misses


def test_a_process_loads_the_model_once_and_gives_the_same_bytes(
    cubes: dict[int, Path], model: Path, latents: Path, launcher: Launcher, tmp_path: Path
) -> None:
    with cluster_in(launcher, tmp_path / "cluster") as other, Client(other.address) as process:
        embed(cubes[16], model, tmp_path / "out", dates=DATES, precision="float32", client=process)
        assert list(process.run(loads).values()) == [1]
    same(open_latents(tmp_path / "out"), open_latents(latents), 0.0, 0.0)
