"""How much of what halves differ by is common to neighbouring pixels."""

from __future__ import annotations

import torch
from torch import Tensor

from benchmarks.halves.measure import LEAST
from benchmarks.halves.sites import PixelSites, mid_months
from benchmarks.halves.splits import by_acquisition
from terralatent.models.gpvae import GPVAE

__all__ = ["SIDES", "common_shares"]

SIDES = (2, 4, 8, 16, 32)
"""Pixels along blocks."""


@torch.no_grad()
def common_shares(model: GPVAE, sites: PixelSites) -> dict[int, list[float]]:
    """The mean square of blocks' means of z over that of z, for each size of blocks and latent.

    z is a half's posterior mean minus that of all, in standard deviations by the model; halves are
    every other acquisition, the same for all pixels. Errors of pixels for themselves give
    1 / pixels of a block, errors that all of a block share give 1.

    Args:
        model: Whose sites they are.
        sites: Of all pixels of a region, or most: blocks are used where all of theirs are there.

    Returns:
        By the side of a block, a share for each latent; NaN where nothing is scored.
    """
    split = by_acquisition(sites)
    queries, _ = mid_months(sites.days)

    def given(seen: Tensor) -> tuple[Tensor, Tensor]:
        parts = [
            model.inference.marginals(
                model.kernel,
                sites.days,
                *(own[some] * seen[some, :, None] for own in (sites.w, sites.eta)),
                queries,
            )
            for some in sites.batches(1024)
        ]
        mean, var = zip(*parts, strict=True)
        return torch.cat(mean), torch.cat(var)

    mean, var = given(split.first | split.second)
    half, half_var = given(split.first)
    variance = half_var - var
    z = torch.where(variance >= LEAST, (half - mean) / variance.clamp_min(LEAST).sqrt(), torch.nan)
    laid = z.new_full((sites.shape[0] * sites.shape[1], *z.shape[1:]), torch.nan)
    laid[torch.from_numpy(sites.pixels)] = z
    grid = laid.unflatten(0, sites.shape)
    return {side: _share(grid, side) for side in SIDES if side <= min(sites.shape)}


def _share(grid: Tensor, side: int) -> list[float]:
    """Of z on a grid, (y, x, Q, L)."""
    rows, columns = (size // side * side for size in grid.shape[:2])
    blocks = grid[:rows, :columns].unflatten(1, (-1, side)).unflatten(0, (-1, side))
    means, squares = blocks.mean((1, 3)), blocks.square().mean((1, 3))
    some = means.isfinite()
    total = torch.where(some, squares, 0.0).flatten(0, -2).sum(0)
    common = torch.where(some, means.square(), 0.0).flatten(0, -2).sum(0)
    return (common / total).tolist()
