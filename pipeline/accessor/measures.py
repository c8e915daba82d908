"""What is made of each pixel and date by itself: how clear, which index, how unsure. All lazy."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr

from terralatent.catalogs.errors import InputError
from terralatent.pipeline.indices import index_of, index_std
from terralatent.pipeline.kinds import listed, provenance, require
from terralatent.pipeline.overviews.thinned import thinned

__all__ = ["NINETY", "clear_share", "index", "std_map"]

NINETY = 1.645
"""Standard deviations on both sides of a mean that hold 90 % of a Gaussian."""

INFORMED = 0.1
"""Nats that observations must have brought, on average, for a latent to count as informed."""


def clear_share(data: xr.Dataset) -> xr.DataArray:
    """See :meth:`terralatent.pipeline.accessor.opened.Opened.clear`."""
    require(data, "clear", "sensor")
    share = data["clear"].mean(("y", "x")).astype(np.float32).rename("clear")
    return share.assign_attrs(long_name="share of the grid that is clear", units="1")


def index(data: xr.Dataset, name: str) -> xr.Dataset:
    """See :meth:`terralatent.pipeline.accessor.opened.Opened.index`."""
    kind = require(data, "index", "sensor", "bands")
    sensor = data.attrs.get("sensor")
    values = data["data" if kind == "sensor" else "mean"]
    value = index_of(values, name, sensor)
    found = {"value": value}
    if kind == "bands":
        std = index_std(values, data["std_signal"], name, sensor)
        found |= {"std": std, "q05": value - NINETY * std, "q95": value + NINETY * std}
        for quantile in ("q05", "q95"):
            title = f"{int(quantile[1:])} % quantile of the surface's {name.upper()}"
            found[quantile].attrs = {"long_name": title, "units": "1"}
    made = xr.Dataset(found, attrs=provenance(data))
    for array in made.data_vars.values():
        array.encoding["grid_mapping"] = "spatial_ref"
    return made


def std_map(data: xr.Dataset, *, latents: Sequence[str | int] | None = None) -> xr.DataArray:
    """See :meth:`terralatent.pipeline.accessor.opened.Opened.std_map`."""
    kind = require(data, "std_map", "latents", "bands", "annual", "classes", "numbers")
    if latents is not None and kind != "latents":
        raise InputError("std_map takes latents= of latents alone; leave it out.")
    if kind in ("classes", "numbers"):
        return data["entropy" if kind == "classes" else "std"]
    if kind == "latents":
        found = _left_open(data, latents)
    else:
        dim = {"bands": "band", "annual": "component"}[kind]
        std = data["std_signal" if kind == "bands" else "std"]
        found = std.astype(np.float64) ** 2
        found = (found.mean(dim) if dim in found.dims else found) ** 0.5
        found.attrs = {
            "long_name": f"standard deviation, root mean square over {dim}s",
            "units": std.attrs.get("units", "1"),
        }
    found = found.astype(np.float32).rename("std_map")
    found.encoding["grid_mapping"] = "spatial_ref"
    return found


def _left_open(data: xr.Dataset, wanted: Sequence[str | int] | None) -> xr.DataArray:
    """The share of the prior's variance, which is 1, that observations leave open."""
    variance = data["std"].astype(np.float64) ** 2
    if "latent" in variance.dims:
        known = [str(name) for name in variance["latent"].values]
        if wanted is None:
            places = _informed(data)
        else:
            if unknown := [str(name) for name in wanted if str(name) not in known]:
                raise InputError(
                    f"There is no latent {unknown[0]!r} here; there are {listed(known)}."
                )
            places = [known.index(str(name)) for name in wanted]
        variance = variance.isel(latent=places).mean("latent")
    title = "share of the prior's variance that is left, mean over informed latents"
    return variance.assign_attrs(long_name=title, units="1")


def _informed(data: xr.Dataset) -> list[int]:
    """The latents that observations inform, of a bounded part of the map; all where none is.

    Computes, unless what was opened says how informed they are.
    """
    if "information" in data.variables:
        nats = data["information"].values
    else:
        some = thinned(data["std"]).transpose("latent", ...)
        logs = np.log(some.values.astype(np.float64)).reshape(len(some), -1)
        nats = -np.nansum(logs, axis=1) / np.isfinite(logs).sum(axis=1).clip(1)
    places = np.flatnonzero(np.nan_to_num(nats) >= INFORMED)
    return [int(place) for place in (places if len(places) else np.arange(len(nats)))]
