"""Filter states of pixels beside their latents, from which a block goes on when its cube has grown.

What all acquisitions up to one say of the days after it is the filter's state on that day, see
:mod:`terralatent.models.posteriors.streaming`. The group ``live`` of latents has it at the last
acquisition, and at the last ones that are 30 and 90 days older: scenes may come late.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import torch
import zarr
from numpy.typing import NDArray
from torch import Tensor
from zarr.codecs import ZstdCodec

from terralatent.models.gpvae import GPVAE
from terralatent.models.kernels.temporal import TemporalKernel
from terralatent.models.observations import Sites
from terralatent.models.posteriors.kalman.step import moment_count
from terralatent.models.posteriors.streaming import (
    FilterState,
    kernel_dtype,
    prior_state,
    update,
)
from terralatent.pipeline.cube.losses import PENDING, STALE
from terralatent.pipeline.mapping.block import LiveDone
from terralatent.pipeline.mapping.growth.held import let_go
from terralatent.pipeline.mapping.inference import InferenceJob, loaded_once
from terralatent.pipeline.region import grid_of
from terralatent.pipeline.store.arrays import ArrayLayout, coordinate, inner_chunk
from terralatent.pipeline.store.repository import ABOUT, BRANCH, Store

__all__ = [
    "LAGS",
    "LIVE",
    "Stops",
    "has_states",
    "kernel_of",
    "lay_out_states",
    "record_states",
    "smooth_anew",
    "state_days",
    "states_along",
    "stops_before",
]

LIVE = "live"
"""Group of a store of latents."""

FAST = ZstdCodec(level=-7, checksum=True)
"""Numbers of states have no pattern: nothing makes them smaller, and this costs least."""

LAGS = (0.0, 30.0, 90.0)
"""Days before the last acquisition at which states are kept."""

Stops = dict[int, float]
"""Places among :data:`LAGS` of states to be made, and their days since 1970-01-01."""


def stops_before(end: float, calendar: NDArray[np.float64]) -> Stops:
    """The acquisitions at which states are kept; none of a lag that is longer than the series.

    Args:
        end: Of the last acquisition, days since 1970-01-01.
        calendar: Of all of them, ascending.
    """
    stops: Stops = {}
    for place, lag in enumerate(LAGS):
        count = int(np.searchsorted(calendar, end - lag, side="right"))
        if count:
            stops[place] = float(calendar[count - 1])
    return stops


def states_along(
    model: GPVAE, start: FilterState | None, sites: Sites, stops: Stops
) -> dict[int, Tensor]:
    """Filter sites up to each stop, in turn.

    Args:
        model: Whose kernel it is.
        start: What is known before the sites; the prior if None.
        sites: Of N pixels, none before the start's day.
        stops: None before the start's day.

    Returns:
        For each stop the moments (N, r, L).
    """
    found: dict[int, Tensor] = {}
    state, begin = start, 0
    for place, stop in sorted(stops.items(), key=lambda pair: pair[1]):
        end = int(torch.searchsorted(sites.days, stop, right=True))
        if end > begin:
            part = slice(begin, end)
            state = update(
                model.kernel, state, sites.days[part], sites.w[:, part], sites.eta[:, part],
                scored=False,
            )  # fmt: skip
            begin = end
        known = state if state is not None else prior_state(model.kernel, len(sites.w), stop)
        found[place] = known.moments.mT
    return found


def kernel_of(job: InferenceJob) -> TemporalKernel:
    """The kernel of a job's model, on the CPU: where it is asked for no device need be there."""
    return _kernel_of(job.model, job.model_hash)


@lru_cache(maxsize=2)
def _kernel_of(model: str, wanted: str) -> TemporalKernel:
    loaded = loaded_once(model, wanted, "cpu")
    assert isinstance(loaded, GPVAE)
    return loaded.kernel


def lay_out_states(out: Store, job: InferenceJob) -> None:
    """Make what states need in a store of latents that has none, in one commit; all its blocks are
    pending then. Call it inside the store's writer lock.

    Args:
        out: Latents.
        job: What they are inferred from, by a model whose kernel has a filter.
    """
    if LIVE in out.group():
        return
    session = out.repository().writable_session(BRANCH)
    root = zarr.open_group(session.store, mode="r+")
    kernel, latents = kernel_of(job), job.config().latents
    block, count = int(root.attrs[ABOUT]["identity"]["block"]), moment_count(kernel.state_dim)
    dtype = str(kernel_dtype(kernel)).removeprefix("torch.")
    (rows, columns), inner = grid_of(root).shape, inner_chunk(block)
    state: Any = root["state"]
    blocks, lags = state.shape, len(LAGS)
    group = root.create_group(LIVE)
    arrays = (
        ArrayLayout(
            "moments", ("lag", "y", "x", "moment", "latent"),
            (lags, rows, columns, count, latents), dtype,
            chunks=(1, inner, inner, count, latents), fill_value=np.nan, compressor=FAST,
            attrs={"long_name": "means and different covariances of the filter's state"},
        ),
        ArrayLayout(
            "last", ("lag", "y", "x"), (lags, rows, columns), "float64",
            chunks=(1, inner, inner), fill_value=-np.inf,
            attrs={"long_name": "day of the last clear acquisition", "units": "days since 1970"},
        ),
        ArrayLayout(
            "day", ("lag", "block_y", "block_x"), (lags, *blocks), "float64", (lags, *blocks),
            fill_value=np.nan,
            attrs={"long_name": "of the state; NaN: none", "units": "days since 1970-01-01"},
        ),
        coordinate("lag", ("lag",), np.array(LAGS), {"units": "days"}),
    )  # fmt: skip
    for array in arrays:
        array.create(group)
    dates = root["time"].shape[0]
    ArrayLayout(
        STALE, ("time", "block_y", "block_x"), (dates, *blocks), "uint8", (dates, *blocks),
        fill_value=0,
        attrs={"long_name": "of before the newest acquisitions", "flag_values": [0, 1],
               "flag_meanings": "current stale"},
    ).create(root)  # fmt: skip
    for y in range(blocks[0]):
        for x in range(blocks[1]):
            let_go(root, (y, x))
    state[...] = PENDING
    out.commit(session, "lay out filter states")


def has_states(out: Store) -> bool:
    """Whether there are latents that keep states."""
    return out.exists() and not out.is_empty() and LIVE in out.group()


def smooth_anew(out: Store) -> None:
    """Make blocks pending that have dates of before the newest acquisitions, in one commit; nothing
    where there are none. Call it inside the store's writer lock."""
    root = out.group()
    if STALE not in root or not np.asarray(root[STALE]).any():
        return
    session = out.repository().writable_session(BRANCH)
    root = zarr.open_group(session.store, mode="r+")
    stale = np.asarray(root[STALE]).any(axis=0)
    for index in np.argwhere(stale):
        let_go(root, (int(index[0]), int(index[1])))
    state: Any = root["state"]
    state[...] = np.where(stale, PENDING, np.asarray(state))
    out.commit(session, "smooth stale dates anew")


def state_days(group: Any, index: tuple[int, int]) -> NDArray[np.float64]:
    """Days of the states of a block, (lags,); NaN where there is none."""
    return np.asarray(group[f"{LIVE}/day"][(slice(None), *index)])


def record_states(root: Any, index: tuple[int, int], done: LiveDone, first: int) -> None:
    """Write what blocks share of their states; called by the coordinator alone.

    Args:
        root: Of the latents, writable.
        index: Of the block.
        done: What a worker made of it.
        first: The first date that it wrote.
    """
    for place, day in done.days.items():
        root[f"{LIVE}/day"][(place, *index)] = day
    root[STALE][(slice(first, None), *index)] = 0
    if done.stale and first:
        root[STALE][(slice(None, first), *index)] = 1
