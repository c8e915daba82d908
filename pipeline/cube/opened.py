"""The cube as xarray: every sensor lazily, in physical units, masked by the clear-sky rule."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import odc.geo.xr  # noqa: F401  (gives .odc)
import rioxarray  # noqa: F401  (gives .rio)
import xarray as xr
import zarr

from terralatent.catalogs.sources.clear import ClearRule
from terralatent.pipeline.attributes import CF, writable_attrs
from terralatent.pipeline.cube.masking import Masking, MaskingRequest, clear_sky, mask_bands, settle
from terralatent.pipeline.cube.outliers import find_outliers
from terralatent.pipeline.cube.selected import KEY, Opened
from terralatent.pipeline.cube.time_axis import PER_DATE
from terralatent.pipeline.dates import days_since_1970
from terralatent.pipeline.store.repository import ABOUT, Store

__all__ = ["grid_coords", "lazy", "open_cube", "times"]

NO_BOOLS = np.empty((0, 0, 0), dtype=bool)
"""Form of masks for dask, so that it need not try on nothing what makes them."""


def open_cube(
    store: str | Path | Store,
    *,
    clear: bool = True,
    masking: MaskingRequest = None,
    snapshot: str | None = None,
) -> xr.DataTree:
    """Open a cube lazily; reads coordinates, no pixels.

    Args:
        store: Path or URL, an Icechunk store or an export as plain Zarr v3.
        clear: Whether ``data`` is NaN also where it is not clear.
        masking: Another clear-sky rule than the stored one, dilation of what it masks, a search for
            outliers in time; for all sensors that have a mask band, or by sensor.
        snapshot: Snapshot to read, the newest by default; later commits change nothing.

    Returns:
        A node for each sensor with

        - ``data (time, band, y, x)``, float32 in the sensor's units, NaN where there is no data;
        - ``quality (time, y, x)``, the sensor's own mask band, where it has one;
        - ``clear (time, y, x)``, bool, what is left of it by rule, dilation and outliers; a sensor
          without mask band is clear where it has data;
        - ``outlier (time, y, x)``, bool, observations that no neighbour in time supports, where
          outliers are searched for. A pixel is judged by its whole series: to compute any date of a
          block reads all of them, and a chunk in between holds them all;
        - ``state (unit_t, unit_y, unit_x)``: 0 pending, 1 done, 2 partial (not in the export of a
          single date);

        and a node ``items`` that lists what became of every item of the search. Attributes that are
        nested, such as ``losses`` and ``clear_rule``, are JSON in a text. Dask chunks are the
        shards of the store. ``.rio`` and ``.odc`` know the CRS.

    Raises:
        InputError: If there is no cube at ``store``, or no such snapshot, or it cannot be masked
            so.

    Examples:
        >>> import terralatent as tl
        >>> cube = tl.open_cube("cube")
        >>> list(cube.children), cube["sentinel-2-l2a"]["data"].shape
        (['sentinel-1-asc', 'sentinel-2-l2a'], (24, 3, 18, 18))
    """
    kept = Store.of(store)
    kept.group(kind="cube")  # raises, and names what is there instead
    snapshot = snapshot or kept.snapshot()  # what is committed meanwhile changes nothing
    cube = kept.group(kind="cube", snapshot=snapshot or None)
    nodes = {"items": _items(cube["items"])} if "items" in cube else {}
    sensors = {name: group for name, group in sorted(cube.groups()) if "data" in group}
    masks = settle(mask_bands(cube, list(sensors)), masking)
    for name, group in sensors.items():
        node = nodes[name] = _sensor(group, clear, masks.of(name))
        arrays = {key: node[key].data.name for key in ("data", "clear")}
        node["data"].encoding[KEY] = Opened(kept, snapshot, name, masking, arrays)
    tree = xr.DataTree.from_dict(nodes)
    tree.attrs = writable_attrs({**dict(cube.attrs[ABOUT]), "store": str(kept)})
    return tree


def lazy(array: zarr.Array) -> da.Array:
    """The integers or floats of an array as dask, one chunk a shard; reads nothing."""
    return da.from_zarr(array, chunks=array.shards or array.chunks, inline_array=True)


def times(array: zarr.Array) -> np.ndarray:
    """Read a time coordinate as datetime64[us]."""
    return np.asarray(array[...]).astype("datetime64[us]")


def grid_coords(group: Any) -> dict[str, Any]:
    """Read ``y``, ``x`` and ``spatial_ref`` of a group, for xarray."""
    reference = group["spatial_ref"]
    return {
        "y": ("y", np.asarray(group["y"][...]), dict(group["y"].attrs)),
        "x": ("x", np.asarray(group["x"][...]), dict(group["x"].attrs)),
        "spatial_ref": ((), 0, dict(reference.attrs)),
    }


def _sensor(group: Any, clear: bool, masking: Masking) -> xr.Dataset:
    stored: Any = group["data"]
    integers, attrs = lazy(stored), stored.attrs
    values = da.map_blocks(
        _unpacked,
        integers,
        scale_factor=float(attrs["scale_factor"]),
        add_offset=float(attrs["add_offset"]),
        fill_value=int(attrs["_FillValue"]),
        dtype=np.float32,
    )
    variables: dict[str, Any] = {}
    if "quality" in group:
        quality: Any = group["quality"]
        mask = lazy(quality)
        seen = _clear(mask, quality.attrs, masking)
        keep = {key: quality.attrs[key] for key in ("long_name", "nodata", "clear_rule")}
        variables["quality"] = (("time", "y", "x"), mask, writable_attrs(keep))
    else:
        seen = (integers != int(attrs["_FillValue"])).any(axis=1)
    if masking.outliers:
        days = days_since_1970(times(group["time"]))
        outlier = _outliers(integers, seen, int(attrs["_FillValue"]), days)
        seen = seen & ~outlier
        about = {"long_name": "no neighbour in time supports it"}
        variables["outlier"] = (("time", "y", "x"), outlier, about)
    if clear:
        values = da.where(seen[:, None], values, np.float32(np.nan))
    about = {"units": attrs["units"], "long_name": attrs["long_name"]}
    variables["data"] = (("time", "band", "y", "x"), values, about)
    variables["clear"] = (("time", "y", "x"), seen, {"long_name": "the ground was seen"})
    if "state" in group:
        state: Any = group["state"]
        dims = ("unit_t", "unit_y", "unit_x")
        variables["state"] = (dims, np.asarray(state[...]), dict(state.attrs))
    coords: dict[str, Any] = {"time": times(group["time"]), "band": _column(group["band"])}
    for name in (name for name in PER_DATE if name in group):
        coords[name] = ("time", _column(group[name]), dict(group[name].attrs))
    dataset = xr.Dataset(variables, coords={**coords, **grid_coords(group)})
    about = writable_attrs({"losses": group.attrs["losses"]})
    dataset.attrs = {**about, "sensor": group.basename, "Conventions": CF}
    for name in ("data", "quality", "clear", "outlier"):
        if name in dataset:
            dataset[name].encoding["grid_mapping"] = "spatial_ref"
    return dataset


def _clear(mask: da.Array, attrs: Mapping[str, Any], masking: Masking) -> da.Array:
    """What is clear by rule and dilation, in the chunks of the mask band (time, y, x)."""
    stored, nodata = ClearRule.from_json(attrs["clear_rule"]), int(attrs["nodata"])
    rule = {"masking": masking, "stored": stored, "nodata": nodata}
    if not masking.dilate:
        return da.map_blocks(_clear_of, mask, dtype=bool, meta=NO_BOOLS, **rule)
    # As far around a chunk as the dilation reaches, but not further than the cube.
    depth = {axis: min(masking.dilate, mask.shape[axis]) for axis in (1, 2)}
    clear = da.map_overlap(
        _clear_of, mask, depth=depth, boundary=nodata, dtype=bool, meta=NO_BOOLS, **rule
    )
    return clear.rechunk(mask.chunks)


def _clear_of(quality: np.ndarray, **rule: Any) -> np.ndarray:
    return clear_sky(quality, **rule)[0]


def _outliers(integers: da.Array, clear: da.Array, fill_value: int, days: np.ndarray) -> da.Array:
    """Which observations no neighbour in time supports, in the chunks of ``clear`` (time, y, x)."""
    whole = integers.rechunk({0: -1, 1: -1}), clear[:, None].rechunk({0: -1})
    outlier = da.map_blocks(
        _outliers_of, *whole, days=days, fill_value=fill_value, drop_axis=1, dtype=bool,
        meta=NO_BOOLS,
    )  # fmt: skip
    return outlier.rechunk(clear.chunks)


def _outliers_of(
    packed: np.ndarray, clear: np.ndarray, *, days: np.ndarray, fill_value: int
) -> np.ndarray:
    observed = clear[:, 0] & (packed != fill_value).all(axis=1)
    series = packed.reshape(*packed.shape[:2], -1).transpose(2, 0, 1)
    outlier = find_outliers(series, observed.reshape(len(observed), -1).T, days)
    return outlier.T.reshape(observed.shape)


def _items(group: zarr.Group) -> xr.Dataset:
    columns: dict[str, Any] = {
        name: (
            "item",
            times(array) if name in ("time", "acquisition") else _column(array),
            {"long_name": array.attrs["long_name"]} if "long_name" in array.attrs else {},
        )
        for name, array in group.arrays()
    }
    return xr.Dataset(columns)


def _column(array: Any) -> np.ndarray:
    values = np.asarray(array[...])
    return values.astype(object).astype(str) if values.dtype.kind in "TO" else values


def _unpacked(
    integers: np.ndarray, *, scale_factor: float, add_offset: float, fill_value: int
) -> np.ndarray:
    """Physical units in float32, the sum that every reader of the cube makes, NaN for no data."""
    values = integers.astype(np.float32)
    values *= np.float32(scale_factor)
    values += np.float32(add_offset)
    values[integers == fill_value] = np.nan
    return values
