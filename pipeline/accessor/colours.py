"""Three channels of what was opened, as red, green and blue between 0 and 1."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from terralatent.catalogs.errors import InputError
from terralatent.pipeline.kinds import listed, require
from terralatent.pipeline.overviews.seasonal import by_season
from terralatent.pipeline.overviews.thinned import thinned
from terralatent.pipeline.pictures.composites import RADAR, Composite

__all__ = ["Limits", "rgb"]

CHANNELS = ("red", "green", "blue")

Limits = tuple[Sequence[float] | float, Sequence[float] | float]
"""What is black and what is full colour: one number for all three channels, or one for each."""

DIMS = {"sensor": "band", "bands": "band", "latents": "latent", "annual": "component"}


def rgb(
    data: xr.Dataset,
    percent: float = 2.0,
    *,
    channels: Sequence[str | int] | None = None,
    limits: Limits | None = None,
) -> xr.DataArray:
    """See :meth:`terralatent.pipeline.accessor.opened.Opened.rgb`."""
    kind = require(data, "rgb", *DIMS)
    if not 0 <= percent < 50:
        raise InputError(f"percent is {percent}; give 0 to less than 50.")
    values = data["data" if kind == "sensor" else "mean"]
    chosen, shared, title = _channels(data, values, DIMS[kind], channels)
    if limits is None:
        seen = chosen.where(data["clear"]) if kind == "sensor" and "clear" in data else chosen
        low, high = _percentiles(thinned(seen), percent, shared)
    else:
        low, high = _given(limits)
    width = np.maximum(high - low, np.float32(1e-6))
    black = xr.DataArray(low, dims="rgb")
    image = ((chosen - black) / xr.DataArray(width, dims="rgb")).clip(0.0, 1.0)
    order = [name for name in ("time", "y", "x") if name in image.dims]
    image = image.transpose(*order, "rgb").astype(np.float32).rename("image")
    image.encoding["grid_mapping"] = "spatial_ref"
    about = {"long_name": title, "units": "1", "black": low.tolist(), "full": high.tolist()}
    return image.assign_attrs(about)


def _channels(
    data: xr.Dataset, values: xr.DataArray, dim: str, channels: Sequence[str | int] | None
) -> tuple[xr.DataArray, bool, str]:
    """Three channels along ``rgb``, whether they share units, and what they are."""
    if dim not in values.dims:
        values = values.expand_dims(dim)
    names = [str(name) for name in values[dim].values]
    if channels is None and dim == "band":
        composite = Composite(names)
        if composite.bands == RADAR:
            vv, vh = (values.sel(band=name, drop=True) for name in RADAR)
            return _stacked([vv, vh, vv - vh]), False, "radar (VV, VH, VV − VH)"
        places = [names.index(name) for name in composite.bands]
        title = f"{composite.title.partition(' (')[0]} ({', '.join(composite.bands)})"
    else:
        if channels is not None:
            places = [_place(names, channel, dim) for channel in channels]
        elif dim == "latent":
            places = _most_seasonal(data)
        else:
            places = list(range(min(3, len(names))))
        places = (places * 3)[:3]
        key = ", ".join(f"{CHANNELS[n]} {names[place]}" for n, place in enumerate(places))
        title = f"{'bands' if dim == 'band' else f'posterior mean of {dim}s'}: {key}"
    parts = [values.isel({dim: place}, drop=True) for place in places]
    return _stacked(parts), dim == "band", title


def _stacked(parts: Sequence[xr.DataArray]) -> xr.DataArray:
    return xr.concat(parts, "rgb", coords="minimal", compat="override").assign_coords(
        rgb=list(CHANNELS)
    )


def _place(names: list[str], channel: str | int, dim: str) -> int:
    if str(channel) not in names:
        raise InputError(f"There is no {dim} {channel!r} here; there are {listed(names)}.")
    return names.index(str(channel))


def _most_seasonal(latents: xr.Dataset) -> list[int]:
    """The latents whose means vary most over the dates, of a bounded part of the map. Computes."""
    some = thinned(latents[["mean", "std"]])
    if "time" not in some.dims:
        some = some.expand_dims("time")
    if "latent" not in some.dims:
        some = some.expand_dims("latent")
    order = ("latent", "time", "y", "x")
    mean, std = xr.Dataset.transpose(some.compute(), *order)[["mean", "std"]].values()
    scores = [by_season(*pair) for pair in zip(mean.values, std.values, strict=True)]
    return [int(place) for place in np.argsort(-np.array(scores), kind="stable")]


def _percentiles(
    some: xr.DataArray, percent: float, shared: bool
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The ends of the stretch of each channel; those that share units share them. Computes."""
    values = some.transpose(..., "rgb").values.reshape(-1, 3)
    values = values[np.isfinite(values).all(axis=1)]
    if not len(values):
        return np.zeros(3, np.float32), np.ones(3, np.float32)
    own = values.reshape(-1, 1) if shared else values
    low, high = np.percentile(own, [percent, 100.0 - percent], axis=0)
    return tuple(np.broadcast_to(end, 3).astype(np.float32) for end in (low, high))  # type: ignore[return-value]


def _given(limits: Limits) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    try:
        low, high = (np.broadcast_to(np.asarray(end, np.float32), 3) for end in limits)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"limits are {limits!r}; give (black, full), each a number or three of them."
        ) from error
    if not (low < high).all():
        raise InputError(f"limits are {limits!r}; what is black must lie below full colour.")
    return low, high
