"""Which COGs an array becomes: one a date, or one a place along another dimension."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from terralatent.pipeline.export.geotiff import Cog, writing_cogs
from terralatent.pipeline.export.selection import dims_of, pieces, values_of
from terralatent.pipeline.region import grid_of

__all__ = ["CogBatch", "cog_batches", "one_cog"]


@dataclass(frozen=True, eq=False)
class CogBatch:
    """COGs that are written together: each shard of the array holds a part of all of them."""

    array: zarr.Array
    """``(time, ..., y, x)``, or without a time."""

    span: tuple[int, int]
    """From which to which place on its time axis; 0 to 1 where it has none."""

    by_date: bool
    """Whether each COG is a date; else it is a place along the other dimensions."""

    cogs: tuple[Cog, ...]
    """In the order of what they are of."""

    def cut(self) -> list[tuple[slice, ...]]:
        """Where the shards lie in the array, each of which is read once."""
        dims, start = dims_of(self.array), self.span[0]
        shape, sizes = list(self.array.shape), list(_shard(self.array))
        for axis, dim in enumerate(dims):
            if dim == "time":
                shape[axis] = self.span[1] - start
            elif dim not in ("y", "x"):  # all labels at once: they are bands, or files
                sizes[axis] = max(1, shape[axis])
        begin = tuple(start if dim == "time" else 0 for dim in dims)
        return list(pieces(tuple(shape), tuple(sizes), begin))

    def write(self, wanted: Sequence[Cog], folder: Path) -> Iterator[None]:
        """Write those COGs that are wanted; yields after each shard, which it holds in memory.

        Args:
            wanted: Some of :attr:`cogs`.
            folder: For what is on the way, see
                :func:`terralatent.pipeline.export.geotiff.writing_cogs`.
        """
        places = [self.cogs.index(cog) for cog in wanted]
        with writing_cogs(wanted, folder) as files:
            for piece in self.cut():
                rows, columns = piece[-2:]
                first, last = self._dates(piece)
                values = np.asarray(self.array[piece])
                values = values.reshape(last - first, -1, *values.shape[-2:])
                window = ((rows.start, rows.stop), (columns.start, columns.stop))
                for place, file in zip(places, files, strict=True):
                    if not self.by_date:
                        bands = list(range(first + 1, last + 1))
                        own = np.ascontiguousarray(values[:, place])
                        file.write(own, indexes=bands, window=window)
                    elif first <= place < last:
                        file.write(values[place - first], window=window)
                yield

    def _dates(self, piece: tuple[slice, ...]) -> tuple[int, int]:
        """From which to which date a piece is, counted from the first of the batch."""
        if dims_of(self.array)[0] != "time":
            return 0, 1
        return piece[0].start - self.span[0], piece[0].stop - self.span[0]


def cog_batches(
    folder: Path,
    group: zarr.Group,
    name: str,
    span: tuple[int, int],
    *,
    by_date: bool,
    tags: Mapping[str, str],
) -> Iterator[CogBatch]:
    """The COGs of an array of a group, in batches whose shards are read once.

    ``mean_2018-07-15.tif`` holds a date, its bands are latents; ``mean_latent-03.tif`` holds a
    latent, its bands are dates; ``observations.tif`` has no date and is one file.

    Args:
        folder: Where they go.
        group: That the array is of, with its coordinates.
        name: Of the array.
        span: From which to which date.
        by_date: Whether a file is a date; else it is a label of the other dimension.
        tags: Metadata of all files.
    """
    (one,) = one_cog(folder / f"{name}.tif", group, name, {"variable": name, **tags}).cogs
    array: Any = group[name]
    if "time" not in dims_of(array):
        yield CogBatch(array, (0, 1), True, (one,))
        return
    times = np.asarray(group["time"][...]).astype("datetime64[us]")
    if not by_date:
        bands = tuple(_iso(time) for time in times[slice(*span)])
        cogs = tuple(
            replace(one, path=folder / f"{name}{_ending(label)}.tif", bands=bands,
                    tags={**one.tags, **({"label": label} if label else {})})
            for label in one.bands
        )  # fmt: skip
        yield CogBatch(array, span, False, cogs)
        return
    days = _date_names(times)
    for (dates,) in pieces((span[1] - span[0],), _shard(array)[:1], (span[0],)):
        cogs = tuple(
            replace(one, path=folder / f"{name}_{days[place]}.tif",
                    tags={**one.tags, **_time_tags(times[place])})
            for place in range(dates.start, dates.stop)
        )  # fmt: skip
        yield CogBatch(array, (dates.start, dates.stop), True, cogs)


def one_cog(
    path: Path, group: zarr.Group, name: str, tags: Mapping[str, str] | None = None
) -> CogBatch:
    """The one COG of an array ``(..., y, x)`` without a time, a band for each label."""
    array: Any = group[name]
    bands = _labels(group, dims_of(array), array.shape)
    made = {"TIFFTAG_SOFTWARE": f"terralatent {version('terralatent')}", **(tags or {})}
    cog = Cog(path, grid_of(group), array.dtype.name, bands, array.attrs.asdict(), made)
    return CogBatch(array, (0, 1), True, (cog,))


def _shard(array: Any) -> tuple[int, ...]:
    return tuple(array.shards or array.chunks)


def _labels(group: zarr.Group, dims: tuple[str, ...], shape: tuple[int, ...]) -> tuple[str, ...]:
    """What is at each place along the dimensions beside time, y and x; one empty text if none."""
    labels = [""]
    for dim, size in zip(dims, shape, strict=True):
        if dim in ("time", "y", "x"):
            continue
        own = values_of(group[dim]) if dim in group else np.arange(size)
        if own.dtype.kind in "iu":
            width = len(str(own.max(initial=0)))
            texts = [f"{dim} {value:0{width}d}" for value in own]
        else:
            texts = [str(value) for value in own]
        labels = [f"{before} {text}".strip() for before in labels for text in texts]
    return tuple(labels)


def _ending(label: str) -> str:
    """What a label adds to a name of a file."""
    return f"_{re.sub(r'[^A-Za-z0-9.+-]+', '-', label).strip('-')}" if label else ""


def _date_names(times: np.ndarray) -> list[str]:
    """Dates as short as they differ: days, or seconds, or microseconds."""
    for unit in ("D", "s"):
        names = [str(time).replace(":", "") for time in times.astype(f"datetime64[{unit}]")]
        if len(set(names)) == len(names):
            return names
    return [str(time).replace(":", "") for time in times]


def _iso(time: np.datetime64) -> str:
    return f"{time.astype('datetime64[s]')}Z"


def _time_tags(time: np.datetime64) -> dict[str, str]:
    text = str(time.astype("datetime64[s]"))
    return {"time": _iso(time), "TIFFTAG_DATETIME": text.replace("-", ":").replace("T", " ")}
