"""Pixel series of a window of the cube: packed integers in memory, tensors of as many as wanted.

Straight from Zarr, without dask: workers and the training sampler read one window at a time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import zarr
from scipy.ndimage import distance_transform_edt

from terralatent.catalogs.errors import InputError
from terralatent.catalogs.sources.clear import ClearRule
from terralatent.models.observations import (
    DISTANCE_CAP,
    AnyObservations,
    Observations,
    PackedObservations,
)
from terralatent.pipeline.cube.coarse_grid import CoarseWindow
from terralatent.pipeline.cube.masking import AS_STORED, Masking, Masks, clear_sky
from terralatent.pipeline.cube.outliers import find_outliers
from terralatent.pipeline.cube.reading import Places

__all__ = [
    "CPU",
    "NEVER",
    "SensorSeries",
    "SeriesBlock",
    "distance_to_masked",
    "read_dates",
    "read_series",
]

HALO = int(DISTANCE_CAP)
"""Pixels read around a window, so that the distance to a masked pixel knows no tiling."""

CPU = torch.device("cpu")

NEVER = 65535
"""Days to an observation where there is none."""

US_PER_DAY = 86_400_000_000.0


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

    @property
    def observed(self) -> npt.NDArray[np.bool_]:
        """Where a pixel was seen clear in any band that was read, (N, T)."""
        return np.asarray((self.packed != self.fill_value).any(axis=2) & self.clear)

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
            packed=self.packed,
            clear=self.clear,
            distance=self.distance,
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
            data = (sensor.packed != sensor.fill_value).any(axis=2)
            seen |= data.any(axis=1)
            counts[index] = (data & sensor.clear).sum(axis=1)
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
            data = (sensor.packed[:, dates] != sensor.fill_value).any(axis=2)
            counts[index] = (data & sensor.clear[:, dates]).sum(axis=1)
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
            if not len(sensor.days):
                continue
            clear = sensor.observed
            after = np.searchsorted(sensor.days, days)
            for seen, places in ((_last(clear), after - 1), (_next(clear), after)):
                for date, place in enumerate(places):
                    if 0 <= place < len(sensor.days):
                        at = seen[:, place]
                        there = (at >= 0) & (at < len(sensor.days))
                        gap = np.abs(sensor.days[at.clip(0, len(sensor.days) - 1)] - days[date])
                        np.minimum(nearest[date], np.where(there, gap, np.inf), out=nearest[date])
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


def read_series(
    cube: zarr.Group,
    sensors: Sequence[str],
    y: slice,
    x: slice,
    masks: Masks = AS_STORED,
    bands: Mapping[str, Sequence[str]] | None = None,
    dates: Mapping[str, Places] | None = None,
) -> SeriesBlock:
    """Read the series of every pixel in a window of the cube. Computes.

    Every value of a pixel is the same whatever the window around it: the distance to a masked
    pixel is measured with 16 pixels beyond the window, and as many more as masks are dilated.
    Masked is what the sensor's rule says is not clear, and its dilation; a pixel without data,
    outside the scene or outside the cube, masks nothing, so that the edge of a swath does not count
    as the edge of a cloud.

    Args:
        cube: Root group of a cube.
        sensors: Names of groups of the cube.
        y: Rows of the grid, ``start`` and ``stop`` inside it.
        x: Columns of the grid, likewise.
        masks: How the sensors are masked.
        bands: By sensor, the bands that observations are to have, in that order. Those that the
            cube lacks are never valid, and others that it has are not read. Those of the cube
            where a sensor is not named.
        dates: By sensor, which of its dates there are; the others are not read. All of them where
            a sensor is not named.

    Raises:
        InputError: If the cube has no such sensor, or a rule cannot be used.
    """
    wanted = {name: tuple(own) for name, own in (bands or {}).items()}
    places = dates or {}
    by_sensor = {
        name: _read_sensor(
            _sensor_group(cube, name), places.get(name, slice(None)), y, x, masks.of(name),
            wanted.get(name),
        )
        for name in sensors
    }  # fmt: skip
    return SeriesBlock.of((y.stop - y.start, x.stop - x.start), by_sensor)


def _last(clear: npt.NDArray[np.bool_]) -> npt.NDArray[np.int32]:
    """For each date the last clear one up to it, -1 where there is none, (N, T)."""
    places = np.where(clear, np.arange(clear.shape[1], dtype=np.int32), np.int32(-1))
    return np.maximum.accumulate(places, axis=1)


def _next(clear: npt.NDArray[np.bool_]) -> npt.NDArray[np.int32]:
    """For each date the next clear one from it on, T where there is none, (N, T)."""
    dates = clear.shape[1]
    places = np.where(clear, np.arange(dates, dtype=np.int32), np.int32(dates))
    return np.minimum.accumulate(places[:, ::-1], axis=1)[:, ::-1]


def _sensor_group(cube: zarr.Group, name: str) -> zarr.Group:
    sensor = cube.get(name)
    if not isinstance(sensor, zarr.Group) or "data" not in sensor:
        there = [key for key, group in cube.groups() if "data" in group]
        raise InputError(f"The cube has no sensor {name}; it has {', '.join(sorted(there))}.")
    return sensor


def _read_sensor(
    group: Any, places: Places, y: slice, x: slice, masking: Masking, wanted: tuple[str, ...] | None
) -> SensorSeries:
    data = group["data"]
    rows, columns = data.shape[-2:]
    days = np.asarray(group["time"][...])[places] / US_PER_DAY
    dates = len(days)
    halo = HALO + (masking.dilate or 0)
    outer_y = slice(max(0, y.start - halo), min(rows, y.stop + halo))
    outer_x = slice(max(0, x.start - halo), min(columns, x.stop + halo))
    inner_y = slice(y.start - outer_y.start, y.stop - outer_y.start)
    inner_x = slice(x.start - outer_x.start, x.stop - outer_x.start)
    bands, packed = _read_bands(group, places, y, x, wanted)
    pixels = (y.stop - y.start) * (x.stop - x.start)
    packed = packed.reshape(dates, len(bands), pixels)
    if "quality" in group:
        quality = group["quality"]
        rule, nodata = ClearRule.from_json(quality.attrs["clear_rule"]), quality.attrs["nodata"]
        mask = read_dates(quality, places, outer_y, outer_x)
        clear, masked = clear_sky(mask, masking, rule, nodata)
        distance = distance_to_masked(masked)[:, inner_y, inner_x]
        clear = clear[:, inner_y, inner_x]
    else:
        clear = np.ones((dates, pixels), dtype=bool)
        distance = np.full((dates, pixels), DISTANCE_CAP, dtype=np.float32)
    packed = np.ascontiguousarray(packed.transpose(2, 0, 1))
    clear = np.ascontiguousarray(clear.reshape(dates, pixels).T)
    fill_value, outliers = int(data.attrs["_FillValue"]), None
    if masking.outliers:
        observed = clear & (packed != fill_value).all(axis=2)
        unsupported = find_outliers(packed, observed, days)
        clear &= ~unsupported
        outliers = unsupported.sum(axis=1).astype(np.uint16)
    return SensorSeries(
        bands=bands,
        units=str(data.attrs["units"]),
        days=days,
        incidence=np.asarray(group["incidence"][...], dtype=np.float32)[places],
        packed=packed,
        clear=clear,
        distance=np.ascontiguousarray(distance.reshape(dates, pixels).T),
        scale_factor=float(data.attrs["scale_factor"]),
        add_offset=float(data.attrs["add_offset"]),
        fill_value=fill_value,
        outliers=outliers,
        wanted=wanted,
    )


def _read_bands(
    group: Any, dates: Places, y: slice, x: slice, wanted: tuple[str, ...] | None
) -> tuple[tuple[str, ...], npt.NDArray[np.integer]]:
    """The bands of a sensor that are wanted and there, in the order wanted, (T, B, y, x)."""
    data, there = group["data"], [str(band) for band in group["band"][...]]
    bands = tuple(there) if wanted is None else tuple(band for band in wanted if band in there)
    if bands == tuple(there):
        return bands, read_dates(data, dates, slice(None), y, x)
    places = [there.index(band) for band in bands]
    return bands, np.asarray(data.oindex[side_by_side(dates), places, y, x])


def read_dates(array: Any, dates: Places, *others: slice) -> npt.NDArray[Any]:
    """Some dates of an array, of which other chunks are not read."""
    chosen = (side_by_side(dates), *others)
    return np.asarray(array[chosen] if isinstance(chosen[0], slice) else array.oindex[chosen])


def side_by_side(dates: Places) -> Places:
    """Places as a slice where they are one: Zarr picks single ones out of a chunk one by one."""
    if isinstance(dates, slice) or not len(dates) or dates[-1] - dates[0] + 1 != len(dates):
        return dates
    return slice(int(dates[0]), int(dates[-1]) + 1)


def distance_to_masked(masked: npt.NDArray[np.bool_]) -> npt.NDArray[np.float32]:
    """Euclidean distance to the nearest masked pixel of each date, capped, (T, y, x)."""
    distance = np.full(masked.shape, DISTANCE_CAP, dtype=np.float32)
    for date in range(len(masked)):
        if masked[date].all():
            distance[date] = 0.0
        elif masked[date].any():
            exact = distance_transform_edt(~masked[date])
            np.minimum(exact, DISTANCE_CAP, out=distance[date], casting="same_kind")
    return distance
