"""A cube and a model -> bands of one sensor at any dates, as surface and as new observation."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, overload

import numpy as np
import torch
from distributed import Client
from numpy.typing import NDArray

from terralatent.models.config import SensorConfig
from terralatent.pipeline.cluster.client import Workers
from terralatent.pipeline.cube.masking import MaskingRequest
from terralatent.pipeline.cube.reading import Reading, UntilRequest
from terralatent.pipeline.cube.series import SeriesBlock
from terralatent.pipeline.dates import When, days_since_1970
from terralatent.pipeline.mapping.block import BlockWork
from terralatent.pipeline.mapping.inference import InferenceJob
from terralatent.pipeline.mapping.memory import MemoryLimit, MemoryPlan, plan_memory
from terralatent.pipeline.mapping.plan import CubeSource, plan
from terralatent.pipeline.mapping.results.fill import fill, model_of
from terralatent.pipeline.mapping.results.layout import (
    days_to_observation,
    result_layout,
    time_chunk,
)
from terralatent.pipeline.mapping.results.report import ResultReport
from terralatent.pipeline.pixels.model import ModelSource
from terralatent.pipeline.progress import ProgressChoice, choose_progress
from terralatent.pipeline.region import blocks
from terralatent.pipeline.store.arrays import (
    INNER_CHUNK,
    ArrayLayout,
    Layout,
    coordinate,
    inner_chunk,
)
from terralatent.pipeline.store.repository import Store

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["decode"]

ARRAYS = {
    "mean": "expected surface, and expected new observation",
    "std_signal": "standard deviation of the surface",
    "std": "standard deviation of a new observation",
    "q05": "5 % quantile of a new observation",
    "q95": "95 % quantile of a new observation",
}
"""Arrays of the store and what they mean."""


@overload
def decode(
    cube: CubeSource,
    model: ModelSource,
    sensor: str,
    dates: When = "monthly",
    out: None = None,
    *,
    device: str = "auto",
    masking: MaskingRequest = None,
    at: str | None = None,
    until: UntilRequest = None,
) -> xr.Dataset: ...
@overload
def decode(
    cube: CubeSource,
    model: ModelSource,
    sensor: str,
    dates: When = ...,
    out: str | Path = ...,
    *,
    device: str = "auto",
    masking: MaskingRequest = None,
    at: str | None = None,
    until: UntilRequest = None,
    overviews: bool = True,
    client: Client | str | None = None,
    workers: int | None = None,
    memory: str = "4GB",
    progress: ProgressChoice = None,
) -> ResultReport: ...
def decode(
    cube: CubeSource,
    model: ModelSource,
    sensor: str,
    dates: When = "monthly",
    out: str | Path | None = None,
    *,
    device: str = "auto",
    masking: MaskingRequest = None,
    at: str | None = None,
    until: UntilRequest = None,
    overviews: bool = True,
    client: Client | str | None = None,
    workers: int | None = None,
    memory: str = "4GB",
    progress: ProgressChoice = None,
) -> xr.Dataset | ResultReport:
    """Predict the bands of ``sensor`` at ``dates``: lazily, or to a store at ``out``.

    The latents are inferred at the dates from all the sensors that cube and model share, then
    decoded; no latents store is needed. Without ``out`` reads no pixels and gives a Dataset as
    :func:`~terralatent.pipeline.mapping.opened.open_bands` does, whose blocks are computed when
    they are asked for. With ``out`` computes, block by block on Dask workers; the same call again
    computes only what is not done.

    Args:
        cube: As for :func:`~terralatent.pipeline.mapping.embed.embed`; it need not hold ``sensor``.
        model: As for :func:`terralatent.pipeline.mapping.embed.embed`; all bands that it has of
            ``sensor`` are predicted.
        sensor: One of the model's sensors.
        dates: See :func:`terralatent.pipeline.dates.parse_when`; ``acquisitions`` are those of
            ``sensor`` where the cube has it.
        out: Path or URL of the store, see :func:`~terralatent.pipeline.mapping.opened.open_bands`.
        device: Where a worker runs the model: ``auto``, ``cpu``, ``cuda``, ...
        masking: How the sensors are masked; as the model was trained, where it leaves that open.
        at: An earlier snapshot of the cube, see
            :func:`terralatent.pipeline.store.history.find_snapshot`.
        until: A day: only acquisitions that were there by its end are used, as for
            :func:`~terralatent.pipeline.mapping.embed.embed`.
        overviews: Whether the store has :mod:`~terralatent.pipeline.overviews`, where it is large.
        client: A Dask client, its address, or a kind of cluster, see
            :func:`terralatent.pipeline.cluster.client.client_for`; processes on this machine by
            default.
        workers: Worker processes to start; one for each core of this machine by default.
        memory: What a worker may use, such as ``4GB``; it bounds what is in memory at once.
        progress: Advanced by every block; True: a bar, as by default in a notebook.

    Raises:
        InputError: If the cube, the sensor, the dates or ``out`` cannot be used.
        CheckpointError: If the model cannot be read or does not fit the cube.

    Examples:
        >>> import terralatent as tl
        >>> bands = tl.decode("cube", "model", "sentinel-2-l2a", "2018-03-15")  # lazy
        >>> bands["mean"].dims, bands["band"].values.tolist()
        (('time', 'band', 'y', 'x'), ['B02', 'B03', 'B04'])
        >>> tl.decode("cube", "model", "sentinel-2-l2a", "2018-03-15", out="spring")
        ResultReport: 4 of 4 blocks, 306 pixels, ... pixels/s
    """
    progress = choose_progress(progress)
    reading, result = Reading(masking, at, until), None if out is None else Store.of(out)
    if model is None and result is not None:
        model = model_of(result)
    job, pixels = plan(cube, model, dates, reading, acquisitions_of=sensor, device=device)
    job.require_sensor(sensor)
    bands = Bands(job, sensor)
    if result is None:
        from terralatent.pipeline.mapping.lazy import lazy_result

        return lazy_result(bands, pixels)
    if pixels:
        from terralatent.pipeline.mapping.lazy import fill_given

        return fill_given(bands, pixels, result, title="decode", progress=progress)
    who = Workers(client, workers, memory)
    return fill(bands, result, who, title="decode", overviews=overviews, progress=progress)


@dataclass(frozen=True)
class Bands:
    """The bands of one sensor, as surface and as new observation."""

    job: InferenceJob
    """What to infer from, and when."""

    sensor: str
    """One of the model's."""

    def layout(self) -> Layout:
        """Lay out the store. Reads no pixels."""
        return result_layout(
            self.job,
            "bands",
            self._arrays(),
            {"model": self.job.model_hash, "sensor": self.sensor},
            {"title": f"{self.sensor}, predicted", "sensor": self.sensor},
        )

    def memory_plan(self, limit: MemoryLimit) -> MemoryPlan:
        """The results of one inner chunk are held until it is written."""
        values = len(ARRAYS) * len(self._config.bands)
        return plan_memory(self.job, limit, values * np.dtype(np.float32).itemsize, INNER_CHUNK**2)

    def compute(self, work: BlockWork) -> None:
        """Read, infer, decode and write one block; runs on a worker and writes whole chunks.

        Decoded and written one inner chunk after the other.
        """
        group, block = work.group, work.block
        for rows, series in work.strips():
            places = np.arange(len(series)).reshape(series.shape)
            top = block.y.start + rows.start
            for tile in blocks(series.shape, INNER_CHUNK):
                y = slice(top + tile.y.start, top + tile.y.stop)
                x = slice(block.x.start + tile.x.start, block.x.start + tile.x.stop)
                pixels = places[tile.y, tile.x].ravel()
                for dates in work.date_groups():
                    with work.clock.time("infer"):
                        arrays = self._decode(series, pixels, dates, work.plan.observations)
                    with work.clock.time("write"):
                        for name, values in zip(ARRAYS, arrays, strict=True):
                            group[name][dates, :, y, x] = values.reshape(
                                *values.shape[:2], *tile.shape
                            )
        with work.clock.time("write"):
            work.write_days_to_observation()

    def _decode(
        self, series: SeriesBlock, pixels: NDArray[np.intp], dates: slice, most: int
    ) -> NDArray[np.float32]:
        """The :data:`ARRAYS` of some pixels and dates, (5, Q, B, n), NaN outside every scene."""
        days = torch.from_numpy(days_since_1970(self.job.dates[dates]))
        shape = (len(ARRAYS), len(days), len(self._config.bands), pixels.size)
        arrays = np.full(shape, np.nan, dtype=np.float32)
        inside = pixels[series.seen[pixels]]
        for some, mean, var in self.job.infer(series, inside, dates=dates, most=most):
            bands = self.job.load().decode(self.sensor, mean, var, days.to(mean.device))
            at = np.searchsorted(pixels, some)
            for values, name in zip(arrays, ARRAYS, strict=True):
                values[:, :, at] = getattr(bands, name).permute(1, 2, 0).cpu().numpy()
        return arrays

    def _arrays(self) -> tuple[ArrayLayout, ...]:
        """Lay out the five arrays and their bands. No shards: an inner chunk is written at once."""
        rows, columns = self.job.grid.shape
        inner = inner_chunk(self.job.block)
        bands, dates = len(self._config.bands), len(self.job.times)
        return (
            *(
                ArrayLayout(
                    name,
                    ("time", "band", "y", "x"),
                    (dates, bands, rows, columns),
                    "float32",
                    chunks=(time_chunk(dates), bands, inner, inner),
                    fill_value=np.nan,
                    attrs={
                        "long_name": meaning,
                        "units": self._config.units,
                        "grid_mapping": "spatial_ref",
                    },
                )
                for name, meaning in ARRAYS.items()
            ),
            days_to_observation(dates, (rows, columns), self.job.block),
            coordinate("band", ("band",), np.array(self._config.bands)),
        )

    @cached_property
    def _config(self) -> SensorConfig:
        return self.job.config().sensor(self.sensor)
