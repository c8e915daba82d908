"""A map without a store: predictions of a fitted probe, computed when they are asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from dask.base import tokenize
from dask.highlevelgraph import HighLevelGraph
from numpy.typing import NDArray

from terralatent.pipeline.cube.layout import grid_attrs
from terralatent.pipeline.embeddings.opened import open_annual
from terralatent.pipeline.kinds import provenance
from terralatent.pipeline.landcover.arrays import MapArrays
from terralatent.pipeline.mapping.embed import embed
from terralatent.pipeline.mapping.lazy import BlockValues, lazy_arrays
from terralatent.pipeline.mapping.opened import open_latents
from terralatent.pipeline.probes.dataset import BLOCK, DatasetFeatures
from terralatent.pipeline.probes.probe import Probe
from terralatent.pipeline.store.arrays import GroupLayout, grid_arrays
from terralatent.pipeline.store.repository import Store

__all__ = ["lazy_map", "open_features"]

BATCH = 65_536
"""Pixels that are predicted together."""


def open_features(
    latents: str | Path | Store | xr.Dataset | xr.DataTree, at: str | None
) -> xr.Dataset:
    """What classes or numbers are learnt from, lazily. Reads no pixels.

    Args:
        latents: A Dataset of latents or annual vectors; the path or URL of such a store; or a cube,
            by path or opened, whose latents are those of the model that comes with the package.
        at: An earlier snapshot of a store.
    """
    if isinstance(latents, xr.Dataset) and "data" not in latents:
        return latents
    if isinstance(latents, xr.Dataset | xr.DataTree):
        return embed(latents, at=at)
    store = Store.of(latents)
    kind = store.group() and store.about().get("kind")
    if kind == "cube":
        return embed(store, at=at)
    return (open_annual if kind == "annual" else open_latents)(store, snapshot=at)


def lazy_map(
    data: xr.Dataset,
    features: DatasetFeatures,
    arrays: MapArrays,
    probe: Probe,
    attributes: Mapping[str, Any],
) -> xr.Dataset:
    """Predict every pixel; lazy: reads and computes nothing.

    Args:
        data: Whose features they are.
        features: Of every pixel.
        arrays: What is given of a prediction.
        probe: Fitted; it stands in the graph once.
        attributes: Of the result.

    Returns:
        What :func:`~terralatent.pipeline.mapping.opened.open_landcover` gives.
    """
    grid, pixels = features.grid, features.array.data
    layout = (*arrays.layout(grid, BLOCK), *grid_arrays(grid))
    group = GroupLayout("", layout, {**grid_attrs(grid), **provenance(data), **attributes})
    name = f"landcover-{tokenize(pixels.name, probe, arrays)}"
    shared = f"probe-{name}"
    sizes = pixels.chunks[1:]
    tasks: dict[Any, Any] = {
        (name, row, column): (_predicted, shared, (pixels.name, 0, row, column))
        for row in range(len(sizes[0]))
        for column in range(len(sizes[1]))
    }
    graph = HighLevelGraph.from_collections(
        name, {shared: _Shared(arrays, probe), **tasks}, dependencies=[pixels]
    )
    found = lazy_arrays(group, name, graph, sizes)
    for array in layout:  # names and colours of classes
        if array.name == "class":
            found["class"].attrs.update(
                {
                    key: value
                    for key, value in array.attrs.items()
                    if "flag" in key or "names" in key
                }
            )
    return found


@dataclass(frozen=True, eq=False)
class _Shared:
    """What all tasks of a graph carry."""

    arrays: MapArrays
    probe: Probe


def _predicted(shared: _Shared, features: NDArray[np.float32]) -> BlockValues:
    """Predict a block of pixels, (feature, y, x); the task of a graph."""
    shape = (features.shape[1], features.shape[2])
    results = shared.arrays.blank(shape)
    flat = features.reshape(len(features), -1)
    inside = np.flatnonzero(np.isfinite(flat).all(axis=0))
    for first in range(0, inside.size, BATCH):
        some = inside[first : first + BATCH]
        rows, columns = np.divmod(some, shape[1])
        packed = shared.arrays.packed(shared.probe.predict(flat[:, some].T))
        for name, values in packed.items():
            results[name][..., rows, columns] = values
    return BlockValues(results)
