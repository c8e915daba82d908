"""The families of models by name: the GP-VAE, and what it is compared with."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from types import MappingProxyType
from typing import cast

from terralatent.models.config import DEFAULT, ModelConfig
from terralatent.models.latent_model import LatentModel

__all__ = ["DEFAULT", "MODELS", "find_family", "make_model"]

LEARNED = "terralatent.models.baselines.learned"
UNLEARNED = "terralatent.models.baselines.unlearned"

MODELS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "gpvae": ("terralatent.models.gpvae", "GPVAE"),
        # Other variational autoencoders, trained by the same loop.
        "vae": (f"{LEARNED}.vae", "VAE"),
        "series": (f"{LEARNED}.series", "SeriesVAE"),
        "mtan": (f"{LEARNED}.mtan", "MTANVAE"),
        "hetvae": (f"{LEARNED}.hetvae", "HeTVAE"),
        "transformer": (f"{LEARNED}.transformer", "TransformerVAE"),
        # What needs no training.
        "linear": (f"{UNLEARNED}.linear", "Linear"),
        "whittaker": (f"{UNLEARNED}.whittaker", "Whittaker"),
        "harmonics": (f"{UNLEARNED}.harmonics", "Harmonics"),
        "gp": (f"{UNLEARNED}.gp", "BandGP"),
        "mogpr": (f"{UNLEARNED}.mogpr", "MOGPR"),
    }
)
"""Module and class of each family; imported when first asked for, since some bring GPyTorch."""


def find_family(name: str) -> type[LatentModel]:
    """Return the class of a family.

    Raises:
        ValueError: If the name is unknown.
    """
    if name not in MODELS:
        raise ValueError(f"no model is called {name!r}; there are {', '.join(MODELS)}.")
    module, family = MODELS[name]
    return cast(type[LatentModel], getattr(import_module(module), family))


def make_model(config: ModelConfig, *, seed: int = 0) -> LatentModel:
    """Return a new model of the family that ``config`` names, not started and not trained.

    Args:
        config: Sensors, sizes and choices.
        seed: Of the initial networks.

    Raises:
        ValueError: If the family is unknown, or refuses the config.
    """
    return find_family(config.model)(config, seed=seed)
