"""Stores of results with made-up numbers, laid out as verbs do: of any size, kind and tiling."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from odc.geo.geobox import GeoBox
from rasterio import Affine

from terralatent.pipeline.cube.layout import grid_attrs
from terralatent.pipeline.mapping.results.layout import state_arrays
from terralatent.pipeline.store.arrays import (
    ArrayLayout,
    GroupLayout,
    Layout,
    coordinate,
    grid_arrays,
    time_array,
)
from terralatent.pipeline.store.creation import lay_out
from terralatent.pipeline.store.repository import Store

MEAN = {"scale_factor": 2.5e-4, "_FillValue": -32768}
STD = {"scale_factor": 2e-5, "_FillValue": 65535}
DATES = np.array(["2018-05-04", "2018-08-04", "2018-11-04"], "datetime64[us]")


def result_grid(shape: tuple[int, int]) -> GeoBox:
    """Pixels of 10 m."""
    origin = Affine(10.0, 0.0, 540_000.0, 0.0, -10.0, 5_680_000.0)
    return GeoBox(shape, origin, "EPSG:32631")


def made_up_latents(
    path: Path,
    shape: tuple[int, int],
    *,
    block: int = 64,
    latents: int = 2,
    dates: int = 2,
    rho: Mapping[str, Any] | None = None,
    state: int = 1,
) -> Path:
    """Latents of noise with holes; a corner lies outside every scene."""
    random = np.random.default_rng(7)
    full = (dates, latents, *shape)
    mean = random.integers(-9000, 9000, full).astype(np.int16)
    std = random.integers(2000, 40000, full).astype(np.uint16)
    hole = random.random(shape) < 0.1
    hole[: shape[0] // 3, : shape[1] // 3] = True
    mean[..., hole], std[..., hole] = MEAN["_FillValue"], STD["_FillValue"]
    counts = random.integers(0, 300, (2, *shape)).astype(np.uint16)
    counts[..., hole] = 0
    lead = ("time", "latent")
    arrays = (
        stored("mean", lead, mean, block, {**MEAN, "units": "1"}),
        stored("std", lead, std, block, {**STD, "units": "1"}),
        stored("observations", ("sensor",), counts, block, {"units": "1"}, fill=0),
        time_array("time", "time", DATES[:dates]),
        coordinate("latent", ("latent",), np.arange(latents)),
        coordinate("sensor", ("sensor",), np.array(["sentinel-1-asc", "sentinel-2-l2a"])),
    )
    attrs = {} if rho is None else {"overview_correlation": dict(rho)}
    return made_up_result(path, "latents", arrays, shape, block, attrs, state=state)


def made_up_result(
    path: Path,
    kind: str,
    arrays: tuple[ArrayLayout, ...],
    shape: tuple[int, int],
    block: int,
    attrs: Mapping[str, Any] | None = None,
    *,
    state: int = 1,
) -> Path:
    """A store of any kind, all of its blocks done."""
    grid = result_grid(shape)
    states = [
        coordinate(own.name, own.dims, np.full(own.shape, state * (own.name == "state"), own.dtype))
        for own in state_arrays(grid, block)
    ]
    root = GroupLayout(
        "", (*arrays, *grid_arrays(grid), *states), {**grid_attrs(grid), **(attrs or {})}
    )
    identity = {"block": block, "dates": [str(date) for date in DATES]}
    lay_out(Store.of(path), Layout(kind, identity, (root,)))
    return path


def stored(
    name: str,
    lead: tuple[str, ...],
    values: np.ndarray,
    block: int,
    attrs: Mapping[str, Any],
    *,
    fill: float | None = None,
) -> ArrayLayout:
    """An array over the grid with ``values`` as they are stored, in chunks of a block."""
    chunk = (*values.shape[:-2], block, block)
    if fill is None:
        fill = attrs.get("_FillValue", np.nan)
    dims = (*lead, "y", "x")
    return ArrayLayout(
        name, dims, values.shape, values.dtype.name, chunk, chunk, fill, attrs, values
    )
