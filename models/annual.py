r"""A year of a pixel in a few numbers: a fixed linear map of posterior means on twelve dates.

.. math:: c_k = \sum_{m,l} W_{kml} \, E z_l(t_m) - b_k, \quad
    V c_k = \sum_l W_{kl}^T \, \mathrm{Cov}[z_l(t_1) \ldots z_l(t_{12})] \, W_{kl}

Months :math:`m` are those of the calendar, January first, whatever month a year begins in. Latents
are independent given the observations, so that their joint covariances over the dates are all of
the joint posterior, and the variances are exact.

The map is part of a model. It is fitted once, where the model was trained, to directions in which
years differ most, in the metric of what is decoded: the principal directions of the prior itself
are means over the year, which distinguish little.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load as parse_tensors
from safetensors.torch import save as dump_tensors
from torch import Tensor

from terralatent.models.checkpoint import CheckpointError
from terralatent.models.gpvae import GPVAE
from terralatent.models.latent_model import LatentModel
from terralatent.models.observations import AnyObservations
from terralatent.models.posteriors.contract import mapped_moments

__all__ = [
    "ANNUAL_MAP",
    "MONTHS",
    "AnnualMap",
    "annual_vectors",
    "decoded_metric",
    "fit_annual_map",
]

MONTHS = 12
ANNUAL_MAP = "annual.safetensors"
"""In the folder of a model, beside its weights."""


@dataclass(frozen=True, eq=False)
class AnnualMap:
    """Years of L latents to K components, the most of what differs first."""

    weights: Tensor
    """(K, 12, L), float32."""

    offset: Tensor
    """(K,), float32, so that components are 0 on average over what the map was fitted to."""

    explained: Tensor
    """Share of the variance of what is decoded that each component explains there, (K,)."""

    def __post_init__(self) -> None:
        count, months = self.weights.shape[:2]
        if months != MONTHS or self.offset.shape != (count,) or self.explained.shape != (count,):
            raise ValueError(
                f"an annual map has weights (K, {MONTHS}, L), offset and explained (K,), got "
                f"{tuple(self.weights.shape)}, {tuple(self.offset.shape)} and "
                f"{tuple(self.explained.shape)}."
            )

    @property
    def components(self) -> int:
        """K."""
        return len(self.weights)

    def first(self, components: int) -> AnnualMap:
        """The map to the first components alone.

        Raises:
            ValueError: If it has not as many.
        """
        if not 1 <= components <= self.components:
            raise ValueError(
                f"the map of this model has 1 to {self.components} components, not {components}."
            )
        parts = (self.weights, self.offset, self.explained)
        return AnnualMap(*(part[:components] for part in parts))

    def apply(self, mean: Tensor, covariance: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and variance of the components, (N, K) each.

        Args:
            mean: Of the latents on the twelve dates, January first, (N, 12, L).
            covariance: Of each latent over them, (N, L, 12, 12).
        """
        found, variance = mapped_moments(mean, covariance, self.weights)
        return found - self.offset.to(found), variance

    def digest(self) -> str:
        """A sha256 over all of it, in hexadecimal."""
        return hashlib.sha256(self._bytes()).hexdigest()

    def save(self, folder: str | Path) -> None:
        """Write it into the folder of a model, in one piece."""
        part = Path(folder) / f".{ANNUAL_MAP}.part"
        part.write_bytes(self._bytes())
        part.replace(Path(folder) / ANNUAL_MAP)

    @staticmethod
    def is_in(folder: str | Path) -> bool:
        """Whether a model has one."""
        return (Path(folder) / ANNUAL_MAP).exists()

    @classmethod
    def load(cls, folder: str | Path) -> AnnualMap:
        """Read that of a model.

        Raises:
            CheckpointError: If the model has none, or it is damaged.
        """
        path = Path(folder) / ANNUAL_MAP
        if not cls.is_in(folder):
            raise CheckpointError(
                f"{folder} has no map of years to components ({ANNUAL_MAP}); `terralatent train` "
                "makes one where its cubes cover a year or more. Train again, or use a model that "
                "comes with the package."
            )
        try:
            parts = parse_tensors(path.read_bytes())
            return cls(parts["weights"], parts["offset"], parts["explained"])
        except (OSError, SafetensorError, KeyError, ValueError) as error:
            raise CheckpointError(f"{path}: {error}; copy the folder again.") from error

    def _bytes(self) -> bytes:
        return dump_tensors(
            {
                name: getattr(self, name).contiguous().cpu().float()
                for name in ("weights", "offset", "explained")
            }
        )


@torch.no_grad()
def annual_vectors(
    model: GPVAE,
    mapped: AnnualMap,
    observations: Mapping[str, AnyObservations],
    years: Sequence[Tensor],
) -> list[tuple[Tensor, Tensor]]:
    """Return mean and variance of the components of some years, (N, K) each, float32.

    Observations are encoded once for all years; all of them count in each year.

    Args:
        model: In ``eval``.
        mapped: Its map.
        observations: By sensor name, all of the same N pixels.
        years: Of each the twelve dates, January first, days since 1970-01-01, (12,), float64.
    """
    sites = model.sites(observations)
    found = []
    for days in years:
        given = (model.kernel, sites.days, sites.w, sites.eta, days)
        if model.config.local_widths:
            mean, covariance = model.inference.joint(*given)
            found.append(mapped.apply(mean, model.latent_covariance(covariance)))
        else:  # with no covariance between dates in memory
            mean, variance = model.inference.functionals(*given, mapped.weights)
            found.append((mean - mapped.offset.to(mean), variance))
    return found


def decoded_metric(model: LatentModel, sensors: Sequence[str]) -> Tensor:
    r"""Return the metric of latents by what is decoded of them, (L, L), float64.

    .. math:: \Big(\sum_s D_s^T D_s\Big)^{1/2}

    where :math:`D_s` is the linear part of the decoder of a sensor, in units of the spread of its
    bands. Without the root the brightness that all bands share outweighs what distinguishes crops:
    measured on development folds, 64 components then lose twice as much.
    """
    parts = [model.sensor(name).decoder.linear.detach().double().cpu() for name in sensors]
    stacked = torch.cat(parts)
    values, axes = torch.linalg.eigh(stacked.T @ stacked)
    metric: Tensor = (axes * values.clamp_min(0.0).sqrt()) @ axes.T
    return metric


def fit_annual_map(means: Tensor, metric: Tensor, components: int) -> AnnualMap:
    """Fit a map to the principal directions of some years, in a metric; each of variance 1 there.

    Args:
        means: Posterior means on the twelve dates, January first, (N, 12, L).
        metric: Of latents, (L, L), positive semi-definite.
        components: How many; at most the rank of what there is.
    """
    years = means.double()
    middle = years.mean(0)
    values, axes = torch.linalg.eigh(metric.double())
    root = (axes * values.clamp_min(0.0).sqrt()).T
    decoded = ((years - middle) @ root.T).flatten(1)
    variance, directions = torch.linalg.eigh(decoded.T @ decoded / len(decoded))
    variance, directions = variance.flip(0), directions.flip(1)
    kept = min(components, int((variance > 1e-9 * variance[0]).sum()))
    scaled = directions[:, :kept] / variance[:kept].sqrt()
    weights = torch.einsum("mdk,dl->kml", scaled.unflatten(0, (MONTHS, -1)), root)
    # A direction has no sign of its own: the larger part of its weights is positive.
    sign = torch.where(weights.sum((1, 2)) < 0, -1.0, 1.0).double()
    weights = weights * sign[:, None, None]
    offset = weights.flatten(1) @ middle.flatten()
    explained = variance[:kept] / variance.sum()
    return AnnualMap(weights.float(), offset.float(), explained.float())
