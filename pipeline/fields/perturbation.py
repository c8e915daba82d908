"""What errors that pixels share do to the surface: draw them, infer again, see what moves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from terralatent.models.latent_model import LatentModel
from terralatent.models.observations import AnyObservations, Observations, unpacked
from terralatent.models.sensor.networks import season
from terralatent.pipeline.cube.series import SeriesBlock
from terralatent.pipeline.fields.shared_errors import SharedErrors
from terralatent.pipeline.pixels.batches import infer_batches_by

__all__ = ["Perturbation"]


@dataclass(frozen=True)
class Perturbation:
    """Sets of errors of acquisitions, which all pixels share."""

    model: LatentModel
    """What infers."""

    sensor: str
    """Whose surface is wanted."""

    errors: SharedErrors
    """What pixels share."""

    draws: int
    """Sets of errors."""

    seed: int
    """Of them."""

    def of(
        self, series: SeriesBlock, pixels: NDArray[np.intp], days: Tensor, most: int | None = None
    ) -> Iterator[tuple[NDArray[np.intp], Tensor]]:
        """Infer pixels as they were seen, and with each draw added to that. Computes.

        A pixel goes through the model with all of its draws, in one batch. Where no sensor's pixels
        share any errors nothing moves, and nothing is computed.

        Args:
            series: Of a window.
            pixels: Row-major places within it.
            days: Days since 1970-01-01, (Q,), float64.
            most: Pixels times dates in a batch, see
                :func:`~terralatent.pipeline.pixels.batches.infer_batches_by`.

        Yields:
            Some of the pixels, and by how much each draw moves their surface, (D, n, Q, B),
            physical units, float64, on the CPU.
        """
        drawn = self._drawn(series)
        if not drawn:
            return
        every = 1 + self.draws
        seen = sum(len(sensor.days) for sensor in series.by_sensor.values())

        def infer(observations: Mapping[str, AnyObservations]) -> Tensor:
            return self._move(unpacked(observations, self.model.device), drawn, every, days)

        # Of a pixel all that it sees is there once for each draw.
        dates = every * (seen + len(days)) - seen
        yield from infer_batches_by(self.model, infer, series, pixels, dates, most)

    def _drawn(self, series: SeriesBlock) -> dict[str, Tensor]:
        """By sensor, what is added to its values, (1 + D, T, B), physical units: first nothing."""
        drawn = {}
        for name, own in series.by_sensor.items():
            noise = self.errors.draw(name, len(own.days), self.draws, self.seed)
            if noise is not None:
                spread = self.model.sensor(name).spread
                shift = torch.from_numpy(noise).float().to(spread.device) * spread
                drawn[name] = torch.cat([torch.zeros_like(shift[:1]), shift])
        return drawn

    def _move(
        self,
        observations: Mapping[str, Observations],
        drawn: Mapping[str, Tensor],
        every: int,
        days: Tensor,
    ) -> Tensor:
        count = len(next(iter(observations.values())))
        again = torch.arange(count, device=self.model.device).repeat_interleave(every)
        shifted = {}
        for name, own in observations.items():
            shifted[name] = own.select(again)
            if name in drawn:
                values = shifted[name].values + drawn[name].repeat(count, 1, 1)
                shifted[name] = replace(shifted[name], values=values)
        days = days.to(self.model.device)
        mean, var = self.model.infer(shifted, days)
        if not bool(torch.isfinite(mean.sum() + var.sum())):
            raise ArithmeticError("the model gave a latent that is not finite")
        surface = self._surface(mean, var, days).unflatten(0, (count, every))
        return (surface[:, 1:] - surface[:, :1]).transpose(0, 1)

    def _surface(self, mean: Tensor, var: Tensor, days: Tensor) -> Tensor:
        """The expected surface for differences, (n, Q, B), physical units, float64.

        At the mean of the latents where the family decodes by the sensor's own network: what the
        spread around it adds is of second order, and costs 32 times as much.
        """
        if type(self.model).decode is not LatentModel.decode:
            return self.model.decode(self.sensor, mean, var, days).mean.cpu().double()
        own = self.model.sensor(self.sensor)
        seasons = season(days).to(mean).expand(*mean.shape[:-1], 2).flatten(0, 1)
        with torch.no_grad():
            location, _ = own.decoder(mean.flatten(0, 1), seasons)
        surface: Tensor = own.centre + own.spread * location
        return surface.reshape(*mean.shape[:-1], -1).cpu().double()
