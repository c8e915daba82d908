"""Latents of the same pixels and dates, of an older and of a newer run: found, checked, read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from terralatent.catalogs.errors import InputError
from terralatent.catalogs.moments import Moment, read_span
from terralatent.pipeline.changes.arrays import KIND
from terralatent.pipeline.changes.between import Run, Runs
from terralatent.pipeline.cube.layout import grid_attrs
from terralatent.pipeline.cube.losses import DONE
from terralatent.pipeline.mapping.opened import unpacked
from terralatent.pipeline.mapping.results.layout import state_arrays
from terralatent.pipeline.region import grid_of
from terralatent.pipeline.store.arrays import (
    ArrayLayout,
    GroupLayout,
    Layout,
    grid_arrays,
    time_array,
)
from terralatent.pipeline.store.damage import translated_errors
from terralatent.pipeline.store.history import keep_for
from terralatent.pipeline.store.repository import ABOUT, Store

__all__ = ["KeptRun", "LatentsPair", "find_pair"]

SAME = ("latents_hash", "std_factors", "encoder", "bands", "masking", "block")
"""Of the identity of latents, what both must have alike."""

ORIGIN = ("model_name", "model_version", "model_hash", "latents_hash", "sensors", "cube_snapshot")


@dataclass(frozen=True)
class KeptRun:
    """Latents at one snapshot. Small and picklable."""

    store: Store
    snapshot: str

    def group(self) -> zarr.Group:
        """Their root; opened once a process."""
        return _open(self.store, self.snapshot)

    @property
    def identity(self) -> dict[str, Any]:
        """What they are."""
        about: Any = self.group().attrs[ABOUT]
        return dict(about["identity"])

    @property
    def times(self) -> NDArray[np.int64]:
        """Microseconds since 1970, (time,)."""
        return np.asarray(self.group()["time"]).astype("datetime64[us]").astype(np.int64)

    @property
    def steps(self) -> tuple[float, float]:
        """By which means and standard deviations are packed; 0 where they are not."""
        mean, std = (
            float(self.group()[name].attrs.get("scale_factor", 0.0)) for name in ("mean", "std")
        )
        return mean, std

    def read(self, name: str, date: int, y: slice, x: slice) -> NDArray[np.float64]:
        """Read ``mean`` or ``std`` of a date and window, (latent, y, x); NaN outside every scene.

        Raises:
            OSError: If it is damaged there.
        """
        array: Any = self.group()[name]
        with translated_errors(self.store, OSError):
            stored = np.asarray(array[date, :, y, x])
        if "scale_factor" in array.attrs:
            stored = unpacked(
                stored,
                scale_factor=float(array.attrs["scale_factor"]),
                add_offset=float(array.attrs.get("add_offset", 0.0)),
                fill_value=int(array.attrs["_FillValue"]),
            )
        return stored.astype(np.float64)


@dataclass(frozen=True)
class LatentsPair:
    """Both runs, and the dates that both have."""

    older: KeptRun
    newer: KeptRun
    dates: tuple[int, ...]
    """Microseconds since 1970, ascending."""

    @property
    def latents(self) -> int:
        """L."""
        mean: Any = self.newer.group()["mean"]
        return int(mean.shape[1])

    @property
    def grid(self) -> GeoBox:
        """The pixels of both."""
        return grid_of(self.newer.group())

    @property
    def block(self) -> int:
        """Pixels along a side of the blocks of both."""
        return int(self.newer.identity["block"])

    def at(self, date: int) -> Iterator[tuple[KeptRun, int]]:
        """Either run, the older one first, and where it has one of :attr:`dates`."""
        for run in (self.older, self.newer):
            yield run, int(np.flatnonzero(run.times == self.dates[date])[0])

    def layout(self, arrays: tuple[ArrayLayout, ...]) -> Layout:
        """Lay out the map. Reads no pixels."""
        attrs, before = (run.group().attrs.asdict() for run in (self.newer, self.older))
        snapshots = [self.older.snapshot, self.newer.snapshot]
        times = np.array(self.dates, "datetime64[us]")
        cubes = [str(own.get("cube_snapshot", "")) for own in (before, attrs)]
        root = GroupLayout(
            "",
            (
                *arrays,
                time_array("time", "time", times),
                *grid_arrays(self.grid),
                *state_arrays(self.grid, self.block),
            ),
            {
                **grid_attrs(self.grid),
                "coordinates": "spatial_ref",
                **{name: attrs[name] for name in ORIGIN if name in attrs},
                "title": "changes of latents between two runs",
                "between": [f"{self.older.store} at {snapshots[0]}".removesuffix(" at "),
                            f"{self.newer.store} at {snapshots[1]}".removesuffix(" at ")],
                "cube_snapshots": cubes,
            },
        )  # fmt: skip
        identity = {
            "runs": {
                "older": {"snapshot": snapshots[0], "cube": cubes[0]},
                "newer": {"snapshot": snapshots[1], "cube": cubes[1]},
            },
            "dates": [str(time) for time in times],
            **{name: self.newer.identity[name] for name in SAME if name in self.newer.identity},
        }
        return Layout(KIND, identity, (root,))


@dataclass(frozen=True)
class PairOrigin:
    """Two runs, an :class:`~terralatent.pipeline.mapping.results.origin.Origin`."""

    pair: LatentsPair

    @property
    def kind(self) -> str:
        """What messages call it."""
        return "latents"

    @property
    def store(self) -> Store:
        """The newer latents."""
        return self.pair.newer.store

    @property
    def snapshot(self) -> str:
        """The newer latents'."""
        return self.pair.newer.snapshot

    @property
    def device(self) -> str:
        """No model runs."""
        return "cpu"

    def unfinished(self) -> NDArray[np.bool_]:
        """For each block, whether either run is not whole there."""
        states = [np.asarray(run.group()["state"]) for run in (self.pair.older, self.pair.newer)]
        return (states[0] != DONE) | (states[1] != DONE)

    def changed_since(self, before: str, out: Store) -> None:
        """Two runs are compared as they are; see :class:`Origin`."""

    def prepare(self, out: Store) -> None:
        """Keep the older snapshot too."""
        keep_for(out.address, self.pair.older.store, self.pair.older.snapshot)


def find_pair(runs: Runs, date: Moment | None) -> LatentsPair:
    """Check that two runs compare, and settle the dates. Reads no pixels.

    Args:
        runs: The older and the newer one.
        date: A day or month whose dates alone are compared; all that both have by default.

    Raises:
        InputError: If they have another grid, model, masking, or other blocks, the newer one lacks
            a sensor, both saw the same cube, or they have no date in common.
    """
    older, newer = (KeptRun(run.store, run.snapshot) for run in (runs.older, runs.newer))
    names = f"{_name(runs.older)} and {_name(runs.newer)}"
    there, here = older.identity, newer.identity
    for name in SAME:
        if there.get(name) != here.get(name):
            raise InputError(
                f"{names} do not compare: {name} is {there.get(name)} of the older, "
                f"{here.get(name)} of the newer. Embed both alike."
            )
    if grid_of(older.group()) != grid_of(newer.group()):
        raise InputError(f"{names} do not compare: they have other pixels.")
    before, after = (run.group().attrs.asdict() for run in (older, newer))
    lost = sorted(set(before.get("sensors", ())) - set(after.get("sensors", ())))
    if lost:
        raise InputError(
            f"{names} do not compare: the newer has not seen {', '.join(lost)}, which the older "
            "has. A run must have seen all that the one before it did."
        )
    cubes = [own.get("cube_snapshot", "") for own in (before, after)]
    if cubes[0] and cubes[0] == cubes[1] and sorted(before["sensors"]) == sorted(after["sensors"]):
        raise InputError(
            f"{names} were made from the same state of a cube ({cubes[0]}): nothing came in since."
        )
    times = np.intersect1d(older.times, newer.times)
    if date is not None:
        span = read_span(date, "Date {value} is no ISO date, such as 2018-07-01.")
        first, last = (int(end.astype("datetime64[us]").astype(np.int64)) for end in span[:2])
        times = times[(times >= first) & (times <= last)]
    if not times.size:
        what = "no date in common" if date is None else f"no date in common on {date}"
        raise InputError(f"{names} have {what}; embed both at the same dates.")
    return LatentsPair(older, newer, tuple(int(time) for time in times))


def _name(run: Run) -> str:
    return f"{run.store} at {run.snapshot}" if run.snapshot else str(run.store)


@lru_cache(maxsize=4)
def _open(store: Store, snapshot: str) -> zarr.Group:
    return store.group(kind="latents", snapshot=snapshot or None)
