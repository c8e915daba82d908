"""Annual vectors as a store: its arrays, how a block of some windows is computed, how it grows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
import zarr

from terralatent.catalogs.errors import InputError
from terralatent.models.annual import AnnualMap, annual_vectors
from terralatent.models.gpvae import GPVAE
from terralatent.models.shipped import model_folder
from terralatent.pipeline.cluster.workers import this_process
from terralatent.pipeline.cube.layout import grid_attrs
from terralatent.pipeline.cube.losses import PENDING, STATE_FLAGS
from terralatent.pipeline.dates import days_since_1970
from terralatent.pipeline.embeddings.packing import PRECISIONS, Precision
from terralatent.pipeline.embeddings.windows import Window
from terralatent.pipeline.mapping.block import BlockWork
from terralatent.pipeline.mapping.growth.held import Held, held_at, hold
from terralatent.pipeline.mapping.inference import InferenceJob
from terralatent.pipeline.mapping.job import MappingJob
from terralatent.pipeline.mapping.memory import MemoryLimit, MemoryPlan, plan_memory
from terralatent.pipeline.mapping.results.layout import result_layout
from terralatent.pipeline.pixels.batches import infer_batches_by
from terralatent.pipeline.store.arrays import ArrayLayout, Layout, coordinate, inner_chunk
from terralatent.pipeline.store.conventions import embedding_attrs, model_uri
from terralatent.pipeline.store.history import is_earlier
from terralatent.pipeline.store.multiscales import withdrawn
from terralatent.pipeline.store.repository import BRANCH, Store

__all__ = ["ANNUAL", "AnnualVectors", "add_windows"]

ANNUAL = "annual"
"""Kind of the store."""

MOST_COUNTED = 255
"""Of a sensor's clear acquisitions in a window: more are kept as so many."""


@dataclass(frozen=True)
class AnnualVectors:
    """Mean and standard deviation of the components of some windows."""

    job: InferenceJob
    """What to infer from; its dates are those of all windows."""

    windows: tuple[Window, ...]
    """Ascending."""

    components: int
    precision: str
    """One of :data:`~terralatent.pipeline.embeddings.packing.PRECISIONS`."""

    digest: str
    """Of the model's map, cut to these components."""

    @property
    def packing(self) -> Precision:
        """How values are kept."""
        return PRECISIONS[self.precision]

    def annual_map(self) -> AnnualMap:
        """The model's map; read once a process.

        Raises:
            InputError: If it is another than where the work began.
        """
        return _load_map(self.job.model, self.components, self.digest)

    def layout(self) -> Layout:
        """Lay out the store. Reads no pixels."""
        arrays = self._arrays()
        made = result_layout(
            self.job,
            ANNUAL,
            arrays,
            {},
            self._attrs(*arrays[:2]),
            times=np.array([window.first for window in self.windows], "datetime64[us]"),
        )
        # Windows come and go on: neither they nor the cube's snapshot make a store another one.
        whole = self.job.identity()
        kept = {key: whole[key] for key in whole if key not in ("cube", "dates")}
        identity = {
            "grid": whole["cube"]["grid"],
            **kept,
            **self.job.latents_identity(),
            "map": self.digest,
            "components": self.components,
            "precision": self.precision,
        }
        return Layout(ANNUAL, identity, made.groups)

    def memory_plan(self, limit: MemoryLimit) -> MemoryPlan:
        """The results of a whole block are held until its shards are written."""
        size = 2 * self.components * np.dtype(self.packing.dtype).itemsize
        return plan_memory(self.job, limit, size, self.job.block**2)

    def compute(self, work: BlockWork) -> None:
        """Infer, reduce, pack and write all windows of the store that are pending at a block."""
        group, block, packing = work.group, work.block, self.packing
        places = _to_make(work)
        chosen = list(places)
        if not chosen:
            work.same = True
            return
        shape = (len(chosen), self.components, *block.shape)
        means, logs = packing.blank(shape), packing.blank(shape)
        counts = np.zeros((len(chosen), len(self.job.sensors), *block.shape), np.uint8)
        model, mapped = self.job.load(), self.annual_map()
        assert isinstance(model, GPVAE)
        days = [torch.from_numpy(days_since_1970(window.dates)) for window in chosen]
        years = [own.to(model.device) for own in days]
        for rows, series in work.strips():
            strip = slice(rows.start * block.shape[1], rows.stop * block.shape[1])
            for at, window in enumerate(chosen):
                first, end = days_since_1970(np.array([window.first, window.end]))
                seen = np.minimum(series.counted(first, end), MOST_COUNTED)
                counts[at].reshape(len(seen), -1)[:, strip] = seen
            with work.clock.time("infer"):
                flat = [values.reshape(*shape[:2], -1)[:, :, strip] for values in (means, logs)]
                for pixels, found in infer_batches_by(
                    model,
                    lambda observations: annual_vectors(model, mapped, observations, years),
                    series,
                    np.flatnonzero(series.seen),
                    len(self.job.times),
                    work.plan.observations,
                ):
                    for at, (mean, variance) in enumerate(found):
                        flat[0][at][:, pixels], flat[1][at][:, pixels], wide = packing.pack(
                            mean, variance
                        )
                        work.clipped += wide
        with work.clock.time("write"):
            for at, place in enumerate(places.values()):
                group["mean"][place, :, block.y, block.x] = means[at]
                group["log_std"][place, :, block.y, block.x] = logs[at]
                group["observations"][place, :, block.y, block.x] = counts[at]

    def _attrs(self, mean: ArrayLayout, log_std: ArrayLayout) -> dict[str, Any]:
        """What the store says of itself, by the ``geoemb:`` convention among others."""
        job, about = self.job, self.job.attributes()
        return embedding_attrs(
            {
                **grid_attrs(job.grid),
                "title": "annual vectors of pixels: posterior mean and standard deviation",
                "explained": [round(float(share), 6) for share in self.annual_map().explained],
            },
            mean,
            log_std,
            dimension="component",
            model=model_uri(
                job.model_hash, about.get("model_name", ""), about.get("model_version", "")
            ),
            sensors=job.sensors,
            resolution=job.grid.resolution.x,
            kind="log_standard_deviation",
            calibration={"method": "local_factors" if job.std_factors else "none"},
            temporal={"kind": "window", "bounds": "time_bnds"},
        )

    def _arrays(self) -> tuple[ArrayLayout, ...]:
        job, packing = self.job, self.packing
        rows, columns = job.grid.shape
        count, sensors, block = len(self.windows), len(job.sensors), job.block
        inner = inner_chunk(block)
        blocks = (-(-rows // block), -(-columns // block))

        def over(name: str, dim: str, size: int, dtype: str, fill: Any, about: Mapping[str, Any]
                 ) -> ArrayLayout:  # fmt: skip
            return ArrayLayout(
                name, ("time", dim, "y", "x"), (count, size, rows, columns), dtype,
                chunks=(1, size, inner, inner), shards=(1, size, block, block), fill_value=fill,
                attrs={**about, "units": "1", "grid_mapping": "spatial_ref"},
            )  # fmt: skip

        parts = {
            "mean": "posterior mean of each component",
            "log_std": "natural logarithm of the posterior standard deviation of each component",
        }
        windows = np.array([[w.first, w.end] for w in self.windows], "datetime64[us]")
        return (
            *(
                over(name, "component", self.components, packing.dtype, packing.fill,
                     {"long_name": about, **packing.attrs(name)})
                for name, about in parts.items()
            ),
            over("observations", "sensor", sensors, "uint8", 0,
                 {"long_name": "clear acquisitions in the window; 255: as many or more"}),
            coordinate("component", ("component",), np.arange(self.components, dtype=np.int64)),
            coordinate("sensor", ("sensor",), np.array(job.sensors)),
            coordinate("time_bnds", ("time", "bnds"), windows.astype(np.int64)),
            coordinate("cube_snapshot", ("time",), np.array([job.snapshot] * count)),
            ArrayLayout(
                "state", ("time", "block_y", "block_x"), (count, *blocks), "uint8",
                (1, *blocks), fill_value=0, attrs=STATE_FLAGS,
            ),
        )  # fmt: skip


@lru_cache(maxsize=2)
def _load_map(model: str, components: int, digest: str) -> AnnualMap:
    mapped = AnnualMap.load(model_folder(model)).first(components)
    if mapped.digest() != digest:
        raise InputError(
            f"The map of years of {model} is another for {this_process()} than where the work "
            "began; workers must see the same folder, or have the same version of the package."
        )
    return mapped


def places_of(group: Any) -> dict[Window, int]:
    """The windows of a store, and where each is along time."""
    edges = np.asarray(group["time_bnds"][...]).astype("datetime64[us]").astype("datetime64[D]")
    return {Window(first, end - 1): place for place, (first, end) in enumerate(edges)}


def _pending(group: Any, index: tuple[int, int]) -> dict[Window, int]:
    """The windows that are not done at a block, and where each is along time."""
    state = np.asarray(group["state"][(slice(None), *index)])
    return {window: at for window, at in places_of(group).items() if state[at] == PENDING}


def _to_make(work: BlockWork) -> dict[Window, int]:
    """The windows that are pending at a block, but for those whose values are still right, and
    where each is along time."""
    group, index = work.group, work.block.index
    places, held = _pending(group, index), held_at(group, index)
    if len(held) == 1 and held[0] is None:
        return places
    before = {own.snapshot for at in places.values() if (own := held[at]) is not None}
    same = {snapshot for snapshot in before if work.is_same_since(snapshot)}
    return {
        window: at
        for window, at in places.items()
        if (own := held[at]) is None or own.snapshot not in same
    }


def add_windows(out: Store, product: AnnualVectors) -> None:
    """Lay out the windows that a store lacks, and those anew that are of an earlier snapshot of
    the cube, in one commit. Call it inside the store's writer lock.

    Raises:
        InputError: If a window of these is of a snapshot that is not an earlier one, or another
            that is not whole was begun from another snapshot.
    """
    root, snapshot = out.group(), product.job.snapshot
    there = places_of(root)
    snapshots = [str(one) for one in np.asarray(root["cube_snapshot"])]
    state = np.asarray(root["state"])
    behind = [window for window, at in there.items() if snapshots[at] != snapshot]
    for window in behind:
        at = there[window]
        if window in product.windows and _is_earlier(product.job, snapshots[at]):
            continue
        if window in product.windows or (state[at] == PENDING).any():
            raise InputError(
                f"{out}: the window {window} is of the snapshot {snapshots[at]} of the cube, and "
                f"this is {snapshot}, which is no later one, or the window is not whole: finish it "
                f'first (window="{window}" at="{snapshots[at]}"), or choose another out=.'
            )
    new = [window for window in product.windows if window not in there]
    anew = [window for window in behind if window in product.windows]
    if not new and not anew:
        return
    session = out.repository().writable_session(BRANCH)
    group = zarr.open_group(session.store, mode="r+")
    for window in anew:
        hold(group, Held(snapshots[there[window]], 0), there[window])
        group["cube_snapshot"][there[window]] = snapshot
    count = len(there) + len(new)
    for _, array in group.arrays():
        if (array.metadata.dimension_names or ())[:1] == ("time",):
            array.resize((count, *array.shape[1:]))
    edges = np.array([[w.first, w.end] for w in new], "datetime64[us]").astype(np.int64)
    edges = edges.reshape(-1, 2)
    withdrawn(group)  # overviews lack these windows
    group["time"][len(there) :] = edges[:, 0]
    group["time_bnds"][len(there) :] = edges
    group["cube_snapshot"][len(there) :] = np.array([snapshot] * len(new), dtype=object)
    parts = {"add": new, "bring up to date": anew}
    said = [f"{verb} {len(windows)} windows" for verb, windows in parts.items() if windows]
    out.commit(session, ", ".join(said))


def _is_earlier(job: InferenceJob, before: str) -> bool:
    return isinstance(job, MappingJob) and is_earlier(job.cube, before, job.snapshot)
