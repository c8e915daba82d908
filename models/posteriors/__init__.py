"""Posteriors over latent series: one file for each approximation, one contract."""

from collections.abc import Mapping
from types import MappingProxyType

from terralatent.models.posteriors import exact, markov
from terralatent.models.posteriors.contract import Inference, Posterior

__all__ = ["POSTERIORS", "Inference", "Posterior"]

POSTERIORS: Mapping[str, Inference] = MappingProxyType({"exact": exact, "markov": markov})
"""The approximations by name. ``markov`` is the default, ``exact`` the dense reference."""
