"""Bands at any dates: what the model says of each pixel, in physical units."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from distributed import Client

from terralatent.catalogs.errors import InputError
from terralatent.catalogs.scenes.scenes import Scenes
from terralatent.models.checkpoint import load_model
from terralatent.pipeline import decode
from terralatent.pipeline.cube.series import read_series
from terralatent.pipeline.dates import days_since_1970
from terralatent.pipeline.ingest.build import build_cube
from terralatent.pipeline.mapping.decode import ARRAYS
from terralatent.pipeline.mapping.opened import open_bands
from terralatent.pipeline.store.repository import Store
from tests.made.models import ABSENT, made_up_model, outside_every_scene, wide_region
from tests.netcdf import assert_same_in_netcdf

SENSOR = "sentinel-2-l2a"


@pytest.fixture(scope="module")
def cube(made_up: Scenes, workers: Client, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The made-up scenes in blocks of 16 pixels, with pixels outside every scene."""
    path = tmp_path_factory.mktemp("cube") / "cube"
    build_cube(made_up, wide_region(), path, block=16, client=workers)
    return path


@pytest.fixture(scope="module")
def model(cube: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_up_model(cube, tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def bands(
    cube: Path, model: Path, workers: Client, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Sentinel-2 at its acquisitions; not to be changed."""
    out = tmp_path_factory.mktemp("bands") / "bands"
    decode(cube, model, SENSOR, "acquisitions", out, client=workers)
    return out


def test_bands_are_written_to_netcdf(bands: Path, tmp_path: Path) -> None:
    assert_same_in_netcdf(open_bands(bands).isel(time=slice(2)), tmp_path)


def test_a_pixel_gets_what_the_model_decodes(cube: Path, model: Path, bands: Path) -> None:
    opened, loaded, y, x = open_bands(bands), load_model(model), 17, 5
    sensors = opened.attrs["sensors"]
    series = read_series(Store.of(cube).group(), sensors, slice(y, y + 1), slice(x, x + 1))
    days = torch.from_numpy(days_since_1970(opened.time.values))

    wanted = loaded.decode(SENSOR, *loaded.infer(series.series(), days), days)

    for name in ARRAYS:
        pixel = opened[name].isel(y=y, x=x).values
        np.testing.assert_allclose(pixel, getattr(wanted, name)[0].numpy(), rtol=0, atol=2e-5)


def test_acquisitions_are_those_of_the_sensor(cube: Path, bands: Path) -> None:
    times = np.asarray(Store.of(cube).group()[f"{SENSOR}/time"]).astype("datetime64[us]")
    np.testing.assert_array_equal(open_bands(bands).time.values, times)


def test_bands_are_lazy_in_physical_units_and_know_where_they_are(bands: Path) -> None:
    opened = open_bands(bands)

    assert set(opened.data_vars) == {
        "mean", "std_signal", "std", "q05", "q95", "days_to_observation"
    }  # fmt: skip
    for array in opened.drop_vars("days_to_observation").data_vars.values():
        assert array.dims == ("time", "band", "y", "x")
        assert array.dtype == np.float32
        assert array.chunks is not None
        assert array.attrs["units"] == "1"
    assert opened.rio.crs == opened.odc.crs == "EPSG:32631"
    assert list(opened.band.values[:2]) == ["B02", "B03"]


def test_a_new_observation_has_a_higher_standard_deviation_than_the_surface(bands: Path) -> None:
    inside = ~outside_every_scene(open_bands(bands).odc.geobox)
    values = {name: open_bands(bands)[name].values[..., inside] for name in ARRAYS}

    assert all(np.isfinite(array).all() for array in values.values())
    assert (values["std"] > values["std_signal"]).all()
    assert (values["std_signal"] > 0).all()
    assert (values["q05"] < values["mean"]).all()
    assert (values["mean"] < values["q95"]).all()


def test_pixels_outside_every_scene_are_empty(bands: Path) -> None:
    opened = open_bands(bands)
    outside = outside_every_scene(opened.odc.geobox)
    assert outside.any()
    for name in ARRAYS:
        assert np.isnan(opened[name].values[..., outside]).all()


def test_two_tilings_give_the_same_bands(
    made_up: Scenes, model: Path, bands: Path, workers: Client, tmp_path: Path
) -> None:
    build_cube(made_up, wide_region(), tmp_path / "cube", block=64, client=workers)
    decode(tmp_path / "cube", model, SENSOR, "acquisitions", tmp_path / "bands", client=workers)
    for name in ARRAYS:
        values = [open_bands(store)[name].values for store in (bands, tmp_path / "bands")]
        np.testing.assert_allclose(*values, rtol=0, atol=2e-5)


def test_a_sensor_that_the_cube_lacks_can_be_decoded(
    cube: Path, model: Path, workers: Client, tmp_path: Path
) -> None:
    decode(cube, model, ABSENT.name, "2018-05-10", tmp_path / "bands", client=workers)
    opened = open_bands(tmp_path / "bands")
    assert tuple(opened.band.values) == ABSENT.bands
    assert np.isfinite(opened["mean"].values).any()


def test_the_same_command_again_computes_nothing(cube: Path, model: Path, bands: Path) -> None:
    before = Store.of(bands).snapshot()
    report = decode(cube, model, SENSOR, "acquisitions", bands, client="tcp://nobody:1")
    assert report.computed == 0
    assert Store.of(bands).snapshot() == before


def test_bad_input_is_refused(cube: Path, model: Path, bands: Path, tmp_path: Path) -> None:
    for sensor, dates, out, words in (
        ("sentinel-9", "monthly", tmp_path / "out", "'sentinel-9' is not one of the model's: land"),
        (SENSOR, "someday", tmp_path / "out", "'someday' .* is no date"),
        ("sentinel-1-asc", "acquisitions", bands, 'sensor is "sentinel-2-l2a" there'),
    ):
        with pytest.raises(InputError, match=words):
            decode(cube, model, sensor, dates, out)
    assert not (tmp_path / "out").exists()
