"""What a user may choose of a model, checked before any cube is read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypedDict, get_args

import torch
from pydantic import TypeAdapter, ValidationError

from terralatent.catalogs.errors import InputError
from terralatent.models.config import ModelConfig
from terralatent.models.families import DEFAULT, MODELS, find_family
from terralatent.models.kernels import make_kernel
from terralatent.models.posteriors import make_posterior

__all__ = ["CHOICES", "Choices", "choose", "parse_choices"]


class Choices(TypedDict, total=False):
    """What a user may choose; None or absent stands for the default of
    :class:`~terralatent.models.config.ModelConfig`, where each is explained."""

    model: str | None
    latents: int | None
    hidden: int | None
    likelihood: str | None
    kernel: str | None
    posterior: str | None
    posterior_size: int | None
    start: str | None
    season: bool | None
    nuisance: int | None
    refinements: int | None
    scene_errors: bool | None


CHOICES = tuple(Choices.__annotations__)
"""The names of :class:`Choices`."""

NAMED: dict[str, tuple[str, ...]] = {
    name: get_args(ModelConfig.model_fields[name].annotation) for name in ("likelihood", "start")
}
COUNTED = ("nuisance", "refinements")

DATES = 400
"""Of the series on which a choice is tried: all acquisitions of some three years."""


def parse_choices(texts: Sequence[str]) -> dict[str, Any]:
    """Read choices as they are typed, such as ``refinements=0``.

    Raises:
        InputError: If one is not of that form, or its value not of the choice's kind.
    """
    choices: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or name not in CHOICES:
            raise InputError(f"{text!r} is no NAME=VALUE with one of {', '.join(CHOICES)}.")
        kind: Any = ModelConfig.model_fields[name].annotation
        try:
            choices[name] = TypeAdapter(kind).validate_python(value)
        except ValidationError as error:
            raise InputError(f"{text}: {error.errors()[0]['msg']}.") from error
    return choices


def choose(given: dict[str, Any], base: ModelConfig | None = None) -> dict[str, Any]:
    """Return all of :data:`CHOICES`: what was given, or else the model's defaults.

    Args:
        given: Some of them; None stands for the default.
        base: A model that is extended: all are its own then, and none may be given.

    Raises:
        InputError: If one is no such thing, if kernel and posterior do not go together, or if one
            is given for an extension or for a family that does not read it.
    """
    order = (*CHOICES, *given)
    chosen = {name: given[name] for name in order if given.get(name) is not None}
    if unknown := sorted(chosen.keys() - set(CHOICES)):
        raise InputError(f"{', '.join(unknown)}: no such choice; there are {', '.join(CHOICES)}.")
    if base is not None:
        if chosen:
            unlike = [f"{name} {got!r} ({getattr(base, name)!r})" for name, got in chosen.items()]
            raise InputError(
                "what goes on from a model keeps what its model (in brackets) was made with, but "
                f"got {', '.join(unlike)}; leave that out, or train a new model."
            )
        return {name: getattr(base, name) for name in CHOICES}
    whole = {name: ModelConfig.model_fields[name].default for name in CHOICES} | chosen
    if whole["model"] not in MODELS:
        raise InputError(f"model {whole['model']!r} is unknown; give {' or '.join(MODELS)}.")
    family = find_family(whole["model"])
    own = find_family(DEFAULT).own_choices
    alien = [name for name in own if name in chosen and name not in family.own_choices]
    if alien:
        raise InputError(
            f"{' and '.join(alien)}: a {whole['model']} model has no such choice, only {DEFAULT} "
            "has; leave that out."
        )
    if "latents" in chosen and not family.trainable:
        raise InputError(
            f"latents: a {whole['model']} model has one for each band of its sensors; leave that "
            "out."
        )
    if whole["latents"] < 1:
        raise InputError(f"latents is {whole['latents']}; it must be at least 1.")
    for name, known in NAMED.items():
        if whole[name] not in known:
            raise InputError(f"{name} {whole[name]!r} is unknown; give {' or '.join(known)}.")
    for name in COUNTED:
        if whole[name] < 0:
            raise InputError(f"{name} is {whole[name]}; it must be at least 0.")
    if "kernel" in family.own_choices:
        _check_prior(whole["kernel"], whole["posterior"], whole["posterior_size"], whole["latents"])
    return whole


def _check_prior(kernel: str, posterior: str, size: int | None, latents: int) -> None:
    """Try kernel and posterior on one series of some years: what does not fit says so there."""
    days, sites = 5.0 * torch.arange(DATES, dtype=torch.float64), torch.ones(1, DATES, latents)
    try:
        made = make_kernel(kernel, latents)
        with torch.no_grad():
            make_posterior(posterior, size).marginals(made, days, sites, sites)
    except ValueError as error:
        raise InputError(str(error)) from error
