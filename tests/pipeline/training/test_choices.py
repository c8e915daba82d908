"""Choices of a model: those that are given, typed or left out, and those that are none."""

from __future__ import annotations

import pytest

from terralatent.catalogs.errors import InputError
from terralatent.models.config import ModelConfig
from terralatent.pipeline.training.choices import CHOICES, choose, parse_choices


def test_every_choice_is_a_field_of_the_model() -> None:
    assert set(CHOICES) <= set(ModelConfig.model_fields)


def test_what_is_not_given_is_the_models_default() -> None:
    chosen = choose({"refinements": 2, "start": None})
    assert chosen == {
        name: ModelConfig.model_fields[name].default for name in CHOICES if name != "refinements"
    } | {"refinements": 2}


def test_typed_choices_are_read_as_what_they_are() -> None:
    texts = ["refinements=1", "season=false", "start=random", "kernel=constant+matern12"]
    assert parse_choices(texts) == {
        "refinements": 1,
        "season": False,
        "start": "random",
        "kernel": "constant+matern12",
    }


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("refinements", "is no NAME=VALUE with one of model, latents"),
        ("depth=3", "is no NAME=VALUE"),
        ("refinements=many", "refinements=many: Input should be a valid integer"),
        ("refinements=-1", "refinements is -1; it must be at least 0"),
        ("season=perhaps", "season=perhaps: Input should be a valid boolean"),
        ("start=joined", "start=joined: Input should be 'regression', 'joint' or 'random'"),
    ],
)
def test_what_is_no_choice_is_refused(text: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        choose(parse_choices([text]))


def test_a_choice_that_does_not_exist_is_named() -> None:
    with pytest.raises(InputError, match="colour: no such choice; there are model"):
        choose({"colour": "red"})


@pytest.mark.parametrize("text", ["start=random", "refinements=2", "kernel=matern32"])
def test_what_a_family_does_not_read_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="a vae model has no such choice"):
        choose(parse_choices(["model=vae", text]))
