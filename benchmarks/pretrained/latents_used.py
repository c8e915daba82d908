"""How many latents a model uses: what predictions lose when one is replaced by its prior."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from terralatent.models.checkpoint import load_model, read_manifest
from terralatent.models.latent_model import LatentModel, score_hidden
from terralatent.models.observations import Observations, merge_calendars
from terralatent.pipeline.training.adapting.calibrate import open_place
from terralatent.pipeline.training.holdout import hold_out
from terralatent.pipeline.training.sampler import PixelSampler

__all__ = ["LEAST", "lost_without"]

LEAST = 0.005
"""Nats a value by which held-out log density falls without a latent that is used."""

PIXELS = 256


@torch.no_grad()
def lost_without(model: Path, cubes: Sequence[Path]) -> list[float]:
    """By how many nats a value the log density of held-out acquisitions falls without each latent.

    Args:
        model: Folder of a model.
        cubes: On whose acquisitions, all sensors; the same number of pixels of each.
    """
    loaded = load_model(model)
    latents = loaded.config.latents
    totals, count = torch.zeros(latents + 1, dtype=torch.float64), 0
    for cube in cubes:
        place = open_place(cube, str(model), read_manifest(model), seed=0)
        (pool,) = PixelSampler([place], seed=0).pool(PIXELS)
        holdout = hold_out(pool, seed=0)
        hidden = holdout.validation(pool)
        dated = {
            name: own.at(own.observed.any(0)) for name, own in hidden.items() if own.observed.any()
        }
        days, places = merge_calendars({name: own.days for name, own in dated.items()})
        mean, var = loaded.infer(holdout.training(pool), days)
        for latent in range(latents + 1):  # the last one replaces none
            totals[latent] += _density(loaded, dated, places, *_without(latent, mean, var))
        count += sum(int(own.valid.sum()) for own in dated.values())
    return ((totals[-1] - totals[:-1]) / count).tolist()


def _without(
    latent: int, mean: torch.Tensor, var: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """The marginals with one latent as its prior has it, zero and of unit variance."""
    if latent >= mean.shape[-1]:
        return mean, var
    mean, var = mean.clone(), var.clone()
    mean[..., latent], var[..., latent] = 0.0, 1.0
    return mean, var


def _density(
    model: LatentModel,
    hidden: Mapping[str, Observations],
    places: Mapping[str, torch.Tensor],
    mean: torch.Tensor,
    var: torch.Tensor,
) -> float:
    return sum(
        float(
            score_hidden(model.sensor(name), own, mean[:, places[name]], var[:, places[name]])
            .log_density.double()
            .sum()
        )
        for name, own in hidden.items()
    )
