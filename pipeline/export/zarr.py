"""A store, or part of one, as plain Zarr that any reader opens without Icechunk."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

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
from terralatent.pipeline.export.whole import local_place, made_whole
from terralatent.pipeline.progress import Progress, ProgressChoice, choose_progress
from terralatent.pipeline.store.chunks import COMPRESSOR
from terralatent.pipeline.store.digests import seal
from terralatent.pipeline.store.multiscales import without_levels
from terralatent.pipeline.store.repository import ABOUT, Store

__all__ = ["PRECISIONS", "consolidate", "export_zarr"]

OTHER_FORMATS = (".tif", ".tiff", ".nc", ".nc4", ".h5", ".hdf5", ".zip", ".png", ".parquet", ".npz")
"""What a file would have to be called that holds something else."""

PRECISIONS = ("packed", "float32")
"""Integers with their packing, or what they stand for."""

PACKING = ("scale_factor", "add_offset", "_FillValue")

COMPRESSOR_2: Mapping[str, Any] = {"id": "zstd", "level": 3}
"""Of chunks of Zarr v2; readers of old know no checksum there, and have no need of one."""

RESULTS = ("latents", "bands")
"""Kinds that this package reads as float32 too."""

Cut: TypeAlias = Sequence[tuple[slice, ...]]
"""An array in pieces of a shard."""


def export_zarr(
    store: str | Path | Store,
    out: str | Path,
    *,
    sensor: str | None = None,
    variable: str | None = None,
    date: str | None = None,
    shards: bool = True,
    zarr_format: int = 3,
    precision: str = "packed",
    at: str | None = None,
    progress: ProgressChoice = None,
) -> Path:
    """Copy a store, or part of it, to a folder of plain Zarr. Computes, a shard at a time.

    Integers, packing, attributes, chunks and coordinates stay as they are, so that
    ``xarray.open_zarr``, ``xarray.open_datatree`` and this package read the same values. Overviews
    are left out: a tree whose groups have other pixels than their parent is none of xarray's. The
    folder appears under its name when it is whole. The same call again changes nothing.

    Args:
        store: A cube, latents, bands or a map, by path or URL.
        out: Folder to make.
        sensor: Take this sensor of a cube alone.
        variable: Of the arrays over the grid, take this one alone, such as ``data`` or ``mean``.
        date: Take the dates of this day (``2018-07-01``) or this instant alone.
        shards: Whether chunks lie together in shards; if not, each is a file. Zarr v2 has none.
        zarr_format: 3, or 2 for readers that know no other; this package reads 3.
        precision: ``packed``, or ``float32`` with NaN where there is no data, in the units of the
            array: for readers that know no packing, or make float64 of it.
        at: An earlier snapshot, see :func:`terralatent.pipeline.store.history.find_snapshot`.
        progress: Advanced by each shard; True: a bar, as by default in a notebook.

    Returns:
        The folder.

    Raises:
        InputError: If the store has no such sensor, variable or date, or if ``out`` exists and is
            not this export.
    """
    how: dict[str, Any] = {}  # as long as all is as ever, exports of earlier versions are the same
    if precision not in PRECISIONS:
        raise InputError(f"There is no precision {precision!r}; there are {', '.join(PRECISIONS)}.")
    if zarr_format not in (2, 3):
        raise InputError(f"There is no Zarr format {zarr_format} to write; take 2 or 3.")
    how |= {"zarr_format": 2} if zarr_format == 2 else {} if shards else {"shards": False}
    how |= {"precision": precision} if precision == "float32" else {}
    chosen = select(store, sensor=sensor, variable=variable, date=date, at=at, how=how)
    if Path(out).suffix.lower() in OTHER_FORMATS:
        raise InputError(
            f"{out}: an export as Zarr is a folder, not a {Path(out).suffix} file; end it in .zarr."
        )
    folder = local_place(out)
    about = dict(chosen.about)
    if precision == "float32" and about.get("kind") not in RESULTS:
        about["kind"] = f"{about.get('kind')} as float32"
    if folder.exists():
        if _is(folder, about, zarr_format):
            return folder
        raise InputError(f"{folder} exists and is not this export; choose another folder.")
    copy = _Copy(chosen, shards and zarr_format == 3, zarr_format, precision)
    with made_whole(folder, chosen.store) as partial:
        copy.write(partial, about, choose_progress(progress))
        seal(partial, all_files=True)
    return folder


class _Copy:
    """How a selection is copied."""

    def __init__(self, chosen: Selection, shards: bool, zarr_format: int, precision: str) -> None:
        self._chosen = chosen
        self._shards = shards
        self._format = zarr_format
        self._unpack = precision == "float32"

    def write(self, folder: Path, about: Mapping[str, Any], progress: Progress) -> None:
        chosen = self._chosen
        arrays = [
            (path, name, array)
            for path, group in chosen.groups.items()
            for name, array in sorted(group.arrays())  # in an order of its own: the same bytes
            if self._is_wanted(name, array)
        ]
        cuts = [list(pieces(chosen.shape(path, a), _step(a))) for path, _, a in arrays]
        progress.start(sum(map(len, cuts)), "export")
        target = zarr.create_group(
            str(folder), attributes={**self._attrs_of("", arrays), ABOUT: dict(about)},
            zarr_format=self._format,
        )  # fmt: skip
        for path in chosen.groups:
            if path:
                target.require_group(path).update_attributes(self._attrs_of(path, arrays))
        for (path, _, array), cut in zip(arrays, cuts, strict=True):
            for _ in self._copied(array, target[path] if path else target, path, cut):
                progress.advance()
        progress.close()
        consolidate(folder, list(chosen.groups), self._format)

    def _is_wanted(self, name: str, array: zarr.Array) -> bool:
        """Coordinates always; of arrays over the grid the one wanted; states only of a whole."""
        part = self._chosen.about["export"]
        if is_on_grid(array):
            return part["variable"] in (None, name)
        return part["date"] is None or "unit_t" not in dims_of(array)

    def _attrs_of(self, path: str, arrays: list[tuple[str, str, zarr.Array]]) -> dict[str, Any]:
        """The attributes of a group: what is no product over the grid is a coordinate of them."""
        attrs = without_levels(self._chosen.groups[path].attrs.asdict())
        own = {name: array for place, name, array in arrays if place == path}
        if not path or any(map(is_on_grid, own.values())):
            attrs["Conventions"] = CF
        if any(map(is_on_grid, own.values())):
            beside = [n for n, a in own.items() if not is_on_grid(a) and dims_of(a) != (n,)]
            named = str(attrs.get("coordinates", "")).split()
            attrs["coordinates"] = " ".join(dict.fromkeys([*named, *beside]))
        return attrs

    def _copied(self, array: zarr.Array, group: zarr.Group, path: str, cut: Cut) -> Iterator[None]:
        """Copy one array, of its dates those that are wanted, a shard in memory at a time."""
        unpack = self._unpack and "scale_factor" in array.attrs
        target = self._create(array, group, path, unpack)
        first, _ = self._chosen.span(path, array)
        for piece in cut:
            source = tuple(
                slice(part.start + first, part.stop + first) if dim == "time" else part
                for dim, part in zip(dims_of(array), piece, strict=True)
            )
            values = np.asarray(array[source])
            if target.dtype.kind == "U":
                values = values.astype(object).astype(str)
            target[piece] = _unpacked(values, array.attrs) if unpack else values
            yield

    def _create(self, array: Any, group: zarr.Group, path: str, unpack: bool) -> Any:
        source: Any = self._chosen.groups[path]
        shape = self._chosen.shape(path, array)
        attrs, dims = array.attrs.asdict(), dims_of(array)
        dtype: Any = "string" if array.dtype.kind in "TO" else array.dtype.name
        fill = array.fill_value
        if unpack:
            attrs = {key: value for key, value in attrs.items() if key not in PACKING}
            dtype, fill = "float32", np.nan
        settings: dict[str, Any] = {"name": array.basename, "shape": shape, "chunks": array.chunks}
        if self._format == 3:
            settings |= {"dimension_names": dims, "compressors": [COMPRESSOR]}
            settings["shards"] = array.shards if self._shards else None
        else:
            attrs["_ARRAY_DIMENSIONS"] = list(dims)
            if is_on_grid(array) and "spatial_ref" in source:  # GDAL's own way to a CRS
                attrs["_CRS"] = {"wkt": source["spatial_ref"].attrs["crs_wkt"]}
            if dtype == "string":  # of fixed length: GDAL reads no other
                texts = values_of(array).astype(str)
                dtype = f"<U{max(1, texts.dtype.itemsize // 4)}"
            if not unpack and "_FillValue" not in attrs:
                fill = None  # what is filled there is masked by every reader
            settings["compressors"] = [dict(COMPRESSOR_2)]
        return group.create_array(dtype=dtype, fill_value=fill, attributes=attrs, **settings)


def _step(array: zarr.Array) -> tuple[int, ...]:
    return array.shards or array.chunks


def _unpacked(packed: np.ndarray, attrs: Any) -> np.ndarray:
    """What integers stand for, as this package reads them: float32, NaN for no data."""
    values = packed.astype(np.float32)
    values *= np.float32(attrs["scale_factor"])
    if "add_offset" in attrs:
        values += np.float32(attrs["add_offset"])
    if "_FillValue" in attrs:
        values[packed == attrs["_FillValue"]] = np.nan
    return values


def _is(folder: Path, about: Mapping[str, Any], zarr_format: int) -> bool:
    """Whether a folder says of itself that it is this export; what others wrote is not."""
    try:
        if zarr_format == 3:  # and whole
            there = Store.of(folder)
            return there.exists() and there.about() == about
        root = zarr.open_group(str(folder), mode="r", zarr_format=2)
        return bool(root.attrs.get(ABOUT) == about)
    except (InputError, OSError, ValueError, KeyError):
        return False


def consolidate(folder: Path, groups: list[str], zarr_format: Any = 3) -> None:
    """Gather the metadata of each group and of the whole in one file, where xarray expects it."""
    with warnings.catch_warnings():
        # zarr-python warns that Zarr v3 does not specify it; xarray warns where it is absent.
        warnings.simplefilter("ignore", UserWarning)
        for path in sorted(groups, reverse=True):
            zarr.consolidate_metadata(str(folder), path=path or None, zarr_format=zarr_format)
            _sort_members(folder / path / ("zarr.json" if zarr_format == 3 else ".zmetadata"))


def _sort_members(file: Path) -> None:
    """Bring what was gathered into the order of names: Zarr leaves it in that of its answers."""
    about = json.loads(file.read_text())
    gathered = about.get("consolidated_metadata", about)
    gathered["metadata"] = dict(sorted(gathered["metadata"].items()))
    file.write_text(json.dumps(about, indent=2))
