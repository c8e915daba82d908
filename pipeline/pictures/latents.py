"""Pictures of latents: three of them as colours through the year, and their standard deviation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
import zarr
from matplotlib.figure import Figure
from numpy.typing import NDArray

from terralatent.catalogs.errors import InputError
from terralatent.pipeline.overviews.opened import Budget
from terralatent.pipeline.pictures.cube import nearest_date
from terralatent.pipeline.pictures.mosaic import (
    Strip,
    draw,
    panel_pixels,
    spread,
    stretch,
    where_and_what,
)

__all__ = ["latents_budget", "latents_picture", "most_seasonal"]

DATES_SHOWN = 18
COLOUR_NAMES = ("red", "green", "blue")


def latents_budget(root: zarr.Group, variable: str | None, date: str | None) -> Budget:
    """What :func:`latents_picture` reads of each pixel. Reads none."""
    mean: Any = root["mean"]
    if variable == "observations":
        counts: Any = root["observations"]
        sensors = counts.shape[0]
        return Budget(sensors * counts.dtype.itemsize, panel_pixels(sensors, 1))
    panels = 1 if date is not None else min(mean.shape[0], DATES_SHOWN)
    of_a_date = 4 if variable is None else 2
    return Budget(of_a_date * panels * mean.dtype.itemsize, panel_pixels(2, panels))


def latents_picture(
    latents: xr.Dataset,
    *,
    variable: str | None = None,
    date: str | None = None,
    order: Sequence[int] | None = None,
) -> Figure:
    """Draw the latents of at most 18 dates, evenly spread, or of the one nearest to ``date``.

    Computes: reads the dates shown, and for the choice of three latents all others, thinned.

    Args:
        latents: As :func:`terralatent.pipeline.open_latents` gives it.
        variable: A latent, by name or number, drawn by itself; ``observations``; the three latents
            that vary most as red, green and blue by default, see :func:`most_seasonal`.
        date: ISO date; only the stored date nearest to it.
        order: What :func:`most_seasonal` gives, where it is known.

    Raises:
        InputError: If there is no such latent, or ``date`` is no date.
    """
    count = latents.sizes["time"]
    places = (
        spread(count, DATES_SHOWN) if date is None else [nearest_date(latents.time.values, date)]
    )
    chosen = latents.isel(time=places)
    captions = [str(day)[:10] for day in chosen.time.values]
    if variable == "observations":
        strips = _counts(latents)
        heading = where_and_what(latents, "clear observations")
    else:
        names = [str(name) for name in latents.latent.values]
        if variable is not None:
            order = [_place(names, variable)]
        shown = list(most_seasonal(latents) if order is None else order)[:3]
        strips = [
            _means(chosen, names, shown, captions),
            _stds(chosen, names, variable, shown, captions),
        ]
        heading = where_and_what(latents, f"{len(names)} latents", f"{count} dates")
    return draw(strips, heading)[0]


def most_seasonal(latents: xr.Dataset) -> NDArray[np.intp]:
    """Return the latents' places, the one whose mean varies most over the dates first.

    The variance of the mean counts in units of the posterior variance; where there is one date
    only, it is that over space.
    """
    step = max(1, max(latents.sizes["y"], latents.sizes["x"]) // 256)
    thin = latents.isel(y=slice(None, None, step), x=slice(None, None, step))
    over: tuple[str, ...] = ("time",)
    left: tuple[str, ...] = ("y", "x")
    if latents.sizes["time"] == 1:
        over, left = left, over
    ratio = thin["mean"].var(over).mean(left) / (thin["std"] ** 2).mean((*over, *left))
    return np.argsort(-np.nan_to_num(ratio.values))


def _means(chosen: xr.Dataset, names: list[str], order: list[int], captions: list[str]) -> Strip:
    means = chosen["mean"].isel(latent=order).transpose("time", "y", "x", "latent").values
    if len(order) < 3:
        images = list(means[..., 0])
        top = float(np.nanpercentile(np.abs(means), 99)) if np.isfinite(means).any() else 1.0
        title = f"latent {names[order[0]]}: posterior mean"
        return Strip(title, images, captions, "mean (prior: 0 ± 1)", "RdBu_r", (-top, top))
    key = ", ".join(f"{colour} {names[n]}" for colour, n in zip(COLOUR_NAMES, order, strict=False))
    title = f"posterior mean of the three latents that vary most: {key}"
    return Strip(title, stretch(list(means)), captions)


def _stds(
    chosen: xr.Dataset,
    names: list[str],
    variable: str | None,
    order: list[int],
    captions: list[str],
) -> Strip:
    if variable is None and "std_rms" in chosen:  # of a level
        stds = chosen["std_rms"].transpose("time", "y", "x").values
        title = "posterior standard deviation, root mean square over all latents"
    elif variable is None:
        stds = np.sqrt((chosen["std"] ** 2).mean("latent").transpose("time", "y", "x").values)
        title = "posterior standard deviation, root mean square over all latents"
    else:
        stds = chosen["std"].isel(latent=order[0]).transpose("time", "y", "x").values
        title = f"latent {names[order[0]]}: posterior standard deviation"
    return Strip(title, list(stds), captions, "std (prior: 1)", "magma")


def _counts(latents: xr.Dataset) -> list[Strip]:
    strips = []
    for name in latents.sensor.values:
        counts = latents["observations"].sel(sensor=name).values.astype(np.float32)
        limits = (float(counts.min()), float(max(counts.max(), counts.min() + 1)))
        strips.append(Strip(str(name), [counts], [""], "observations", "viridis", limits))
    return strips


def _place(names: list[str], wanted: str) -> int:
    if wanted in names:
        return names.index(wanted)
    if wanted.isdecimal() and int(wanted) < len(names):
        return int(wanted)
    raise InputError(
        f"There is no latent {wanted!r} here; there are {names[0]} to {names[-1]}, and "
        "`observations`."
    )
