"""Posteriors over latent series: one file for each approximation, one contract."""

from collections.abc import Mapping
from dataclasses import fields
from types import MappingProxyType

from terralatent.models.posteriors.banded import Banded
from terralatent.models.posteriors.contract import Inference, Posterior
from terralatent.models.posteriors.exact import Exact
from terralatent.models.posteriors.hilbert import Hilbert
from terralatent.models.posteriors.inducing import Inducing
from terralatent.models.posteriors.markov import Markov
from terralatent.models.posteriors.vecchia import Vecchia

__all__ = [
    "POSTERIORS",
    "Banded",
    "Exact",
    "Hilbert",
    "Inducing",
    "Inference",
    "Markov",
    "Posterior",
    "Vecchia",
    "make_posterior",
]

POSTERIORS: Mapping[str, type[Inference]] = MappingProxyType(
    {
        "banded": Banded,
        "exact": Exact,
        "hilbert": Hilbert,
        "inducing": Inducing,
        "markov": Markov,
        "vecchia": Vecchia,
    }
)
"""The forms by name. ``markov`` is the default, ``exact`` the dense reference."""


def make_posterior(name: str, size: int | None = None) -> Inference:
    """Return a form by its name.

    Arguments:
        name: One of :data:`POSTERIORS`.
        size: How fine an approximation is: inducing points, basis functions or neighbours, at
            least 1; the form's own default if None.

    Raises:
        ValueError: If the name is unknown, or the form takes no such size.
    """
    if name not in POSTERIORS:
        raise ValueError(f"no posterior is called {name!r}; there are {sorted(POSTERIORS)}.")
    form = POSTERIORS[name]
    if size is None:
        return form()
    settings = [field.name for field in fields(form)]  # type: ignore[arg-type]
    if not settings:
        raise ValueError(
            f"the posterior {name!r} approximates nothing and takes no size, got {size}; leave it "
            "out."
        )
    if size < 1:
        raise ValueError(f"the posterior {name!r} needs {settings[0]} of at least 1, got {size}.")
    return form(**{settings[0]: size})
