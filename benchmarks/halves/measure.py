"""Halves of all pixels of a region compared, for each kind of functionals of their latents."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.halves.law import (
    Joint,
    Pair,
    applied,
    cross_covariance,
    disjoint,
    move,
    nested,
)
from benchmarks.halves.sites import PixelSites, mid_months
from benchmarks.halves.splits import Split
from terralatent.models.gpvae import GPVAE
from terralatent.models.posteriors.contract import draws

__all__ = [
    "DATED",
    "LEAST",
    "NESTED",
    "PRIOR",
    "TWO",
    "Compared",
    "Functional",
    "compare",
    "functionals",
    "redrawn",
]

NESTED, PRIOR, TWO = "half and all", "none and all", "two halves"
DATED, YEAR, ORTHONORMAL = "dated latents", "means of the year", "random orthonormal map"

LEAST = 0.01
"""Of the prior's variance: pairs that the model expects to differ by less are not scored."""

BATCH = 128
"""Pixels at once."""


@dataclass(frozen=True)
class Compared:
    """What one law compares of one split, for one kind of functionals: R pairs of posteriors."""

    split: str
    law: str
    functional: str

    away: NDArray[np.float64]
    """By how much two means differ, in standard deviations of the prior, (R, M)."""

    variance: NDArray[np.float64]
    """That of it by the model, (R, M)."""

    cosine: NDArray[np.float64]
    """1 minus the cosine of the angle between the vectors of the two halves, (R,)."""

    dimension: NDArray[np.intp]
    """Which latent, or component of a map, a column is of, (M,)."""

    pixel: NDArray[np.intp]
    """Place of the pixel among those of the region, (R,)."""

    clear: NDArray[np.intp]
    """Its clear observations in the year, of all that was split, (R,)."""

    empty: NDArray[np.bool_]
    """Whether a half has nothing at all: counted, and not scored, (R,)."""

    @property
    def scored(self) -> NDArray[np.bool_]:
        """Which pairs count, (R, M)."""
        return (self.variance >= LEAST) & ~self.empty[:, None]

    @property
    def z(self) -> NDArray[np.float64]:
        """Differences in standard deviations, NaN where not scored, (R, M)."""
        return self.away / np.sqrt(np.where(self.scored, self.variance, np.nan))


class Functional(NamedTuple):
    """Linear functionals of the latents of twelve months."""

    weights: Tensor | None
    """(M, 12, L), float64, by calendar month; None: each latent at each date."""

    offset: Tensor
    """What is taken off them where they are shown, (M,); differences do not know it."""

    dimension: NDArray[np.intp]
    """Which latent, or component of a map, each is of, (M,)."""

    @classmethod
    def of(cls, weights: Tensor, offset: Tensor | None = None) -> Functional:
        """Those of a linear map, (M, 12, L)."""
        nothing = torch.zeros(len(weights)) if offset is None else offset
        return cls(weights.double(), nothing.double(), np.arange(len(weights)))


def functionals(latents: int, dates: int, maps: Mapping[str, Functional]) -> dict[str, Functional]:
    """What is compared, by name.

    Args:
        latents: L.
        dates: Q.
        maps: Linear maps beside the latents at each date, their means and a random map.
    """
    mean = torch.eye(latents, dtype=torch.float64)[:, None].repeat(1, dates, 1) / dates
    drawn = torch.randn(
        dates * latents, latents, generator=torch.Generator().manual_seed(0), dtype=torch.float64
    )
    orthonormal = torch.linalg.qr(drawn).Q.T.reshape(latents, dates, latents)
    count = dates * latents
    return {
        DATED: Functional(None, torch.zeros(count).double(), np.tile(np.arange(latents), dates)),
        YEAR: Functional.of(mean),
        ORTHONORMAL: Functional.of(orthonormal),
        **maps,
    }


@torch.no_grad()
def compare(
    model: GPVAE,
    split: Split,
    maps: Mapping[str, Functional],
    *,
    laws: Sequence[str] = (NESTED, PRIOR, TWO),
    std_factor: Tensor | None = None,
) -> list[Compared]:
    """Compare the halves of a split with their whole, and with one another. Computes.

    Args:
        model: Whose sites they are.
        split: The halves.
        maps: Further linear maps, by name.
        laws: By which they are compared; ``PRIOR`` compares nothing at all with their whole.
        std_factor: Factors of the latents' standard deviations, (L,), as a calibration fits them;
            the nested law alone can be asked of these.
    """
    sites = split.sites
    queries, year = mid_months(sites.days)
    prior = model.inference.prior(model.kernel, sites.days[:0], queries)
    wanted = functionals(sites.w.shape[-1], len(queries), maps)
    columns: dict[tuple[str, str], list[tuple[Tensor, ...]]] = defaultdict(list)
    for some in sites.batches(BATCH):
        halves, pairs = _pairs(model, split, some, queries, prior, laws, std_factor)
        pixel = torch.arange(some.start, some.stop)
        for name, (weights, offset, _) in wanted.items():
            shown = (applied(half.mean, weights) - offset for half in halves)
            cosine = 1.0 - torch.cosine_similarity(*shown)
            for law, pair in pairs:
                found = move(pair, prior, weights)
                columns[name, law].append((found.away, found.variance, cosine, pixel))
    within = torch.from_numpy((sites.days.numpy() >= year[0]) & (sites.days.numpy() < year[1]))
    clear = ((split.first | split.second) & within).sum(1).numpy()
    empty = (~split.first.any(1) | ~split.second.any(1)).numpy()
    found = []
    for (name, law), parts in columns.items():
        away, variance, cosine, pixel = (torch.cat(own).numpy() for own in zip(*parts, strict=True))
        found.append(
            Compared(
                split=split.name,
                law=law,
                functional=name,
                away=away,
                variance=variance,
                cosine=cosine,
                dimension=wanted[name].dimension,
                pixel=pixel,
                clear=clear[pixel],
                empty=empty[pixel],
            )
        )
    return found


def _pairs(
    model: GPVAE,
    split: Split,
    some: slice,
    queries: Tensor,
    prior: Tensor,
    laws: Sequence[str],
    std_factor: Tensor | None,
) -> tuple[list[Joint], list[tuple[str, Pair]]]:
    """The halves of some pixels, and what each law compares."""
    sites, form, kernel = split.sites, model.inference, model.kernel
    first, second = (half[some, :, None] for half in (split.first, split.second))
    w, eta = sites.w[some], sites.eta[some]

    def given(seen: Tensor) -> Joint:
        joint = Joint(*form.joint(kernel, sites.days, w * seen, eta * seen, queries))
        return joint if std_factor is None else joint.tempered(std_factor.to(joint.cov))

    halves, pairs = [given(first), given(second)], []
    if NESTED in laws or PRIOR in laws:
        whole = given(first | second)
    if NESTED in laws:
        pairs += [(NESTED, nested(half, whole)) for half in halves]
    if PRIOR in laws:
        none = Joint(torch.zeros_like(whole.mean), prior.expand_as(whole.cov))
        pairs.append((PRIOR, nested(none, whole)))
    if TWO in laws:
        cross = cross_covariance(form, kernel, sites.days, w * first, w * second, queries)
        pairs.append((TWO, disjoint(halves[0], halves[1], cross, prior)))
    return halves, pairs


@torch.no_grad()
def redrawn(model: GPVAE, sites: PixelSites, seed: int = 0) -> PixelSites:
    """Keep days and precisions, and draw what was observed from the model itself."""
    generator = torch.Generator().manual_seed(seed)
    prior = model.inference.prior(model.kernel, sites.days, sites.days[:0])
    latent = draws(prior, (len(sites),), generator)
    noise = torch.randn(sites.w.shape, generator=generator, dtype=torch.float64)
    return replace(sites, eta=sites.w * latent + sites.w.sqrt() * noise)
