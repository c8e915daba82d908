"""What a result is computed from: a store at a snapshot, some of whose blocks may not be whole."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import zarr
from numpy.typing import NDArray

from terralatent.pipeline.cube.layout import DATES_A_SHARD
from terralatent.pipeline.cube.losses import DONE
from terralatent.pipeline.mapping.job import MappingJob
from terralatent.pipeline.mapping.scene_errors import keep_scene_errors, kept_scene_errors
from terralatent.pipeline.region import blocks
from terralatent.pipeline.store.damage import translated_errors
from terralatent.pipeline.store.repository import Store

__all__ = ["CubeOrigin", "Origin"]


class Origin(Protocol):
    """What :func:`terralatent.pipeline.mapping.results.fill.fill_blocks` has to know of it."""

    @property
    def kind(self) -> str:
        """What messages call it: ``cube``, ``latents``."""

    @property
    def store(self) -> Store:
        """Where it lies."""

    @property
    def snapshot(self) -> str:
        """At which it is read, and which it keeps; empty for plain Zarr."""

    @property
    def device(self) -> str:
        """Where a worker computes: ``auto``, ``cpu``, ``cuda``, ..."""

    def unfinished(self) -> NDArray[np.bool_]:
        """For each block of the result (row, column), whether what it is made of is not whole.

        Raises:
            InputError: If the store is damaged.
        """

    def changed_since(self, before: str, out: Store) -> NDArray[np.bool_] | None:
        """For each block, whether it is to be made anew in a result of an earlier snapshot.

        Args:
            before: The earlier snapshot.
            out: The result.

        Returns:
            (row, column), or None where the tasks find that out themselves.
        """

    def prepare(self, out: Store) -> None:
        """Write into the result what its blocks share; called before the first one is computed."""


@dataclass(frozen=True)
class CubeOrigin:
    """A cube, mapped by a model."""

    job: MappingJob
    """Both of them."""

    @property
    def kind(self) -> str:
        """What messages call it."""
        return "cube"

    @property
    def store(self) -> Store:
        """The cube."""
        return self.job.cube

    @property
    def snapshot(self) -> str:
        """The cube's."""
        return self.job.snapshot

    @property
    def device(self) -> str:
        """Where the model runs."""
        return self.job.device

    def unfinished(self) -> NDArray[np.bool_]:
        """For each block, whether some read task of the cube is not whole there."""
        with translated_errors(self.store):
            root, size = self.job.open_cube(), self.job.block
            named = [name for name in self.job.sensors if f"{name}/state" in root]
            states = [self._states(root, name) for name in named]
            open_blocks = [(state != DONE).any(axis=0) for state in states]
            rows, columns = self.job.grid.shape
            own = blocks((rows, columns), size)
            found = np.zeros((math.ceil(rows / size), math.ceil(columns / size)), dtype=bool)
            for block in own:  # of a window of the cube one lies in several of its blocks
                y, x = self.job.in_cube(block)
                under = (slice(y.start // size, (y.stop - 1) // size + 1),
                         slice(x.start // size, (x.stop - 1) // size + 1))  # fmt: skip
                found[block.index] = any(state[under].any() for state in open_blocks)
        return found

    def changed_since(self, before: str, out: Store) -> NDArray[np.bool_] | None:
        """All blocks, where outliers are searched for, which are counted over all of them, or
        where what was available by a day counts, which items may state otherwise by now; else see
        :meth:`~terralatent.pipeline.mapping.job.MappingJob.is_same_since`."""
        searched = any(self.job.masks.of(name).outliers for name in self.job.sensors)
        whole = searched or self.job.known is not None
        return np.ones_like(self.unfinished()) if whole else None

    def _states(self, root: zarr.Group, sensor: str) -> NDArray[np.uint8]:
        """The states of a sensor's time shards, of those alone that hold dates that are used."""
        states: Any = root[f"{sensor}/state"]
        if self.job.known is None:
            return np.asarray(states)
        times: Any = root[f"{sensor}/time"]
        places = np.arange(times.shape[0])[self.job.places[sensor]]
        return np.asarray(states)[np.unique(places // DATES_A_SHARD)]

    def prepare(self, out: Store) -> None:
        """Estimate the errors over scenes that the model wants taken off, unless they are kept."""
        if not self.job.corrects or kept_scene_errors(out.group()) is not None:
            return
        with translated_errors(self.store):
            errors = self.job.scene_errors()
        cube, bands = self.job.open_cube(), self.job.model_bands
        keep_scene_errors(out, errors, cube, bands, self.job.places)
