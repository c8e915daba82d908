"""Observations of all sensors as vectors of one width, on the union of their days."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from terralatent.models.baselines.learned.decoder_start import posterior_of_one
from terralatent.models.config import ModelConfig
from terralatent.models.observations import DISTANCE_CAP, Observations, merge_calendars
from terralatent.models.sensor.model import SensorModel
from terralatent.models.sensor.networks import CONTEXT, INPUT_LIMIT

__all__ = ["Reader", "Reading"]


@dataclass(frozen=True)
class Reading:
    """What N pixels' observations say, as vectors, dates in ascending order."""

    days: Tensor
    """Days since 1970-01-01 on which any of the pixels was observed, shape (T,), float64; one
    blank day if there is none."""

    values: Tensor
    """shape (N, T, W), 0 where not observed."""

    observed: Tensor
    """shape (N, T), bool."""

    def packed(self) -> tuple[Tensor, Tensor, Tensor]:
        """Move each pixel's own observations to the front, in the order of their days.

        Returns:
            Values (N, M, W), days (N, M) and whether observed (N, M), where M is the largest
            number of observations of a pixel.
        """
        longest = max(1, int(self.observed.sum(1).max()))
        order = (~self.observed).to(torch.uint8).argsort(dim=1, stable=True)[:, :longest]
        wide = order.unsqueeze(-1).expand(-1, -1, self.values.shape[-1])
        return self.values.gather(1, wide), self.days[order], self.observed.gather(1, order)


class Reader(nn.Module):
    """One linear layer for each sensor: bands, their validity, view and season -> W numbers.

    They are the numbers that the GP-VAE's encoders see. A sensor's bias says which it is.

    Args:
        config: Sensors and sizes.
        width: W.
    """

    def __init__(self, config: ModelConfig, width: int) -> None:
        super().__init__()
        self.width = width
        self.embed = nn.ModuleDict(
            {
                sensor.name: nn.Linear(2 * len(sensor.bands) + CONTEXT, width)
                for sensor in sorted(config.sensors, key=lambda sensor: sensor.name)
            }
        )

    def _layer(self, name: str) -> nn.Linear:
        return cast(nn.Linear, self.embed[name])

    def start(self, sensors: Mapping[str, SensorModel]) -> None:
        """Let the first L numbers be an observation's word on the latents; others stay random."""
        with torch.no_grad():
            for name, sensor in sensors.items():
                layer = self._layer(name)
                project, shift, _ = posterior_of_one(sensor)
                count = min(len(project), self.width)
                layer.weight[:count] = 0.0
                layer.weight[:count, : project.shape[1]] = project[:count]
                layer.bias[:count] = shift[:count]

    def forward(
        self, sensors: Mapping[str, SensorModel], observations: Mapping[str, Observations]
    ) -> Reading:
        """Read observations by sensor name, one or more, all of the same N pixels."""
        pixels = len(next(iter(observations.values())))
        seen = {name: series.at(series.observed.any(0)) for name, series in observations.items()}
        days, places = merge_calendars({name: series.days for name, series in seen.items()})
        if not len(days):
            blank = next(iter(observations.values())).values.new_zeros(pixels, 1, self.width)
            return Reading(days.new_zeros(1), blank, blank[..., 0] > 0.0)
        rows, parts = [], []
        for name in sorted(seen):
            series, sensor = seen[name], sensors[name]
            pixel, date = series.observed.nonzero(as_tuple=True)
            valid = series.valid[pixel, date]
            values = sensor.normalise(series.values[pixel, date], valid)
            near = series.distance[pixel, date].clamp(0.0, DISTANCE_CAP) / DISTANCE_CAP
            context = sensor.context(series)[date]
            inputs = [values.clamp(-INPUT_LIMIT, INPUT_LIMIT), valid.to(values.dtype), context]
            parts.append(self._layer(name)(torch.cat([*inputs, near.unsqueeze(-1)], dim=-1)))
            rows.append(pixel * len(days) + places[name][date])
        row = torch.cat(rows)
        laid = parts[0].new_zeros(pixels * len(days), self.width)
        there = torch.zeros(pixels * len(days), dtype=torch.bool, device=laid.device)
        there[row] = True
        laid = laid.index_copy(0, row, torch.cat(parts))
        return Reading(days, laid.reshape(pixels, len(days), -1), there.reshape(pixels, -1))
