"""A block of latents goes on from its filter states: acquisitions that came cost a step each.

From the newest state before whatever changed, all that came since is filtered, and smoothed back
to that state. Dates of the result from its day on are then what inferring the whole series gives;
earlier ones are stale, for acquisitions of today say something of all days before.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from terralatent.catalogs.errors import InputError
from terralatent.models.gpvae import GPVAE
from terralatent.models.posteriors.markov import Markov
from terralatent.pipeline.cube.series import NEVER, US_PER_DAY, SeriesBlock
from terralatent.pipeline.dates import days_since_1970
from terralatent.pipeline.mapping.block import DAYS, BlockWork, LiveDone
from terralatent.pipeline.mapping.growth.changed import has_data
from terralatent.pipeline.mapping.growth.held import Held
from terralatent.pipeline.mapping.inference import loaded_once
from terralatent.pipeline.mapping.job import MappingJob
from terralatent.pipeline.mapping.latents.packing import (
    MEAN_END,
    MEAN_STEP,
    STD_END,
    STD_STEP,
    blank,
    pack,
    write_dates,
)
from terralatent.pipeline.mapping.latents.product import Latents
from terralatent.pipeline.mapping.latents.states import states_along
from terralatent.pipeline.mapping.latents.step import Step, Walk, plan_step
from terralatent.pipeline.mapping.latents.strips import StripStates, posterior_after

__all__ = ["LiveLatents", "require_live"]

BATCH = 8192
"""Pixels that are filtered together: what passes between two operations stays in a cache."""

Places = NDArray[np.intp]


@dataclass(frozen=True)
class LiveLatents(Latents):
    """Latents whose blocks go on from the states that are kept of them."""

    @property
    def dates_a_chunk(self) -> int:
        """One: most dates are not written again when an acquisition comes."""
        return 1

    @torch.no_grad()
    def advance(self, work: BlockWork, held: Held) -> bool:
        """See :class:`~terralatent.pipeline.mapping.block.GoesOn`; runs on a worker."""
        job = self.job
        assert isinstance(job, MappingJob)
        with work.clock.time("read"):
            step = plan_step(job, work, held)
        if step is None:
            return False
        strips = _Strips(job, work, step)
        changed = bool(step.late) or strips.any_data()
        work.first_date = step.first if changed else held.dates
        if not changed and work.first_date == len(job.times):
            work.same = True
            return True
        counts = self._write_dates(work, step, strips, held, changed)
        if changed:
            for walk in step.moves:
                _move(work, job, walk)
            with work.clock.time("write"):
                work.group["observations"][:, work.block.y, work.block.x] = counts
            stops = {**step.stops, **{k: v for walk in step.moves for k, v in walk.stops.items()}}
            late = tuple((name, _text(day)) for day, name in step.late)
            work.live = LiveDone(
                stops, stale=True, late=late, since=_text(step.since) if late else ""
            )
        return True

    def _write_dates(
        self, work: BlockWork, step: Step, strips: _Strips, held: Held, changed: bool
    ) -> NDArray[np.uint16]:
        """Filter from the state on, and write the dates from the first one on, and states; gives
        how many clear acquisitions each pixel has now, (sensor, y, x)."""
        job, group, block, model = self.job, work.group, work.block, _model(self.job)
        assert isinstance(job, MappingJob)
        first, counts = work.first_date, _counts_before(job, work, step, held)
        results = days_since_1970(job.dates[first:])
        queries = torch.from_numpy(results).to(model.device)
        shape = (len(results), model.config.latents, *block.shape)
        means, stds = blank(shape, self.packed)
        days = np.full((len(results), *block.shape), NEVER, np.uint16)
        for rows, series in strips:
            window = (slice(block.y.start + rows.start, block.y.start + rows.stop), block.x)
            with work.clock.time("read"):
                states = StripStates(
                    group, window, model, step.stops, start=step.start, since=step.since
                )
            counts[:, rows] += _came(job, step, held, series)
            inside = states.inside | series.seen
            work.inside += int(inside.sum())
            flat = [values[:, :, rows].reshape(*shape[:2], -1) for values in (means, stds)]
            with work.clock.time("infer"):
                for some in _batches(inside):
                    start, sites = (
                        states.start(some),
                        model.sites(series.packed(some, model.device)),
                    )
                    made = states_along(model, start, sites, step.stops) if changed else {}
                    states.keep(some, made)
                    mean, var = posterior_after(
                        model, start, sites, queries, states.end(start, made)
                    )
                    std = model.latent_std(var)
                    flat[0][:, :, some], wide = pack(mean, MEAN_STEP, MEAN_END, self.packed)
                    flat[1][:, :, some], broad = pack(std, STD_STEP, STD_END, self.packed)
                    work.clipped += wide + broad
                days[:, rows] = _days(results, series, states, inside).reshape(-1, *series.shape)
            if changed:
                with work.clock.time("write"):
                    states.write(series)
        with work.clock.time("write"):
            dates = slice(first, len(job.times))
            for name, values in (("mean", means), ("std", stds)):
                write_dates(group[name], dates, block, values)
            if DAYS in group:
                group[DAYS][dates, block.y, block.x] = days
        return counts


def require_live(job: MappingJob) -> None:
    """Check that latents of a job can be gone on with from states.

    Raises:
        InputError: If what is seen later changes what was seen before, if the posterior has no
            filter state, or if the cube has no snapshots.
    """
    model, config = loaded_once(job.model, job.model_hash, "cpu"), job.config()
    if not isinstance(model, GPVAE) or not isinstance(model.inference, Markov):
        raise InputError(
            f"{job.model} is a {config.model} model with a {config.posterior} posterior, which has "
            "no filter state; live=True takes a gpvae with posterior markov."
        )
    if config.refinements or config.scene_errors:
        what = "refinements" if config.refinements else "scene_errors"
        raise InputError(
            f"{job.model} has {what}, by which later acquisitions change what is made of those "
            "before; leave live= out, or train a model without."
        )
    if searched := [name for name in job.sensors if job.masks.of(name).outliers]:
        raise InputError(
            f"Outliers of {', '.join(searched)} are judged by acquisitions that come later; leave "
            "live= out, or mask no outliers."
        )
    if job.known is not None:
        raise InputError("live=True keeps up with the newest acquisitions; leave until= out.")
    if not job.snapshot:
        raise InputError(f"{job.cube} is plain Zarr, which does not grow; leave live= out.")


class _Strips:
    """The series of a walk, strip by strip; read once where a strip is the whole block."""

    def __init__(self, job: MappingJob, work: BlockWork, walk: Walk) -> None:
        self._job, self._work, self._walk = job, work, walk
        self._strips = work.plan.strips(work.block)
        self._kept: SeriesBlock | None = None

    def __iter__(self) -> Iterator[tuple[slice, SeriesBlock]]:
        for strip in self._strips:
            with self._work.clock.time("read"):
                series = self._kept or self._job.read(strip, dates=self._walk.dates)
            if len(self._strips) == 1:
                self._kept = series
            top = self._work.block.y.start
            yield slice(strip.y.start - top, strip.y.stop - top), series

    def any_data(self) -> bool:
        """Whether any pixel has data in them, cloudy or not."""
        if len(self._strips) == 1:
            return any(bool(series.seen.any()) for _, series in self)
        y, x = self._job.in_cube(self._work.block)
        cube = self._job.open_cube()
        return any(has_data(cube[name], own, y, x) for name, own in self._walk.dates.items())


def _move(work: BlockWork, job: MappingJob, walk: Walk) -> None:
    """Bring an older state forward: nothing of the result depends on it."""
    model, block = _model(job), work.block
    for rows, series in _Strips(job, work, walk):
        window = (slice(block.y.start + rows.start, block.y.start + rows.stop), block.x)
        states = StripStates(
            work.group, window, model, walk.stops, start=walk.start, since=walk.since
        )
        with work.clock.time("infer"):
            for some in _batches(states.inside | series.seen):
                sites = model.sites(series.packed(some, model.device))
                states.keep(some, states_along(model, states.start(some), sites, walk.stops))
        with work.clock.time("write"):
            states.write(series)


def _counts_before(job: MappingJob, work: BlockWork, step: Step, held: Held) -> NDArray[np.uint16]:
    """Clear acquisitions of each pixel so far, (sensor, y, x), without those that went."""
    block = work.block
    with work.clock.time("read"):
        counts = np.asarray(work.group["observations"][:, block.y, block.x])
        if any(len(places) for places in step.went.values()):
            before = replace(job, snapshot=held.snapshot).read(block, dates=step.went)
            counts = counts - before.observations.reshape(counts.shape)
    return counts


def _came(job: MappingJob, step: Step, held: Held, series: SeriesBlock) -> NDArray[np.uint16]:
    """Clear acquisitions of a strip that came, (sensor, y, x)."""
    counts = [
        series.by_sensor[name]
        .observed[:, np.isin(step.dates[name], job.changed_dates(held.snapshot, name).came)]
        .sum(axis=1, dtype=np.uint16)
        for name in job.sensors
    ]
    return np.stack(counts).reshape(-1, *series.shape)


def _days(
    results: NDArray[np.float64],
    series: SeriesBlock,
    states: StripStates,
    inside: NDArray[np.bool_],
) -> NDArray[np.uint16]:
    """Days from each date to the nearest clear acquisition, (Q, N)."""
    since = np.rint(results[:, None] - states.last).clip(max=NEVER - 1)
    since = np.where(np.isfinite(states.last), since, NEVER).astype(np.uint16)
    days = np.minimum(series.days_to_observation(results), since)
    days[:, ~inside] = NEVER
    return days


def _batches(inside: NDArray[np.bool_]) -> Iterator[Places | slice]:
    """Places of those that are inside, some at a time; as slices, which copy nothing, of all."""
    pixels = np.flatnonzero(inside)
    for begin in range(0, len(pixels), BATCH):
        some = pixels[begin : begin + BATCH]
        yield slice(begin, begin + len(some)) if len(pixels) == len(inside) else some


def _model(job: Any) -> GPVAE:
    model = job.load()
    assert isinstance(model, GPVAE)
    return model


def _text(day: float) -> str:
    return str(np.datetime64(round(day * US_PER_DAY), "us").astype("datetime64[s]"))
