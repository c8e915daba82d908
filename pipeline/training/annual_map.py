"""The map of years to components that a model gets where it is trained, on the pixels it saw."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from terralatent.models.annual import AnnualMap, decoded_metric, fit_annual_map
from terralatent.models.latent_model import LatentModel
from terralatent.models.observations import Observations
from terralatent.models.shipped import model_folder
from terralatent.pipeline.dates import days_since_1970, middles_of_months

__all__ = ["MOST_COMPONENTS", "annual_map_of", "keep_annual_map", "years_of"]

MOST_COMPONENTS = 64

SHORT_DAYS = 35
"""What a year may lack at its ends, where no acquisition was."""

TOGETHER = 256
"""Pixels that are inferred together."""


def keep_annual_map(
    model: LatentModel,
    folder: Path,
    pools: Sequence[Mapping[str, Observations]],
    base: str | None = None,
) -> None:
    """Write the map of a trained model beside its weights; none where no pool covers a year.

    Args:
        model: As it was saved.
        folder: The model's.
        pools: Pixels that it was trained on, one pool for each cube.
        base: Folder or name of the model from which the training went on, whose map stays, so that
            vectors of the two compare.
    """
    if not model.has_joint:
        return
    if base is not None and AnnualMap.is_in(model_folder(base)):
        AnnualMap.load(model_folder(base)).save(folder)
        return
    found = annual_map_of(model.eval(), pools)
    if found is not None:
        found.save(folder)


@torch.no_grad()
def annual_map_of(
    model: LatentModel, pools: Sequence[Mapping[str, Observations]]
) -> AnnualMap | None:
    """Fit a map to all whole years of some pixels; None where there is none. Computes.

    Each pool counts as much as another.
    """
    found = [[_means(model, pool, dates) for dates in years_of(pool)] for pool in pools]
    whole = [torch.cat(years) for years in found if years]
    if not whole:
        return None
    most = max(map(len, whole))
    even = torch.cat([own[torch.arange(most) % len(own)] for own in whole])
    names = sorted({name for pool in pools for name in pool})
    return fit_annual_map(even, decoded_metric(model, names), MOST_COMPONENTS)


def years_of(pool: Mapping[str, Observations]) -> Iterator[Tensor]:
    """The twelve dates of each year in a row, the last of which ends with the pool."""
    days = torch.cat([own.days for own in pool.values()])
    if not len(days):
        return
    first, end = float(days.min()), float(days.max()) + 1.0
    while end - first >= 365 - SHORT_DAYS:
        begin = np.datetime64(int(end) - 365, "D")
        yield torch.from_numpy(days_since_1970(middles_of_months(begin)))
        end -= 365


def _means(model: LatentModel, pool: Mapping[str, Observations], dates: Tensor) -> Tensor:
    count = len(next(iter(pool.values())))
    parts = []
    for start in range(0, count, TOGETHER):
        some = {name: own.select(slice(start, start + TOGETHER)) for name, own in pool.items()}
        parts.append(model.infer(some, dates)[0])
    return torch.cat(parts)
