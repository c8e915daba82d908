"""The families of models by name: the GP-VAE, and what it is compared with.

Names are known without torch, for a command line that only lists them; a family is imported when
it is first asked for, since some bring GPyTorch. What a family can do, its class says, see
:class:`~terralatent.models.latent_model.LatentModel`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING, cast

from terralatent.models.config import DEFAULT, ModelConfig

if TYPE_CHECKING:
    from terralatent.models.latent_model import LatentModel

__all__ = [
    "DEFAULT",
    "LEARNED",
    "MODELS",
    "UNLEARNED",
    "families_that",
    "find_family",
    "make_model",
]


MODELS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        DEFAULT: ("gpvae", "GPVAE"),
        "vae": ("baselines.learned.vae", "VAE"),
        "series": ("baselines.learned.series", "SeriesVAE"),
        "mtan": ("baselines.learned.mtan", "MTANVAE"),
        "hetvae": ("baselines.learned.hetvae", "HeTVAE"),
        "transformer": ("baselines.learned.transformer", "TransformerVAE"),
        "linear": ("baselines.unlearned.linear", "Linear"),
        "whittaker": ("baselines.unlearned.whittaker", "Whittaker"),
        "harmonics": ("baselines.unlearned.harmonics", "Harmonics"),
        "gp": ("baselines.unlearned.gp", "BandGP"),
        "mogpr": ("baselines.unlearned.mogpr", "MOGPR"),
    }
)
"""Module, below ``terralatent.models``, and class of each family."""

UNLEARNED = tuple(
    name for name, (module, _) in MODELS.items() if module.startswith("baselines.unlearned.")
)
"""Those that are not trained by gradients and take no steps."""

LEARNED = tuple(name for name in MODELS if name not in UNLEARNED)
"""Those that training learns by gradients, the default first."""


def find_family(name: str) -> type[LatentModel]:
    """Return the class of a family.

    Raises:
        ValueError: If the name is unknown.
    """
    if name not in MODELS:
        raise ValueError(f"no model is called {name!r}; there are {', '.join(MODELS)}.")
    module, family = MODELS[name]
    return cast("type[LatentModel]", getattr(import_module(f"terralatent.models.{module}"), family))


def families_that(can: Callable[[type[LatentModel]], bool]) -> str:
    """Return the names of the families of which ``can`` holds, joined by ``or``; imports all."""
    return " or ".join(name for name in MODELS if can(find_family(name)))


def make_model(config: ModelConfig, *, seed: int = 0) -> LatentModel:
    """Return a new model of the family that ``config`` names, not started and not trained.

    Args:
        config: Sensors, sizes and choices.
        seed: Of the initial networks.

    Raises:
        ValueError: If the family is unknown, or refuses the config.
    """
    return find_family(config.model)(config, seed=seed)
