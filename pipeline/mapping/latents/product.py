"""Latents of a cube: the arrays of their store, and how a block of them is inferred."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from terralatent.models.posteriors.kalman.step import moment_count
from terralatent.models.posteriors.streaming import kernel_dtype
from terralatent.pipeline.cube.layout import grid_attrs
from terralatent.pipeline.cube.series import US_PER_DAY, SeriesBlock
from terralatent.pipeline.dates import days_since_1970
from terralatent.pipeline.mapping.block import BlockWork, LiveDone
from terralatent.pipeline.mapping.inference import InferenceJob
from terralatent.pipeline.mapping.latents.packing import (
    MEAN_END,
    MEAN_FILL,
    MEAN_STEP,
    STD_END,
    STD_FILL,
    STD_STEP,
    blank,
    pack,
    write_dates,
)
from terralatent.pipeline.mapping.latents.states import LAGS, LIVE, Stops, kernel_of, stops_before
from terralatent.pipeline.mapping.latents.strips import StripStates
from terralatent.pipeline.mapping.memory import MemoryLimit, MemoryPlan, plan_memory
from terralatent.pipeline.mapping.results.layout import (
    days_to_observation,
    result_layout,
    time_chunk,
)
from terralatent.pipeline.pixels.batches import infer_batches_by
from terralatent.pipeline.store.arrays import ArrayLayout, Layout, coordinate, inner_chunk
from terralatent.pipeline.store.conventions import embedding_attrs, model_uri

__all__ = ["Latents"]


@dataclass(frozen=True)
class Latents:
    """Mean and standard deviation of every latent, and how often each pixel was observed."""

    job: InferenceJob
    """What to infer from, and when."""

    packed: bool
    """Whether the store holds integers."""

    with_states: bool = False
    """Whether the store keeps filter states, see
    :mod:`terralatent.pipeline.mapping.latents.states`."""

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

    @property
    def dates_a_chunk(self) -> int:
        """Of ``mean`` and ``std``."""
        return time_chunk(len(self.job.times))

    def memory_plan(self, limit: MemoryLimit) -> MemoryPlan:
        """The results of a whole block are held until its shards are written."""
        latents, block = self.job.config().latents, self.job.block
        states = self._state_bytes() if self.with_states else 0
        return plan_memory(
            self.job, limit, latents * (4 if self.packed else 8), block**2, pixel_bytes=states
        )

    def _state_bytes(self) -> int:
        """What states of a pixel take: that which is gone on from, and those that are made."""
        kernel = kernel_of(self.job)
        numbers = self.job.config().latents * moment_count(kernel.state_dim)
        return (1 + len(LAGS)) * numbers * kernel_dtype(kernel).itemsize

    def compute(self, work: BlockWork) -> None:
        """Read, infer, pack and write one block; runs on a worker and writes whole shards."""
        group, block = work.group, work.block
        latents = group["mean"].shape[1]
        stops = self._stops(group)
        for dates in work.date_groups():
            shape = (dates.stop - dates.start, latents, *block.shape)
            means, stds = blank(shape, self.packed)
            for rows, series in work.strips():
                strip = (*shape[:2], len(series))
                strip_means, strip_stds = (
                    values[:, :, rows].reshape(strip) for values in (means, stds)
                )
                top = block.y.start + rows.start
                window = (slice(top, top + series.shape[0]), block.x)
                states = StripStates(group, window, self.job.load(), stops) if stops else None
                with work.clock.time("infer"):
                    for pixels, mean, var in self._infer(series, dates, work.plan, states):
                        std = self.job.load().latent_std(var)
                        strip_means[:, :, pixels], wide = pack(
                            mean, MEAN_STEP, MEAN_END, self.packed
                        )
                        strip_stds[:, :, pixels], broad = pack(std, STD_STEP, STD_END, self.packed)
                        work.clipped += wide + broad
                if states is not None:
                    with work.clock.time("write"):
                        states.write(series)
            with work.clock.time("write"):
                for name, values in (("mean", means), ("std", stds)):
                    write_dates(group[name], dates, block, values)
            if stops:
                work.live, stops = LiveDone(stops), {}
        with work.clock.time("write"):
            group["observations"][:, block.y, block.x] = work.observations
            work.write_days_to_observation()

    def _stops(self, group: Any) -> Stops:
        """The states to be made of a block; none where the store keeps none."""
        if LIVE not in group:
            return {}
        calendar = np.sort(self.job.acquisitions.astype(np.int64) / US_PER_DAY)
        return stops_before(float(calendar[-1]), calendar)

    def _infer(
        self, series: SeriesBlock, dates: slice, plan: MemoryPlan, states: StripStates | None
    ) -> Iterator[tuple[NDArray[np.intp], Tensor, Tensor]]:
        """Infer the pixels inside scenes, and let their states be kept where these are wanted."""
        pixels = np.flatnonzero(series.seen)
        if states is None:
            yield from self.job.infer(series, pixels, dates=dates, most=plan.observations)
            return
        model = self.job.load()
        days = torch.from_numpy(days_since_1970(self.job.dates[dates])).to(model.device)
        batches = infer_batches_by(
            model, lambda seen: states.infer(seen, days), series, pixels, len(days),
            plan.observations,
        )  # fmt: skip
        for some, (mean, var, made) in batches:
            states.keep(some, made)
            yield some, mean, var

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
                    chunks=(self.dates_a_chunk, latents, inner, inner),
                    shards=(self.dates_a_chunk, latents, block, block),
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
