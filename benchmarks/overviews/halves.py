"""A first estimate of how far errors of near pixels are the same: from halves of one cube's scenes.

    python -m benchmarks.overviews.halves CUBE [--model MODEL] [--dates WHEN] [--out FILE.json]

Every second acquisition of each sensor is one half, the others the other. The model infers the
cube's first block from either half and from all. Prints rho by side of a square and latent, and by
how many times too little independent errors would claim of a mean over the block; writes what
`terralatent.models.checkpoint.keep_overview_correlation` takes. `std` of a mean of n pixels is
sqrt(rho n) times what errors that are independent would claim.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from terralatent.models.observations import Observations
from terralatent.models.shared_errors import SIDES, correlation_table, error_correlation
from terralatent.pipeline.dates import days_since_1970
from terralatent.pipeline.mapping.job import plan_job
from terralatent.pipeline.region import blocks

BATCH = 512
"""Pixels that go through the model together."""


def halves_of(cube: Path, model: str | None, dates: str) -> tuple[Tensor, Tensor]:
    """Differences of means and of variances, half less all, (half, date, L, y, x); computes."""
    job = plan_job(cube, model, dates, device="cpu")
    rows, columns = job.grid.shape
    series = job.read(blocks((rows, columns), job.block)[0])
    loaded, days = job.load(), torch.from_numpy(days_since_1970(job.dates))
    found: dict[int | None, list[tuple[Tensor, Tensor]]] = {None: [], 0: [], 1: []}
    for first in range(0, len(series), BATCH):
        pixels = np.arange(first, min(first + BATCH, len(series)))
        whole = series.series(pixels, loaded.device)
        for half, parts in found.items():
            seen = {name: _half(own, half) for name, own in whole.items()}
            with torch.no_grad():
                parts.append(loaded.infer(seen, days))
    means, variances = (
        {half: torch.cat([part[n] for part in parts]) for half, parts in found.items()}
        for n in range(2)
    )
    return tuple(  # type: ignore[return-value]
        torch.stack([_gridded(own[half] - own[None], series.shape) for half in (0, 1)])
        for own in (means, variances)
    )


def _half(observations: Observations, half: int | None) -> Observations:
    if half is None:
        return observations
    return observations.at(torch.arange(half, len(observations.days), 2))


def _gridded(values: Tensor, shape: tuple[int, int]) -> Tensor:
    """(pixel, date, L) as (date, L, y, x)."""
    return values.permute(1, 2, 0).unflatten(-1, shape)


def main() -> None:
    """Estimate and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cube", type=Path)
    parser.add_argument("--model", help="a folder, or a name; the default by default")
    parser.add_argument("--dates", default="30D", help="at which latents are compared")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    difference, variance = halves_of(options.cube, options.model, options.dates)
    sides = [side for side in SIDES if side <= max(difference.shape[-2:])]
    rho = error_correlation(difference, variance, sides)
    scale = ((difference**2).mean() / variance.clamp(min=0).mean()).item()
    print(f"{difference.shape[1]} dates, variance of differences {scale:.2f} of what is claimed")
    for side, own in zip(sides, rho, strict=True):
        low, middle, high = own.quantile(torch.tensor([0.0, 0.5, 1.0]).double()).tolist()
        least, most = ((rho * side**2) ** 0.5 for rho in (low, high))
        print(
            f"{side} x {side}: rho {low:.2f} to {high:.2f}, median {middle:.2f}; independent "
            f"errors claim {least:.1f} to {most:.1f} times too little"
        )
    if options.out is not None:
        options.out.write_text(json.dumps(correlation_table(rho, sides), indent=1) + "\n")


if __name__ == "__main__":
    main()
