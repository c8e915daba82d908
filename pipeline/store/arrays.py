"""What a store holds, before it holds anything: arrays, groups and the store's identity."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import zarr
from odc.geo.geobox import GeoBox

from terralatent.pipeline.store.chunks import COMPRESSOR

__all__ = [
    "ArrayLayout",
    "GroupLayout",
    "Layout",
    "coordinate",
    "grid_arrays",
    "inner_chunk",
    "time_array",
]

TIME_UNITS = "microseconds since 1970-01-01"
"""Of every time, in UTC."""

INNER_CHUNK = 64
"""Pixels along y and x of the smallest piece that a reader has to fetch."""


TIME_CHUNK = 16
"""Dates in one chunk of results at most."""


@dataclass(frozen=True, eq=False)
class ArrayLayout:
    """One array to be: everything but its values, or its values too where they are small."""

    name: str
    """Name within its group."""

    dims: tuple[str, ...]
    """Dimension names, one for each axis."""

    shape: tuple[int, ...]
    """Full size."""

    dtype: str
    """NumPy name, or ``string`` for text of any length."""

    chunks: tuple[int, ...]
    """Inner chunk: what a reader fetches."""

    shards: tuple[int, ...] | None = None
    """Shard: what one worker writes as a whole; a multiple of :attr:`chunks`. None: no shards."""

    fill_value: Any = None
    """What an unwritten pixel reads as."""

    attrs: Mapping[str, Any] = field(default_factory=dict)
    """Attributes, JSON values only."""

    data: np.ndarray | None = None
    """Values to write at once (coordinates); None leaves the array at its fill value."""

    compressor: Any = None
    """Of its chunks, with checksums; that of every chunk by default."""

    def __post_init__(self) -> None:
        if not len(self.dims) == len(self.shape) == len(self.chunks):
            raise ValueError(
                f"{self.name}: dims {self.dims}, shape {self.shape} and chunks {self.chunks} "
                "must have one entry for each axis."
            )
        if self.shards and any(s % c for s, c in zip(self.shards, self.chunks, strict=True)):
            raise ValueError(
                f"{self.name}: shards {self.shards} are no multiple of chunks {self.chunks}."
            )

    def create(self, group: zarr.Group, *, overwrite: bool = False) -> None:
        """Make this array in ``group``, or anew, and write :attr:`data` where there is some."""
        array = group.create_array(
            self.name,
            shape=self.shape,
            dtype=self.dtype,
            chunks=self.chunks,
            shards=self.shards,
            compressors=[self.compressor or COMPRESSOR],
            fill_value=self.fill_value,
            attributes=dict(self.attrs),
            dimension_names=self.dims,
            overwrite=overwrite,
        )
        if self.data is not None:
            array[...] = self.data


@dataclass(frozen=True, eq=False)
class GroupLayout:
    """One group to be."""

    path: str
    """Path from the root, ``""`` for the root itself."""

    arrays: tuple[ArrayLayout, ...]
    """Its arrays."""

    attrs: Mapping[str, Any] = field(default_factory=dict)
    """Attributes, JSON values only."""


@dataclass(frozen=True, eq=False)
class Layout:
    """A whole store to be: its groups, and what makes it this store and no other."""

    kind: str
    """``cube``, ``latents`` or ``bands``."""

    identity: Mapping[str, Any]
    """JSON values that must be equal for a command to go on with a store that exists."""

    groups: tuple[GroupLayout, ...]
    """The root first, where it has arrays or attributes of its own."""

    earlier: Mapping[str, Any] | None = None
    """The identity that the same store would have from an earlier version, if another."""

    follows: tuple[str, ...] = ()
    """Entries of :attr:`identity`, ``a.b`` of one within another, that may change as what the store
    is made from grows, see :mod:`terralatent.pipeline.mapping.growth.follow`; the snapshot of that
    first."""


def coordinate(
    name: str,
    dims: tuple[str, ...],
    values: np.ndarray,
    attrs: Mapping[str, Any] | None = None,
) -> ArrayLayout:
    """Lay out a small array that is written at once, in one chunk. Text becomes ``string``."""
    values = np.asarray(values)
    text = values.dtype.kind in "OUT"
    size = tuple(max(1, n) for n in values.shape)
    return ArrayLayout(
        name=name,
        dims=dims,
        shape=values.shape,
        dtype="string" if text else values.dtype.name,
        chunks=size,
        fill_value="" if text else (np.nan if values.dtype.kind == "f" else 0),
        attrs=attrs or {},
        data=values.astype(object) if text else values,
    )


def time_array(
    name: str, dim: str, times: Sequence[np.datetime64] | np.ndarray, about: str = ""
) -> ArrayLayout:
    """Microseconds since 1970 in UTC; the lowest integer where a time is not known."""
    values = np.array(times, dtype="datetime64[us]").astype(np.int64)
    attrs = {"units": TIME_UNITS, "calendar": "proleptic_gregorian", "standard_name": "time"}
    return coordinate(name, (dim,), values, {**attrs, **({"long_name": about} if about else {})})


def grid_arrays(grid: GeoBox) -> tuple[ArrayLayout, ...]:
    """Lay out ``y`` (descending) and ``x`` (pixel centres, CRS units), and CF ``spatial_ref``.

    The same as :func:`odc.geo.xr.xr_coords` gives, which is of xarray and takes a second to import.
    """
    y, x = (grid.coordinates[dim] for dim in grid.dimensions)
    crs = grid.crs
    assert crs is not None, "a cube's grid has one"
    attrs = {key: _plain(value) for key, value in crs.proj.to_cf().items()}
    corners = (f"{value:.24f}".rstrip("0").rstrip(".") for value in grid.transform.to_gdal())
    reference = {"spatial_ref": attrs.get("crs_wkt") or crs.wkt, **attrs}
    return (
        coordinate("y", ("y",), y.values, _axis("y", y.units)),
        coordinate("x", ("x",), x.values, _axis("x", x.units)),
        coordinate(
            "spatial_ref",
            (),
            np.asarray(crs.epsg or 0, "int32"),
            {**reference, "GeoTransform": " ".join(corners)},
        ),
    )


def inner_chunk(block: int) -> int:
    """Pixels along y and x of the inner chunk of a ``block`` pixels wide shard."""
    return min(INNER_CHUNK, block)


def _axis(axis: str, units: str) -> dict[str, Any]:
    return {
        "standard_name": f"projection_{axis}_coordinate",
        "axis": axis.upper(),
        "units": str(units),
    }


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else value
