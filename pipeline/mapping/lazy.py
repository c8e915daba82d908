"""A result without a store: a Dataset whose blocks are computed when they are asked for.

A block of it goes the way of a block of a store, in one task, from which each variable takes its
part in another. The model stands in the graph once, by name; a task opens it once a process.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from threading import BoundedSemaphore
from typing import Any

import dask
import dask.array as da
import numpy as np
import xarray as xr
import zarr
from dask.base import tokenize
from dask.highlevelgraph import HighLevelGraph
from dask.system import CPU_COUNT
from distributed import get_worker
from distributed.system import MEMORY_LIMIT
from numpy.typing import NDArray

from terralatent.pipeline.command import command_line
from terralatent.pipeline.cube.losses import DONE, PENDING
from terralatent.pipeline.mapping.block import BlockDone, BlockWork, Product
from terralatent.pipeline.mapping.given import GivenJob
from terralatent.pipeline.mapping.memory import MemoryLimit
from terralatent.pipeline.mapping.opened import (
    about_coordinate,
    about_variable,
    result_dataset,
    unpacked,
)
from terralatent.pipeline.mapping.results.report import ResultReport
from terralatent.pipeline.progress import Progress
from terralatent.pipeline.region import Block, blocks
from terralatent.pipeline.store.arrays import ArrayLayout, GroupLayout
from terralatent.pipeline.store.creation import lay_out
from terralatent.pipeline.store.damage import translated_errors
from terralatent.pipeline.store.lock.writer import writer_lock
from terralatent.pipeline.store.repository import BRANCH, Store

__all__ = ["BlockValues", "fill_given", "lazy_arrays", "lazy_result"]

GRID = ("y", "x", "spatial_ref")
"""Coordinates that place a result."""

BLOCK_BYTES = 4_000_000_000
"""Memory that a process has for each block it works on beside another."""


def lazy_result(product: Product, pixels: Sequence[da.Array] = ()) -> xr.Dataset:
    """Lay a product out as a Dataset of dask arrays. Reads no pixels and computes nothing.

    To compute some pixels computes the blocks that hold them, all dates of each: a task for the
    block, which reads what it needs, and one more for each variable that is asked for.

    Args:
        product: What is mapped.
        pixels: Of a product of Datasets in memory, what each block takes of them, see
            :attr:`terralatent.pipeline.mapping.given.GivenPixels.arrays`.

    Returns:
        What :func:`terralatent.pipeline.mapping.opened.open_result` gives of such a store.
    """
    layout = product.layout()
    (root,) = layout.groups
    name = f"{layout.kind}-{tokenize(layout.identity, [array.name for array in pixels])}"
    job = product.job
    every = blocks(_shape_of(product), job.block)
    # One node for what all tasks share, so that each carries its block alone.
    shared = f"product-{name}"
    tasks: dict[Any, Any] = {
        (name, *block.index): (
            _compute,
            shared,
            block,
            *((array.name, *(0,) * (array.ndim - 2), *block.index) for array in pixels),
        )
        for block in every
    }
    graph = HighLevelGraph.from_collections(
        name, {shared: _Shared(product, root), **tasks}, dependencies=list(pixels)
    )
    sizes = tuple(
        tuple(min(job.block, length - start) for start in range(0, length, job.block))
        for length in job.grid.shape
    )
    return lazy_arrays(root, name, graph, sizes)


def lazy_arrays(
    group: GroupLayout, name: str, graph: HighLevelGraph, sizes: tuple[tuple[int, ...], ...]
) -> xr.Dataset:
    """The arrays of a result as a Dataset, of whose blocks a graph has the :class:`BlockValues`.

    Args:
        group: What the result is laid out as.
        name: Of the layer, whose keys are ``(name, row, column)``.
        graph: That has it.
        sizes: Rows, and columns, of the blocks.
    """
    variables = {
        array.name: (array.dims, _array(array, name, graph, sizes), about_variable(array.attrs))
        for array in group.arrays
        if _is_mapped(array)
    }
    coords = {
        array.name: (
            array.dims,
            _labels(array),
            dict(array.attrs) if array.name in GRID else about_coordinate(array.name, array.attrs),
        )
        for array in group.arrays
        if array.name in GRID or array.dims == (array.name,)
    }
    return result_dataset(variables, coords, group.attrs)


@dataclass(frozen=True, eq=False)
class _Shared:
    """What all tasks of a graph carry; no container that dask would walk through."""

    product: Product
    group: GroupLayout
    """What it is laid out as: to work that out reads tables of the cube."""


def _labels(array: ArrayLayout) -> Any:
    """The values of a coordinate, as it is opened."""
    values = np.asarray(array.data)
    if array.name == "spatial_ref":
        return np.int64(0)  # its attributes count
    if array.name == "time":
        return values.astype("datetime64[us]")
    return values.astype(object).astype(str) if values.dtype.kind in "OT" else values


def _array(
    layout: ArrayLayout, blocks_of: str, graph: HighLevelGraph, sizes: tuple[tuple[int, ...], ...]
) -> da.Array:
    """One variable: of each block the part of its name."""
    own = f"{layout.name}-{blocks_of}"
    before = (0,) * (len(layout.dims) - 2)
    counts = [range(len(part)) for part in sizes]
    packing = ("scale_factor", "add_offset", "_FillValue")
    about = {key: layout.attrs[key] for key in packing if key in layout.attrs}
    tasks: dict[Any, Any] = {
        (own, *before, row, column): (_part, (blocks_of, row, column), layout.name, about)
        for row in counts[0]
        for column in counts[1]
    }
    layers = {**graph.layers, own: tasks}
    dependencies = {**graph.dependencies, own: {blocks_of}}
    chunks = (*((length,) for length in layout.shape[:-2]), *sizes)
    dtype = np.float32 if "scale_factor" in layout.attrs else np.dtype(layout.dtype)
    return da.Array(HighLevelGraph(layers, dependencies), own, chunks, dtype=dtype)


def _part(done: BlockValues, name: str, attrs: Mapping[str, Any]) -> NDArray[Any]:
    """One variable of a block, as it is opened."""
    values = done.values[name]
    if "scale_factor" not in attrs:
        return values
    return unpacked(
        values,
        scale_factor=float(attrs["scale_factor"]),
        add_offset=float(attrs.get("add_offset", 0.0)),
        fill_value=int(attrs["_FillValue"]),
    )


@dataclass(frozen=True, eq=False)
class BlockValues:
    """What was computed of a block."""

    values: Mapping[str, NDArray[Any]]
    """As a store has them, by array."""
    report: BlockDone | None = None


def _compute(shared: _Shared, block: Block, *pixels: NDArray[Any]) -> BlockValues:
    """Compute a block of all variables; the task of a graph."""
    at_once, turns = _turns()
    product: Any = shared.product
    with turns:
        if isinstance(product.job, GivenJob):
            product = replace(product, job=product.job.bound(block, pixels))
        arrays = _BlockArrays(shared.group, block)
        limit = MemoryLimit(_process_bytes(), at_once=at_once)
        work = BlockWork(product.job, arrays, block, product.memory_plan(limit))
        product.compute(work)
    return BlockValues(arrays.mapped(), work.done())


def fill_given(
    product: Product,
    pixels: Sequence[da.Array],
    out: Store,
    *,
    title: str,
    progress: Progress | None = None,
) -> ResultReport:
    """Lay ``out`` out and compute every block of a product of Datasets that is not done.

    Blocks are computed one after the other on the Dask client that is active, or in threads, and
    each is committed here. The store has no overviews;
    :func:`~terralatent.pipeline.overviews.make.make_overviews` makes them.

    Args:
        product: What is mapped.
        pixels: As for :func:`lazy_result`.
        out: The store; one of the same Datasets is gone on with.
        title: Of the progress and the commits.
        progress: Advanced by each block.

    Raises:
        InputError: If ``out`` holds something else or cannot be written, or is being written by
            another process.
    """
    layout = product.layout()
    shared = _Shared(product, layout.groups[0])
    begun, inside, computed = time.monotonic(), 0, 0
    seconds: dict[str, float] = {}
    with writer_lock(out.location, command_line()) as lock, translated_errors(out):
        lay_out(out, layout)
        state = np.asarray(out.group()["state"])
        every = blocks(_shape_of(product), product.job.block)
        left = [block for block in every if (state[..., *block.index] == PENDING).any()]
        bar = lock.tee(progress)
        bar.start(len(left), title)
        try:
            for block in left:
                own = [array.blocks[(..., *block.index)] for array in pixels]
                done: BlockValues = dask.delayed(_compute)(shared, block, *own).compute()
                _keep(out, block, done, title)
                report = done.report or BlockDone(0)
                computed, inside = computed + 1, inside + report.pixels
                for stage, spent in report.seconds.items():
                    seconds[stage] = seconds.get(stage, 0.0) + spent
                bar.advance()
        finally:
            bar.close()
    clipped = int(np.asarray(out.group()["clipped"]).sum())
    return ResultReport(
        blocks=len(every), computed=computed, pixels=inside, clipped=clipped,
        wall=time.monotonic() - begun, seconds=seconds, losses=(), outliers={},
    )  # fmt: skip


def _keep(out: Store, block: Block, done: BlockValues, title: str) -> None:
    """Write a block and its state, in one commit."""
    session = out.repository().writable_session(BRANCH)
    group: Any = zarr.open_group(session.store, mode="r+")
    for name, values in done.values.items():
        group[name][..., block.y, block.x] = values
    group["state"][..., *block.index] = DONE
    group["clipped"][block.index] = done.report.clipped if done.report else 0
    out.commit(session, title)


def _shape_of(product: Product) -> tuple[int, int]:
    """Rows and columns of a product's grid."""
    rows, columns = product.job.grid.shape
    return int(rows), int(columns)


def _process_bytes() -> int:
    """What this process may take: a worker's limit, or the memory of the machine."""
    try:
        return int(get_worker().memory_manager.memory_limit or MEMORY_LIMIT)
    except ValueError:  # not on a worker
        return int(MEMORY_LIMIT)


@lru_cache(maxsize=1)
def _turns() -> tuple[int, BoundedSemaphore]:
    """How many blocks this process works on at a time, and who waits for it.

    As many as it has threads, where its memory allows that: a posterior walks on one thread.
    """
    try:
        threads = get_worker().state.nthreads
    except ValueError:
        threads = CPU_COUNT
    count = max(1, min(threads, _process_bytes() // BLOCK_BYTES))
    return count, BoundedSemaphore(count)


def _is_mapped(array: ArrayLayout) -> bool:
    """Whether an array has values for each pixel, which are computed block by block."""
    return array.dims[-2:] == ("y", "x")


class _BlockArrays:
    """One block of a result, :class:`~terralatent.pipeline.mapping.block.Arrays` without a store.

    Args:
        group: What the result is laid out as. Arrays over pixels are held for the block alone,
            filled with their fill value; others are held whole.
        block: Which pixels.
    """

    def __init__(self, group: GroupLayout, block: Block) -> None:
        self._arrays = {array.name: _BlockArray(array, block) for array in group.arrays}

    def __getitem__(self, name: str) -> _BlockArray:
        return self._arrays[name]

    def __contains__(self, name: object) -> bool:
        return name in self._arrays

    def get(self, name: str, default: Any = None) -> Any:
        """What there is of a name."""
        return self._arrays.get(name, default)

    def mapped(self) -> Mapping[str, NDArray[Any]]:
        """The values over the block's pixels, by name."""
        return {name: own.values for name, own in self._arrays.items() if own.mapped}


class _BlockArray:
    """An array that is indexed as a whole, of which there is one block."""

    def __init__(self, layout: ArrayLayout, block: Block) -> None:
        self.shape = layout.shape
        self.mapped = _is_mapped(layout)
        self._start = (block.y.start, block.x.start)
        dtype = np.dtype(object if layout.dtype == "string" else layout.dtype)
        if layout.data is not None:
            self.values: NDArray[Any] = np.asarray(layout.data)
        else:
            shape = (*layout.shape[:-2], *block.shape) if self.mapped else layout.shape
            self.values = np.full(shape, layout.fill_value, dtype)

    def __getitem__(self, key: Any) -> NDArray[Any]:
        return np.asarray(self.values[self._within(key)])

    def __setitem__(self, key: Any, values: Any) -> None:
        self.values[self._within(key)] = values

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.array(self.values, dtype=dtype, copy=copy)

    def _within(self, key: Any) -> Any:
        """The place within the block of an index that ends with slices of rows and columns."""
        if not self.mapped:
            return key
        *others, y, x = key
        shifted = (
            slice(part.start - start, part.stop - start)
            for part, start in zip((y, x), self._start, strict=True)
        )
        return (*others, *shifted)
