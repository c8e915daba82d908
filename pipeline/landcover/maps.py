"""A fitted probe over all blocks of latents: laid out, computed on workers, opened."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import icechunk
import numpy as np
import sklearn
import zarr
from distributed.protocol.pickle import dumps, loads
from numpy.typing import NDArray

from terralatent.catalogs.errors import InputError
from terralatent.pipeline.cluster.client import Workers
from terralatent.pipeline.cube.layout import grid_attrs
from terralatent.pipeline.landcover.arrays import MapArrays
from terralatent.pipeline.landcover.features import LatentFeatures
from terralatent.pipeline.mapping.block import BlockDone, Clock
from terralatent.pipeline.mapping.growth.follow import may_follow
from terralatent.pipeline.mapping.memory import PROCESS, MemoryLimit
from terralatent.pipeline.mapping.results.fill import fill_blocks
from terralatent.pipeline.mapping.results.layout import state_arrays
from terralatent.pipeline.mapping.results.report import ResultReport
from terralatent.pipeline.probes.probe import Probe
from terralatent.pipeline.progress import Progress
from terralatent.pipeline.region import Block
from terralatent.pipeline.store.arrays import (
    INNER_CHUNK,
    GroupLayout,
    Layout,
    coordinate,
    grid_arrays,
)
from terralatent.pipeline.store.creation import require_same
from terralatent.pipeline.store.repository import BRANCH, Store

__all__ = ["KIND", "fill_map", "map_layout", "require_map"]

KIND = "landcover"
"""Of the store."""

PROBE = "probe"
"""Array of the store with the bytes of the fitted probe, from which workers take it."""

BATCH, FEWEST = 65_536, 1_024
"""Pixels that are predicted together, at most and at least."""

COPIES = 4
"""Of the features of a batch in float64, while it is scaled and predicted."""

WORKING_MB = 64
"""What scikit-learn may take beside, for distances."""


def map_layout(
    features: LatentFeatures,
    arrays: MapArrays,
    identity: Mapping[str, Any],
    attributes: Mapping[str, Any],
) -> Layout:
    """Lay a map out on the latents' grid. Reads no pixels.

    Args:
        features: What is predicted from.
        arrays: What is kept.
        identity: What must be equal for a map to be gone on with, beside the features.
        attributes: Of the store, beside where the latents come from.
    """
    grid, block = features.grid, features.block
    root = GroupLayout(
        "",
        (*arrays.layout(grid, block), *grid_arrays(grid), *state_arrays(grid, block)),
        {
            **grid_attrs(grid),
            "coordinates": "spatial_ref",
            **features.attributes(),
            **attributes,
        },
    )
    follows = ("latents.snapshot", "latents.cube", "latents.dates")
    return Layout(KIND, {**features.identity(), **identity}, (root,), follows=follows)


def require_map(out: Store, layout: Layout) -> None:
    """Check that what is at ``out`` may be gone on with, before anything is fitted.

    Raises:
        InputError: If it is something else.
    """
    if out.exists() and not out.is_empty() and not may_follow(out, layout):
        require_same(out, layout.kind, layout.identity)


def fill_map(
    features: LatentFeatures,
    arrays: MapArrays,
    probe: Probe,
    layout: Layout,
    out: Store,
    workers: Workers,
    *,
    title: str,
    overviews: bool = True,
    progress: Progress | None = None,
) -> ResultReport:
    """Predict every block that is not done, on Dask workers; computes.

    The fitted probe is kept in the store, from where each worker process takes it once.

    Raises:
        InputError: As :func:`terralatent.pipeline.mapping.results.fill.fill` does.
    """
    content = dumps(probe)
    digest = hashlib.sha256(content).hexdigest()
    product = ProbeMap(features, arrays, out, digest)
    limit = MemoryLimit(workers.memory_bytes())
    product.batch(limit)  # too little is refused before anything is laid out
    run = partial(map_latents, product, limit)
    origin = LatentsOrigin(features, content, digest)
    return fill_blocks(
        layout, origin, run, out, workers, title=title, overviews=overviews, progress=progress
    )


@dataclass(frozen=True)
class LatentsOrigin:
    """Latents, mapped by a probe."""

    features: LatentFeatures
    """Of the latents."""

    content: bytes
    """The fitted probe."""

    digest: str
    """Its sha256."""

    @property
    def kind(self) -> str:
        """What messages call it."""
        return "latents"

    @property
    def store(self) -> Store:
        """The latents."""
        return self.features.store

    @property
    def snapshot(self) -> str:
        """The latents'."""
        return self.features.snapshot

    @property
    def device(self) -> str:
        """scikit-learn computes there."""
        return "cpu"

    def unfinished(self) -> NDArray[np.bool_]:
        """For each block, whether the latents are not whole there."""
        return self.features.unfinished()

    def changed_since(self, before: str, out: Store) -> NDArray[np.bool_] | None:
        """Blocks of which a chunk was written since; all of them where the probe is another, or
        the dates are."""
        root, found = out.group(), np.ones_like(self.unfinished())
        if PROBE not in root or root[PROBE].attrs.get("sha256") != self.digest:
            return found
        try:
            changes = self.features.store.repository().diff(
                from_snapshot_id=before, to_snapshot_id=self.snapshot
            )
        except icechunk.IcechunkError:  # states between the two were let go
            return found
        found[...] = False
        for path, chunks in changes.updated_chunks.items():
            if path.strip("/") in self.features.arrays:
                for chunk in chunks:
                    found[tuple(chunk[-2:])] = True
        return found

    def prepare(self, out: Store) -> None:
        """Keep the probe in the map's store, unless it is there."""
        root = out.group()
        if PROBE in root and root[PROBE].attrs.get("sha256") == self.digest:
            return
        session = out.repository().writable_session(BRANCH)
        content = np.frombuffer(self.content, np.uint8)
        array = coordinate(PROBE, ("byte",), content, {"sha256": self.digest})
        array.create(zarr.open_group(session.store, mode="r+"), overwrite=True)
        out.commit(session, "keep the fitted probe")


@dataclass(frozen=True)
class ProbeMap:
    """What tasks carry: where features, probe and results are, and no pixels."""

    features: LatentFeatures
    arrays: MapArrays
    out: Store
    digest: str
    """Of the probe that is kept at :attr:`out`."""

    def batch(self, limit: MemoryLimit) -> int:
        """Pixels that are predicted together.

        Raises:
            InputError: If a task may take too little memory.
        """
        count, block = self.features.count, self.features.block
        read = 3 * 4 * min(INNER_CHUNK, block) * block * count
        each = COPIES * 8 * count
        left = limit.task_bytes() - read - WORKING_MB * 1_000_000
        if left < FEWEST * each:
            least = PROCESS + read + WORKING_MB * 1_000_000 + FEWEST * each
            raise InputError(
                f"A block of {block} x {block} pixels with {count} features takes a worker of one "
                f"thread at least {np.ceil(least / 1e8) / 10:.1f}GB of memory; give it more, with "
                "memory= where it is started here."
            )
        return max(FEWEST, min(BATCH, left // each) >> limit.halvings)


def map_latents(
    product: ProbeMap, limit: MemoryLimit, group: zarr.Group, block: Block
) -> BlockDone:
    """Predict and write one block; runs on a worker and writes whole shards.

    Args:
        product: What is predicted, and from what.
        limit: What the task may take.
        group: Root of the map's store, writable.
        block: Which pixels.
    """
    clock, inside = Clock(), 0
    probe, batch = _load_probe(product.out, product.digest), product.batch(limit)
    results = product.arrays.blank(block.shape)
    for top in range(block.y.start, block.y.stop, INNER_CHUNK):
        y = slice(top, min(top + INNER_CHUNK, block.y.stop))
        with clock.time("read"):
            window = product.features.window(y, block.x)
        rows = slice(y.start - block.y.start, y.stop - block.y.start)
        flat = window.reshape(len(window), -1)
        pixels = np.flatnonzero(np.isfinite(flat).all(axis=0))
        inside += pixels.size
        for first in range(0, pixels.size, batch):
            some = pixels[first : first + batch]
            with clock.time("infer"), sklearn.config_context(working_memory=WORKING_MB):
                packed = product.arrays.packed(probe.predict(flat[:, some].T))
            at_y, at_x = np.divmod(some, window.shape[2])
            for name, values in packed.items():
                results[name][..., rows, :][..., at_y, at_x] = values
    with clock.time("write"):
        for name, values in results.items():
            group[name][..., block.y, block.x] = values
    return BlockDone(inside, seconds=clock.seconds)


@lru_cache(maxsize=2)
def _load_probe(out: Store, digest: str) -> Probe:
    """The probe that the coordinator fitted and kept, once a process; it must be that very one."""
    content = np.asarray(out.group()[PROBE][...]).tobytes()
    if hashlib.sha256(content).hexdigest() != digest:
        raise InputError(f"{out} holds another probe than the work began with; run it again.")
    return loads(content)
