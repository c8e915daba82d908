"""How well a model predicts whole acquisitions that it does not see."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

import torch

from terralatent.catalogs.sources.sensors import SENSORS
from terralatent.models.config import SensorConfig
from terralatent.models.latent_model import LatentModel
from terralatent.models.observations import Observations
from terralatent.pipeline.training.holdout import Holdout

__all__ = ["Guard", "Score", "Validation", "band_groups"]

CHUNK = 256
"""Series inferred at once."""

TOLERANCE = 0.005
"""By how much, in nats a value, a guarded sensor may be predicted worse: about half a percent of
its error, less than another choice of what is held out makes."""


GROUP_TOLERANCE = 0.05
"""By which share the error of a group of bands may be larger than the start's: a handful of
held-out acquisitions, some with haze, say no more of it. At 0.5 % three of four trainings on the
real scenes ended with weights of their first 80 steps, although all groups but one were predicted
better: of a reference's error they left 1.009 on acquisitions of neither kind, and 0.992 where
nothing was guarded."""

GROUPS = {
    "visible": ("coastal", "blue", "green", "red"),
    "near infrared": ("rededge", "nir"),
    "short-wave infrared": ("swir",),
}
"""Groups of reflectances by how the asset keys of their bands begin, numbers left out."""


@dataclass(frozen=True)
class Guard:
    """Sensors that must be predicted no worse than a model did that is being extended."""

    sensors: AbstractSet[str]
    """Their names."""

    log_density: float
    """That model's mean log predictive density of their held-out values."""


@dataclass(frozen=True)
class Score:
    """Figures over every clear value of the acquisitions held out."""

    log_density: float
    """Mean log predictive density of a value, normalised units, all sensors together; larger is
    better."""

    rmse: dict[str, float]
    """Root mean squared error of each sensor with such values, in its units, all bands together."""

    by_sensor: dict[str, float]
    """Mean log predictive density of a value of each of these sensors."""

    worse: bool = False
    """Whether guarded sensors are predicted worse than they must be."""

    groups: Mapping[str, float] = field(default_factory=dict)
    """Root mean squared error of each of :func:`band_groups`, normalised units."""

    def loses(self, start: Mapping[str, float]) -> bool:
        """Whether some group of bands is predicted worse than at the start of the training.

        Args:
            start: :attr:`groups` of the start; those that are in one of both only do not count.
        """
        return any(
            error > (1.0 + GROUP_TOLERANCE) * start[name]
            for name, error in self.groups.items()
            if name in start
        )

    def to_json(self) -> dict[str, object]:
        """As it is written into the log, JSON values."""
        values: dict[str, object] = {"log_density": self.log_density, "rmse": self.rmse}
        if len(self.by_sensor) > 1:
            values["by_sensor"] = self.by_sensor
        values["groups"] = dict(self.groups)
        return values | ({"worse": True} if self.worse else {})


class Validation:
    """A fixed set of series with some acquisitions hidden from the encoder and predicted.

    Args:
        series: For each cube, series of some pixels on all days, on the CPU.
        holdouts: For each cube, the acquisitions that are hidden; not all of them empty.
        guard: Sensors that must be predicted no worse than before; none by default.
    """

    def __init__(
        self,
        series: Sequence[dict[str, Observations]],
        holdouts: Sequence[Holdout],
        guard: Guard | None = None,
    ) -> None:
        self._guard = guard
        self._pairs = [
            (_part(holdout.training(pool), start), _part(holdout.validation(pool), start))
            for pool, holdout in zip(series, holdouts, strict=True)
            for start in range(0, len(next(iter(pool.values()))), CHUNK)
        ]

    def score(self, model: LatentModel) -> Score:
        """Judge a model where it lies; no gradient is kept, and nothing is drawn at random."""
        device = model.device
        model.eval()
        densities: dict[str, float] = defaultdict(float)
        squares: dict[str, float] = defaultdict(float)
        counts: dict[str, int] = defaultdict(int)
        grouped: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
        with torch.no_grad():
            for seen, hidden in self._pairs:
                predicted = model.log_predictive(
                    {name: series.to(device) for name, series in seen.items()},
                    {name: series.to(device) for name, series in hidden.items()},
                )
                for name, held in predicted.items():
                    count = int(held.valid.sum())
                    spread = held.error.new_tensor(model.config.sensor(name).spread)
                    densities[name] += float(held.log_density.double().sum())
                    squares[name] += float((held.error * spread).double().square().sum())
                    counts[name] += count
                    squared = held.error.double().square().sum((0, 1)).tolist()
                    valid = held.valid.sum((0, 1)).tolist()
                    groups = band_groups(model.config.sensor(name))
                    for group, square, n in zip(groups, squared, valid, strict=True):
                        grouped[group][0] += square
                        grouped[group][1] += n
        names = [name for name in sorted(counts) if counts[name]]

        def density(sensors: Sequence[str]) -> float:
            values = sum(counts[name] for name in sensors)
            return sum(densities[name] for name in sensors) / max(values, 1)

        guard = self._guard
        return Score(
            density(names),
            {name: (squares[name] / counts[name]) ** 0.5 for name in names},
            {name: density([name]) for name in names},
            guard is not None
            and density([name for name in names if name in guard.sensors])
            < guard.log_density - TOLERANCE,
            {name: (square / n) ** 0.5 for name, (square, n) in sorted(grouped.items()) if n},
        )


def band_groups(sensor: SensorConfig) -> tuple[str, ...]:
    """Say for each band of a sensor with which others it is judged.

    Visible, red edge and near infrared, or short-wave infrared, by the names of a known sensor's
    bands; backscatter of all radars is one group, and any other sensor is one of its own.
    """
    if sensor.units == "dB":
        return ("radar",) * len(sensor.bands)
    known = SENSORS.get(sensor.name)
    keys = dict(zip(known.bands, known.keys, strict=True)) if known else {}
    return tuple(
        next(
            (
                group
                for group, beginnings in GROUPS.items()
                if any(
                    key.lower().rstrip("0123456789") in beginnings
                    for key in (band, *keys.get(band, ()))
                )
            ),
            sensor.name,
        )
        for band in sensor.bands
    )


def _part(series: dict[str, Observations], start: int) -> dict[str, Observations]:
    return {
        name: observations.select(slice(start, start + CHUNK))
        for name, observations in series.items()
    }
