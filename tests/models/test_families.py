"""What a family says it can do: asked by the pipeline, so it must hold."""

import pytest
import torch
import typer.testing

from terralatent.models.config import ModelConfig, SensorConfig
from terralatent.models.families import (
    DEFAULT,
    LEARNED,
    MODELS,
    UNLEARNED,
    families_that,
    find_family,
    make_model,
)
from terralatent.models.latent_model import LatentModel
from terralatent.pipeline.cli.app import app


def made(name: str) -> LatentModel:
    sensor = SensorConfig(name="optical", bands=("b",), units="1", centre=(0.0,), spread=(1.0,))
    config = ModelConfig(model=name, sensors=(sensor,), latents=2, hidden=8)
    return make_model(find_family(name).sized(config))


@pytest.mark.parametrize("name", MODELS)
def test_families_are_listed_by_whether_they_are_trained(name: str) -> None:
    assert find_family(name).trainable == (name in LEARNED) == (name not in UNLEARNED)


@pytest.mark.parametrize("name", MODELS)
def test_own_choices_are_fields_of_the_config(name: str) -> None:
    assert set(find_family(name).own_choices) <= set(ModelConfig.model_fields)


@pytest.mark.parametrize("name", MODELS)
def test_encoders_compute_in_what_the_family_says(name: str) -> None:
    model = made(name)
    for dtype in model.encoder_dtypes:
        model.encode_in(getattr(torch, dtype))
    with pytest.raises(ValueError, match=r"encoders compute in float32.*, not in torch.float16"):
        model.encode_in(torch.float16)


@pytest.mark.parametrize("name", MODELS)
def test_a_family_has_a_start(name: str) -> None:
    family = find_family(name)
    assert family.linear_start == (family.start is LatentModel.start)
    if family.linear_start:
        with pytest.raises(NotImplementedError, match="start_model"):
            made(name).start([])


def test_families_are_named_by_what_they_can_do() -> None:
    assert families_that(lambda family: family.takes_sensors) == DEFAULT
    assert families_that(lambda family: not family.trainable) == " or ".join(UNLEARNED)


def test_the_help_lists_every_family() -> None:
    shown = typer.testing.CliRunner().invoke(app, ["train", "--help"], env={"COLUMNS": "200"})
    assert all(name in shown.output for name in MODELS)
