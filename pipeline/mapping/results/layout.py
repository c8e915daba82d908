"""Stores of results, such as latents and bands, laid out on the grid of a cube."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from terralatent.pipeline.cube.layout import grid_attrs
from terralatent.pipeline.cube.losses import STATE_FLAGS
from terralatent.pipeline.cube.series import NEVER
from terralatent.pipeline.mapping.block import DAYS
from terralatent.pipeline.mapping.inference import InferenceJob
from terralatent.pipeline.store.arrays import (
    TIME_CHUNK,
    ArrayLayout,
    GroupLayout,
    Layout,
    grid_arrays,
    inner_chunk,
    time_array,
)

__all__ = ["OUTLIERS", "days_to_observation", "result_layout", "state_arrays", "time_chunk"]

OUTLIERS = "outliers"
"""Attribute of a store: for each sensor that was searched for them, the outliers that were masked
and the observations they were of, in the blocks that are done."""

CUBE_GROWS = ("cube.snapshot", "cube.items", "dates")
"""What changes in the identity of a result as its cube grows."""


def result_layout(
    job: InferenceJob,
    kind: str,
    arrays: tuple[ArrayLayout, ...],
    identity: Mapping[str, Any],
    attributes: Mapping[str, Any],
    earlier: Mapping[str, Any] | None = None,
    *,
    times: NDArray[np.datetime64] | None = None,
) -> Layout:
    """Lay out a store on the cube's grid: ``arrays``, coordinates and the blocks' states.

    Reads no pixels. ``identity`` and ``attributes`` are added to those of ``job``; ``earlier``
    stands for ``identity`` in stores of earlier versions. ``times`` are those of the store, where
    they are not the job's; an array of ``arrays`` stands for another of its name.
    """
    grid = job.grid
    own = {array.name for array in arrays}
    axis = time_array("time", "time", job.dates if times is None else times)
    others = (axis, *grid_arrays(grid), *state_arrays(grid, job.block))
    searched = [name for name in job.sensors if job.masks.of(name).outliers]
    counted = {OUTLIERS: {name: [0, 0] for name in searched}} if searched else {}
    everything = (*arrays, *(array for array in others if array.name not in own))
    root = GroupLayout(
        "",
        everything,
        {
            **grid_attrs(grid),
            "coordinates": "spatial_ref",
            **job.attributes(),
            **counted,
            **attributes,
        },
    )
    before = None if earlier is None else {**job.identity(), **earlier}
    # Errors over scenes are estimated once, of one state of the cube.
    follows = () if job.corrects else CUBE_GROWS
    return Layout(kind, {**job.identity(), **identity}, (root,), before, follows)


def state_arrays(grid: GeoBox, block: int) -> tuple[ArrayLayout, ...]:
    """Lay out what is known of each block of a result: its state, and how much was clipped."""
    counts = (math.ceil(grid.shape[0] / block), math.ceil(grid.shape[1] / block))
    return tuple(
        ArrayLayout(name, ("block_y", "block_x"), counts, dtype, counts, fill_value=0, attrs=attrs)
        for name, dtype, attrs in (
            ("state", "uint8", STATE_FLAGS),
            ("clipped", "int64", {"long_name": "values that did not fit the packing"}),
        )
    )


def days_to_observation(dates: int, shape: tuple[int, int], block: int) -> ArrayLayout:
    """Lay out how far each date is from the nearest clear acquisition of a pixel, by the day."""
    inner = inner_chunk(block)
    return ArrayLayout(
        DAYS,
        ("time", "y", "x"),
        (dates, *shape),
        "uint16",
        chunks=(time_chunk(dates), inner, inner),
        shards=(time_chunk(dates), block, block),
        fill_value=NEVER,
        attrs={
            "long_name": "days to the nearest clear acquisition of any sensor",
            "units": "days",
            "scale_factor": 1.0,
            "_FillValue": NEVER,
            "grid_mapping": "spatial_ref",
        },
    )


def time_chunk(dates: int) -> int:
    """Dates in a chunk of a result with so many ``dates``."""
    return min(TIME_CHUNK, dates)
