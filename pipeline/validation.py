"""How well a model predicts whole acquisitions that it does not see."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from terralatent.models.gpvae import GPVAE
from terralatent.models.observations import Observations
from terralatent.pipeline.holdout import Holdout

__all__ = ["Score", "Validation"]

CHUNK = 256
"""Series inferred at once."""


@dataclass(frozen=True)
class Score:
    """Figures over every clear value of the acquisitions held out."""

    log_density: float
    """Mean log predictive density of a value, normalised units, all sensors together; larger is
    better."""

    rmse: dict[str, float]
    """Root mean squared error of each sensor with such values, in its units, all bands together."""

    def told(self) -> dict[str, object]:
        """As it is written into the log."""
        return {"log_density": self.log_density, "rmse": self.rmse}


class Validation:
    """A fixed set of series with some acquisitions hidden from the encoder and asked for.

    Args:
        series: For each cube, series of some pixels on all days, on the CPU.
        holdouts: For each cube, the acquisitions that are hidden; not all of them empty.
    """

    def __init__(
        self, series: Sequence[dict[str, Observations]], holdouts: Sequence[Holdout]
    ) -> None:
        self._pairs = [
            (_part(holdout.training(one), start), _part(holdout.validation(one), start))
            for one, holdout in zip(series, holdouts, strict=True)
            for start in range(0, len(next(iter(one.values()))), CHUNK)
        ]

    def score(self, model: GPVAE) -> Score:
        """Judge a model where it lies; no gradient is kept, and nothing is drawn at random."""
        device = next(model.parameters()).device
        model.eval()
        density, values = 0.0, 0
        squares: dict[str, float] = defaultdict(float)
        counts: dict[str, int] = defaultdict(int)
        with torch.no_grad():
            for seen, hidden in self._pairs:
                predicted = model.log_predictive(
                    {name: one.to(device) for name, one in seen.items()},
                    {name: one.to(device) for name, one in hidden.items()},
                )
                for name, held in predicted.items():
                    count = int(held.valid.sum())
                    spread = held.error.new_tensor(model.config.sensor(name).spread)
                    density += float(held.log_density.double().sum())
                    values += count
                    squares[name] += float((held.error * spread).double().square().sum())
                    counts[name] += count
        return Score(
            density / max(values, 1),
            {
                name: (squares[name] / counts[name]) ** 0.5
                for name in sorted(counts)
                if counts[name]
            },
        )


def _part(series: dict[str, Observations], start: int) -> dict[str, Observations]:
    return {name: one.select(slice(start, start + CHUNK)) for name, one in series.items()}
