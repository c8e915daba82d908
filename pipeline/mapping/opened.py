"""Stores of results opened as dask arrays: latents, bands and maps. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import odc.geo.xr  # noqa: F401  (gives xarray objects .odc)
import rioxarray  # noqa: F401  (gives xarray objects .rio)
import xarray as xr
import zarr
from numpy.typing import NDArray

from terralatent.pipeline.attributes import CF, writable_attrs
from terralatent.pipeline.cube.losses import HELD, STALE
from terralatent.pipeline.cube.opened import grid_coords, lazy, times
from terralatent.pipeline.store.multiscales import MULTISCALES
from terralatent.pipeline.store.repository import ABOUT, Store

__all__ = [
    "about_coordinate",
    "about_variable",
    "open_bands",
    "open_landcover",
    "open_latents",
    "open_result",
    "result_dataset",
    "unpacked",
    "with_information",
]

INFORMED = 16
"""Pixels along y and x of each place that information is estimated from."""

LONG_NAMES = {
    "band": "band of the sensor",
    "category": "class of the map",
    "component": "component of the annual vectors",
    "latent": "latent series, by their number in the model",
    "sensor": "sensor",
}
"""Of coordinates."""

OF_THE_FORMAT = (ABOUT, MULTISCALES, "held_from", "coordinates", "Conventions")
"""Attributes of a store's root that say how it is kept."""

BOOKKEEPING = ("state", "clipped", HELD, STALE)
"""Arrays that say how far a store is, by block."""


def open_latents(
    store: str | Path | Store, *, snapshot: str | None = None, level: int = 0
) -> xr.Dataset:
    """Open latents as dask arrays; reads no pixels.

    Args:
        store: Path or URL.
        snapshot: Of the store, the newest by default.
        level: Of its overviews, whose pixels are 2^level times as wide; 0 is the store's own. Means
            are those of the pixels that a pixel covers, ``std`` that of such a mean; ``std_rms``
            (time, y, x) is its root mean square over all latents.

    Returns:
        ``mean`` and ``std`` (time, latent, y, x), float32, in prior standard deviations, NaN
        outside every scene; ``observations`` (sensor, y, x), uint16: clear acquisitions of each
        pixel; ``days_to_observation`` (time, y, x), float32, from a date to the nearest of these,
        NaN where there is none; ``information`` (latent) of level 0, see :func:`with_information`.
        The CRS is known to ``.rio`` and ``.odc``; ``attrs`` name model and cube.

    Raises:
        InputError: If there is no such store, or it has no such level.

    Examples:
        >>> import terralatent as tl
        >>> latents = tl.open_latents("latents")
        >>> latents["mean"].shape, latents.rio.crs.to_epsg()
        ((3, 4, 18, 18), 32631)
    """
    opened = open_result(store, "latents", snapshot=snapshot, level=level)
    return opened if level else with_information(opened)


def open_bands(
    store: str | Path | Store, *, snapshot: str | None = None, level: int = 0
) -> xr.Dataset:
    """Open decoded bands as dask arrays; reads no pixels.

    Args:
        store: Path or URL.
        snapshot: Of the store, the newest by default.
        level: Of its overviews, whose pixels are 2^level times as wide; 0 is the store's own.

    Returns:
        ``mean``, ``std_signal``, ``std``, ``q05`` and ``q95`` (time, band, y, x), float32, in the
        sensor's physical units, NaN outside every scene. ``std_signal`` is how unsure the surface
        is; ``std`` and the quantiles are those of a new observation. The CRS is known to ``.rio``
        and ``.odc``.

    Raises:
        InputError: If there is no such store, or it has no such level.

    Examples:
        >>> import terralatent as tl
        >>> bands = tl.open_bands("bands")
        >>> bands["mean"].sel(band="B04", time="2018-03").shape
        (1, 18, 18)
    """
    return open_result(store, "bands", snapshot=snapshot, level=level)


def open_landcover(
    store: str | Path | Store, *, snapshot: str | None = None, level: int = 0
) -> xr.Dataset:
    """Open a map as dask arrays; reads no pixels.

    Args:
        store: Path or URL.
        snapshot: Of the store, the newest by default.
        level: Of its overviews, whose pixels are 2^level times as wide; 0 is the store's own.

    Returns:
        Of ``classify``: ``class (y, x)``, uint8, 0 where there is none, with the CF attributes
        ``flag_values``, ``flag_meanings`` and ``flag_colors``, and ``class_names``; ``probability
        (category, y, x)`` and ``entropy (y, x)`` in bits, float32, NaN where there is none. Of
        ``regress``: ``mean`` and ``std (y, x)``, float32. The CRS is known to ``.rio`` and
        ``.odc``; ``attrs`` name model, cube and latents.

    Raises:
        InputError: If there is no such store, or it has no such level.

    Examples:
        >>> import terralatent as tl
        >>> land = tl.open_landcover("landcover")
        >>> land["class"].attrs["class_names"], land["probability"].dims
        (['grass', 'maize'], ('category', 'y', 'x'))
    """
    opened = open_result(store, "landcover", snapshot=snapshot, level=level)
    if "class" in opened:
        attrs = Store.of(store).group(kind="landcover", snapshot=snapshot)["class"].attrs
        names = ("flag_values", "flag_meanings", "flag_colors", "class_names")
        opened["class"].attrs.update({name: attrs[name] for name in names})
    return opened


def with_information(latents: xr.Dataset) -> xr.Dataset:
    """Add ``information`` (latent), lazily: what observations say of each latent, in nats.

    The mean, over the dates and up to 1,024 pixels in four places, of the logarithm of the prior's
    standard deviation over the posterior's. A latent near 0 is that of the prior: its means say
    nothing. To compute it reads the blocks that hold these places.
    """
    over = ("time", "y", "x")
    logs: list[xr.DataArray] = [
        xr.apply_ufunc(np.log, latents["std"].isel(y=y, x=x), dask="allowed")
        for y in _places(latents.sizes["y"])
        for x in _places(latents.sizes["x"])
    ]
    nothing = xr.DataArray(np.float32(0.0))
    total = sum((part.sum(over) for part in logs), start=nothing)
    mean = total / sum((part.count(over) for part in logs), start=nothing)
    information = (-mean).astype(np.float32).drop_vars("spatial_ref", errors="ignore")
    information.attrs = {"long_name": "information of observations on a latent", "units": "nat"}
    return latents.assign(information=information)


def _places(length: int) -> list[slice]:
    """Two pieces of at most 16 pixels of an axis, as many pixels each, a quarter from its ends."""
    size = min(INFORMED, max(1, length // 2))
    return [
        slice(start, start + size) for start in (length // 4, max(0, length - length // 4 - size))
    ]


def open_result(
    store: str | Path | Store, kind: str, *, snapshot: str | None = None, level: int = 0
) -> xr.Dataset:
    """Open a result: dask arrays, float32, NaN outside every scene. Reads no pixels.

    The CRS is known to ``.rio`` and ``.odc``; the store's own attributes are in ``attrs``, those
    that are nested as JSON in a text, so that netCDF can hold them; and ``level`` where it is none
    of level 0.

    Raises:
        InputError: If there is no such store, it is of another kind, or it has no such level.
    """
    store = Store.of(store)
    whole = store.group(kind=kind, snapshot=snapshot)
    root = whole
    if level:  # who opens the store's own pixels imports nothing of how overviews are made
        from terralatent.pipeline.overviews.opened import level_group

        root = level_group(whole, level, store)
    names = [name for name, _ in root.arrays() if name not in BOOKKEEPING]
    stored: dict[str, Any] = {name: root[name] for name in names}
    dims = {name: array.metadata.dimension_names or () for name, array in stored.items()}
    variables = {
        name: (dims[name], _values(array, level), about_variable(array.attrs))
        for name, array in stored.items()
        if {"y", "x"} <= set(dims[name])
    }
    coords = {
        name: (
            dims[name],
            times(array) if name == "time" else _labels(array),
            about_coordinate(name, array.attrs),
        )
        for name, array in stored.items()
        if dims[name] == (name,) and name not in ("y", "x")
    }
    attrs = {**whole.attrs.asdict(), **root.attrs.asdict(), **({"level": level} if level else {})}
    opened = result_dataset(variables, {**coords, **grid_coords(root)}, attrs)
    # As xarray notes what it opened: for those that have to find what lies beside it.
    opened.encoding = {"source": store.address, "snapshot": snapshot}
    return opened


def result_dataset(
    variables: Mapping[str, Any], coords: Mapping[str, Any], attrs: Mapping[str, Any]
) -> xr.Dataset:
    """A result as xarray has it: what opens a store, and what computes without one, ends so."""
    result = xr.Dataset(variables, coords=coords)
    for name in result.data_vars:
        result[name].encoding["grid_mapping"] = "spatial_ref"
    kept = {key: value for key, value in attrs.items() if key not in OF_THE_FORMAT}
    return result.assign_attrs({**writable_attrs(kept), "Conventions": CF})


def about_coordinate(name: str, attrs: Mapping[str, Any]) -> dict[str, Any]:
    """What a coordinate says of itself; stores of earlier versions say nothing."""
    return {"long_name": LONG_NAMES[name], **about_variable(attrs)} if name in LONG_NAMES else {}


def _labels(array: zarr.Array) -> NDArray[Any]:
    values = np.asarray(array[...])
    return values.astype(object).astype(str) if values.dtype.kind in "TO" else values


def _values(array: zarr.Array, level: int) -> da.Array:
    """What an array holds, lazily: unpacked where it is packed, else as it is. Of a level a dask
    chunk has one date and latent, as what is fetched of it has."""
    stored = lazy(array)
    if level:
        stored = da.from_zarr(array, (*array.chunks[:-2], *array.shards[-2:]), inline_array=True)
    if "scale_factor" not in array.attrs:
        return stored
    return stored.map_blocks(
        unpacked,
        scale_factor=float(array.attrs["scale_factor"]),
        add_offset=float(array.attrs.get("add_offset", 0.0)),
        fill_value=int(array.attrs["_FillValue"]),
        dtype=np.float32,
    )


def unpacked(
    packed: NDArray[Any], *, scale_factor: float, fill_value: int, add_offset: float = 0.0
) -> NDArray[np.float32]:
    """Values of packed integers, any shape, float32, NaN for the fill value."""
    values = packed.astype(np.float32)
    values *= np.float32(scale_factor)
    if add_offset:
        values += np.float32(add_offset)
    values[packed == fill_value] = np.nan
    return values


def about_variable(attrs: Mapping[str, Any]) -> dict[str, Any]:
    """Of the attributes of a stored array, those that hold of its values once unpacked."""
    return {key: attrs[key] for key in ("long_name", "units") if key in attrs}
