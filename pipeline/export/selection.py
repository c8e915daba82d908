"""What part of a store is exported: groups, of those the arrays over the grid, and dates."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from terralatent.catalogs.errors import InputError
from terralatent.catalogs.moments import Moment, Span, read_span
from terralatent.pipeline.store.history import find_snapshot
from terralatent.pipeline.store.multiscales import OVERVIEWS
from terralatent.pipeline.store.repository import ABOUT, Store

__all__ = ["Selection", "dims_of", "is_on_grid", "pieces", "select", "values_of"]


@dataclass(frozen=True, eq=False)
class Selection:
    """A part of a store, at one snapshot. Holds no pixels."""

    store: Store
    """Where it is taken from."""

    root: zarr.Group
    """The root of the store, whose attributes hold for all of it."""

    groups: Mapping[str, zarr.Group]
    """The groups to export by their paths: that of the root, ``""``, first."""

    dates: Mapping[str, slice]
    """Of each group the places on its time axis; of one without, and where all are wanted, all."""

    about: Mapping[str, Any]
    """What an export says of itself, by which the same is known again: what the store says, and
    as ``export`` the part, the snapshot and how it is written."""

    def arrays(self, path: str) -> Iterator[tuple[str, zarr.Array]]:
        """The arrays over the grid of one group that are wanted, by name."""
        variable = self.about["export"]["variable"]
        for name, array in sorted(self.groups[path].arrays()):
            if is_on_grid(array) and variable in (None, name):
                yield name, array

    def shape(self, path: str, array: zarr.Array) -> tuple[int, ...]:
        """The shape of an array of a group, of its dates those that are wanted."""
        start, stop = self.span(path, array)
        return tuple(
            stop - start if dim == "time" else size
            for dim, size in zip(dims_of(array), array.shape, strict=True)
        )

    def span(self, path: str, array: zarr.Array) -> tuple[int, int]:
        """From which to which place on the time axis; none of an array without."""
        dims = dims_of(array)
        size = array.shape[dims.index("time")] if "time" in dims else 0
        start, stop, _ = self.dates[path].indices(size)
        return start, stop

    def nbytes(self, path: str, array: zarr.Array) -> int:
        """Bytes of what is wanted of an array, uncompressed."""
        return math.prod(self.shape(path, array)) * int(array.dtype.itemsize)


def select(
    store: str | Path | Store,
    *,
    sensor: str | None = None,
    variable: str | None = None,
    date: Moment | None = None,
    at: str | None = None,
    how: Mapping[str, Any] | None = None,
) -> Selection:
    """Find a part of a store; reads coordinates, no pixels.

    Args:
        store: A cube, latents, bands or a map, by path or URL.
        sensor: Take this sensor of a cube alone.
        variable: Of the arrays over the grid, take this one alone, such as ``data`` or ``mean``.
        date: Take the dates of this day (``2018-07-01``), month or instant alone.
        at: An earlier snapshot, see :func:`terralatent.pipeline.store.history.find_snapshot`.
        how: It is written, JSON values; what is as ever is left out.

    Raises:
        InputError: If there is no store, or it has no such sensor, variable or date.
    """
    store = Store.of(store)
    store.group()  # raises, and names what is there instead
    snapshot = find_snapshot(store, at) or store.snapshot()
    root = store.group(snapshot=snapshot or None)
    date = None if date is None else str(date)
    part = {"sensor": sensor, "variable": variable, "date": date, "snapshot": snapshot}
    about = {**root.attrs.asdict().get(ABOUT, {}), "export": {**part, **(how or {})}}
    groups = _groups(root, store, sensor)
    if variable is not None:
        _refuse_unknown(groups, store, variable)
    dates = {path: _dates(group, date) for path, group in groups.items()}
    if date is not None:
        _refuse_empty(groups, dates, store, date)
    return Selection(store, root, groups, dates, about)


def dims_of(array: Any) -> tuple[str, ...]:
    """Names of an array's dimensions."""
    return tuple(array.metadata.dimension_names or ())


def is_on_grid(array: zarr.Array) -> bool:
    """Whether an array has a value for each pixel."""
    return {"y", "x"} <= set(dims_of(array))


def values_of(array: Any) -> np.ndarray:
    """Read a coordinate whole; text becomes an array of ``object``."""
    values = np.asarray(array[...])
    return values.astype(object) if values.dtype.kind in "TO" else values


def pieces(
    shape: tuple[int, ...], size: tuple[int, ...], start: tuple[int, ...] | None = None
) -> Iterator[tuple[slice, ...]]:
    """Cut an array into pieces of ``size`` that lie on its multiples, the last axis fastest.

    Args:
        shape: Of the whole part that is cut.
        size: Of a piece: a shard, which is then read once.
        start: Where the part begins, for each axis; the first and the last piece may be smaller.
    """
    ranges = [
        [
            slice(max(cut, first), min(cut + step, first + n))
            for cut in range(first // step * step, first + n, step)
        ]
        for n, step, first in zip(shape, size, start or (0,) * len(shape), strict=True)
    ]
    yield from itertools.product(*ranges)


def _groups(root: zarr.Group, store: Store, sensor: str | None) -> dict[str, zarr.Group]:
    groups = {name: group for name, group in sorted(root.groups()) if name != OVERVIEWS}
    sensors = [name for name, group in groups.items() if "data" in group]
    if sensor is not None and sensor not in sensors:
        there = f"it has {', '.join(sensors)}" if sensors else "it is not divided by sensors"
        raise InputError(f"{store} has no sensor {sensor!r}; {there}.")
    chosen = [name for name in groups if sensor in (None, name) or name not in sensors]
    return {"": root, **{name: groups[name] for name in chosen}}


def _refuse_unknown(groups: Mapping[str, zarr.Group], store: Store, variable: str) -> None:
    there = {
        name for group in groups.values() for name, array in group.arrays() if is_on_grid(array)
    }
    if variable not in there:
        raise InputError(
            f"{store} has no variable {variable!r}; it has {', '.join(sorted(there))}."
        )


def _dates(group: zarr.Group, date: str | None) -> slice:
    if date is None or not _has_calendar(group):
        return slice(None)
    span = _span(date)
    times = np.asarray(group["time"][...]).astype("datetime64[us]")
    places = np.flatnonzero((times >= span.first) & (times <= span.last))
    return slice(int(places[0]), int(places[-1]) + 1) if len(places) else slice(0, 0)


def _span(date: Moment) -> Span:
    return read_span(date, "Date {value} is no ISO date, such as 2018-07-01.")


def _refuse_empty(
    groups: Mapping[str, zarr.Group], dates: Mapping[str, slice], store: Store, date: str
) -> None:
    dated = [path for path, group in groups.items() if _has_calendar(group)]
    if not dated:
        raise InputError(f"{store} has no dates, of which {date} could be one; leave the date out.")
    if any(dates[path].stop > 0 for path in dated):
        return
    times = np.concatenate([np.asarray(groups[path]["time"][...]) for path in dated]).astype(
        "datetime64[us]"
    )
    nearest = times[np.argmin(np.abs(times - _span(date).first))]
    raise InputError(f"{store} has nothing on {date}; the nearest date is {nearest}.")


def _has_calendar(group: zarr.Group) -> bool:
    return "time" in group and dims_of(group["time"]) == ("time",)
