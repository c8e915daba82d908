"""Laws of errors that an acquisition shares over a scene: estimated from many pixels, corrected in
all."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
import zarr
from distributed import Client
from numpy.typing import NDArray
from scipy.interpolate import RegularGridInterpolator
from scipy.optimize import brentq
from torch import Tensor

from terralatent.catalogs.errors import InputError
from terralatent.models.checkpoint import load_model, save_model
from terralatent.models.config import ModelConfig, SensorConfig
from terralatent.models.families import make_model
from terralatent.models.gpvae import GPVAE
from terralatent.models.observations import Observations
from terralatent.models.scene_errors import FAR, FEWEST_PIXELS, scene_offsets, shrunk
from terralatent.pipeline import decode, embed, open_latents
from terralatent.pipeline.cube.losses import PENDING
from terralatent.pipeline.export.formats import export
from terralatent.pipeline.mapping import job as job_module
from terralatent.pipeline.mapping.job import plan_job
from terralatent.pipeline.mapping.scene_errors import estimate_scene_errors, kept_scene_errors
from terralatent.pipeline.region import Block
from terralatent.pipeline.store.repository import BRANCH, Store
from terralatent.pipeline.training.choices import choose
from tests.made.models import made_up_model
from tests.made.tiny import tiny_cube

SENSOR = "optical"
PIXELS, DATES, BANDS = 64, 30, 3
NOISE, OFFSET = 0.15, 0.4
SPREAD = torch.tensor([1.0, 2.0, 0.5])


def made() -> GPVAE:
    """A sensor whose three bands are read off three latents, with the series' own noise."""
    sensor = SensorConfig(
        name=SENSOR, bands=("a", "b", "c"), units="1", centre=(0.0,) * 3, spread=tuple(SPREAD)
    )
    model = GPVAE(
        ModelConfig(sensors=(sensor,), latents=BANDS, hidden=8, kernel="constant+matern32")
    )
    its, eye = model.sensor(SENSOR), torch.eye(BANDS)
    its.encoder.set_linear(eye, torch.full((BANDS,), -1.0), eye)
    its.decoder.set_linear(
        torch.zeros(BANDS), eye, torch.full((BANDS,), -3.0), torch.zeros(BANDS, 2)
    )
    return model.eval()


def smooth(days: Tensor) -> Tensor:
    """What the pixels are, normalised, (N, T, B)."""
    phase = torch.linspace(0.0, 6.0, PIXELS)[:, None] + days.float()[None] / 60.0
    return torch.stack([phase.sin(), phase.cos(), (0.5 * phase).sin()], dim=-1)


def series(offsets: Tensor, seed: int = 0) -> Observations:
    """Smooth series with pixels' own noise, and what acquisitions are off by (T, B), normalised."""
    generator = torch.Generator().manual_seed(seed)
    days = 17_000.0 + 6.0 * torch.arange(DATES, dtype=torch.float64)
    noise = NOISE * torch.randn(PIXELS, DATES, BANDS, generator=generator)
    masked = torch.rand(PIXELS, DATES, generator=generator) < 0.2
    return Observations(
        days=days,
        values=torch.where(masked[..., None], torch.nan, SPREAD * (smooth(days) + noise + offsets)),
        valid=~masked[..., None].expand(-1, -1, BANDS),
        distance=torch.full((PIXELS, DATES), 16.0),
        incidence=torch.full((DATES,), torch.nan),
    )


def drawn_offsets() -> Tensor:
    return OFFSET * torch.randn(DATES, BANDS, generator=torch.Generator().manual_seed(1))


def without(seen: Observations) -> Observations:
    return replace(seen, values=seen.values - scene_offsets(made(), {SENSOR: seen})[SENSOR])


# What is estimated from the pixels of one place.


def test_most_of_what_acquisitions_are_off_by_is_estimated() -> None:
    offsets = drawn_offsets()
    estimated = scene_offsets(made(), {SENSOR: series(offsets)})[SENSOR] / SPREAD
    assert (estimated - offsets).square().mean() < 0.35 * offsets.square().mean()
    for band in range(BANDS):
        assert torch.corrcoef(torch.stack([estimated[:, band], offsets[:, band]]))[0, 1] > 0.85


def test_hardly_anything_is_taken_off_where_acquisitions_are_right() -> None:
    estimated = scene_offsets(made(), {SENSOR: series(torch.zeros(DATES, BANDS))})[SENSOR] / SPREAD
    assert estimated.abs().max() < 0.1 * OFFSET


def surface(seen: Observations, days: Tensor) -> Tensor:
    model = made()
    return model.decode(SENSOR, *model.infer({SENSOR: seen}, days), days).mean / SPREAD


def test_the_surface_between_comes_nearer_to_the_truth() -> None:
    seen = series(drawn_offsets())
    days = seen.days + 3.0
    wanted = smooth(days)
    before, after = (
        (surface(observations, days) - wanted).square().mean()
        for observations in (seen, without(seen))
    )
    assert after < 0.8 * before


def test_one_acquisition_that_is_off_moves_the_surface_around_it_less() -> None:
    at, more = 13, drawn_offsets()
    more[at] += OFFSET
    few, many = series(drawn_offsets()), series(more)
    days = few.days[at] + torch.tensor([-6.0, -3.0, 0.0, 3.0, 6.0], dtype=torch.float64)

    def shift(few: Observations, many: Observations) -> Tensor:
        return (surface(few, days) - surface(many, days)).square().mean((0, 2)).sqrt()

    assert (shift(without(few), without(many)) < 0.85 * shift(few, many)).all()


def test_a_cloud_that_was_missed_is_left_to_the_refinement() -> None:
    offsets = drawn_offsets()
    offsets[11] += 10.0
    estimated = scene_offsets(made(), {SENSOR: series(offsets)})[SENSOR]
    assert (estimated[11] == 0).all()
    assert (estimated[:9].abs() > 0).all()


def test_a_masked_date_changes_nothing() -> None:
    whole, at = series(drawn_offsets()), torch.tensor([3, 17])
    hidden = torch.zeros(DATES, dtype=torch.bool)
    hidden[at] = True
    masked = whole.hide(hidden)
    masked.values[:, at] = torch.nan

    estimated = scene_offsets(made(), {SENSOR: masked})[SENSOR]

    assert (estimated[at] == 0).all()
    alone = scene_offsets(made(), {SENSOR: whole.at(~hidden)})[SENSOR]
    torch.testing.assert_close(estimated[~hidden], alone, atol=1e-5, rtol=1e-5)


def test_acquisitions_with_few_clear_pixels_are_left_alone() -> None:
    whole, at = series(drawn_offsets()), 7
    few = torch.zeros(PIXELS, DATES, dtype=torch.bool)
    few[:, at] = whole.observed[:, at].cumsum(0) >= FEWEST_PIXELS
    estimated = scene_offsets(made(), {SENSOR: whole.hide(few)})[SENSOR]
    assert (estimated[at] == 0).all()
    assert (estimated[torch.arange(DATES) != at] != 0).all()

    short = whole.at(slice(0, 7))
    assert (scene_offsets(made(), {SENSOR: short})[SENSOR] == 0).all()


def test_offsets_are_shrunk_as_the_formula_says() -> None:
    noise = np.random.default_rng(3)
    shape = (20, 12, 2)
    residual = noise.normal(size=(1, *shape[1:])) + 0.3 * noise.normal(size=shape)
    residual[:, 4] += 9.0
    surface = noise.uniform(0.01, 0.1, shape)
    weight = noise.uniform(0.2, 1.5, shape) * (noise.uniform(size=shape) < 0.95)

    estimated = shrunk(*map(torch.from_numpy, (residual, surface, weight))).numpy()

    for band in range(2):
        means, errors = [], []
        for date in range(shape[1]):
            r, v, w = (values[:, date, band] for values in (residual, surface, weight))
            means.append(np.average(r, weights=w))
            error = r - means[-1]
            errors.append(np.sum(w**2 * error**2) / w.sum() ** 2 + np.average(v, weights=w))
        m, u = np.array(means), np.array(errors)
        c = brentq(
            lambda c, m=m, u=u: np.minimum(m**2 / (c + u), FAR**2).sum() - len(m), 0.0, 100.0
        )
        # Whole up to k standard deviations, from there down to nothing at 2k.
        trust = np.interp(np.abs(m) / np.sqrt(c + u), [0, FAR, 2 * FAR], [FAR, FAR, 0]) / FAR
        far = np.maximum(np.abs(m) / np.sqrt(c + u) / FAR, 1)
        np.testing.assert_allclose(estimated[:, band], c / (c + u) * trust / far * m, rtol=1e-6)
        assert trust[4] < trust[0] == 1


# A cube and a model.

SIDE, CELL, DAYS = 48, 16, "2017-09-01,2017-12-15"


@pytest.fixture(scope="module", autouse=True)
def small_cells() -> Iterator[None]:
    """Cells of 16 pixels, nine of them on the made-up cube."""
    with pytest.MonkeyPatch.context() as patch:
        small = partial(estimate_scene_errors, cell=CELL)
        patch.setattr(job_module, "estimate_scene_errors", small)
        yield


def hazy_cube(path: Path, block: int) -> Path:
    """The made-up cube with errors that every optical acquisition shares, larger to the east."""
    tiny_cube(path, side=SIDE, block=block)
    session = Store.of(path).repository().writable_session(BRANCH)
    data = zarr.open_group(session.store, mode="r+")["sentinel-2-l2a/data"]
    packed = np.asarray(data[...])
    haze = np.random.default_rng(5).normal(0.0, 400.0, packed.shape[:2])[..., None, None]
    hazy = packed + haze * np.linspace(0.5, 1.5, SIDE)
    data[...] = np.where(packed == data.attrs["_FillValue"], packed, hazy.clip(1)).astype(
        packed.dtype
    )
    session.commit("haze")
    return path


@pytest.fixture(scope="module")
def cubes(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """The same hazy pixels in blocks of 16 and of 48."""
    folder = tmp_path_factory.mktemp("hazy")
    return {block: hazy_cube(folder / str(block), block) for block in (16, SIDE)}


@pytest.fixture(scope="module")
def models(cubes: dict[int, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[bool, Path]:
    """The same model without and with the option; the sensors' noise is small."""
    folder = tmp_path_factory.mktemp("models")
    model = load_model(made_up_model(cubes[16], folder / "made"))
    for option in (False, True):
        model.config = model.config.model_copy(update={"scene_errors": option})
        save_model(model, folder / str(option), {})
    return {option: folder / str(option) for option in (False, True)}


@pytest.fixture(scope="module")
def latents(
    cubes: dict[int, Path],
    models: dict[bool, Path],
    workers: Client,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """Latents of the cube in blocks of 16, errors taken off; not to be changed."""
    out = tmp_path_factory.mktemp("latents") / "latents"
    embed(cubes[16], models[True], out, dates=DAYS, precision="float32", client=workers)
    return out


def of_store(store: Path) -> NDArray[np.float32]:
    return np.stack([open_latents(store)[name].values for name in ("mean", "std")])


def test_two_tilings_give_the_same_latents(
    cubes: dict[int, Path], models: dict[bool, Path], latents: Path, workers: Client, tmp_path: Path
) -> None:
    out = tmp_path / "48"
    embed(cubes[SIDE], models[True], out, dates=DAYS, precision="float32", client=workers)
    np.testing.assert_allclose(of_store(out), of_store(latents), rtol=0, atol=1e-5)
    errors, expected = (kept_scene_errors(Store.of(store).group()) for store in (out, latents))
    assert errors is not None
    assert expected is not None
    for name, offsets in errors.offsets.items():
        np.testing.assert_array_equal(offsets[...], expected.offsets[name][...])


def test_a_pixel_is_inferred_from_its_series_less_what_its_acquisitions_are_off_by(
    cubes: dict[int, Path], models: dict[bool, Path], latents: Path
) -> None:
    job = plan_job(cubes[16], models[True], DAYS)
    kept = kept_scene_errors(Store.of(latents).group())
    assert kept is not None
    y, x = 29, 11
    window = Block((0, 0), slice(y, y + 1), slice(x, x + 1))
    plain = plan_job(cubes[16], models[False], DAYS).read(window).series()
    place_in_nodes = [
        np.clip(place, nodes[0], nodes[-1]) for place, nodes in zip((y, x), kept.nodes, strict=True)
    ]
    for name, values in kept.offsets.items():
        offset = RegularGridInterpolator(kept.nodes, np.moveaxis(values[...], (2, 3), (0, 1)))(
            place_in_nodes
        )
        clean = plain[name].values - torch.from_numpy(offset).float()
        plain[name] = replace(plain[name], values=clean)
    days = torch.from_numpy(
        open_latents(latents).time.values.astype("datetime64[us]").astype(float)
    )

    mean, _ = job.load().infer(plain, days / 86_400e6)

    pixel = open_latents(latents)["mean"].isel(y=y, x=x).values
    np.testing.assert_allclose(pixel, mean[0].numpy(), rtol=0, atol=1e-4)
    assert np.abs(kept.offsets["sentinel-2-l2a"][...]).max() > 0.01


def test_a_run_goes_on_with_the_errors_that_the_store_holds(
    cubes: dict[int, Path],
    models: dict[bool, Path],
    workers: Client,
    latents: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out = tmp_path / "latents"
    embed(cubes[16], models[True], out, dates=DAYS, precision="float32", client=workers)
    session = Store.of(out).repository().writable_session(BRANCH)
    group = zarr.open_group(session.store, mode="r+")
    group["mean"][:, :, 16:32] = np.nan
    group["state"][1] = PENDING
    session.commit("interrupted")

    def estimate(*_: object) -> None:
        raise AssertionError("estimated again")

    monkeypatch.setattr(job_module, "estimate_scene_errors", estimate)
    job_module._scene_errors.cache_clear()
    report = embed(cubes[16], models[True], out, dates=DAYS, precision="float32", client=workers)

    assert (report.computed, report.losses) == (3, ())
    np.testing.assert_array_equal(of_store(out), of_store(latents))


def test_without_the_option_nothing_is_estimated_kept_or_changed(
    cubes: dict[int, Path],
    models: dict[bool, Path],
    workers: Client,
    latents: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(job_module, "estimate_scene_errors", None)
    out = tmp_path / "latents"
    embed(cubes[16], models[False], out, dates=DAYS, precision="float32", client=workers)
    assert kept_scene_errors(Store.of(out).group()) is None
    assert not np.allclose(of_store(out), of_store(latents), atol=0.01, equal_nan=True)
    read = plan_job(cubes[16], models[False], DAYS).read(Block((0, 0), slice(0, 4), slice(0, 4)))
    assert all(sensor.errors is None for sensor in read.by_sensor.values())


def test_bands_take_the_same_errors_off_and_their_export_has_them(
    cubes: dict[int, Path], models: dict[bool, Path], workers: Client, latents: Path, tmp_path: Path
) -> None:
    out, name = tmp_path / "bands", "sentinel-2-l2a"
    decode(cubes[SIDE], models[True], name, DAYS, out, client=workers)
    exported = xr.open_zarr(export(out, tmp_path / "bands.zarr"), group="scene_errors")

    kept = kept_scene_errors(Store.of(latents).group())
    assert kept is not None
    np.testing.assert_array_equal(exported[name].values, kept.offsets[name][...])
    assert exported[name].dims == (f"{name}_time", f"{name}_band", "cell_y", "cell_x")
    assert exported[name].shape == (24, 3, 3, 3)
    assert exported[name].attrs["units"] == "1"


def test_other_families_refuse_the_option(
    cubes: dict[int, Path], models: dict[bool, Path], tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="scene_errors: a vae model has no such choice"):
        choose({"model": "vae", "scene_errors": True})
    assert choose({"scene_errors": True})["scene_errors"] is True
    config = load_model(models[True]).config
    other = make_model(config.model_copy(update={"model": "vae"}))
    with pytest.raises(InputError, match="not by a vae model"):
        estimate_scene_errors(Store.of(cubes[16]).group(), ["sentinel-2-l2a"], other)
    save_model(other, tmp_path / "vae", {})
    with pytest.raises(InputError, match="a vae model with scene_errors"):
        plan_job(cubes[16], tmp_path / "vae", DAYS)
