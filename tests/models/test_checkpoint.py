"""A checkpoint explains itself, gives the same bits in a fresh process, and says what is wrong."""

import hashlib
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from terralatent.models import GPVAE, ModelConfig, Observations
from terralatent.models.checkpoint import (
    CheckpointError,
    check_cube,
    load_model,
    model_hash,
    read_manifest,
    save_model,
)
from terralatent.models.config import SensorConfig
from terralatent.models.kernels.descriptions import KINDS
from terralatent.models.posteriors import POSTERIORS
from tests.waiting import WITHIN_S

TRAINING = {"cubes": [{"snapshot": "ABC", "dates": 118}], "period": ["2018-01-01", "2020-12-31"]}

FRESH = """
import sys, torch
from safetensors.torch import load_file, save_file
from terralatent.models import Observations
from terralatent.models.checkpoint import load_model
data, folder, *names = sys.argv[1:]
given = load_file(data)
query = given.pop("query")
for name in names:
    model = load_model(f"{folder}/{name}")
    mean, var = model.infer({"s1": Observations(**given)}, query)
    q95 = model.decode("s1", mean, var, query).q95
    out = {"mean": mean.contiguous(), "var": var.contiguous(), "q95": q95}
    save_file(out, f"{folder}/{name}.safetensors")
"""


def sensor(name: str, bands: tuple[str, ...], units: str) -> SensorConfig:
    return SensorConfig(
        name=name, bands=bands, units=units, centre=(0.1,) * len(bands), spread=(0.3,) * len(bands)
    )


def made(posterior: str = "markov", **choices: Any) -> GPVAE:
    config = ModelConfig(
        posterior=posterior,
        **choices,
        sensors=(sensor("s1", ("vv", "vh"), "dB"), sensor("s2", ("B02", "B03"), "reflectance")),
        latents=3,
        hidden=8,
    )
    model = GPVAE(config, seed=4)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape))
    return model


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_model(made(), tmp_path / "model", TRAINING)
    return tmp_path / "model"


def test_a_fresh_process_gives_the_same_bits(tmp_path: Path) -> None:
    """Of models with each posterior, and of one to which a sensor was added."""
    models = {name: made(name) for name in POSTERIORS} | {"added": made()}
    models["added"].add_sensor(sensor("s3", ("B05",), "reflectance"))
    for name, model in models.items():
        save_model(model, tmp_path / name, TRAINING)
    data = {
        "days": torch.arange(9, dtype=torch.float64) * 13.7 + 18_000.0,
        "values": torch.randn(4, 9, 2),
        "valid": torch.rand(4, 9, 2) < 0.7,
        "distance": torch.full((4, 9), 16.0),
        "incidence": torch.full((9,), 38.0),
    }
    query = torch.tensor([18_010.0, 18_200.0], dtype=torch.float64)
    save_file({**data, "query": query}, tmp_path / "data.safetensors")

    arguments = [str(tmp_path / "data.safetensors"), str(tmp_path), *models]
    subprocess.run([sys.executable, "-c", FRESH, *arguments], check=True, timeout=WITHIN_S)

    for name, model in models.items():
        mean, var = model.infer({"s1": Observations(**data)}, query)
        got = load_file(tmp_path / f"{name}.safetensors")
        assert torch.equal(got["mean"], mean), name
        assert torch.equal(got["var"], var), name
        assert torch.equal(got["q95"], model.decode("s1", mean, var, query).q95), name


def test_the_manifest_explains_the_model(folder: Path) -> None:
    assert sorted(path.name for path in folder.iterdir()) == ["model.json", "weights.safetensors"]
    manifest = read_manifest(folder)
    assert manifest["training"] == TRAINING
    assert [s["bands"] for s in manifest["config"]["sensors"]] == [["vv", "vh"], ["B02", "B03"]]
    assert manifest["config"]["kernel"] == "constant+matern12"
    assert set(manifest["kernel_days"]) == {"constant", "matern12"}
    assert {"created", "code_version", "torch_version"} <= manifest.keys()


def test_the_hash_follows_the_numbers_and_nothing_else(tmp_path: Path) -> None:
    model = made()
    first = save_model(model, tmp_path / "a", TRAINING)
    assert first == model_hash(tmp_path / "a")
    assert first == save_model(load_model(tmp_path / "a"), tmp_path / "b", {"other": "data"})
    with torch.no_grad():
        model.sensor("s1").decoder.bias[0] += 1e-3
    assert first != save_model(model, tmp_path / "a", TRAINING)
    load_model(tmp_path / "a")


@pytest.mark.parametrize("name", ["model.json", "weights.safetensors"])
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(CheckpointError, match=f"{name}: no such file; a model is a folder with"):
        load_model(folder)


def test_changed_weights_are_refused(folder: Path) -> None:
    path = folder / "weights.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(CheckpointError, match=r"sha256 is .* but model.json names"):
        load_model(folder)


def _edit(folder: Path, **changes: Any) -> None:
    path = folder / "model.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_a_model_from_before_there_was_refinement_has_none(folder: Path) -> None:
    config = read_manifest(folder)["config"]
    del config["refinements"]
    _edit(folder, version=1, config=config)
    assert load_model(folder).config.refinements == 0


def test_other_files_and_newer_formats_are_refused(folder: Path) -> None:
    _edit(folder, version=99)
    with pytest.raises(CheckpointError, match=r"format version 99, this code reads up to 2"):
        load_model(folder)
    _edit(folder, format="something")
    with pytest.raises(CheckpointError, match="not a terralatent model"):
        load_model(folder)
    (folder / "model.json").write_text("{")
    with pytest.raises(CheckpointError, match="not valid JSON"):
        load_model(folder)
    (folder / "model.json").write_text("[]")
    with pytest.raises(CheckpointError, match="not a terralatent model"):
        load_model(folder)


def test_a_config_that_does_not_fit_is_refused(folder: Path) -> None:
    config = read_manifest(folder)["config"]
    _edit(folder, config={**config, "latents": 5})
    with pytest.raises(CheckpointError, match="the weights do not fit the config"):
        load_model(folder)
    _edit(folder, config={**config, "latents": 0})
    with pytest.raises(CheckpointError, match="config is not valid at latents"):
        load_model(folder)
    _edit(folder, config={**config, "kernel": "magic"})
    with pytest.raises(CheckpointError, match="magic"):
        load_model(folder)


@pytest.mark.parametrize("kernel", [*KINDS, "quasiperiodic", "constant+periodic2*matern32+white"])
def test_every_kernel_is_loaded_as_it_was(kernel: str, tmp_path: Path) -> None:
    model = made(kernel=kernel)
    save_model(model, tmp_path / "model", TRAINING)

    loaded = load_model(tmp_path / "model")

    assert loaded.config.kernel == kernel
    torch.testing.assert_close(loaded.state_dict(), model.state_dict(), rtol=0, atol=0)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_refused(folder: Path, value: float) -> None:
    weights = load_file(folder / "weights.safetensors")
    name = sorted(weights)[0]
    weights[name].view(-1)[0] = value
    save_file(weights, folder / "weights.safetensors")
    data = (folder / "weights.safetensors").read_bytes()
    _edit(
        folder,
        weights={"file": "weights.safetensors", "sha256": hashlib.sha256(data).hexdigest()},
    )

    with pytest.raises(CheckpointError, match=f"{re.escape(name)} is not finite"):
        load_model(folder)


@pytest.mark.parametrize(
    "size", ["latents", "hidden", "nuisance", "posterior_size", "refinements", "precision_cap"]
)
def test_sizes_that_no_model_has_are_refused_before_anything_is_made(
    folder: Path, size: str
) -> None:
    config = read_manifest(folder)["config"]
    _edit(folder, config={**config, size: 10**9})

    with pytest.raises(CheckpointError, match=f"config is not valid at {size}"):
        load_model(folder)


def test_a_cube_must_have_a_band_and_the_units_of_the_sensors_it_shares() -> None:
    config = made().config
    s1, s2 = (("vv", "vh"), "dB"), (("B02", "B03"), "reflectance")

    assert list(check_cube(config, {"s2": s2, "s1": s1}).items()) == [
        ("s1", ("vv", "vh")),
        ("s2", ("B02", "B03")),
    ]
    landsat = (("B01",), "reflectance")
    assert check_cube(config, {"s1": s1, "landsat": landsat}) == {"s1": ("vv", "vh")}
    assert check_cube(config, {"s1": (("hh", "vh", "vv"), "dB")}) == {"s1": ("vv", "vh")}
    assert check_cube(config, {"s1": s1, "s2": (("B12",), "reflectance")}) == {"s1": ("vv", "vh")}
    with pytest.raises(CheckpointError, match=r"knows the sensors \['s1', 's2'\], the cube has"):
        check_cube(config, {"landsat": s2})
    with pytest.raises(CheckpointError, match=r"s1: .*\['vv', 'vh'\], the cube has \['hh'\]: none"):
        check_cube(config, {"s1": (("hh",), "dB")})
    with pytest.raises(CheckpointError, match="s1: the model reads 'dB', the cube has 'linear'"):
        check_cube(config, {"s1": (("vv", "vh"), "linear")})


def test_a_sensor_description_is_checked_at_birth() -> None:
    with pytest.raises(ValueError, match="bands must be unique"):
        sensor("s1", ("vv", "vv"), "dB")
    with pytest.raises(ValueError, match="spread must be positive"):
        SensorConfig(name="s1", bands=("vv",), units="dB", centre=(0.0,), spread=(0.0,))
    with pytest.raises(ValueError, match="unique names"):
        ModelConfig(sensors=(sensor("s1", ("vv",), "dB"),) * 2)


def test_a_choice_that_was_not_made_is_not_written(folder: Path) -> None:
    """So that models from before there was the choice keep their hash when written again."""
    before = model_hash(folder)
    assert "posterior_size" not in read_manifest(folder)["config"]

    save_model(load_model(folder), folder, TRAINING)

    assert model_hash(folder) == before
