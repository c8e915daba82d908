"""A store, or part of one, as one netCDF-4 file by the CF conventions."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import h5netcdf
import h5py
import numpy as np
import zarr

from terralatent.catalogs.errors import InputError
from terralatent.pipeline.attributes import CF
from terralatent.pipeline.export.selection import (
    Selection,
    dims_of,
    is_on_grid,
    pieces,
    select,
    values_of,
)
from terralatent.pipeline.export.whole import local_place, made_whole, require_room
from terralatent.pipeline.progress import Progress, ProgressChoice, choose_progress
from terralatent.pipeline.store.repository import ABOUT, Store

__all__ = ["export_netcdf"]

PACKING = ("scale_factor", "add_offset")
"""Attributes whose own type is what readers unpack to."""

OF_ZARR = ("zarr_conventions", "proj:", "spatial:")
"""How attributes begin that say by conventions of Zarr what CF says of the grid otherwise."""

DEFLATE = 4
"""Level of zlib: all that netCDF libraries read everywhere."""


def export_netcdf(
    store: str | Path | Store,
    out: str | Path,
    *,
    sensor: str | None = None,
    variable: str | None = None,
    date: str | None = None,
    at: str | None = None,
    progress: ProgressChoice = None,
) -> Path:
    """Write a store, or part of it, as a netCDF-4 file. Computes, a shard at a time.

    Integers stay packed, with ``scale_factor`` and ``add_offset`` as float32, so that
    ``xarray.open_dataset`` makes float32 of them; chunks are those of the store, shuffled,
    compressed by zlib and with a checksum. Only arrays over the grid are data variables; states of
    blocks and the tables of a cube are left out. A sensor that is chosen is the root of the file;
    of a cube without, each sensor is a group. The file appears under its name when it is whole.
    The same call again changes nothing.

    Args:
        store: A cube, latents, bands or a map, by path or URL.
        out: File to make.
        sensor: Take this sensor of a cube alone.
        variable: Of the arrays over the grid, take this one alone, such as ``data`` or ``mean``.
        date: Take the dates of this day (``2018-07-01``) or this instant alone.
        at: An earlier snapshot, see :func:`terralatent.pipeline.store.history.find_snapshot`.
        progress: Advanced by each shard; True: a bar, as by default in a notebook.

    Returns:
        The file.

    Raises:
        InputError: If the store has no such sensor, variable or date, if ``out`` exists and is
            not this export, or if the disk has no room for it.
    """
    how = {"format": "netcdf"}
    chosen = select(store, sensor=sensor, variable=variable, date=date, at=at, how=how)
    file = local_place(out)
    if file.exists():
        if _is(file, chosen.about):
            return file
        raise InputError(f"{file} exists and is not this export; choose another file.")
    arrays = [
        (path, name, array)
        for path in chosen.groups
        for name, array in chosen.arrays(path)
        if 0 not in chosen.shape(path, array)
    ]
    if not arrays:
        raise InputError(f"{chosen.store} has no pixels on a grid, so there is no file to make.")
    require_room(file, sum(chosen.nbytes(path, array) for path, _, array in arrays))
    with made_whole(file, chosen.store) as partial, h5netcdf.File(partial, "w") as root:
        _write(chosen, arrays, root, choose_progress(progress))
    return file


def _write(
    chosen: Selection,
    arrays: list[tuple[str, str, zarr.Array]],
    root: Any,
    progress: Progress,
) -> None:
    root.attrs.update(_attributes(chosen.root.attrs.asdict()))
    root.attrs[ABOUT] = json.dumps(chosen.about, sort_keys=True)
    root.attrs["Conventions"] = CF
    one = chosen.about["export"]["sensor"]
    cuts = [list(_cut(chosen, path, array)) for path, _, array in arrays]
    progress.start(sum(map(len, cuts)), "export")
    for path in dict.fromkeys(path for path, _, _ in arrays):
        own = [array for place, _, array in arrays if place == path]
        target = root if path in ("", one) else root.create_group(path)
        _write_coordinates(chosen, path, own, target)
    for (path, name, array), cut in zip(arrays, cuts, strict=True):
        target = root if path in ("", one) else root[path]
        for _ in _write_array(chosen, path, name, array, target, cut):
            progress.advance()
    progress.close()


def _write_coordinates(chosen: Selection, path: str, arrays: list[zarr.Array], target: Any) -> None:
    """Write what has no more dimensions than the arrays over the grid, and bounds of it."""
    group = chosen.groups[path]
    sizes = {
        dim: size
        for array in arrays
        for dim, size in zip(dims_of(array), chosen.shape(path, array), strict=True)
    }
    beside = [
        (name, array)
        for name, array in sorted(group.arrays())
        if not is_on_grid(array) and set(dims_of(array)) <= {*sizes, "bnds"}
    ]
    for _, array in beside:
        sizes |= {
            dim: size
            for dim, size in zip(dims_of(array), array.shape, strict=True)
            if dim not in sizes
        }
    target.dimensions = sizes
    for name, array in beside:
        start, stop = chosen.span(path, array)
        values = values_of(array)
        if "time" in dims_of(array):
            values = values.take(range(start, stop), axis=dims_of(array).index("time"))
        dtype: Any = h5py.string_dtype() if values.dtype == object else values.dtype
        made = target.create_variable(name, dims_of(array), dtype)
        made[...] = values
        made.attrs.update(_attributes(array.attrs.asdict(), values.dtype))
    if path and target.parent is not target:
        target.attrs.update(_attributes(group.attrs.asdict()))
        target.attrs["Conventions"] = CF
    named = [name for name, array in beside if dims_of(array) != (name,)]
    if named:
        target.attrs["coordinates"] = " ".join(named)


def _write_array(
    chosen: Selection, path: str, name: str, array: Any, target: Any, cut: list[tuple[slice, ...]]
) -> Iterator[None]:
    """Write one array over the grid; yields after each shard, which it holds in memory."""
    shape, dims = chosen.shape(path, array), dims_of(array)
    attrs = array.attrs.asdict()
    fill = attrs.pop("_FillValue", np.nan if array.dtype.kind == "f" else None)
    made = target.create_variable(
        name, dims, array.dtype, fillvalue=fill,
        chunks=tuple(min(n, size) for n, size in zip(array.chunks, shape, strict=True)),
        compression="gzip", compression_opts=DEFLATE, shuffle=True, fletcher32=True,
    )  # fmt: skip
    made.attrs.update(_attributes({"grid_mapping": "spatial_ref", **attrs}, array.dtype))
    start, _ = chosen.span(path, array)
    for piece in cut:
        place = tuple(
            slice(part.start - start, part.stop - start) if dim == "time" else part
            for dim, part in zip(dims, piece, strict=True)
        )
        _write_piece(made, place, np.asarray(array[piece]))
        yield


def _write_piece(variable: Any, place: tuple[slice, ...], values: np.ndarray) -> None:
    variable[place] = values


def _cut(chosen: Selection, path: str, array: Any) -> Iterator[tuple[slice, ...]]:
    start, _ = chosen.span(path, array)
    begin = tuple(start if dim == "time" else 0 for dim in dims_of(array))
    return pieces(chosen.shape(path, array), array.shards or array.chunks, begin)


def _attributes(attrs: Mapping[str, Any], dtype: Any = None) -> dict[str, Any]:
    """Attributes as netCDF can hold them: text, numbers and lists of either; else JSON as text.

    Args:
        attrs: JSON values.
        dtype: Of their variable, if they are of one: what CF wants flags in.
    """
    made: dict[str, Any] = {}
    for key, value in attrs.items():
        if key == ABOUT or value is None or key.startswith(OF_ZARR):
            continue
        key = key.replace(":", "_")  # which no name of CF has
        if key in PACKING:
            made[key] = np.float32(value)
        elif key in ("flag_values", "flag_masks", "nodata"):
            made[key] = np.asarray(value, dtype)
        elif isinstance(value, bool):
            made[key] = np.int8(value)
        elif isinstance(value, str | int | float) or _is_numbers(value):
            made[key] = value
        else:
            made[key] = json.dumps(value)
    return made


def _is_numbers(value: Any) -> bool:
    numbers = isinstance(value, list) and all(type(item) in (int, float) for item in value)
    return numbers and bool(value)


def _is(file: Path, about: Mapping[str, Any]) -> bool:
    """Whether a file says of itself that it is this export."""
    try:
        with h5netcdf.File(file, "r") as there:
            return bool(json.loads(there.attrs[ABOUT]) == json.loads(json.dumps(about)))
    except (OSError, KeyError, ValueError, TypeError):
        return False
