"""What a user may choose of a model, checked before any cube is read."""

from __future__ import annotations

from typing import Any, get_args

import torch

from terralatent.catalogs.errors import InputError
from terralatent.models.config import ModelConfig
from terralatent.models.kernels import make_kernel
from terralatent.models.posteriors import make_posterior

__all__ = ["CHOICES", "choose"]

CHOICES = ("latents", "likelihood", "kernel", "posterior", "posterior_size")
"""Fields of the model's configuration that a user may choose."""

LIKELIHOODS: tuple[str, ...] = get_args(ModelConfig.model_fields["likelihood"].annotation)

DATES = 400
"""Of the series on which a choice is tried: all acquisitions of some three years."""


def choose(given: dict[str, Any], base: ModelConfig | None = None) -> dict[str, Any]:
    """Return all of :data:`CHOICES`: what was given, or else the model's defaults.

    Args:
        given: Some of them; None stands for the default.
        base: A model that is extended: all are its own then, and none may be given.

    Raises:
        InputError: If one is no such thing, if kernel and posterior do not go together, or if one
            is given for an extension.
    """
    chosen = {name: value for name, value in given.items() if value is not None}
    if base is not None:
        if chosen:
            told = [f"{name} {value!r} ({getattr(base, name)!r})" for name, value in chosen.items()]
            raise InputError(
                f"an extension keeps what its model (in brackets) was made with, but got "
                f"{', '.join(told)}; leave that out, or train a new model."
            )
        return {name: getattr(base, name) for name in CHOICES}
    whole = {name: ModelConfig.model_fields[name].default for name in CHOICES} | chosen
    if whole["latents"] < 1:
        raise InputError(f"latents is {whole['latents']}; it must be at least 1.")
    if whole["likelihood"] not in LIKELIHOODS:
        raise InputError(
            f"likelihood {whole['likelihood']!r} is unknown; give {' or '.join(LIKELIHOODS)}."
        )
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
