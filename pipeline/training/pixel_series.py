"""All pixels of a cube as batches of series, once an epoch, for a training loop of one's own."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import zarr
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info

from terralatent.catalogs.errors import InputError
from terralatent.models.observations import Observations
from terralatent.pipeline.cube.masking import MaskingRequest
from terralatent.pipeline.cube.reading import Reading
from terralatent.pipeline.cube.series import read_series
from terralatent.pipeline.region import Block, blocks
from terralatent.pipeline.store.damage import translated_errors
from terralatent.pipeline.store.repository import Store

__all__ = ["PixelSeries"]

PATCH = 64
"""Side of what is read at once, in pixels: one inner chunk."""

MIXED = 4
"""Patches whose pixels are mixed, which are in memory together."""

Series = dict[str, Observations]


class PixelSeries(IterableDataset[Any]):
    """Series of the pixels of a cube, for ``torch.utils.data.DataLoader(..., batch_size=None)``.

    Gives batches by itself: for each sensor :class:`~terralatent.models.observations.Observations`
    of the same pixels, on the CPU, each sensor on all of its own dates. A pixel comes once an
    epoch; those that were never clear are passed over. Patches of 64 x 64 pixels come in an order
    drawn by seed and epoch, and pixels of four of them are mixed. Workers of a ``DataLoader`` share
    the patches, so that together they give each pixel once; the store is opened in each of them.
    Start them by ``multiprocessing_context="spawn"``: what reads a store has threads, which a
    forked process lacks.

    Args:
        cube: Path or URL of a cube.
        sensors: Those that are wanted; all that have acquisitions by default.
        batch: Pixels in a batch; the last of a worker may have fewer.
        seed: Of the order.
        shuffle: Whether there is an order to draw; else patch by patch and row by row.
        bands: By sensor, the bands that observations are to have, such as a model's; those that the
            cube lacks are never valid. Those of the cube by default.
        masking: How the sensors are masked; as the cube says, where it leaves that open.
        at: An earlier snapshot of the cube.
        places: Whether a batch comes as a pair, with the rows and columns of its pixels, int64
            (N, 2), by which labels on the cube's grid are found.
        window: Rows and columns of the cube's grid, the part that is wanted; all of it by default.
        part: Number and count of processes that share an epoch, such as the rank of one of several
            GPUs: (0, 2) and (1, 2) are halves of the patches.

    Raises:
        InputError: If there is no such cube, sensor or snapshot, or ``batch`` is below 1.

    Examples:
        >>> from torch.utils.data import DataLoader
        >>> import terralatent as tl
        >>> series = tl.PixelSeries("cube", batch=200)
        >>> for seen in DataLoader(series, batch_size=None):
        ...     print(len(seen["sentinel-2-l2a"]), seen["sentinel-2-l2a"].values.shape)
        200 torch.Size([200, 24, 3])
        106 torch.Size([106, 24, 3])
    """

    def __init__(
        self,
        cube: str | Path | Store,
        sensors: Sequence[str] | None = None,
        *,
        batch: int = 4096,
        seed: int = 0,
        shuffle: bool = True,
        bands: Mapping[str, Sequence[str]] | None = None,
        masking: MaskingRequest = None,
        at: str | None = None,
        places: bool = False,
        window: tuple[slice, slice] | None = None,
        part: tuple[int, int] = (0, 1),
    ) -> None:
        if batch < 1:
            raise InputError(f"batch is {batch}; give the pixels of a batch, 1 or more.")
        if not 0 <= part[0] < part[1]:
            raise InputError(f"part is {part}; give (number, of how many), from (0, 1) on.")
        self.store = Store.of(Store.of(cube).address)  # workers have folders of their own
        self.batch, self.seed, self.epoch = batch, seed, 0
        self.shuffle, self.places, self.part = shuffle, places, part
        self.bands = {name: tuple(own) for name, own in (bands or {}).items()}
        self._reading = Reading(masking, at)
        root, self._snapshot = self._reading.open(self.store)
        self.sensors = _sensors(root, sensors, str(cube))
        self._masks = self._reading.masks(root, self.sensors)
        rows, columns = root[f"{self.sensors[0]}/data"].shape[-2:]
        self._patches = _patches((int(rows), int(columns)), window)
        self._process = os.getpid()

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _process=os.getpid())  # it was sent here, not forked

    def set_epoch(self, epoch: int) -> None:
        """Draw another order; the same epoch has the same one."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[Any]:
        """The batches of this part, or of what a worker of a ``DataLoader`` has of it.

        Raises:
            InputError: In a forked process, where to read the store would never end.
        """
        if os.getpid() != self._process:
            raise InputError(
                "PixelSeries cannot read in a forked process, which lacks the threads that read "
                'stores; give the DataLoader multiprocessing_context="spawn".'
            )
        root = self.store.group(kind="cube", snapshot=self._snapshot or None)
        worker, (first, step) = get_worker_info(), self.part
        if worker is not None:
            first, step = first * worker.num_workers + worker.id, step * worker.num_workers
        key = [self.seed, self.epoch]
        order = np.arange(len(self._patches))
        if self.shuffle:
            order = np.random.default_rng(key).permutation(order)
        mine = order[first::step]
        left: tuple[Series, Tensor] | None = None
        for start in range(0, len(mine), MIXED):
            parts = [self._read(root, self._patches[n]) for n in mine[start : start + MIXED]]
            mixed = _joined([part for part in [left, *parts] if part is not None])
            if mixed is None:
                continue
            count = len(mixed[1])
            among = torch.arange(count)
            if self.shuffle:
                generator = np.random.default_rng([*key, int(mine[start])])
                among = torch.from_numpy(generator.permutation(count))
            whole = count - count % self.batch
            for at in range(0, whole, self.batch):
                yield self._given(_some(mixed, among[at : at + self.batch]))
            left = _some(mixed, among[whole:]) if whole < count else None
        if left is not None:
            yield self._given(left)

    def _given(self, batch: tuple[Series, Tensor]) -> Any:
        return batch if self.places else batch[0]

    def _read(self, root: zarr.Group, patch: Block) -> tuple[Series, Tensor] | None:
        """The pixels of a patch that were ever clear, and where they are; None for none."""
        with translated_errors(self.store):
            read = read_series(root, self.sensors, patch.y, patch.x, self._masks, self.bands)
        seen = np.flatnonzero(read.observations.any(axis=0))
        if not len(seen):
            return None
        rows, columns = np.divmod(seen, patch.x.stop - patch.x.start)
        places = np.stack([rows + patch.y.start, columns + patch.x.start], axis=1)
        return read.series(seen), torch.from_numpy(places.astype(np.int64))


def _sensors(root: zarr.Group, wanted: Sequence[str] | None, cube: str) -> tuple[str, ...]:
    there = sorted(name for name, own in root.groups() if "data" in own and own["data"].shape[0])
    if unknown := sorted(set(wanted or ()) - set(there)):
        raise InputError(
            f"{cube} has no acquisitions of {', '.join(unknown)}; it has "
            f"{', '.join(there) or 'none'}."
        )
    if not there:
        raise InputError(f"{cube} has no acquisitions of any sensor.")
    return tuple(there if wanted is None else dict.fromkeys(wanted))


def _patches(shape: tuple[int, int], window: tuple[slice, slice] | None) -> tuple[Block, ...]:
    """Squares of a grid that lie in a window of it, cut off at its edges."""
    if window is None:
        return blocks(shape, PATCH)
    y, x = (range(*own.indices(length)) for own, length in zip(window, shape, strict=True))
    if not (len(y) and len(x)) or (y.step, x.step) != (1, 1):
        raise InputError(f"The window {window} holds no pixels of the grid {shape}; give slices.")
    inside = (
        Block(
            own.index,
            slice(max(own.y.start, y.start), min(own.y.stop, y.stop)),
            slice(max(own.x.start, x.start), min(own.x.stop, x.stop)),
        )
        for own in blocks(shape, PATCH)
    )
    return tuple(own for own in inside if own.shape[0] > 0 and own.shape[1] > 0)


def _joined(parts: Sequence[tuple[Series, Tensor]]) -> tuple[Series, Tensor] | None:
    if not parts:
        return None
    series = {
        name: Observations.concatenate([own[name] for own, _ in parts]) for name in parts[0][0]
    }
    return series, torch.cat([places for _, places in parts])


def _some(batch: tuple[Series, Tensor], pixels: Tensor) -> tuple[Series, Tensor]:
    return {name: own.select(pixels) for name, own in batch[0].items()}, batch[1][pixels]
