"""Models that come with the package: whole, small, and named the same everywhere."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from terralatent.models import pretrained
from terralatent.models.checkpoint import CheckpointError, load_model, model_hash, read_manifest
from terralatent.models.shipped import (
    CARD,
    DEFAULT,
    model_folder,
    reference_of,
    shipped_as,
    shipped_names,
)

MOST_BYTES = 4_000_000


@pytest.mark.parametrize("name", shipped_names())
def test_it_is_whole_small_and_in_float32(name: str) -> None:
    model = pretrained(name)
    assert not model.training
    assert {value.dtype for value in model.parameters()} == {torch.float32}
    folder = model_folder(name)
    assert sum(file.stat().st_size for file in folder.iterdir()) < MOST_BYTES
    assert shipped_as(read_manifest(folder))["model_name"] == name
    assert model_hash(folder) in (folder / CARD).read_text()


def test_it_records_no_path_of_a_machine() -> None:
    for name in shipped_names():
        for file in model_folder(name).glob("*.*"):
            if file.suffix in (".json", ".md"):
                assert "/home" not in (text := file.read_text())
                assert "/work" not in text


def test_the_default_is_there() -> None:
    assert DEFAULT in shipped_names()
    assert reference_of(None) == DEFAULT
    assert model_folder(None) == model_folder(DEFAULT)


def test_a_name_is_a_name_in_every_process_and_a_folder_its_absolute_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert reference_of(DEFAULT) == DEFAULT
    assert reference_of("model") == str(tmp_path / "model")
    assert model_folder("model") == tmp_path / "model"
    # A folder of the user's own comes before a name.
    (tmp_path / DEFAULT).mkdir()
    assert reference_of(DEFAULT) == str(tmp_path / DEFAULT)
    assert reference_of(Path(DEFAULT)) == str(tmp_path / DEFAULT)


def test_an_unknown_name_is_refused_with_those_there_are() -> None:
    with pytest.raises(CheckpointError, match=f"no model 's9' comes with.*{DEFAULT}"):
        pretrained("s9")


def test_it_does_without_any_band_and_sensor(tmp_path: Path) -> None:
    """Any part of what it reads gives finite latents, and hiding more never makes them surer."""
    model = load_model(model_folder(None))
    days = torch.arange(0.0, 120.0, 10.0, dtype=torch.float64)
    from terralatent.models.observations import Observations

    generator = torch.Generator().manual_seed(0)
    seen = {}
    for sensor in model.config.sensors:
        shape = (3, len(days), len(sensor.bands))
        noise = torch.randn(shape, generator=generator)
        values = torch.tensor(sensor.centre) + 0.5 * torch.tensor(sensor.spread) * noise
        seen[sensor.name] = Observations(
            days=days,
            values=values,
            valid=torch.ones(shape, dtype=torch.bool),
            distance=torch.full(shape[:2], 8.0),
            incidence=torch.full((len(days),), torch.nan),
        )
    _, whole = model.infer(seen, days)
    for name, own in seen.items():
        mean, var = model.infer({name: own}, days)
        assert mean.isfinite().all()
        assert (var > 0).all()
        assert (var <= 1.0 + 1e-5).all()
        # Information adds: without the other sensors no latent is known better.
        assert (var >= whole - 1e-4).all()


def test_manifests_are_json_that_names_the_recipe() -> None:
    for name in shipped_names():
        record = json.loads((model_folder(name) / "model.json").read_text())["training"]
        assert record["name"] == name
        assert len(record["recipe"]["sha256"]) == 64
