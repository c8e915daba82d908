"""The cube as xarray: every sensor lazily, in physical units, masked by the clear-sky rule."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import odc.geo.xr  # noqa: F401  (gives .odc)
import rioxarray  # noqa: F401  (gives .rio)
import xarray as xr
import zarr

from terralatent.catalogs.clear import ClearRule
from terralatent.pipeline.layout import PER_DATE
from terralatent.pipeline.store import describe, open_group

__all__ = ["grid_coords", "lazy", "open_cube", "times"]


def open_cube(store: str | Path, *, clear: bool = True, snapshot: str | None = None) -> xr.DataTree:
    """Open a cube lazily; reads coordinates, no pixels.

    Args:
        store: Path or URL, an Icechunk store or an export as plain Zarr v3.
        clear: Whether ``data`` is NaN also where the clear-sky rule says not clear.
        snapshot: Snapshot to read, the newest by default; later commits change nothing.

    Returns:
        A node for each sensor with

        - ``data (time, band, y, x)``, float32 in the sensor's units, NaN where there is no data;
        - ``quality (time, y, x)``, the sensor's own mask band, where it has one;
        - ``clear (time, y, x)``, bool, what the rule makes of it; a sensor without mask band is
          clear where it has data;
        - ``state (unit_t, unit_y, unit_x)``: 0 pending, 1 done, 2 partial (not in the export of a
          single date);

        and a node ``items`` that lists what became of every item of the search. Dask chunks are the
        shards of the store. ``.rio`` and ``.odc`` know the CRS.

    Raises:
        InputError: If there is no cube at ``store``, or no such snapshot.
    """
    cube = open_group(store, kind="cube", snapshot=snapshot)
    nodes = {"items": _items(cube["items"])} if "items" in cube else {}
    for name, group in sorted(cube.groups()):
        if "data" in group:
            nodes[name] = _sensor(group, clear)
    tree = xr.DataTree.from_dict(nodes)
    tree.attrs = {**describe(store), "store": str(store)}
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


def _sensor(group: Any, clear: bool) -> xr.Dataset:
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
        rule = ClearRule.from_json(quality.attrs["clear_rule"])
        seen = da.map_blocks(rule, mask, dtype=bool)
        keep = {key: quality.attrs[key] for key in ("long_name", "nodata", "clear_rule")}
        variables["quality"] = (("time", "y", "x"), mask, keep)
    else:
        seen = (integers != int(attrs["_FillValue"])).any(axis=1)
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
        coords[name] = ("time", _column(group[name]))
    dataset = xr.Dataset(variables, coords={**coords, **grid_coords(group)})
    dataset.attrs["losses"] = list(group.attrs["losses"])
    for name in ("data", "quality", "clear"):
        if name in dataset:
            dataset[name].encoding["grid_mapping"] = "spatial_ref"
    return dataset


def _items(group: zarr.Group) -> xr.Dataset:
    columns: dict[str, Any] = {
        name: ("item", times(array) if name == "time" else _column(array))
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
