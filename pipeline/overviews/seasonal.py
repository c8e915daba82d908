"""Which latents vary most through the dates: worth their place in a picture of three."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from terralatent.pipeline.overviews.layout import level_path
from terralatent.pipeline.overviews.summaries import Packing

__all__ = ["SEASONAL", "by_season", "seasonal_order"]

SEASONAL = "latents_by_season"
"""Attribute of the group of overviews: places of latents, the one that varies most first."""


def by_season(mean: NDArray[np.floating[Any]], std: NDArray[np.floating[Any]]) -> float:
    """How far the mean of a latent varies, (time, y, x), NaN where there is none: the variance over
    the dates in units of the posterior variance; over space where there is one date only."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # means of nothing
        variance = mean.var(axis=0) if len(mean) > 1 else np.nanvar(mean)
        ratio = np.nanmean(variance) / np.nanmean(std.astype(np.float64) ** 2)
    return float(np.nan_to_num(ratio))


def seasonal_order(root: zarr.Group, level: int) -> list[int] | None:
    """The places of latents by :func:`by_season`, on a level; None of what are no latents.

    Computes: reads the level, one latent at a time.
    """
    group: Any = root[level_path(level)]
    if "latent" not in group or "mean" not in group:
        return None
    measured = []
    for latent in range(group["latent"].shape[0]):
        values = []
        for name in ("mean", "std"):
            packing = Packing.of(group[name])
            steps, valid = packing.steps(np.asarray(group[name][:, latent]))
            values.append(np.where(valid, steps * packing.scale + packing.offset, np.nan))
        measured.append(by_season(*values))
    return [int(place) for place in np.argsort(-np.array(measured), kind="stable")]
