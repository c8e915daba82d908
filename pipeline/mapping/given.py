"""Datasets in memory, or lazy ones of anybody's, instead of a stored cube: what a model reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import dask.array as da
import numpy as np
import xarray as xr
from dask.base import tokenize
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from terralatent.catalogs.errors import InputError
from terralatent.pipeline.cube.as_sensor import FILL, MASKED, require_sensor_dataset, sky_of
from terralatent.pipeline.cube.series import (
    HALO,
    US_PER_DAY,
    SensorSeries,
    SeriesBlock,
    distance_to_masked,
)
from terralatent.pipeline.cube.units import check_units
from terralatent.pipeline.dates import Times, When, parse_when
from terralatent.pipeline.mapping.inference import InferenceJob, fit_model
from terralatent.pipeline.mapping.scene_errors import SceneErrors
from terralatent.pipeline.pixels.model import ModelSource
from terralatent.pipeline.region import Block

__all__ = ["GivenJob", "plan_given"]

BLOCK = 256
"""Pixels along y and x of the blocks that are computed."""

ARRAYS = 3
"""Of each sensor: values, sky, distance."""


@dataclass(frozen=True, eq=False)
class GivenSensor:
    """What is known of a sensor's Dataset, without its pixels."""

    name: str
    bands: tuple[str, ...]
    """Those that the model reads, in its order."""
    units: str
    times: NDArray[np.int64]
    """Microseconds since 1970 UTC, ascending, (T,)."""
    incidence: NDArray[np.float32]
    """Degrees, NaN where unknown, (T,)."""


@dataclass(frozen=True, kw_only=True)
class GivenJob(InferenceJob):
    """Datasets of sensors on one grid, a model that fits them, and the requested dates.

    Pixels come from a graph: :meth:`bound` gives a task those of its block. Where Datasets end,
    nothing is known of what masks their pixels from beyond.
    """

    geobox: GeoBox
    given: tuple[GivenSensor, ...]
    token: str
    """Of all pixels."""

    chunks: tuple[NDArray[Any], ...] = ()
    """Of a block: values (T, B, y, x), sky (T, y, x) and distance (T, y, x) of each sensor."""

    start: tuple[int, int] = (0, 0)
    """Row and column of the block's first pixel."""

    @property
    def grid(self) -> GeoBox:
        """That of the Datasets."""
        return self.geobox

    @property
    def block(self) -> int:
        """Pixels along y and x of the blocks of a result."""
        return BLOCK

    @property
    def series_bytes(self) -> tuple[int, int]:
        """What the series of a pixel take, and how many dates they have."""
        sizes = [(len(own.times), len(own.bands)) for own in self.given]
        return sum(2 * t * (4 * b + 1 + 4) for t, b in sizes), sum(t for t, _ in sizes)

    @property
    def period(self) -> tuple[np.datetime64, np.datetime64]:
        """First and last day of the acquisitions."""
        days = self.acquisitions.astype("datetime64[D]")
        return days.min(), days.max()

    @property
    def acquisitions(self) -> Times:
        """Times of all sensors, datetime64[us]."""
        return np.concatenate([own.times for own in self.given]).astype("datetime64[us]")

    def bound(self, block: Block, chunks: tuple[NDArray[Any], ...]) -> GivenJob:
        """The same with the pixels of a block."""
        return replace(self, chunks=chunks, start=(block.y.start, block.x.start))

    def read(self, block: Block, errors: SceneErrors | None = None) -> SeriesBlock:
        """The series of a part of the block whose pixels this was bound to."""
        y, x = (
            slice(part.start - start, part.stop - start)
            for part, start in zip((block.y, block.x), self.start, strict=True)
        )
        by_sensor: dict[str, SensorSeries] = {}
        seen = np.zeros(block.shape, dtype=bool)
        for at, (own, shared) in enumerate(zip(self.given, self.bands, strict=True)):
            values, sky, distance = self.chunks[ARRAYS * at : ARRAYS * (at + 1)]
            values, sky, distance = values[:, :, y, x], sky[:, y, x], distance[:, y, x]
            check_units(values, own.name, own.units, "the Dataset")
            seen |= (sky != 0).any(axis=0)
            packed = np.where(np.isfinite(values), values, np.float32(FILL))
            by_sensor[own.name] = SensorSeries(
                bands=own.bands,
                units=own.units,
                days=own.times / US_PER_DAY,
                incidence=own.incidence,
                packed=_by_pixel(packed.reshape(*packed.shape[:2], -1)),
                clear=_by_pixel((sky == 1).reshape(len(sky), -1)),
                distance=_by_pixel(distance.reshape(len(distance), -1)),
                scale_factor=1.0,
                add_offset=0.0,
                fill_value=FILL,
                wanted=shared.model,
            )
        series = SeriesBlock.of(block.shape, by_sensor)
        return replace(series, seen=series.seen | seen.ravel())

    def identity(self) -> dict[str, Any]:
        """What must be equal for results to be the same; JSON values."""
        grid = self.geobox
        place = {
            "crs": str(grid.crs),
            "transform": list(grid.transform)[:6],
            "shape": list(grid.shape),
        }
        return {
            "cube": {"datasets": self.token, "grid": place},
            "sensors": list(self.sensors),
            "dates": [str(date) for date in self.dates],
            "block": BLOCK,
            **self._choices(),
        }


def plan_given(
    cube: Mapping[str, xr.Dataset],
    model: ModelSource,
    dates: When,
    *,
    acquisitions_of: str | None = None,
    device: str = "auto",
    encoder: str = "float32",
) -> tuple[GivenJob, tuple[da.Array, ...]]:
    """Check that a model fits some Datasets, and settle the dates. Computes no pixels.

    Args:
        cube: By sensor, Datasets as :func:`~terralatent.pipeline.cube.as_sensor.as_sensor` and
            :func:`~terralatent.pipeline.cube.opened.open_cube` give them, on one grid.
        model: See :data:`~terralatent.pipeline.pixels.model.ModelSource`.
        dates: See :func:`terralatent.pipeline.dates.parse_when`; the period is that of the times.
        acquisitions_of: The sensor that the dates ``acquisitions`` mean; all by default.
        device: Where the model runs.
        encoder: In what the encoders' networks compute.

    Returns:
        The job, and the pixels that each block takes, as dask arrays whose last chunks are blocks.

    Raises:
        InputError: If a Dataset is no sensor's, or their grids differ.
        CheckpointError: If there is no model, or it shares no band with them.
    """
    for name, own in cube.items():
        require_sensor_dataset(own, name)
    boxes = {name: own["data"].odc.geobox for name, own in cube.items()}
    first = next(iter(boxes))
    for name, box in boxes.items():
        if box != boxes[first]:
            raise InputError(
                f"{name} lies on another grid than {first} ({box.shape}, {box.crs}, beside "
                f"{boxes[first].shape}, {boxes[first].crs}); load or reproject both to one geobox."
            )
    bands = {
        name: ([str(band) for band in own["band"].values], str(own["data"].attrs["units"]))
        for name, own in cube.items()
    }
    fitted = fit_model(model, bands, device=device, encoder=encoder)
    sensors, arrays = [], []
    for shared in fitted["bands"]:
        own = cube[shared.sensor].sortby("time")
        sensors.append(_facts(own, shared.sensor, shared.shared))
        arrays += _arrays(own, shared.shared)
    of = [own for own in sensors if own.name == acquisitions_of] or sensors
    seen = np.concatenate([own.times for own in of]).astype("datetime64[us]")
    days = seen.astype("datetime64[D]")
    times = parse_when(dates, (days.min(), days.max()), seen)
    job = GivenJob(
        geobox=boxes[first],
        given=tuple(sensors),
        token=tokenize([array.name for array in arrays]),
        times=tuple(int(time) for time in times.astype(np.int64)),
        **fitted,
    )
    return job, tuple(arrays)


def _facts(own: xr.Dataset, name: str, bands: tuple[str, ...]) -> GivenSensor:
    times = own["time"].values.astype("datetime64[us]").astype(np.int64)
    incidence = np.full(len(times), np.nan, np.float32)
    if "incidence" in own.coords:
        incidence = np.asarray(own["incidence"].values, np.float32)
    return GivenSensor(name, bands, str(own["data"].attrs["units"]), times, incidence)


def _arrays(own: xr.Dataset, bands: Sequence[str]) -> list[da.Array]:
    """Values, sky and distance of a sensor, in chunks of all dates of a block."""
    data = own["data"].sel(band=list(bands)).transpose("time", "band", "y", "x")
    values = data.astype(np.float32).chunk().data.rechunk((-1, -1, BLOCK, BLOCK))
    sky = sky_of(own).chunk().data.rechunk((-1, BLOCK, BLOCK))
    depth = {axis: min(HALO, sky.shape[axis]) for axis in (1, 2)}
    distance = da.map_overlap(
        _distance, sky, depth=depth, boundary=0, dtype=np.float32,
        meta=np.empty((0, 0, 0), np.float32),
    )  # fmt: skip
    return [values, sky, distance.rechunk(sky.chunks)]


def _distance(sky: NDArray[np.uint8]) -> NDArray[np.float32]:
    return distance_to_masked(sky == MASKED)


def _by_pixel(values: NDArray[Any]) -> NDArray[Any]:
    """(T, ..., N) as (N, T, ...)."""
    return np.ascontiguousarray(np.moveaxis(values, -1, 0))
