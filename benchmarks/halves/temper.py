r"""Factors under which halves differ by as much as the model says, and what else they change.

Two ways. *Precision*: w and eta of each sensor and latent are divided by a factor, so that an
observation counts for less; posterior means move. *Export*: the standard deviation of each latent
is tempered, :math:`logit(V / K)` moved by a constant; no mean moves. Both are fitted to the nested
law by fixed-point iteration, on regions that are not reported.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from benchmarks.halves.measure import LEAST
from benchmarks.halves.sites import PixelSites, mid_months
from benchmarks.halves.splits import alternate
from terralatent.models.gpvae import GPVAE
from terralatent.models.sensor.widths import tempered

__all__ = ["fit_export", "fit_precision", "with_precision"]

STEPS = 8
RANGE = (0.1, 50.0)
"""Of factors of precisions, which are of variances."""

STD_RANGE = (0.25, 4.0)
LARGEST_Z = 5.0
"""z count as this large at most: a cloud that escaped the mask is no width."""

FEWEST = 500
"""Scored pairs of a latent, below which its factor stays 1."""


@torch.no_grad()
def fit_precision(model: GPVAE, regions: Sequence[PixelSites]) -> dict[str, Tensor]:
    """Fit factors by which precisions are divided, (L,) for each sensor; computes.

    First each sensor by itself, halves of its own dates; then all of a latent's by one more factor,
    halves of the dates of all.
    """
    names = sorted({str(name) for sites in regions for name in sites.sensors})
    factors = {}
    for name in names:
        alone = [own for sites in regions if len((own := sites.of_sensors([name])).days)]
        factors[name] = _fixed_point(
            model, alone, lambda sites, factor, name=name: sites.divided({name: factor})
        )
    common = _fixed_point(
        model,
        regions,
        lambda sites, factor: sites.divided({name: own * factor for name, own in factors.items()}),
    )
    return {name: (own * common).clamp(*RANGE) for name, own in factors.items()}


@torch.no_grad()
def fit_export(model: GPVAE, regions: Sequence[PixelSites]) -> Tensor:
    """Fit a factor of each latent's standard deviation, (L,); computes."""
    parts = [_nested(model, sites) for sites in regions]
    away, half, whole = (torch.cat(columns) for columns in zip(*parts, strict=True))
    factor = torch.ones(away.shape[-1], dtype=torch.float64)
    for _ in range(STEPS):
        square = _mean_square(away, tempered(half, factor) - tempered(whole, factor))
        factor = (factor * square.sqrt()).clamp(*STD_RANGE)
    return factor


@torch.no_grad()
def with_precision(model: GPVAE, factors: Mapping[str, Tensor]) -> GPVAE:
    """Return a copy of a model whose encoders give precision and information divided by factors.

    It is a checkpoint like any other: the factors are in the shares by which bands bring precision,
    and in the cap of precisions where a factor is below 1. Exact where encoders fill missing bands.

    Raises:
        ValueError: If the model's encoders do not.
    """
    if not model.config.fills_bands:
        raise ValueError("precisions are tempered of models whose encoders fill missing bands only")
    most = max(1.0, *(float((1.0 / factor).max()) for factor in factors.values()))
    cap = model.config.precision_cap * most
    copied = GPVAE(model.config.model_copy(update={"precision_cap": cap}))
    copied.load_state_dict(model.state_dict())
    for sensor in model.config.sensors:
        factor = factors.get(sensor.name, torch.ones(model.config.latents)) * most
        copied.sensor(sensor.name).encoder.share.div_(factor.to(torch.float32)[:, None])
    return copied.eval()


def _fixed_point(
    model: GPVAE,
    regions: Sequence[PixelSites],
    apply: Callable[[PixelSites, Tensor], PixelSites],
) -> Tensor:
    factor = torch.ones(model.config.latents, dtype=torch.float64)
    for _ in range(STEPS):
        parts = [_nested(model, apply(sites, factor)) for sites in regions]
        away, half, whole = (torch.cat(columns) for columns in zip(*parts, strict=True))
        factor = (factor * _mean_square(away, half - whole)).clamp(*RANGE)
    return factor


def _nested(model: GPVAE, sites: PixelSites) -> tuple[Tensor, Tensor, Tensor]:
    """Difference of the means of halves and all, and both variances, (R, L) each."""
    split = alternate(sites)
    queries, _ = mid_months(sites.days)

    def given(seen: Tensor) -> tuple[Tensor, Tensor]:
        some = seen.unsqueeze(-1)
        return model.inference.marginals(
            model.kernel, sites.days, sites.w * some, sites.eta * some, queries
        )

    mean, whole = given(split.first | split.second)
    rows = []
    for seen in (split.first, split.second):
        own, half = given(seen)
        some = seen.any(1)
        rows.append([part[some].flatten(0, 1) for part in (own - mean, half, whole)])
    away, half, of_all = (torch.cat(column) for column in zip(*rows, strict=True))
    return away, half, of_all


def _mean_square(away: Tensor, variance: Tensor) -> Tensor:
    """Mean of z squared of each latent, 1 where too few are scored."""
    scored = variance >= LEAST
    square = (away.square() / variance.clamp_min(LEAST)).clamp_max(LARGEST_Z**2)
    count = scored.sum(0)
    mean = (square * scored).sum(0) / count.clamp_min(1)
    return torch.where(count >= FEWEST, mean, 1.0)
