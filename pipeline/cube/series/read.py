"""Pixel series of a window, read straight from Zarr, without dask: one window at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import zarr
from scipy.ndimage import distance_transform_edt

from terralatent.catalogs.errors import InputError
from terralatent.catalogs.sources.clear import ClearRule
from terralatent.models.observations import DISTANCE_CAP
from terralatent.pipeline.cube.masking import AS_STORED, Masking, Masks, clear_sky
from terralatent.pipeline.cube.outliers import find_outliers
from terralatent.pipeline.cube.reading import Places
from terralatent.pipeline.cube.series.block import SensorSeries, SeriesBlock
from terralatent.pipeline.cube.series.loops import turned

__all__ = ["HALO", "US_PER_DAY", "distance_to_masked", "read_dates", "read_series"]

HALO = int(DISTANCE_CAP)
"""Pixels read around a window, so that the distance to a masked pixel knows no tiling."""

US_PER_DAY = 86_400_000_000.0


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
    packed = turned(packed)
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
