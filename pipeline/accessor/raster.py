"""One date or map as what a GeoTIFF holds: bands with names, no data, a CRS."""

from __future__ import annotations

from typing import Any

import numpy as np
import rioxarray  # noqa: F401  (gives .rio)
import xarray as xr

from terralatent.catalogs.errors import InputError
from terralatent.pipeline.kinds import kind_of, listed

__all__ = ["to_rio"]

DEFAULT = {
    "sensor": "data",
    "latents": "mean",
    "bands": "mean",
    "annual": "mean",
    "classes": "class",
    "numbers": "mean",
}


def to_rio(data: xr.Dataset, variable: str | None = None, *, date: Any = None) -> xr.DataArray:
    """See :meth:`terralatent.pipeline.accessor.opened.Opened.to_rio`."""
    name = DEFAULT[kind_of(data)] if variable is None else variable
    if name not in data or not {"y", "x"} <= set(data[name].dims):
        maps = [own for own in data.data_vars if {"y", "x"} <= set(data[own].dims)]
        raise InputError(f"There is no map {name!r} here; there are {listed(maps)}.")
    array = _at(data[name], date)
    lead = [dim for dim in array.dims if dim not in ("y", "x")]
    if not lead:
        array, names = array.expand_dims("band"), [name]
    else:
        names = [str(value) for value in array[lead[0]].values]
        if lead[0] in ("latent", "component"):
            names = [f"{lead[0]} {own}" for own in names]
    array = array.rename({lead[0]: "band"}) if lead and lead[0] != "band" else array
    array = array.transpose("band", "y", "x")
    kept = {key: array[key] for key in ("y", "x", "spatial_ref") if key in array.coords}
    made = xr.DataArray(
        array.data, dims=array.dims, name=name,
        coords={"band": np.arange(1, len(names) + 1), **kept},
    )  # fmt: skip
    if array.dtype == bool:
        made = made.astype(np.uint8)
    about = {"units": array.attrs.get("units", "1")}
    if "time" in array.coords and array["time"].ndim == 0:
        about["time"] = str(array["time"].values)[:19]
    made = made.assign_attrs({**about, "long_name": tuple(names)})
    if made.dtype.kind == "f":
        return made.rio.write_nodata(np.nan)
    return made.rio.write_nodata(0) if name == "class" else made


def _at(array: xr.DataArray, date: Any) -> xr.DataArray:
    """The stored date nearest to one; the only one where none is named."""
    if "time" not in array.dims:
        if date is not None:
            raise InputError(f"{array.name} has no dates to choose from; leave date= out.")
        return array
    if date is None:
        if array.sizes["time"] == 1:
            return array.isel(time=0)
        first, last = (str(array["time"].values[end])[:10] for end in (0, -1))
        raise InputError(
            f"{array.name} has {array.sizes['time']} dates, {first} to {last}; a raster holds one: "
            "name it as date=."
        )
    try:
        wanted = np.datetime64(date, "us")
    except ValueError as error:
        raise InputError(f"date is {date!r}, which is no ISO date such as 2018-07-15.") from error
    if np.isnat(wanted):
        raise InputError(f"date is {date!r}, which is no ISO date such as 2018-07-15.")
    return array.sel(time=wanted, method="nearest")
