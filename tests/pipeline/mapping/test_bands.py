"""A band that a cube lacks is one that is masked; one that a model does not know is not read."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from distributed import Client

from terralatent.models.checkpoint import CheckpointError, load_model, save_model
from terralatent.models.gpvae import GPVAE
from terralatent.pipeline import embed, open_latents
from terralatent.pipeline.cube.series import read_series
from terralatent.pipeline.dates import days_since_1970
from terralatent.pipeline.fields.sample import FieldPixels
from terralatent.pipeline.fields.shared_errors import estimate_shared_errors
from terralatent.pipeline.mapping.decode import decode
from terralatent.pipeline.mapping.job import MappingJob, plan_job
from terralatent.pipeline.mapping.opened import open_bands
from terralatent.pipeline.store.repository import Store
from tests.made.models import made_up_model
from tests.made.tiny import SENSORS, tiny_cube

S1, S2 = "sentinel-1-asc", "sentinel-2-l2a"
DATES = "2017-09-01,2018-01-10,2018-05-01"
SIDE = 12
CUBES = {
    "whole": slice(None),
    "reversed": slice(None, None, -1),
    "first": slice(0, 2),
    "last": slice(2, 3),
}
"""The bands that some cubes of the same pixels keep: of B02, B03, B04, and of vv, vh."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bands")


@pytest.fixture(scope="module")
def cubes(folder: Path) -> dict[str, Path]:
    return {
        name: tiny_cube(
            folder / name,
            side=SIDE,
            block=6,
            bands=bands,
            sensors=[S2] if name == "last" else [S1, S2],
        )
        for name, bands in CUBES.items()
    }


@pytest.fixture(scope="module")
def models(cubes: dict[str, Path], folder: Path) -> dict[str, Path]:
    """Of the bands of each cube."""
    return {name: made_up_model(cube, folder / f"model-{name}") for name, cube in cubes.items()}


@pytest.fixture(scope="module")
def latents(
    cubes: dict[str, Path], models: dict[str, Path], folder: Path, workers: Client
) -> dict[tuple[str, str], Path]:
    """Of each cube by a model."""
    pairs = [
        *((cube, "whole") for cube in ("whole", "reversed", "first", "last")),
        *((cube, "first") for cube in ("whole", "first")),
    ]
    stores = {}
    for cube, model in pairs:
        out = stores[cube, model] = folder / f"{cube}-by-{model}"
        embed(cubes[cube], models[model], out, dates=DATES, precision="float32", client=workers)
    return stores


def arrays(store: Path) -> dict[str, np.ndarray]:
    opened = open_latents(store).compute()
    return {name: opened[name].values for name in ("mean", "std")}


def assert_equal(one: Path, other: Path) -> None:
    for name, values in arrays(one).items():
        np.testing.assert_array_equal(values, arrays(other)[name], err_msg=name)
        assert np.isfinite(values).any()


def test_the_order_of_bands_means_nothing(latents: dict[tuple[str, str], Path]) -> None:
    assert_equal(latents["whole", "whole"], latents["reversed", "whole"])


def test_a_band_unknown_to_the_model_changes_nothing(
    latents: dict[tuple[str, str], Path],
) -> None:
    assert_equal(latents["first", "first"], latents["whole", "first"])


@pytest.mark.parametrize(("cube", "bands"), [("first", [0, 1]), ("last", [2])])
def test_a_cube_without_a_band_is_the_whole_one_with_that_band_masked(
    cubes: dict[str, Path],
    models: dict[str, Path],
    latents: dict[tuple[str, str], Path],
    cube: str,
    bands: list[int],
) -> None:
    names = [S2] if cube == "last" else [S1, S2]
    whole = read_series(Store.of(cubes["whole"]).group(), names, slice(0, SIDE), slice(0, SIDE))
    series = whole.series()
    masked = torch.ones(3, dtype=torch.bool)
    masked[bands] = False
    optical = series[S2]
    series[S2] = replace(optical, valid=optical.valid & ~masked)
    dates = np.array(DATES.split(","), "datetime64[us]")
    mean, var = load_model(models["whole"]).infer(series, torch.from_numpy(days_since_1970(dates)))
    found = arrays(latents[cube, "whole"])
    there = whole.seen

    for values, wanted in ((found["mean"], mean), (found["std"], var.sqrt())):
        values = values.reshape(*values.shape[:2], -1).transpose(2, 0, 1)[there]
        np.testing.assert_allclose(values, wanted.numpy()[there], rtol=1e-4, atol=1e-5)
    assert not np.allclose(found["mean"], arrays(latents["whole", "whole"])["mean"], atol=1e-2)


def test_observations_count_dates_with_any_shared_band(
    latents: dict[tuple[str, str], Path],
) -> None:
    whole, first = (open_latents(latents[cube, "whole"]) for cube in ("whole", "first"))
    np.testing.assert_array_equal(whole["observations"], first["observations"])
    assert list(open_latents(latents["last", "whole"])["sensor"].values) == [S2]


def test_results_note_their_bands_and_equal_bands_leave_the_identity_as_it_was(
    latents: dict[tuple[str, str], Path],
) -> None:
    stores = {pair: Store.of(store) for pair, store in latents.items()}
    for pair in (("whole", "whole"), ("reversed", "whole"), ("whole", "first")):
        assert "bands" not in stores[pair].about()["identity"]
    lacking = stores["first", "whole"]
    wanted = {S1: ["vv", "vh"], S2: ["B02", "B03"]}
    assert lacking.about()["identity"]["bands"] == wanted == lacking.group().attrs["bands"]
    assert stores["whole", "whole"].group().attrs["bands"][S2] == ["B02", "B03", "B04"]


def test_equal_bands_are_read_as_they_are_stored(cubes: dict[str, Path]) -> None:
    root = Store.of(cubes["whole"]).group()
    bands = {name: [str(band) for band in root[f"{name}/band"][...]] for name in (S1, S2)}
    window = slice(0, SIDE), slice(0, SIDE)
    plain, laid = (
        read_series(root, [S1, S2], *window),
        read_series(root, [S1, S2], *window, bands=bands),
    )
    for name, series in laid.by_sensor.items():
        assert series.places is None
        own = series.observations(slice(3, 9))
        for field, values in vars(plain.by_sensor[name].observations(slice(3, 9))).items():
            torch.testing.assert_close(getattr(own, field), values, rtol=0, atol=0, equal_nan=True)


def test_what_a_cube_lacks_is_not_kept_for_a_whole_block(cubes: dict[str, Path]) -> None:
    root, window = Store.of(cubes["last"]).group(), (slice(0, SIDE), slice(0, SIDE))
    series = read_series(root, [S2], *window, bands={S2: ["B01", "B04", "B05"]}).by_sensor[S2]
    assert series.packed.shape == (SIDE * SIDE, SENSORS[S2][1], 1)
    seen = series.observations(slice(0, 4))
    assert seen.valid.any(0).any(0).tolist() == [False, True, False]
    assert not seen.values[..., [0, 2]].any()


def test_all_bands_of_the_model_are_decoded(
    cubes: dict[str, Path], models: dict[str, Path], tmp_path: Path, workers: Client
) -> None:
    decode(cubes["last"], models["whole"], S2, DATES, tmp_path / "bands", client=workers)
    bands = open_bands(tmp_path / "bands").compute()
    assert list(bands["band"].values) == ["B02", "B03", "B04"]
    assert np.isfinite(bands["mean"].isel(x=slice(0, -1))).all()


def test_pixels_of_a_field_share_nothing_in_bands_that_a_cube_lacks(
    cubes: dict[str, Path], models: dict[str, Path]
) -> None:
    job = plan_job(cubes["first"], models["whole"], DATES)
    pixels = FieldPixels(np.full(3, 1), np.arange(1, 4), np.zeros(3, np.int64))
    errors = estimate_shared_errors(job, pixels)
    covariance = errors.covariances[S2]
    assert (np.diag(covariance)[:2] > 0).all()
    assert not covariance[2].any()
    assert not covariance[:, 2].any()


def test_errors_over_scenes_are_zero_in_bands_that_a_cube_lacks(
    cubes: dict[str, Path], models: dict[str, Path], tmp_path: Path
) -> None:
    config = load_model(models["whole"]).config.model_copy(update={"scene_errors": True})
    save_model(GPVAE(config, seed=1), tmp_path / "model", {})
    offsets = plan_job(cubes["first"], tmp_path / "model", DATES).scene_errors().offsets[S2]
    assert offsets.shape[:2] == (SENSORS[S2][1], 3)
    assert np.abs(offsets[:, :2]).max() > 0
    assert not offsets[:, 2].any()


def test_what_is_in_one_of_them_alone_is_said(
    cubes: dict[str, Path], models: dict[str, Path], caplog: pytest.LogCaptureFixture
) -> None:
    def said(cube: str, model: str) -> tuple[MappingJob, str]:
        caplog.clear()
        with caplog.at_level("INFO", logger="terralatent"):
            return plan_job(cubes[cube], models[model], DATES), caplog.text

    job, text = said("first", "whole")
    assert f"{S2}: the cube has no B04 (as if masked)" in text
    assert [(own.sensor, own.shared) for own in job.bands] == [
        (S1, ("vv", "vh")),
        (S2, ("B02", "B03")),
    ]
    assert f"{S2}: the model does not know B04 of the cube (not read)" in said("whole", "first")[1]
    assert said("whole", "whole")[1] == ""


def test_nothing_shared_is_an_error_that_names_both(
    cubes: dict[str, Path], models: dict[str, Path]
) -> None:
    words = r"reads the bands \['B02', 'B03'\], the cube has \['B04'\]: none is shared"
    with pytest.raises(CheckpointError, match=words):
        plan_job(cubes["last"], models["first"], DATES)
