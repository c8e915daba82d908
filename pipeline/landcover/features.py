"""What a pixel is classified by: posterior means, and standard deviations, of latents at stored
dates, or of components in stored windows of a year."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from terralatent.catalogs.errors import InputError
from terralatent.pipeline.cluster.client import Workers
from terralatent.pipeline.cube.losses import DONE
from terralatent.pipeline.mapping.opened import unpacked
from terralatent.pipeline.progress import Progress
from terralatent.pipeline.region import grid_of
from terralatent.pipeline.store.arrays import INNER_CHUNK
from terralatent.pipeline.store.damage import translated_errors
from terralatent.pipeline.store.history import find_snapshot
from terralatent.pipeline.store.repository import ABOUT, Store

__all__ = ["LatentFeatures", "features_of", "find_features", "grid_under"]

KINDS = ("latents", "annual")
OF_LATENTS = ("dates", "latents_hash", "model", "cube", "map", "components")
"""Of the identity of latents or annual vectors, what makes features others."""


@dataclass(frozen=True)
class LatentFeatures:
    """Features of every pixel of latents, or of annual vectors, at one snapshot.

    Small and picklable: tasks carry this and never pixels.
    """

    store: Store
    """Latents or annual vectors."""

    snapshot: str
    """At which they are read; empty for plain Zarr."""

    with_std: bool = False
    """Whether standard deviations are features beside the means; their logarithms, of annual
    vectors."""

    @property
    def place(self) -> str:
        """Where it lies, for messages."""
        return str(self.store)

    @property
    def grid(self) -> GeoBox:
        """The pixels."""
        return grid_of(self._group())

    @property
    def block(self) -> int:
        """Pixels along y and x of the latents' blocks."""
        return int(self._about()["identity"]["block"])

    @property
    def count(self) -> int:
        """The number of features of a pixel: dates times latents, or windows times components;
        twice that with ``with_std``."""
        dates, latents = self._group()["mean"].shape[:2]
        return int(dates * latents * (1 + self.with_std))

    def window(self, y: slice, x: slice) -> NDArray[np.float32]:
        """Read the features of a window, (feature, y, x); NaN outside every scene.

        Raises:
            OSError: If the latents are damaged there; other windows may be whole.
        """
        with translated_errors(self.store, OSError):
            arrays = [_values(self._group()[name], y, x) for name in self.arrays]
        return np.concatenate([values.reshape(-1, *values.shape[-2:]) for values in arrays])

    def at(self, rows: NDArray[np.intp], columns: NDArray[np.intp]) -> NDArray[np.float32]:
        """Read the features of single pixels, (pixel, feature); NaN outside every scene.

        Chunk by chunk of those that hold one.
        """
        out = np.empty((len(rows), self.count), np.float32)
        tiles = np.stack([rows // INNER_CHUNK, columns // INNER_CHUNK], axis=1)
        every, tile = np.unique(tiles, axis=0, return_inverse=True)
        tile = tile.reshape(-1)
        for number in range(len(every)):
            mine = np.flatnonzero(tile == number)
            top, left = int(rows[mine].min()), int(columns[mine].min())
            y = slice(top, int(rows[mine].max()) + 1)
            x = slice(left, int(columns[mine].max()) + 1)
            out[mine] = self.window(y, x)[:, rows[mine] - top, columns[mine] - left].T
        return out

    def unfinished(self) -> NDArray[np.bool_]:
        """For each block (row, column), whether the latents are not whole there."""
        group, (rows, columns) = self._group(), self.grid.shape
        if "state" not in group:
            return np.zeros((math.ceil(rows / self.block), math.ceil(columns / self.block)), bool)
        return (np.asarray(group["state"]) != DONE).reshape(-1, *_blocks(group)).any(axis=0)

    def identity(self) -> dict[str, Any]:
        """What must be equal for a map of them to be gone on with; JSON values."""
        about = self._about()["identity"]
        kept = [name for name in OF_LATENTS if name in about]
        return {
            "latents": {"snapshot": self.snapshot, **{name: about[name] for name in kept}},
            "with_std": self.with_std,
            "block": about["block"],
        }

    def attributes(self) -> dict[str, Any]:
        """Where a map of them comes from, for the attributes of its store; JSON values."""
        attrs: dict[str, Any] = self._group().attrs.asdict()
        kept = ("model_name", "model_version", "model_hash", "latents_hash", "cube_snapshot")
        known = ("until", "delays")
        return {
            **{name: attrs[name] for name in (*kept, "sensors", *known) if name in attrs},
            "latents_snapshot": self.snapshot,
            "latents_dates": self._dates(),
        }

    def _dates(self) -> list[str]:
        """Dates of latents, or windows of annual vectors."""
        if "time_bnds" not in self._group():
            return list(self._about()["identity"].get("dates", []))
        edges = np.asarray(self._group()["time_bnds"]).astype("datetime64[us]")
        days = edges.astype("datetime64[D]") - np.array([0, 1])
        return [f"{first}/{last}" for first, last in days]

    @property
    def arrays(self) -> tuple[str, ...]:
        """Names of the arrays that features are read from."""
        if not self.with_std:
            return ("mean",)
        return ("mean", "log_std" if "log_std" in self._group() else "std")

    def _about(self) -> dict[str, Any]:
        attrs: dict[str, Any] = self._group().attrs.asdict()
        return dict(attrs[ABOUT])

    def _group(self) -> zarr.Group:
        return _open(self.store, self.snapshot)


@lru_cache(maxsize=4)
def _open(store: Store, snapshot: str) -> zarr.Group:
    group = store.group(snapshot=snapshot or None)
    if (kind := group.attrs[ABOUT]["kind"]) not in KINDS:
        raise InputError(f"{store} is a {kind} store; latents or annual vectors are wanted here.")
    return group


def _blocks(group: zarr.Group) -> tuple[int, ...]:
    return tuple(group["state"].shape[-2:])


def _values(array: Any, y: slice, x: slice) -> NDArray[np.float32]:
    stored = np.asarray(array[:, :, y, x])
    if "scale_factor" not in array.attrs:
        return stored.astype(np.float32, copy=False)
    return unpacked(
        stored,
        scale_factor=float(array.attrs["scale_factor"]),
        add_offset=float(array.attrs.get("add_offset", 0.0)),
        fill_value=int(array.attrs["_FillValue"]),
    )


def find_features(latents: str | Path, at: str | None, with_std: bool) -> LatentFeatures:
    """Find latents or annual vectors, at their newest or at an earlier snapshot. Reads no pixels.

    Raises:
        InputError: If there are none, or no such snapshot.
    """
    store = Store.of(latents)
    _open(store, store.snapshot())  # raises, and names what is there instead
    snapshot = find_snapshot(store, at) or store.snapshot()
    return LatentFeatures(store, snapshot, with_std)


def grid_under(source: str | Path) -> GeoBox:
    """The pixels of latents, or of a cube whose latents are to be inferred. Reads no pixels.

    Raises:
        InputError: If there are neither.
    """
    store = Store.of(source)
    root = store.group()
    if root.attrs[ABOUT]["kind"] != "cube":
        return grid_of(_open(store, store.snapshot()))  # raises, and names what is there instead
    return grid_of(next(own for _, own in sorted(root.groups()) if "data" in own))


def features_of(
    source: str | Path,
    out: Store,
    workers: Workers,
    *,
    at: str | None,
    with_std: bool,
    progress: Progress | None = None,
) -> LatentFeatures:
    """Find latents, or those of a cube, which are inferred first. Computes for a cube.

    Args:
        source: Latents; or a cube: its latents by the model that comes with the package, at the
            15th of each month, are then kept beside the map, at ``OUT.latents``.
        out: The map.
        workers: Who infers them.
        at: An earlier snapshot of the source.
        with_std: Whether standard deviations are features beside the means.
        progress: Advanced by every block of a cube.

    Raises:
        InputError: If there are neither, or no such snapshot; as
            :func:`~terralatent.pipeline.mapping.embed.embed` raises it.
    """
    if Store.of(source).group().attrs[ABOUT]["kind"] != "cube":
        return find_features(source, at, with_std)
    from terralatent.pipeline.mapping.embed import embed

    latents = f"{out}.latents"
    embed(
        source, out=latents, at=at, client=workers.client, workers=workers.count,
        memory=workers.memory, progress=progress,
    )  # fmt: skip
    return find_features(latents, None, with_std)
