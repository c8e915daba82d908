"""Pixel series of a window of the cube: packed integers in memory, tensors of as many as wanted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch

from terralatent.models.observations import AnyObservations, Observations, PackedObservations
from terralatent.pipeline.cube.coarse_grid import CoarseWindow
from terralatent.pipeline.cube.series.loops import find_data, nearer_days, plain

__all__ = ["CPU", "NEVER", "SensorSeries", "SeriesBlock"]

CPU = torch.device("cpu")

NEVER = 65535
"""Days to an observation where there is none."""


@dataclass(frozen=True, eq=False)
class SensorSeries:
    """What one sensor saw of a window, as the cube stores it; N = rows * columns, row by row."""

    bands: tuple[str, ...]
    """Names of the bands that were read, in the order of :attr:`packed`."""

    units: str
    """Units of the values."""

    days: npt.NDArray[np.float64]
    """Days since 1970-01-01 UTC, ascending, (T,)."""

    incidence: npt.NDArray[np.float32]
    """Degrees, NaN where unknown, (T,)."""

    packed: npt.NDArray[np.number]
    """Integers as stored, or the floats of a table, (N, T, B) in :attr:`bands`; the fill value
    where there is no data."""

    clear: npt.NDArray[np.bool_]
    """Where the ground was seen by the requested masking; True where there is none, (N, T)."""

    distance: npt.NDArray[np.float32]
    """Pixels to the nearest one that rule and dilation mask, at most 16, (N, T)."""

    scale_factor: float
    """value = packed * scale_factor + add_offset, in :attr:`units`."""

    add_offset: float
    """In :attr:`units`."""

    fill_value: int
    """The integer that means no data."""

    outliers: npt.NDArray[np.uint16] | None = None
    """How many observations of each pixel no neighbour in time supports, which :attr:`clear` leaves
    out, (N,); None where outliers were not searched for."""

    errors: CoarseWindow | None = None
    """What acquisitions are known to be off by, (T, B) at each pixel, in :attr:`units`; it is taken
    off the values."""

    wanted: tuple[str, ...] | None = None
    """The bands that observations have, such as a model's, in their order; those that are none of
    :attr:`bands` are never valid. None: as they were read."""

    @cached_property
    def has_data(self) -> npt.NDArray[np.bool_]:
        """Where there is any number in a band that was read, clear or not, (N, T)."""
        return find_data(self.packed, self.fill_value)

    @property
    def observed(self) -> npt.NDArray[np.bool_]:
        """Where a pixel was seen clear in any band that was read, (N, T)."""
        return self.has_data & self.clear

    @property
    def places(self) -> list[int] | None:
        """Where :attr:`bands` are among those that observations have; None where they are these."""
        if self.wanted is None or self.wanted == self.bands:
            return None
        return [self.wanted.index(band) for band in self.bands]

    def observations(
        self, pixels: npt.NDArray[np.integer] | slice, device: torch.device = CPU
    ) -> Observations:
        """Tensors of some pixels: values in physical units, valid where there is clear data.

        They are laid on the wanted bands here, for no more pixels than these, and unpacked on
        ``device``.
        """
        seen = self.packed_observations(pixels).unpacked(device)
        if self.errors is None:
            return seen
        values = seen.values - torch.from_numpy(self.errors.at(pixels)).to(device)
        return replace(seen, values=torch.where(seen.valid, values, 0.0))

    def packed_observations(self, pixels: npt.NDArray[np.integer] | slice) -> PackedObservations:
        """Some pixels as they are, for a model that takes them so; errors are not taken off."""
        wanted = self.bands if self.wanted is None else self.wanted
        some = np.arange(len(self.packed))[pixels] if isinstance(pixels, slice) else pixels
        return PackedObservations(
            days=torch.from_numpy(self.days),
            incidence=torch.from_numpy(self.incidence),
            packed=plain(self.packed),
            clear=plain(self.clear),
            distance=plain(self.distance),
            pixels=some.astype(np.int64, copy=False),
            bands=np.array([wanted.index(band) for band in self.bands], np.int64),
            band_count=len(wanted),
            numbers=(self.fill_value, self.scale_factor, self.add_offset),
        )


@dataclass(frozen=True, eq=False)
class SeriesBlock:
    """What all sensors saw of a window: integers, and tensors of any of its pixels."""

    shape: tuple[int, int]
    """Rows and columns of the window."""

    by_sensor: dict[str, SensorSeries]
    """In the order in which the sensors were requested."""

    seen: npt.NDArray[np.bool_]
    """Whether a pixel is inside some scene: any number on any date in a band that was read, cloudy
    or not, (N,)."""

    observations: npt.NDArray[np.uint16]
    """Clear acquisitions of each pixel, of which any band was read, (sensor, N)."""

    @classmethod
    def of(cls, shape: tuple[int, int], by_sensor: dict[str, SensorSeries]) -> SeriesBlock:
        """A window of so many rows and columns, and what was seen of it, counted."""
        seen = np.zeros(shape[0] * shape[1], dtype=bool)
        counts = np.zeros((len(by_sensor), len(seen)), dtype=np.uint16)
        for index, sensor in enumerate(by_sensor.values()):
            seen |= sensor.has_data.any(axis=1)
            counts[index] = sensor.observed.sum(axis=1)
        return cls(shape, by_sensor, seen, counts)

    @property
    def sensors(self) -> tuple[str, ...]:
        """Sensors in the order of :attr:`observations`."""
        return tuple(self.by_sensor)

    def __len__(self) -> int:
        """The number of pixels N."""
        return self.shape[0] * self.shape[1]

    def counted(self, first: float, end: float) -> npt.NDArray[np.uint16]:
        """Clear acquisitions from one day to before another, as :attr:`observations`, (sensor, N).

        Args:
            first: Days since 1970-01-01.
            end: The same.
        """
        counts = np.zeros(self.observations.shape, dtype=np.uint16)
        for index, sensor in enumerate(self.by_sensor.values()):
            dates = slice(*np.searchsorted(sensor.days, [first, end]))
            counts[index] = sensor.observed[:, dates].sum(axis=1)
        return counts

    def days_to_observation(self, days: npt.NDArray[np.float64]) -> npt.NDArray[np.uint16]:
        """Whole days from each date to the nearest clear acquisition of any sensor, (Q, N).

        Args:
            days: Dates, days since 1970-01-01, (Q,).

        Returns:
            :data:`NEVER` where a pixel has none.
        """
        nearest = np.full((len(days), len(self)), np.inf, np.float32)
        for sensor in self.by_sensor.values():
            nearer_days(sensor.observed, sensor.days, days, nearest)
        return np.where(np.isfinite(nearest), np.rint(nearest).clip(max=NEVER - 1), NEVER).astype(
            np.uint16
        )

    def outliers(
        self, pixels: npt.NDArray[np.integer] | slice = slice(None)
    ) -> dict[str, tuple[int, int]]:
        """For each sensor that was searched for them: its outliers, and the clear observations with
        them."""
        counts = zip(self.by_sensor.items(), self.observations, strict=True)
        return {
            name: (taken := int(sensor.outliers[pixels].sum()), taken + int(count[pixels].sum()))
            for (name, sensor), count in counts
            if sensor.outliers is not None
        }

    def series(
        self, pixels: npt.NDArray[np.integer] | slice | None = None, device: torch.device = CPU
    ) -> dict[str, Observations]:
        """Observations of some pixels by every sensor.

        Args:
            pixels: Row-major indices, ``row * columns + column``, or a slice of them; None: all.
            device: Where the tensors are to lie.
        """
        chosen = slice(None) if pixels is None else pixels
        return {
            name: sensor.observations(chosen, device) for name, sensor in self.by_sensor.items()
        }

    def packed(
        self, pixels: npt.NDArray[np.integer] | slice, device: torch.device = CPU
    ) -> Mapping[str, AnyObservations]:
        """Observations of some pixels for a model that lies on a device: nothing is unpacked yet,
        unless errors are to be taken off."""
        sensors = self.by_sensor.items()
        if any(own.errors is not None for _, own in sensors):
            return self.series(pixels, device)
        return {name: own.packed_observations(pixels) for name, own in sensors}
