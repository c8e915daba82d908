r"""What a pixel of a level says of those that it covers: a mean, a standard deviation, a class.

Each array of a store has one summary. It turns pixels into sums, which are added up two by two from
level to level, and the sums of any level into what is stored there: so every level is made from
level 0, with its own count of valid pixels. Sums of integers are exact. The error of a mean of n
pixels with standard deviations s, of which two have the correlation rho, has the variance

.. math:: \rho \, (\textstyle\sum s / n)^2 + (1 - \rho) \sum s^2 / n^2
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["Mean", "Mode", "Packing", "Spread", "Summary", "Sums", "halved"]

Sums: TypeAlias = tuple[NDArray[Any], ...]
"""Of the pixels of a level, each (..., y, x); the first is how many are valid."""

RMS = "_rms"
"""Ends the name of the root mean square of standard deviations over all latents."""


@dataclass(frozen=True)
class Packing:
    """How an array holds numbers, by its CF attributes."""

    dtype: str
    """Of what is stored."""

    scale: float = 1.0
    offset: float = 0.0

    fill: float | None = None
    """What stands for no data: an integer, NaN, or None where every pixel has some."""

    @classmethod
    def of(cls, array: Any) -> Packing:
        """That of a Zarr array."""
        attrs, is_float = array.attrs, array.dtype.kind == "f"
        fill = np.nan if is_float else attrs.get("_FillValue")
        scale, offset = attrs.get("scale_factor", 1.0), attrs.get("add_offset", 0.0)
        return cls(array.dtype.name, float(scale), float(offset), fill)

    def steps(self, stored: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[Any]]:
        """Numbers as stored, 0 where there are none; and whether there are, all dims or fewer."""
        values = stored.astype(np.float64)
        if self.fill is None:
            return values, np.ones((1,) * (stored.ndim - 2) + stored.shape[-2:], bool)
        valid = ~np.isnan(values) if np.isnan(self.fill) else stored != self.fill
        if valid.ndim > 2 and (valid == valid[:1]).all():
            valid = valid[:1]  # as it is of all latents, which saves counting it for each
        if not valid.all():
            values = np.where(valid, values, 0.0)
        return values, valid

    def stored(self, steps: NDArray[np.float64], count: NDArray[Any]) -> NDArray[Any]:
        """What is stored of numbers in steps; no data where nothing is counted."""
        if np.dtype(self.dtype).kind == "f":
            return np.where(count > 0, steps, np.nan).astype(self.dtype)
        fill = 0 if self.fill is None else self.fill
        return np.where(count > 0, np.rint(steps), fill).astype(self.dtype)


class Summary(Protocol):
    """What a level has of one array. Small and picklable."""

    @property
    def outputs(self) -> Mapping[str, str | None]:
        """Names of the arrays of a level, each with the dimension that it lacks of level 0."""

    @property
    def method(self) -> str:
        """In words, for the attributes of these arrays."""

    def sums(self, stored: NDArray[Any]) -> Sums:
        """Of pixels of level 0, (..., y, x), as they are stored."""

    def summarised(self, sums: Sums, level: int) -> dict[str, NDArray[Any]]:
        """What is stored of a level, by output."""


@dataclass(frozen=True)
class Mean:
    """The mean of the valid pixels."""

    name: str
    packing: Packing
    method: str = "mean of the valid pixels"

    @property
    def outputs(self) -> Mapping[str, str | None]:
        """One."""
        return {self.name: None}

    def sums(self, stored: NDArray[Any]) -> Sums:
        """How many are valid, and their sum."""
        steps, valid = self.packing.steps(stored)
        return valid.astype(np.float64), steps

    def summarised(self, sums: Sums, level: int) -> dict[str, NDArray[Any]]:
        """Their mean."""
        count, total = sums
        return {self.name: self.packing.stored(total / np.maximum(count, 1), count)}


@dataclass(frozen=True)
class Spread:
    """The standard deviation of the error of the mean of the valid pixels."""

    name: str
    packing: Packing
    rho: Mapping[int, NDArray[np.float64]] = field(default_factory=dict)
    """By side of a square, see :func:`~terralatent.pipeline.overviews.correlation.correlation_of`.
    """

    is_log: bool = False
    """Whether logarithms are stored."""

    over: str | None = None
    """The dimension, the last before y, over which there is a root mean square beside."""

    method: str = "standard deviation of the mean of the valid pixels, see rho"

    @property
    def outputs(self) -> Mapping[str, str | None]:
        """The standard deviations, and their root mean square."""
        return {self.name: None, **({self.name + RMS: self.over} if self.over else {})}

    def rho_at(self, level: int) -> NDArray[np.float64]:
        """The correlation within a pixel of a level, (n, 1, 1): that of the smallest square which
        was measured and is as large; beyond them all of the largest, for it falls with distance."""
        if not self.rho:
            return np.ones((1, 1, 1))
        side = next((side for side in self.rho if side >= 2**level), max(self.rho))
        return self.rho[side]

    def sums(self, stored: NDArray[Any]) -> Sums:
        """How many are valid, the sums of their standard deviations and of the squares."""
        steps, valid = self.packing.steps(stored)
        std = np.where(valid, self._std(steps), 0.0) if self._is_shifted else steps
        return valid.astype(np.float64), std, std * std

    def summarised(self, sums: Sums, level: int) -> dict[str, NDArray[Any]]:
        """By the formula of the module."""
        count, total, squares = sums
        n, rho = np.maximum(count, 1), self.rho_at(level)
        variance = rho * (total / n) ** 2 + (1.0 - rho) * squares / n**2
        found = {self.name: self.packing.stored(self._steps(np.sqrt(variance)), count)}
        if self.over is not None:
            rms = np.sqrt(variance.mean(axis=-3))
            some = np.broadcast_to(count, variance.shape).min(axis=-3)
            found[self.name + RMS] = self.packing.stored(self._steps(rms), some)
        return found

    @property
    def _is_shifted(self) -> bool:
        return self.is_log or self.packing.offset != 0.0

    def _std(self, steps: NDArray[np.float64]) -> NDArray[np.float64]:
        """In steps where those are no logarithms; a common factor does not matter."""
        values = steps * self.packing.scale + self.packing.offset
        return np.exp(values) if self.is_log else values / self.packing.scale

    def _steps(self, std: NDArray[np.float64]) -> NDArray[np.float64]:
        if not self._is_shifted:
            return std
        values = std * self.packing.scale
        if self.is_log:
            values = np.log(np.where(std > 0, std, 1.0))
        return (values - self.packing.offset) / self.packing.scale


@dataclass(frozen=True)
class Mode:
    """The class of most of the valid pixels; of several as frequent the one of the lowest value."""

    name: str
    packing: Packing
    classes: tuple[int, ...]
    """Their values, ascending."""

    method: str = "most frequent class, the lowest of several"

    @property
    def outputs(self) -> Mapping[str, str | None]:
        """One."""
        return {self.name: None}

    def sums(self, stored: NDArray[Any]) -> Sums:
        """How many have a class, and each of them, (class, y, x)."""
        each = np.stack([stored == value for value in self.classes]).astype(np.int32)
        return each.sum(axis=0, dtype=np.int32), each

    def summarised(self, sums: Sums, level: int) -> dict[str, NDArray[Any]]:
        """The most frequent."""
        count, each = sums
        values = np.asarray(self.classes, np.float64)[each.argmax(axis=0)]
        return {self.name: self.packing.stored(values, count)}


def halved(sums: Sums) -> Sums:
    """Sums of the next level: of 2 x 2 pixels, of fewer at a lower or right edge."""
    return tuple(_halved(values) for values in sums)


def _halved(values: NDArray[Any]) -> NDArray[Any]:
    rows, columns = values.shape[-2:]
    if rows % 2 or columns % 2:
        edges = [(0, 0)] * (values.ndim - 2) + [(0, rows % 2), (0, columns % 2)]
        values = np.pad(values, edges)
    two = values[..., 0::2, :] + values[..., 1::2, :]
    return np.asarray(two[..., 0::2] + two[..., 1::2])
