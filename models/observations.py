"""What one sensor saw of a batch of pixels: values, validity and view, on the sensor's own days.

Encoders turn it into Gaussian pseudo-observations of the latents, sites, which lie on the union of
all sensors' days.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

DISTANCE_CAP = 16.0
"""Largest distance to a masked pixel, in pixels; farther ones count as this far."""

CLEAR_SHARE = 0.5
"""An acquisition counts as clear where at least this share of the pixels is."""


@dataclass(frozen=True)
class Observations:
    """Observations of N pixels by one sensor on its T days, in B bands.

    Nothing under the mask is ever read: where ``valid`` is False, ``values`` may be NaN or
    infinite. Shapes and dtypes are checked at birth; days must ascend but may repeat.

    Raises:
        ValueError: If shapes or dtypes disagree, or if the days descend or are not finite.
    """

    days: Tensor
    """Days since 1970-01-01 UTC, ascending, shape (T,), float64."""

    values: Tensor
    """Physical units (reflectance, dB), shape (N, T, B), float32. Anything where not valid."""

    valid: Tensor
    """True where a value may be used, shape (N, T, B), bool."""

    distance: Tensor
    """Pixels to the nearest masked pixel, at most DISTANCE_CAP, shape (N, T), float32."""

    incidence: Tensor
    """Incidence angle in degrees, NaN where unknown, shape (T,), float32."""

    def __post_init__(self) -> None:
        if self.values.ndim != 3:
            raise ValueError(
                f"values must have dims (pixel, time, band), got shape {tuple(self.values.shape)}."
            )
        n, t, _ = self.values.shape
        wanted = {
            "days": ((t,), torch.float64),
            "values": (tuple(self.values.shape), torch.float32),
            "valid": (tuple(self.values.shape), torch.bool),
            "distance": ((n, t), torch.float32),
            "incidence": ((t,), torch.float32),
        }
        for name, (shape, dtype) in wanted.items():
            tensor: Tensor = getattr(self, name)
            if tuple(tensor.shape) != shape or tensor.dtype != dtype:
                raise ValueError(
                    f"{name}: got shape {tuple(tensor.shape)} and {tensor.dtype}; for values of "
                    f"shape {tuple(self.values.shape)} it must be {shape} and {dtype}."
                )
        if not bool(torch.isfinite(self.days).all()):
            raise ValueError("days must be finite; drop the dates whose time is missing.")
        if t > 1 and bool((self.days[1:] < self.days[:-1]).any()):
            first = int(torch.nonzero(self.days[1:] < self.days[:-1])[0])
            raise ValueError(
                f"days must ascend, but day {first + 1} ({float(self.days[first + 1])}) is before "
                f"day {first} ({float(self.days[first])}); sort the dates and everything with them."
            )

    def __len__(self) -> int:
        """The number of pixels N."""
        return int(self.values.shape[0])

    @property
    def band_count(self) -> int:
        """How many bands B the sensor has."""
        return int(self.values.shape[-1])

    @property
    def observed(self) -> Tensor:
        """True where any band of a date is valid, shape (N, T), bool."""
        return self.valid.any(dim=-1)

    def select(self, pixels: Tensor | slice) -> Observations:
        """Take some pixels (an index tensor, a bool mask or a slice); days stay as they are."""
        return replace(
            self,
            values=self.values[pixels],
            valid=self.valid[pixels],
            distance=self.distance[pixels],
        )

    def at(self, dates: Tensor | slice) -> Observations:
        """Take some dates (an ascending index tensor, a bool mask of shape (T,) or a slice)."""
        return Observations(
            days=self.days[dates],
            values=self.values[:, dates],
            valid=self.valid[:, dates],
            distance=self.distance[:, dates],
            incidence=self.incidence[dates],
        )

    def hide(self, hidden: Tensor) -> Observations:
        """Return the same observations, not valid where ``hidden``, shape (N, T) or (T,), bool.

        The distance to the nearest masked pixel is left as the sensor's own mask gave it.
        """
        return replace(self, valid=self.valid & ~hidden.unsqueeze(-1))

    def to(self, device: torch.device | str) -> Observations:
        """Move every tensor to ``device``."""
        return Observations(
            days=self.days.to(device),
            values=self.values.to(device),
            valid=self.valid.to(device),
            distance=self.distance.to(device),
            incidence=self.incidence.to(device),
        )

    @classmethod
    def concatenate(cls, parts: Sequence[Observations]) -> Observations:
        """Join pixels of the same sensor, days and view.

        Raises:
            ValueError: If there is no part, or if the parts have different days or incidence.
        """
        if not parts:
            raise ValueError("concatenate needs at least one part, got none.")
        first = parts[0]
        for place, part in enumerate(parts[1:], start=1):
            same = torch.equal(first.days, part.days) and torch.equal(
                first.incidence.nan_to_num(-1.0), part.incidence.nan_to_num(-1.0)
            )
            if not same:
                raise ValueError(
                    f"part {place} has other days or incidence angles than part 0; only pixels "
                    "of one sensor on one time axis can be joined."
                )
        return cls(
            days=first.days,
            values=torch.cat([part.values for part in parts]),
            valid=torch.cat([part.valid for part in parts]),
            distance=torch.cat([part.distance for part in parts]),
            incidence=first.incidence,
        )


@dataclass(frozen=True, eq=False)
class PackedObservations:
    """Observations of N pixels by one sensor as a store has them: its integers, of P pixels.

    They lie on the CPU. Nothing of shape (pixel, time, band) is made before :meth:`unpacked`.
    """

    days: Tensor
    """Days since 1970-01-01 UTC, ascending, shape (T,), float64."""

    incidence: Tensor
    """Incidence angle in degrees, NaN where unknown, shape (T,), float32."""

    packed: npt.NDArray[np.number]
    """Integers, or floats, of the C bands that there are, shape (P, T, C)."""

    clear: npt.NDArray[np.bool_]
    """Where the ground was seen, shape (P, T)."""

    distance: npt.NDArray[np.float32]
    """Pixels to the nearest masked pixel, at most DISTANCE_CAP, shape (P, T)."""

    pixels: npt.NDArray[np.int64]
    """Which of the P pixels, shape (N,)."""

    bands: npt.NDArray[np.int64]
    """Which of the sensor's bands the C are, shape (C,); the others are never valid."""

    band_count: int
    """How many bands B the sensor has."""

    numbers: tuple[float, float, float]
    """The fill value, of what is not there; scale and offset: value = packed * scale + offset."""

    def __len__(self) -> int:
        """The number of pixels N."""
        return len(self.pixels)

    def unpacked(self, device: torch.device | str = "cpu") -> Observations:
        """Values in physical units, valid where there is clear data; unpacked on ``device``."""
        device = torch.device(device)
        fill, scale, offset = self.numbers
        packed = self.packed[self.pixels]
        if not np.array_equal(self.bands, np.arange(self.band_count)):
            laid = np.full((*packed.shape[:2], self.band_count), fill, packed.dtype)
            laid[..., self.bands] = packed
            packed = laid
        values = _on(device, packed).to(torch.float32)
        valid = (values != fill) & _on(device, self.clear[self.pixels]).unsqueeze(-1)
        values.mul_(scale).add_(offset)
        return Observations(
            days=self.days.to(device),
            values=torch.where(valid, values, 0.0),
            valid=valid,
            distance=_on(device, self.distance[self.pixels]),
            incidence=self.incidence.to(device),
        )


AnyObservations: TypeAlias = Observations | PackedObservations
"""Of one sensor, either way."""


def unpacked(
    observations: Mapping[str, AnyObservations], device: torch.device | str
) -> dict[str, Observations]:
    """Observations by sensor name; those that are packed are unpacked on ``device``."""
    return {
        name: own.unpacked(device) if isinstance(own, PackedObservations) else own
        for name, own in observations.items()
    }


def _on(device: torch.device, values: npt.NDArray[Any]) -> Tensor:
    """An array on a device; through pinned memory to a GPU, which nobody waits for."""
    tensor = torch.from_numpy(np.ascontiguousarray(values))
    if device.type == "cuda":
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


def clear_dates(observed: Tensor) -> Tensor:
    """Return which acquisitions are clear over at least half of the pixels.

    Pixels that were never observed are left out of the share, so that the edge of a swath does
    not make an acquisition cloudy.

    Args:
        observed: True where a pixel was seen at a date, shape (N, T), bool.

    Returns:
        Shape (T,), bool; all False where nothing was ever seen.
    """
    ever = observed.any(dim=1)
    if not bool(ever.any()):
        return observed.any(dim=0)
    clear: Tensor = observed[ever].float().mean(dim=0) >= CLEAR_SHARE
    return clear


@dataclass(frozen=True)
class Sites:
    """Gaussian pseudo-observations of the latents on the union of all sensors' days."""

    days: Tensor
    """Days since 1970-01-01, ascending, may repeat, shape (T,), float64."""

    w: Tensor
    """Precision, shape (N, T, L), exactly 0 where nothing was observed."""

    eta: Tensor
    """Information w * y, shape (N, T, L), exactly 0 where nothing was observed."""

    places: Mapping[str, Tensor]
    """For each sensor, where its own days are in ``days``, shape (T_sensor,), int64."""


def merge_calendars(calendars: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
    """Join the sensors' days, ascending, and say where each sensor's own days went.

    Repeated days are kept. The order in which sensors are given means nothing.

    Args:
        calendars: Days by sensor name, each ascending, shape (T_s,), float64.

    Returns:
        All days, shape (T,), and for each sensor the index of its days therein, shape (T_s,).
    """
    names = sorted(calendars)
    days, order = torch.cat([calendars[name] for name in names]).sort(stable=True)
    place = torch.empty_like(order)
    place[order] = torch.arange(len(order), device=order.device)
    parts = torch.split(place, [len(calendars[name]) for name in names])
    return days, dict(zip(names, parts, strict=True))
