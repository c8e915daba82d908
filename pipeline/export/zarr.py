"""A store, or part of one, as plain Zarr v3 that any reader opens without Icechunk."""

from __future__ import annotations

import itertools
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import zarr
import zarr_cm

from terralatent.catalogs.enclosing_store import refuse_inside_store
from terralatent.catalogs.errors import InputError
from terralatent.pipeline.command import command_line
from terralatent.pipeline.progress import Progress, Silent
from terralatent.pipeline.store.arrays import ArrayLayout
from terralatent.pipeline.store.damage import damage_of
from terralatent.pipeline.store.digests import seal
from terralatent.pipeline.store.history import find_snapshot
from terralatent.pipeline.store.location import is_url
from terralatent.pipeline.store.lock.writer import writer_lock
from terralatent.pipeline.store.repository import ABOUT, MULTISCALES, OVERVIEWS, Store

__all__ = ["export"]

OTHER_FORMATS = (".tif", ".tiff", ".nc", ".nc4", ".h5", ".hdf5", ".zip", ".png", ".parquet", ".npz")
"""What a file would have to be called that holds something else."""


def export(
    store: str | Path | Store,
    out: str | Path,
    *,
    sensor: str | None = None,
    variable: str | None = None,
    date: str | None = None,
    at: str | None = None,
    progress: Progress | None = None,
) -> Path:
    """Copy a store, or part of it, to a folder of plain Zarr v3. Computes, a shard at a time.

    Integers, packing, attributes, chunks and coordinates stay as they are, so that
    ``xarray.open_zarr``, ``xarray.open_datatree`` and this package read the same values. Overviews
    are left out: a tree whose groups have other pixels than their parent is none of xarray's. The
    folder appears under its name when it is whole. The same call again changes nothing.

    Args:
        store: A cube, latents or bands, by path or URL.
        out: Folder to make.
        sensor: Take this sensor of a cube alone.
        variable: Of the arrays over the grid, take this one alone, such as ``data`` or ``mean``.
        date: Take the dates of this day (``2018-07-01``) or this instant alone.
        at: An earlier snapshot, see :func:`terralatent.pipeline.store.history.find_snapshot`.
        progress: Told of each shard.

    Returns:
        The folder.

    Raises:
        InputError: If the store has no such sensor, variable or date, or if ``out`` exists and is
            not this export.
    """
    store = Store.of(store)
    store.group()  # raises, and names what is there instead
    snapshot = find_snapshot(store, at) or store.snapshot()
    root = store.group(snapshot=snapshot or None)
    about: dict[str, Any] = dict(root.attrs.asdict().get(ABOUT, {}))
    part = {"sensor": sensor, "variable": variable, "date": date}
    about["export"] = {**part, "snapshot": snapshot}
    if is_url(out):
        raise InputError(f"{out}: exports go to a local folder; copy it from there.")
    if Path(out).suffix.lower() in OTHER_FORMATS:
        raise InputError(
            f"{out}: an export is a folder of plain Zarr v3, not a {Path(out).suffix} file; end it "
            "in .zarr."
        )
    folder = Path(out).expanduser().absolute()
    if folder.exists():
        if _is(Store.of(folder), about):
            return folder
        raise InputError(f"{folder} exists and is not this export; choose another folder.")
    refuse_inside_store(out)
    groups = _groups(root, store, sensor)
    if variable is not None:
        _refuse_unknown(groups, store, variable)
    kept = {path: _dates(group, date) for path, group in groups.items()}
    if date is not None:
        _refuse_empty(groups, kept, store, date)

    with _made_whole(folder, store) as partial:
        attributes = {**_without_levels(root.attrs.asdict()), ABOUT: about}
        target = zarr.create_group(str(partial), attributes=attributes)
        for path, group in groups.items():
            into = target.require_group(path) if path else target
            into.update_attributes(group.attrs.asdict() if path else {})
            for name, array in group.arrays():
                if _wanted(name, array, variable, date):
                    _copy(array, into, name, kept[path], progress or Silent())
        _consolidate(partial, list(groups))
        seal(partial, all_files=True)
    return folder


@contextmanager
def _made_whole(folder: Path, store: Store) -> Iterator[Path]:
    """Yield a place aside, which becomes ``folder`` if the block ends well.

    Of an export there is no part: a disk that is full or a folder that may not be written leaves
    nothing, as does a store that cannot be read to its end. What a kill left goes first.
    """
    partial = folder.with_name(f".{folder.name}.new")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"Cannot write {folder}: {error.strerror or error}.") from error
    with writer_lock(folder, command_line()):
        try:
            shutil.rmtree(partial, ignore_errors=True)
            yield partial
            partial.rename(folder)
        except Exception as error:
            if (damage := damage_of(error)) is not None and not isinstance(error, OSError):
                raise InputError(f"{store} {damage}") from error
            if isinstance(error, OSError) and error.errno is not None:
                raise InputError(f"Cannot write {folder}: {error.strerror or error}.") from error
            raise
        finally:
            shutil.rmtree(partial, ignore_errors=True)


def _without_levels(attrs: dict[str, Any]) -> dict[str, Any]:
    """Attributes of a root that names no overviews."""
    return dict(zarr_cm.multiscales.extract(attrs)[0]) if MULTISCALES in attrs else attrs


def _is(there: Store, about: dict[str, Any]) -> bool:
    """Whether a store says of itself that it is this export; what others wrote is not."""
    try:
        return there.exists() and there.about() == about
    except InputError:
        return False


def _consolidate(folder: Path, groups: list[str]) -> None:
    """Gather the metadata of each group and of the whole in one file, where xarray expects it."""
    with warnings.catch_warnings():
        # zarr-python warns that Zarr v3 does not specify it; xarray warns where it is absent.
        warnings.simplefilter("ignore", UserWarning)
        for path in sorted(groups, reverse=True):
            zarr.consolidate_metadata(str(folder), path=path or None, zarr_format=3)


def _groups(root: zarr.Group, store: Store, sensor: str | None) -> dict[str, zarr.Group]:
    """The groups to copy, by path; the root's is empty."""
    groups = {name: group for name, group in sorted(root.groups()) if name != OVERVIEWS}
    sensors = [name for name, group in groups.items() if "data" in group]
    if sensor is not None and sensor not in sensors:
        there = f"it has {', '.join(sensors)}" if sensors else "it is not divided by sensors"
        raise InputError(f"{store} has no sensor {sensor!r}; {there}.")
    chosen = [name for name in groups if sensor in (None, name) or name not in sensors]
    return {"": root, **{name: groups[name] for name in chosen}}


def _refuse_unknown(groups: dict[str, zarr.Group], store: Store, variable: str) -> None:
    there = {name for group in groups.values() for name, array in group.arrays() if _on_grid(array)}
    if variable not in there:
        raise InputError(
            f"{store} has no variable {variable!r}; it has {', '.join(sorted(there))}."
        )


def _dates(group: zarr.Group, date: str | None) -> slice:
    """The dates of the group's time axis that fall on ``date``; all where none is given."""
    if date is None or not _has_calendar(group):
        return slice(None)
    try:
        wanted = np.datetime64(date)
    except ValueError as error:
        raise InputError(f"Date {date!r} is no ISO date, such as 2018-07-01.") from error
    if np.isnat(wanted):  # what numpy makes of nothing
        raise InputError(f"Date {date!r} is no ISO date, such as 2018-07-01.")
    unit = np.datetime_data(wanted.dtype)[0]
    times = np.asarray(group["time"][...]).astype("datetime64[us]")
    places = np.flatnonzero(times.astype(f"datetime64[{unit}]") == wanted)
    return slice(int(places[0]), int(places[-1]) + 1) if len(places) else slice(0, 0)


def _refuse_empty(
    groups: dict[str, zarr.Group], kept: dict[str, slice], store: Store, date: str
) -> None:
    dated = [path for path, group in groups.items() if _has_calendar(group)]
    if any(kept[path].stop > 0 for path in dated):
        return
    times = np.concatenate([np.asarray(groups[path]["time"][...]) for path in dated]).astype(
        "datetime64[us]"
    )
    nearest = times[np.argmin(np.abs(times - np.datetime64(date, "us")))]
    raise InputError(f"{store} has nothing on {date}; the nearest date is {nearest}.")


def _has_calendar(group: zarr.Group) -> bool:
    return "time" in group and _dims(group["time"]) == ("time",)


def _dims(array: Any) -> tuple[str, ...]:
    return tuple(array.metadata.dimension_names or ())


def _on_grid(array: zarr.Array) -> bool:
    return {"y", "x"} <= set(_dims(array))


def _wanted(name: str, array: zarr.Array, variable: str | None, date: str | None) -> bool:
    """Coordinates always; of the arrays over the grid the one wanted; states only of a whole."""
    if _on_grid(array):
        return variable in (None, name)
    return date is None or "unit_t" not in _dims(array)


def _copy(
    array: zarr.Array, group: zarr.Group, name: str, dates: slice, progress: Progress
) -> None:
    """Copy one array, of the time axis the ``dates`` alone, one shard in memory at a time."""
    dims = _dims(array)
    start, stop, _ = dates.indices(array.shape[dims.index("time")] if "time" in dims else 0)
    shape = tuple(
        stop - start if dim == "time" else size for dim, size in zip(dims, array.shape, strict=True)
    )
    ArrayLayout(
        name=name,
        dims=dims,
        shape=shape,
        dtype="string" if array.dtype.kind in "TO" else array.dtype.name,
        chunks=array.chunks,
        shards=array.shards,
        fill_value=array.fill_value,
        attrs=array.attrs.asdict(),
    ).create(group)
    target: Any = group[name]
    pieces = list(_pieces(shape, array.shards or array.chunks))
    progress.start(len(pieces), f"export {group.path or ''}/{name}".replace(" /", " "))
    for piece in pieces:
        source = tuple(
            slice(part.start + start, part.stop + start) if dim == "time" else part
            for dim, part in zip(dims, piece, strict=True)
        )
        target[piece] = array[source]
        progress.advance()
    progress.close()


def _pieces(shape: tuple[int, ...], size: tuple[int, ...]) -> Iterator[tuple[slice, ...]]:
    ranges = [
        [slice(i, min(i + step, n)) for i in range(0, n, step)]
        for n, step in zip(shape, size, strict=True)
    ]
    yield from itertools.product(*ranges)
