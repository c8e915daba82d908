r"""Annual vectors as integers: what is stored of a mean and of a standard deviation.

A mean is a multiple of a step, and so is the logarithm of a standard deviation. Rounding adds
:math:`\mathrm{step}^2 / 12` to the variance of a mean, which is part of what is stored.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["PRECISIONS", "Precision"]

LOG_CENTRE = math.log(0.5)
"""Of what is packed of logarithms: standard deviations in the middle of their range."""

LEAST_STD = 1e-6
"""Below it a standard deviation is one: a logarithm must be finite."""


@dataclass(frozen=True)
class Precision:
    """How means and logarithms of standard deviations are kept."""

    name: str
    dtype: str
    mean_step: float | None
    """Of means, whose unit is their standard deviation over what the map was fitted to."""
    log_step: float | None
    """Of natural logarithms of standard deviations."""

    @property
    def end(self) -> int:
        """The largest integer; the lowest is its opposite."""
        return int(np.iinfo(self.dtype).max)

    @property
    def fill(self) -> float:
        """What a pixel outside every scene has."""
        return float("nan") if self.mean_step is None else int(np.iinfo(self.dtype).min)

    def attrs(self, name: str) -> dict[str, Any]:
        """The CF packing of ``mean`` or ``log_std``; {} for floats."""
        if self.mean_step is None:
            return {}
        fill = {"_FillValue": int(self.fill)}
        if name == "mean":
            return {"scale_factor": self.mean_step, "add_offset": 0.0, **fill}
        return {"scale_factor": self.log_step, "add_offset": LOG_CENTRE, **fill}

    def blank(self, shape: tuple[int, ...]) -> NDArray[Any]:
        """What is stored of pixels outside every scene."""
        return np.full(shape, self.fill, self.dtype)

    def pack(self, mean: Tensor, variance: Tensor) -> tuple[NDArray[Any], NDArray[Any], int]:
        """Return what is stored of means and variances (n, K), as (K, n), and how many did not fit.

        Args:
            mean: Of the components.
            variance: Of the same; what rounding adds to it is added here.
        """
        if self.mean_step is None or self.log_step is None:
            logs = variance.sqrt().clamp_min(LEAST_STD).log()
            return mean.T.cpu().numpy(), logs.T.cpu().numpy(), 0
        steps = (mean / self.mean_step).round()
        std = (variance + self.mean_step**2 / 12.0).sqrt()
        logs = ((std.clamp_min(LEAST_STD).log() - LOG_CENTRE) / self.log_step).round()
        clipped = 0
        for values in (steps, logs):
            clipped += int((values.abs() > self.end).sum())
            values.clamp_(-self.end, self.end)
        kind = getattr(torch, self.dtype)
        return steps.T.to(kind).cpu().numpy(), logs.T.to(kind).cpu().numpy(), clipped


PRECISIONS = {
    own.name: own
    for own in (
        Precision("int8", "int8", 0.04, 0.03),
        Precision("int16", "int16", 2.5e-4, 2.5e-4),
        Precision("float32", "float32", None, None),
    )
}
"""By name. int8 holds means of 5.08 units, rounded by 0.0115 units (root mean square), and standard
deviations of 0.011 to 22, in steps of 3 %; int16 means of 8.19 units."""
