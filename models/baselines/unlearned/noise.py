"""What hidden acquisitions say of a method's noise: its covariance, and how wide intervals are."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from terralatent.models.baselines.unlearned.hidden import Fold
from terralatent.models.observations import merge_calendars
from terralatent.models.sensor.predictive import quantile_table, upper_quantile
from terralatent.models.start.covariances import diagonal_plus_factor, lifted, robust_scatter

if TYPE_CHECKING:
    from terralatent.models.baselines.unlearned.model import FilledBands

COVERED = 0.9
"""Share of the hidden looks that the interval from q05 to q95 covers in the end."""

ROWS = 50_000
"""Hidden looks that are used at most."""

FACTORS = (0.05, 20.0)
"""Bounds of the factor by which variances are stretched."""


def fit_noise(model: FilledBands, folds: Sequence[Fold]) -> None:
    """Set the decoders' noise, and stretch each band's variances until they cover.

    The noise is the robust scatter of the errors less what the method says of the surface itself.
    Then the variances of each band, noise and surface alike, are multiplied by the factor with
    which nine of ten hidden looks lie between the predicted quantiles.

    Args:
        model: Its method is set; changed in place.
        folds: What is hidden.
    """
    errors: dict[str, list[Tensor]] = defaultdict(list)
    surfaces: dict[str, list[Tensor]] = defaultdict(list)
    for fold in folds:
        days, at = merge_calendars({name: each.days for name, each in fold.hidden.items()})
        mean, var = model.fill(fold.seen, days)
        for name, hidden in fold.hidden.items():
            place, whole = model.places[name], hidden.valid.all(-1)
            errors[name].append((mean[:, at[name], place] - hidden.values)[whole])
            surfaces[name].append(var[:, at[name], place][whole])
    for name in errors:
        _set_noise(model, name, torch.cat(errors[name]), torch.cat(surfaces[name]))


def _set_noise(model: FilledBands, name: str, error: Tensor, surface: Tensor) -> None:
    """Set one sensor's by the errors (M, B) and the variances of the surface said there."""
    size = model.size[model.places[name]].double()
    bands = len(size)
    if len(error) <= bands:
        return
    thin = slice(None, None, -(-len(error) // ROWS))
    error, surface = error[thin].double() * size, surface[thin].double() * size.square()
    sensor = model.sensor(name)
    ratio = float(sensor.likelihood.variance_ratio().detach())
    dof = 2.0 * ratio / (ratio - 1.0) if ratio > 1.0 else 1e6
    _, scatter = robust_scatter(error, error.new_zeros(bands), dof)
    left = lifted(scatter - surface.mean(0).diag() / ratio, 0.2 * scatter.diagonal())
    diagonal, factor = diagonal_plus_factor(left, sensor.decoder.factor.shape[-1])
    decoder = sensor.decoder
    decoder.set_linear(
        decoder.bias.detach(),
        decoder.linear.detach(),
        diagonal.log().float(),
        factor.float(),
    )
    table = quantile_table(sensor.likelihood.mixture(), 0.5 + 0.5 * COVERED)
    reach = upper_quantile(table, surface, left.diagonal().expand_as(surface))
    stretch = _quantile(error.abs() / reach, COVERED).square().clamp(*FACTORS).float()
    sensor.noise_factor.copy_(stretch)
    sensor.signal_factor.copy_(stretch)


def _quantile(values: Tensor, share: float) -> Tensor:
    """Of each column; ``torch.quantile`` takes 16 million numbers at most."""
    place = min(len(values) - 1, round(share * len(values)))
    return values.sort(0).values[place]
