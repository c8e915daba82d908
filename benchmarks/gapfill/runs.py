"""One run: a method on one rotation's cube, and where its model and its scores are kept."""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from terralatent.pipeline.training.choices import CHOICES
from terralatent.pipeline.training.train import train

__all__ = ["HINDSIGHT", "SENSOR_SETS", "Run", "not_there"]

HINDSIGHT = "hindsight"
"""The per-band Gaussian process whose settings are chosen on the truth of the rotation itself."""

SENSOR_SETS: Mapping[str, tuple[str, ...]] = {
    "S2": ("sentinel-2",),
    "+S1": ("sentinel-2", "sentinel-1"),
    "+L8": ("sentinel-2", "sentinel-1", "landsat"),
}
"""Beginnings of the names of the sensors of each set."""


@dataclass(frozen=True)
class Run:
    """What is run; its file's name follows from it."""

    rotation: str
    method: str
    """One of the registry's families, or :data:`HINDSIGHT`."""

    sensors: str = "+L8"
    """One of :data:`SENSOR_SETS`."""

    seed: int = 0
    budget: float = 60.0
    """Seconds of training, the start included."""

    steps: int | None = None
    """Training steps instead of as many as fit."""

    overrides: Mapping[str, Any] = field(default_factory=dict)
    """Further arguments of ``train``."""

    series: bool = False
    """Whether the series of one pixel is kept for a figure."""

    region: str = ""
    """Folder of a simulated region, where it is that on which the method is judged."""

    def file(self, work: Path) -> Path:
        """Where its scores are kept."""
        name = self.method
        if self.method != HINDSIGHT:
            length = f"{self.budget:g}s" if self.steps is None else f"{self.steps}steps"
            name = "-".join([self.method, self.sensors, length, f"seed{self.seed}"])
        if self.overrides or self.region:
            told = json.dumps([dict(sorted(self.overrides.items())), self.region], default=str)
            name += "-" + hashlib.sha256(told.encode()).hexdigest()[:8]
        return work / "runs" / self.rotation / f"{name}.json"

    def model(self, work: Path) -> Path:
        """Where its model is kept."""
        return work / "models" / self.rotation / self.file(work).stem


def not_there(overrides: Mapping[str, Any]) -> list[str]:
    """Those of the overrides that ``train`` does not know."""
    return sorted(set(overrides) - set(inspect.signature(train).parameters) - set(CHOICES))
