"""Sums over the pixels of fields, block by block: what a block adds to each field that it holds.

Means, variances and counts of all pixels, and of some that stand for the field how far errors that
pixels share move it. Added up over blocks they are what they would be over the whole field, for
they know pixels alone: see :mod:`terralatent.pipeline.fields.estimates`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
import zarr
from numpy.typing import NDArray
from torch import Tensor

from terralatent.models.config import SensorConfig
from terralatent.pipeline.cube.series import SeriesBlock
from terralatent.pipeline.dates import days_since_1970
from terralatent.pipeline.field_labels import NONE
from terralatent.pipeline.fields.perturbation import Perturbation
from terralatent.pipeline.fields.plan import FieldPlan
from terralatent.pipeline.fields.sample import spread
from terralatent.pipeline.fields.shared_errors import SharedErrors
from terralatent.pipeline.mapping.block import BlockDone, Clock
from terralatent.pipeline.mapping.job import MappingJob
from terralatent.pipeline.mapping.memory import MemoryLimit, MemoryPlan, plan_memory
from terralatent.pipeline.mapping.results.layout import time_chunk
from terralatent.pipeline.mapping.scene_errors import SceneErrors, kept_scene_errors
from terralatent.pipeline.region import Block
from terralatent.pipeline.store.arrays import ArrayLayout, coordinate

__all__ = ["ERRORS", "FieldSums", "sum_block"]

ERRORS = "shared_errors"
"""Attribute of the store: what pixels of a field share, written before the first block."""

LEAST_SHARE = 1 / 64
"""Of the pixels of a field, those that stand for it at least: a group of fields is less alike than
one, and costs no more for it."""

SUMS = {
    "mean": "of the expected surface over all pixels",
    "variance": "of the surface's variance over all pixels",
    "signal": "of the surface's variance over the pixels that stand for the field",
    "rest": "of what shared errors leave of it, over the same",
}
"""Sums over pixels of a field in a block, and what they are of."""


@dataclass(frozen=True)
class FieldSums:
    """What is summed of fields. Small and picklable: every task carries it."""

    job: MappingJob
    """What to infer from, and when."""

    sensor: str
    """One of the model's."""

    draws: int
    """Sets of errors that are drawn."""

    most_pixels: int
    """Pixels of a field that stand for it, about."""

    seed: int
    """Of the draws."""

    slots: int
    """Fields in the block that holds most of them."""

    @cached_property
    def config(self) -> SensorConfig:
        """The sensor as the model describes it."""
        return self.job.config().sensor(self.sensor)

    def memory_plan(self, limit: MemoryLimit) -> MemoryPlan:
        """How a block goes through the memory of a task: its sums are held for a group of dates."""
        value = np.dtype(np.float64).itemsize
        result = len(self.config.bands) * value * (len(SUMS) + self.draws)
        return plan_memory(self.job, limit, result, self.slots)

    def arrays(self, plan: FieldPlan) -> tuple[ArrayLayout, ...]:
        """Lay out sums by block and place of a field in it; a task writes one chunk of each."""
        across = plan.blocks_of_fields.shape
        block, dims = self.job.block, ("block_y", "block_x", "slot")
        size, bands, dates = across[:2], len(self.config.bands), len(self.job.times)
        some = time_chunk(dates)
        rows, columns = self.job.grid.shape
        counts = {"pixels": "pixels inside a scene", "sampled": "those that stand for the field"}
        return (
            coordinate("total", ("field",), plan.total, {"long_name": "pixels of each field"}),
            ArrayLayout(
                "field", dims, across, "int32", (1, 1, self.slots), fill_value=NONE,
                attrs={"long_name": "fields that a block holds, ascending"},
                data=plan.blocks_of_fields,
            ),
            ArrayLayout(
                "label", ("y", "x"), (rows, columns), "int32", (block, block), fill_value=NONE,
                attrs={"long_name": "field of each pixel", "grid_mapping": "spatial_ref"},
            ),
            *(
                ArrayLayout(
                    name, dims, across, "int64", (1, 1, self.slots), fill_value=0,
                    attrs={"long_name": meaning},
                )
                for name, meaning in counts.items()
            ),
            *(
                ArrayLayout(
                    name, (*dims, "time", "band"), (*across, dates, bands), "float64",
                    (1, 1, self.slots, some, bands), fill_value=0.0, attrs={"long_name": meaning},
                )
                for name, meaning in SUMS.items()
            ),
            ArrayLayout(
                "shift", (*dims[:2], "draw", "slot", "time", "band"),
                (*size, self.draws, self.slots, dates, bands), "float64",
                (1, 1, self.draws, self.slots, some, bands), fill_value=0.0,
                attrs={"long_name": "of how far each draw moves the pixels that stand for it"},
            ),
            ArrayLayout(
                "state", dims[:2], size, "uint8", size, fill_value=0, data=plan.empty_blocks_done,
            ),
        )  # fmt: skip


def sum_block(sums: FieldSums, limit: MemoryLimit, group: zarr.Group, block: Block) -> BlockDone:
    """Sum and write one block; runs on a worker, which writes one chunk of each array.

    Args:
        sums: Of what.
        limit: What the task may take.
        group: Root of the store, writable.
        block: Which pixels.
    """
    plan, work = sums.memory_plan(limit), _Work.open(sums, group, block)
    strips = [strip for strip in plan.strips(block) if work.holds(strip)]
    kept: _Strip | None = None
    for number, dates in enumerate(plan.date_groups(len(sums.job.times))):
        days = torch.from_numpy(days_since_1970(sums.job.dates[dates]))
        held = _Held.zeros(sums, work.count, len(days))
        for strip in strips:
            with work.clock.time("read"):
                own = kept or work.read(strip)
            kept = own if len(strips) == 1 else None
            if not number:
                work.note(own, held)
            with work.clock.time("infer"):
                work.add(own, days, dates, plan.observations, held)
        with work.clock.time("write"):
            work.write(dates, held, counts=not number)
    return BlockDone(work.pixels, 0, work.clock.seconds, work.outliers)


@dataclass(frozen=True, eq=False)
class _Held:
    """The sums of a block's fields at some dates."""

    sums: dict[str, Tensor]
    """By name of :data:`SUMS`, (S, Q, B), float64."""

    shift: Tensor
    """(D, S, Q, B), float64."""

    pixels: Tensor
    """(S,), int64."""

    sampled: Tensor
    """Likewise."""

    @classmethod
    def zeros(cls, sums: FieldSums, slots: int, dates: int) -> _Held:
        shape = (slots, dates, len(sums.config.bands))
        return cls(
            {name: torch.zeros(shape, dtype=torch.float64) for name in SUMS},
            torch.zeros((sums.draws, *shape), dtype=torch.float64),
            torch.zeros(slots, dtype=torch.int64),
            torch.zeros(slots, dtype=torch.int64),
        )


@dataclass(frozen=True, eq=False)
class _Strip:
    """Some rows of a block, no wider than the fields in them."""

    series: SeriesBlock
    """Of a window."""

    places: NDArray[np.intp]
    """Row-major places in it of pixels of fields that lie inside some scene, (n,)."""

    slot: Tensor
    """Place among the block's fields of each pixel of the window, int64."""

    chosen: NDArray[np.intp]
    """Those of :attr:`places` that stand for their fields."""


@dataclass(eq=False)
class _Work:
    """A block on its way through a worker."""

    sums: FieldSums
    group: zarr.Group
    block: Block
    slot: NDArray[np.intp]
    """Place among the block's fields of each pixel, :data:`NONE` for no field, (y, x)."""
    share: NDArray[np.float64]
    """Of each field's pixels, those that stand for it; 1 and more: all."""
    moved: Perturbation
    scene_errors: SceneErrors | None
    clock: Clock = field(default_factory=Clock)
    pixels: int = 0
    outliers: dict[str, tuple[int, int]] = field(default_factory=dict)

    @classmethod
    def open(cls, sums: FieldSums, group: zarr.Group, block: Block) -> _Work:
        held = np.asarray(group["field"][block.index])
        held = held[held != NONE]
        labels = np.asarray(group["label"][block.y, block.x])
        slot = np.where(labels == NONE, NONE, np.searchsorted(held, labels))
        share = np.maximum(sums.most_pixels / np.asarray(group["total"])[held], LEAST_SHARE)
        errors = SharedErrors.from_json(group.attrs[ERRORS])
        moved = Perturbation(sums.job.load(), sums.sensor, errors, sums.draws, sums.seed)
        scene_errors = kept_scene_errors(group) if sums.job.corrects else None
        return cls(sums, group, block, slot, share, moved, scene_errors)

    @property
    def count(self) -> int:
        """The number of fields."""
        return len(self.share)

    def holds(self, strip: Block) -> bool:
        """Whether a strip has a pixel of some field."""
        return bool((self._within(strip) != NONE).any())

    def read(self, strip: Block) -> _Strip:
        """Read what holds a strip's fields."""
        own = self._within(strip)
        columns = np.flatnonzero((own != NONE).any(axis=0))
        left, right = int(columns[0]), int(columns[-1]) + 1
        own = own[:, left:right]
        x = slice(self.block.x.start + left, self.block.x.start + right)
        series = self.sums.job.read(Block(self.block.index, strip.y, x), self.scene_errors)
        slot = own.ravel()
        places = np.flatnonzero((slot != NONE) & series.seen)
        rows, across = np.unravel_index(places, own.shape)
        chosen = spread(strip.y.start + rows, x.start + across, self.share[slot[places]])
        return _Strip(series, places, torch.from_numpy(slot), places[chosen])

    def note(self, strip: _Strip, held: _Held) -> None:
        """Count the pixels of a strip, which all dates share."""
        for count, places in ((held.pixels, strip.places), (held.sampled, strip.chosen)):
            count += torch.bincount(strip.slot[places], minlength=len(count))
        self.pixels += len(strip.places)
        for name, (taken, among) in strip.series.outliers(strip.places).items():
            before = self.outliers.get(name, (0, 0))
            self.outliers[name] = (before[0] + taken, before[1] + among)

    def add(self, strip: _Strip, days: Tensor, dates: slice, most: int, held: _Held) -> None:
        """Add a strip's pixels at some dates to what is held."""
        job, sensor, series = self.sums.job, self.sums.sensor, strip.series
        kept = torch.zeros((len(strip.chosen), len(days), held.shift.shape[-1]))
        for some, mean, var in job.infer(series, strip.places, dates=dates, most=most):
            bands = job.load().decode(sensor, mean, var, days.to(mean.device))
            signal = bands.std_signal.cpu().square()
            held.sums["mean"].index_add_(0, strip.slot[some], bands.mean.cpu().double())
            held.sums["variance"].index_add_(0, strip.slot[some], signal.double())
            mine = np.isin(some, strip.chosen)
            kept[np.searchsorted(strip.chosen, some[mine])] = signal[mine]
        own = torch.zeros_like(kept)
        for some, shifts in self.moved.of(series, strip.chosen, days, most):
            held.shift.index_add_(1, strip.slot[some], shifts)
            own[np.searchsorted(strip.chosen, some)] = shifts.square().mean(0).float()
        slot = strip.slot[strip.chosen]
        held.sums["signal"].index_add_(0, slot, kept.double())
        held.sums["rest"].index_add_(0, slot, (kept - own).clamp_min(0.0).double())

    def write(self, dates: slice, held: _Held, *, counts: bool) -> None:
        """Write what is held, and the counts with the first dates."""
        y, x = self.block.index
        own = slice(0, self.count)
        for name, values in held.sums.items():
            self.group[name][y, x, own, dates] = values.numpy()
        self.group["shift"][y, x, :, own, dates] = held.shift.numpy()
        if counts:
            self.group["pixels"][y, x, own] = held.pixels.numpy()
            self.group["sampled"][y, x, own] = held.sampled.numpy()

    def _within(self, strip: Block) -> NDArray[np.intp]:
        return self.slot[strip.y.start - self.block.y.start : strip.y.stop - self.block.y.start]
