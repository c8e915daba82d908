"""Some looks of some series, as many of each: what the evidence of a coregionalisation counts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from terralatent.models.baselines.unlearned.band_series import BandSeries

__all__ = ["Sample", "draw_sample"]

PIXELS = 20
"""Series whose evidence is counted."""

LOOKS = 12
"""Looks of each sensor that are drawn from a series."""


@dataclass(frozen=True)
class Sample:
    """Values of P pixels at K looks each, the same bands at the k-th look of all: M rows."""

    values: Tensor
    """z, shape (P, M), float64."""

    days: Tensor
    """Of the looks, shape (P, K), float64."""

    output: Tensor
    """Which of the L outputs, shape (M,)."""

    look: Tensor
    """Which look, from 0 to K - 1, shape (M,)."""

    weight: Tensor
    """By which the noise's variance is divided, shape (P, K)."""


def draw_sample(
    pool: Mapping[str, BandSeries], places: Mapping[str, slice], seed: int
) -> tuple[Sample | None, dict[str, tuple[Tensor, Tensor]]]:
    """Draw some looks of some pixels: half of a pixel's looks in a row, for short lags too.

    Returns:
        The sample, and for each sensor the pixels (P,) and their dates (P, looks).
    """
    generator = torch.Generator().manual_seed(seed)
    whole = {name: series.valid.all(-1) for name, series in pool.items()}
    whole = {name: mask for name, mask in whole.items() if bool(mask.any())}
    wanted = {
        name: min(LOOKS, max(2, int(mask.sum(1).float().quantile(0.2))))
        for name, mask in whole.items()
    }
    usable = [
        (mask.sum(1) >= wanted[name]).nonzero()[:, 0].tolist() for name, mask in whole.items()
    ]
    shared = sorted(set.intersection(*map(set, usable))) if usable else []
    if not shared:
        return None, {}
    order = torch.randperm(len(shared), generator=generator)[:PIXELS].tolist()
    pixels = torch.tensor([shared[at] for at in order])
    drawn, values, days, outputs, looks = {}, [], [], [], []
    begun = 0
    for name, mask in sorted(whole.items()):
        dates = torch.stack([_some_dates(mask[pixel], wanted[name], generator) for pixel in pixels])
        drawn[name] = (pixels, dates)
        bands = places[name].stop - places[name].start
        values.append(pool[name].values[pixels[:, None], dates].double().flatten(1))
        days.append(pool[name].days[dates])
        outputs.append(torch.arange(places[name].start, places[name].stop).repeat(wanted[name]))
        looks.append(begun + torch.arange(wanted[name]).repeat_interleave(bands))
        begun += wanted[name]
    whole_values, whole_days = torch.cat(values, 1), torch.cat(days, 1)
    return Sample(
        whole_values,
        whole_days - whole_days.mean(),
        torch.cat(outputs),
        torch.cat(looks),
        torch.ones_like(whole_days),
    ), drawn


def _some_dates(seen: Tensor, count: int, generator: torch.Generator) -> Tensor:
    dates = seen.nonzero()[:, 0]
    start = int(torch.randint(len(dates) - count // 2 + 1, (), generator=generator))
    row = torch.zeros(len(dates), dtype=torch.bool)
    row[start : start + count // 2] = True
    others = dates[~row]
    more = others[torch.randperm(len(others), generator=generator)[: count - count // 2]]
    return torch.cat([dates[row], more]).sort().values
