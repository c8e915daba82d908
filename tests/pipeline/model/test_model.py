"""A model as an object: its methods are the verbs, on cubes, tables and arrays."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr

from terralatent.catalogs.errors import InputError
from terralatent.models.checkpoint import CheckpointError
from terralatent.models.checkpoint import load_model as load_latent_model
from terralatent.models.shipped import shipped_names
from terralatent.pipeline import decode, embed, open_cube
from terralatent.pipeline.model.model import Model, load_model, pretrained
from tests.made.models import made_up_model
from tests.made.tiny import tiny_cube

SENSOR, OTHER = "sentinel-2-l2a", "sentinel-1-asc"
DATES = ["2017-09-10", "2018-01-15"]


@pytest.fixture(scope="module")
def cube(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_cube(tmp_path_factory.mktemp("cube") / "cube", side=8, block=8)


@pytest.fixture(scope="module")
def folder(cube: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_up_model(cube, tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def model(folder: Path) -> Model:
    return load_model(folder)


def test_its_methods_are_the_verbs(cube: Path, folder: Path, model: Model) -> None:
    xr.testing.assert_equal(
        model.embed(cube, dates=DATES).compute(), embed(cube, folder, dates=DATES).compute()
    )
    xr.testing.assert_equal(
        model.decode(cube, SENSOR, dates=DATES).compute(),
        decode(cube, folder, SENSOR, DATES).compute(),
    )


def test_bands_of_latents_are_those_of_their_cube(cube: Path, model: Model) -> None:
    wanted = model.decode(cube, SENSOR, dates=DATES).compute()
    latents = model.embed(cube, dates=DATES)
    for given in (latents, latents.compute(), latents.chunk({"time": 1, "y": 3})):
        found = model.decode(given, SENSOR)
        assert all(found[name].chunks for name in ("mean", "q95"))
        xr.testing.assert_allclose(found.compute(), wanted, rtol=0, atol=1e-5)
    part = latents.isel(time=[1], y=slice(2, 5), x=slice(1, 4))
    xr.testing.assert_allclose(
        model.decode(part, SENSOR).compute(),
        wanted.isel(time=[1], y=slice(2, 5), x=slice(1, 4)),
        rtol=0, atol=1e-5,
    )  # fmt: skip


def test_latents_of_another_model_are_refused(cube: Path, model: Model, tmp_path: Path) -> None:
    other = load_model(made_up_model(cube, tmp_path / "other", seed=1))
    latents = model.embed(cube, dates=DATES)
    with pytest.raises(InputError, match="of another model"):
        other.decode(latents, SENSOR)
    with pytest.raises(InputError, match="decoding takes all 4"):
        model.decode(latents.isel(latent=[0, 1]), SENSOR)
    with pytest.raises(InputError, match="not one of the model's"):
        model.decode(latents, "sentinel-9")
    with pytest.raises(InputError, match=r"latents.sel\(time="):
        model.decode(latents, SENSOR, dates=DATES)


def test_datasets_tables_and_arrays_have_the_same_latents(cube: Path, model: Model) -> None:
    """Of one sensor without a mask, so that a table says of a pixel all that a cube does."""
    own = open_cube(cube)[OTHER].to_dataset().load().isel(x=slice(0, 3), y=slice(0, 2))
    wanted = model.embed({OTHER: own}, dates=DATES).compute()
    values = own["data"].transpose("y", "x", "time", "band").values
    times, bands = own["time"].values, [str(band) for band in own["band"].values]
    flat = values.reshape(6, len(times), len(bands))

    mean, std = model.embed_arrays({OTHER: (times, flat)}, DATES)
    for found, name in ((mean, "mean"), (std, "std")):
        expected = wanted[name].transpose("y", "x", "time", "latent").values.reshape(6, 2, -1)
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
    tensors = model.embed_arrays({OTHER: (times, torch.from_numpy(flat))}, DATES)
    torch.testing.assert_close(tensors[0], torch.from_numpy(mean))

    frame = pd.DataFrame(flat.reshape(-1, len(bands)), columns=bands)
    frame["id"], frame["date"] = np.repeat(np.arange(6), len(times)), np.tile(times, 6)
    table = model.embed_table(
        frame.sample(frac=1.0, random_state=0), pixel="id", time="date", sensor=OTHER, dates=DATES
    )
    table = table.sort_values(["pixel", "time"])
    assert list(table["pixel"]) == [pixel for pixel in range(6) for _ in DATES]
    means = table[[f"mean_{latent}" for latent in range(model.latents)]].to_numpy()
    np.testing.assert_allclose(means.reshape(mean.shape), mean, rtol=0, atol=1e-5)


def test_arrays_that_do_not_fit_are_refused(model: Model) -> None:
    times = ["2018-01-01", "2018-01-12"]
    values = np.full((3, 2, 2), -12.0)
    with pytest.raises(InputError, match=r"wanted are \(pixels, 2, 2\)"):
        model.embed_arrays({OTHER: (times, values[..., :1])}, DATES)
    with pytest.raises(InputError, match="knows no 'sentinel-9'"):
        model.embed_arrays({"sentinel-9": (times, values)}, DATES)
    optical = np.full((2, 2, 3), 0.2)
    with pytest.raises(InputError, match="one number of pixels"):
        model.embed_arrays({OTHER: (times, values), SENSOR: (times, optical)}, DATES)
    with pytest.raises(InputError, match="power, which is linear"):
        model.embed_arrays({OTHER: (times, values + 13.0)}, DATES)
    with pytest.raises(InputError, match="no times"):
        model.embed_arrays({OTHER: (["some", "day"], values)}, DATES)


def test_one_in_memory_is_kept_as_long_as_the_process(cube: Path, model: Model) -> None:
    network = load_latent_model(model.folder)
    kept = load_model(network)
    assert kept == load_model(network)
    wanted = model.embed(cube, dates=DATES).compute()
    xr.testing.assert_equal(kept.embed(cube, dates=DATES).compute(), wanted)
    xr.testing.assert_equal(embed(cube, network, dates=DATES).compute(), wanted)


def test_it_travels_and_shows_what_it_is(model: Model) -> None:
    assert pickle.loads(pickle.dumps(model)) == model
    assert Path(model) == model.folder
    for text in (repr(model), model._repr_html_()):
        for word in (SENSOR, "4 latents", "markov"):
            assert word in text
    assert repr(model).count("\n") < 12


def test_those_that_come_with_the_package_are_known_by_name() -> None:
    (name, *_) = shipped_names()
    assert pretrained(name).reference == name
    assert name in repr(pretrained())
    with pytest.raises(CheckpointError, match="no-such"):
        load_model("no-such-model")
