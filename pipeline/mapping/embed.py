"""A cube and a model -> latents: each pixel's mean and standard deviation at any dates."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

import numpy as np
import torch
import xarray as xr
import zarr
from distributed import Client
from numpy.typing import NDArray
from torch import Tensor

from terralatent.catalogs.errors import InputError
from terralatent.pipeline.cluster.client import Workers
from terralatent.pipeline.cube.layout import grid_attrs
from terralatent.pipeline.cube.masking import MaskingRequest, leaves_open
from terralatent.pipeline.cube.reading import Reading, UntilRequest
from terralatent.pipeline.dates import When
from terralatent.pipeline.mapping.block import BlockWork
from terralatent.pipeline.mapping.inference import InferenceJob
from terralatent.pipeline.mapping.lazy import fill_given, lazy_result
from terralatent.pipeline.mapping.memory import MemoryLimit, MemoryPlan, plan_memory
from terralatent.pipeline.mapping.opened import open_latents, with_information
from terralatent.pipeline.mapping.plan import CubeSource, plan
from terralatent.pipeline.mapping.report import ResultReport
from terralatent.pipeline.mapping.results import (
    days_to_observation,
    fill,
    model_of,
    result_layout,
    time_chunk,
)
from terralatent.pipeline.pixels.model import ModelSource
from terralatent.pipeline.pixels.table import TableReport, embed_table
from terralatent.pipeline.progress import ProgressChoice, choose_progress
from terralatent.pipeline.region import Block
from terralatent.pipeline.store.arrays import (
    TIME_CHUNK,
    ArrayLayout,
    Layout,
    coordinate,
    inner_chunk,
)
from terralatent.pipeline.store.conventions import embedding_attrs, model_uri
from terralatent.pipeline.store.repository import Store
from terralatent.pipeline.tables.columns import Columns
from terralatent.pipeline.tables.table import TableSource, is_table

__all__ = ["embed"]

log = logging.getLogger(__name__)

MEAN_STEP, STD_STEP = 2.5e-4, 2e-5
"""Packing steps, in prior standard deviations: below a tenth of a posterior std of 0.0025."""

MANY_CLIPPED = 1e-4
"""Share of clipped values above which they are worth a warning; the report counts them anyway."""

MEAN_FILL, STD_FILL = -32768, 65535
MEAN_END, STD_END = 32767, 65534
"""Largest packed values: a mean of 8.19 prior standard deviations, a std of 1.31."""


@overload
def embed(
    cube: CubeSource,
    model: ModelSource = None,
    out: None = None,
    *,
    dates: When = "monthly",
    encoder: str = "float32",
    device: str = "auto",
    masking: MaskingRequest = None,
    at: str | None = None,
    until: UntilRequest = None,
) -> xr.Dataset: ...
@overload
def embed(
    cube: CubeSource | TableSource,
    model: ModelSource = ...,
    out: str | Path = ...,
    *,
    dates: When = "monthly",
    precision: str = "packed",
    encoder: str = "float32",
    device: str = "auto",
    masking: MaskingRequest = None,
    at: str | None = None,
    until: UntilRequest = None,
    columns: Columns = None,
    sensors: Sequence[str] | None = None,
    wide: bool = False,
    overviews: bool = True,
    client: Client | str | None = None,
    workers: int | None = None,
    memory: str = "4GB",
    progress: ProgressChoice = None,
) -> ResultReport | TableReport: ...
def embed(
    cube: CubeSource | TableSource,
    model: ModelSource = None,
    out: str | Path | None = None,
    *,
    dates: When = "monthly",
    precision: str = "packed",
    encoder: str = "float32",
    device: str = "auto",
    masking: MaskingRequest = None,
    at: str | None = None,
    until: UntilRequest = None,
    columns: Columns = None,
    sensors: Sequence[str] | None = None,
    wide: bool = False,
    overviews: bool = True,
    client: Client | str | None = None,
    workers: int | None = None,
    memory: str = "4GB",
    progress: ProgressChoice = None,
) -> xr.Dataset | ResultReport | TableReport:
    """Infer the latents of every pixel of ``cube`` at ``dates``: lazily, or to a store at ``out``.

    Without ``out`` reads no pixels and gives a Dataset as
    :func:`~terralatent.pipeline.mapping.opened.open_latents` does, float32, whose blocks are
    computed when they are asked for, on whatever Dask client is active, or in threads; a cube that
    was selected in space has the latents of the whole one there.

    With ``out`` computes, block by block on Dask workers. The same call again computes only what is
    not done; a stored cube is read at one snapshot, which it keeps from now on, and the result does
    not depend on its blocks. A table of pixel series is embedded in this process into a Parquet
    file, see :func:`terralatent.pipeline.pixels.table.embed_table`.

    Args:
        cube: Path or URL of a cube; what :func:`~terralatent.pipeline.cube.opened.open_cube` opened
            of it, also after selections; Datasets of sensors, see
            :func:`~terralatent.pipeline.cube.as_sensor.as_sensor`; or a table: a ``.parquet`` or
            ``.csv`` file, a frame, or a :class:`~terralatent.pipeline.tables.series.Series`.
        model: Folder of a model that shares a band with the cube, or the name of one that comes
            with the package; by default that of the store at ``out`` where it is begun, else
            :data:`terralatent.models.shipped.DEFAULT`. What the cube lacks of its sensors and bands
            is as if masked; what it does not know is not read.
        out: Path or URL of the latents store, see
            :func:`~terralatent.pipeline.mapping.opened.open_latents`. A table needs one.
        dates: See :func:`terralatent.pipeline.dates.parse_when`.
        precision: ``packed`` keeps means as int16 in steps of 2.5e-4 and standard deviations as
            uint16 in steps of 2e-5; ``float32`` keeps both as they are.
        encoder: In what the encoders' networks compute: ``float32`` or ``bfloat16``, which is
            faster and changes the latents by a small part of their standard deviations.
        device: Where a worker runs the model: ``auto``, ``cpu``, ``cuda``, ...
        masking: How the sensors are masked; as the model was trained, where it leaves that open.
        at: An earlier snapshot of the cube, see
            :func:`terralatent.pipeline.store.history.find_snapshot`.
        until: A day: only acquisitions that were there by its end are used, as in a cube of these
            alone; an :class:`~terralatent.pipeline.cube.reading.Until` states delays too.
        columns: Of a table, where it has what, if columns have other names.
        sensors: Of a table, those to use; all by default.
        wide: Of a table, whether a pixel has one row of features instead of one for each date.
        overviews: Whether the store has :mod:`~terralatent.pipeline.overviews`, where it is large.
        client: A Dask client, its address, or a kind of cluster, see
            :func:`terralatent.pipeline.cluster.client.client_for`; processes on this machine by
            default.
        workers: Worker processes to start; one for each core of this machine by default.
        memory: What a worker may use, such as ``4GB``; it bounds what is in memory at once.
        progress: Advanced by every block; True: a bar, as by default in a notebook.

    Raises:
        InputError: If the cube, the dates or ``out`` cannot be used.
        CheckpointError: If the model cannot be read or does not fit the cube.

    Examples:
        >>> import terralatent as tl
        >>> dict(tl.embed("cube", dates="2017-09-15,2018-03-15").sizes)  # lazy: computed when asked
        {'time': 2, 'latent': 16, 'y': 18, 'x': 18, 'sensor': 2}
        >>> tl.embed("cube", out="kept", dates="2018-03-15")  # now, and opened by tl.open_latents
        ResultReport: 4 of 4 blocks, 306 pixels, ... pixels/s
    """
    progress = choose_progress(progress)
    if precision not in ("packed", "float32"):
        raise InputError(f"Precision {precision!r} is neither `packed` nor `float32`.")
    if is_table(cube):
        if out is None:
            raise InputError(
                "embed keeps the latents of a table in a file; give out=FILE.parquet, or use "
                "features, or embed_table of a model."
            )
        if not leaves_open(masking) or at is not None or until is not None:
            raise InputError(
                "A table has no mask, no snapshots and no items; leave masking, at and until out."
            )
        return embed_table(
            cube, model, out, dates=dates, wide=wide, columns=columns, sensors=sensors,
            encoder=encoder, device=device, progress=progress,
        )  # fmt: skip
    if columns is not None or sensors is not None or wide:
        raise InputError("columns, sensors and wide are of tables of pixel series; leave them out.")
    reading, result = Reading(masking, at, until), None if out is None else Store.of(out)
    if model is None and result is not None:
        model = model_of(result)
    job, pixels = plan(cube, model, dates, reading, device=device, encoder=encoder)
    if result is None:
        return with_information(lazy_result(Latents(job, packed=False), pixels))
    latents, who = Latents(job, precision == "packed"), Workers(client, workers, memory)
    if pixels:
        return fill_given(latents, pixels, result, title="embed", progress=progress)
    report = fill(latents, result, who, title="embed", overviews=overviews, progress=progress)
    if report.clipped and report.clipped > MANY_CLIPPED * 2 * open_latents(result)["mean"].size:
        log.warning(
            '%d latent values did not fit the packing and were clipped; precision="float32" '
            "keeps them.",
            report.clipped,
        )
    return report


@dataclass(frozen=True)
class Latents:
    """Mean and standard deviation of every latent, and how often each pixel was observed."""

    job: InferenceJob
    """What to infer from, and when."""

    packed: bool
    """Whether the store holds integers."""

    def layout(self) -> Layout:
        """Lay out the store. Reads no pixels."""
        precision = {"precision": "packed" if self.packed else "float32"}
        arrays = self._arrays()
        return result_layout(
            self.job,
            "latents",
            arrays,
            {**self.job.latents_identity(), **precision},
            self._attrs(*arrays[:2]),
            earlier={"model": self.job.model_hash, **precision},
        )

    def memory_plan(self, limit: MemoryLimit) -> MemoryPlan:
        """The results of a whole block are held until its shards are written."""
        latents, block = self.job.config().latents, self.job.block
        return plan_memory(self.job, limit, latents * (4 if self.packed else 8), block**2)

    def compute(self, work: BlockWork) -> None:
        """Read, infer, pack and write one block; runs on a worker and writes whole shards."""
        group, block = work.group, work.block
        latents = group["mean"].shape[1]
        for dates in work.plan.date_groups(len(self.job.times)):
            shape = (dates.stop - dates.start, latents, *block.shape)
            means, stds = _blank(shape, self.packed)
            for rows, series in work.strips():
                strip = (*shape[:2], len(series))
                strip_means, strip_stds = (
                    values[:, :, rows].reshape(strip) for values in (means, stds)
                )
                with work.clock.time("infer"):
                    for pixels, mean, var in self.job.infer(
                        series,
                        np.flatnonzero(series.seen),
                        dates=dates,
                        most=work.plan.observations,
                    ):
                        std = self.job.load().latent_std(var)
                        strip_means[:, :, pixels], wide = _pack(
                            mean, MEAN_STEP, MEAN_END, self.packed
                        )
                        strip_stds[:, :, pixels], broad = _pack(std, STD_STEP, STD_END, self.packed)
                        work.clipped += wide + broad
            with work.clock.time("write"):
                for name, values in (("mean", means), ("std", stds)):
                    _write(group[name], dates, block, values)
        with work.clock.time("write"):
            group["observations"][:, block.y, block.x] = work.observations
            work.write_days_to_observation()

    def _attrs(self, mean: ArrayLayout, std: ArrayLayout) -> dict[str, Any]:
        """What the store says of itself, by the ``geoemb:`` convention among others."""
        job, about = self.job, self.job.attributes()
        return embedding_attrs(
            {
                **grid_attrs(job.grid),
                "title": "latent series of pixels: posterior mean and standard deviation",
            },
            mean,
            std,
            dimension="latent",
            model=model_uri(
                job.model_hash, about.get("model_name", ""), about.get("model_version", "")
            ),
            sensors=job.sensors,
            resolution=job.grid.resolution.x,
            calibration={"method": "local_factors" if job.std_factors else "none"},
        )

    def _arrays(self) -> tuple[ArrayLayout, ...]:
        """Lay out ``mean``, ``std``, ``observations`` and their own coordinates."""
        job, packed = self.job, self.packed
        rows, columns = job.grid.shape
        latents, dates, sensors = job.config().latents, len(job.times), len(job.sensors)
        block, inner = job.block, inner_chunk(job.block)
        shape = (dates, latents, rows, columns)
        about: dict[str, Any] = {
            "mean": {"long_name": "posterior mean of each latent series", "units": "1"},
            "std": {
                "long_name": "posterior standard deviation of each latent series",
                "units": "1",
            },
        }
        steps = {"mean": MEAN_STEP, "std": STD_STEP}
        fills = {"mean": MEAN_FILL, "std": STD_FILL}
        dtypes = {"mean": "int16", "std": "uint16"}
        return (
            *(
                ArrayLayout(
                    name,
                    ("time", "latent", "y", "x"),
                    shape,
                    dtypes[name] if packed else "float32",
                    chunks=(time_chunk(dates), latents, inner, inner),
                    shards=(time_chunk(dates), latents, block, block),
                    fill_value=fills[name] if packed else np.nan,
                    attrs={
                        **about[name],
                        "grid_mapping": "spatial_ref",
                        **(
                            {"scale_factor": steps[name], "_FillValue": fills[name]}
                            if packed
                            else {}
                        ),
                    },
                )
                for name in ("mean", "std")
            ),
            ArrayLayout(
                "observations",
                ("sensor", "y", "x"),
                (sensors, rows, columns),
                "uint16",
                chunks=(sensors, inner, inner),
                shards=(sensors, block, block),
                fill_value=0,
                attrs={
                    "long_name": "clear acquisitions",
                    "units": "1",
                    "grid_mapping": "spatial_ref",
                },
            ),
            days_to_observation(dates, (rows, columns), block),
            coordinate("latent", ("latent",), np.arange(latents, dtype=np.int64)),
            coordinate("sensor", ("sensor",), np.array(job.sensors)),
        )


def _write(array: zarr.Array[Any], dates: slice, block: Block, values: NDArray[np.generic]) -> None:
    """Write the dates of a block shard by shard: Zarr compresses all it is given at once."""
    for first in range(0, len(values), TIME_CHUNK):
        shard = values[first : first + TIME_CHUNK]
        start = dates.start + first
        array[start : start + len(shard), :, block.y, block.x] = shard


def _blank(shape: tuple[int, ...], packed: bool) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return means and standard deviations of a block outside every scene."""
    if packed:
        return np.full(shape, MEAN_FILL, np.int16), np.full(shape, STD_FILL, np.uint16)
    return np.full(shape, np.nan, np.float32), np.full(shape, np.nan, np.float32)


def _pack(values: Tensor, step: float, end: int, packed: bool) -> tuple[NDArray[Any], int]:
    """Return what is stored for ``values`` (n, Q, L), as (Q, L, n), and how many did not fit.

    Packed where they lie, so that a GPU hands over no more than is stored.
    """
    values = values.permute(1, 2, 0)
    if not packed:
        return values.cpu().numpy(), 0
    steps = (values * (1.0 / step)).round_()
    outside = int((steps.abs() > end).sum())
    return steps.clamp_(-end, end).to(torch.int32).cpu().numpy(), outside
