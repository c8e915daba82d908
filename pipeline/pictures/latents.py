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
from terralatent.pipeline.pictures.heading import period_of, where_and_what
from terralatent.pipeline.pictures.informative import information, share_left
from terralatent.pipeline.pictures.mosaic import (
    Strip,
    colour_ends,
    draw,
    panel_pixels,
    spread,
    stretch,
)
from terralatent.pipeline.pictures.observed import captions_of, passes_of, unobserved_note
from terralatent.pipeline.pictures.season import Season

__all__ = ["latents_budget", "latents_picture", "latents_season", "most_seasonal"]

DATES_SHOWN = 18
COLOUR_NAMES = ("red", "green", "blue")


def latents_budget(
    root: zarr.Group, variable: str | None, date: str | None, *, moving: bool = False
) -> Budget:
    """What :func:`latents_picture` reads of each pixel, or :func:`latents_season`. Reads none."""
    mean: Any = root["mean"]
    if moving:
        of_a_date = 3 if variable is None else 1
        return Budget(of_a_date * mean.shape[0] * mean.dtype.itemsize, panel_pixels(1, 1))
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
    nats: NDArray[np.float64] | None = None,
    cube: xr.DataTree | None = None,
) -> Figure:
    """Draw the latents of at most 18 dates, evenly spread, or of the one nearest to ``date``.

    Below them stands how much of the prior's variance is left, over the latents that observations
    inform, see :func:`terralatent.pipeline.pictures.informative.share_left`. Computes: reads the
    dates shown, and for the choice of latents all others, thinned, unless ``order`` and ``nats``
    are known.

    Args:
        latents: As :func:`terralatent.pipeline.open_latents` gives it.
        variable: A latent, by name or number, drawn by itself; ``observations``; the three latents
            that vary most as red, green and blue by default, see :func:`most_seasonal`.
        date: ISO date; only the stored date nearest to it.
        order: What :func:`most_seasonal` gives, where it is known.
        nats: What :func:`terralatent.pipeline.pictures.informative.information` gives, where it is
            known.
        cube: That they were made from, where it is known, see
            :func:`terralatent.pipeline.pictures.observed.cube_of`: dates far from every acquisition
            are marked.

    Raises:
        InputError: If there is no such latent, or ``date`` is no date.
    """
    if variable == "observations":
        heading = where_and_what(latents, "clear observations of each pixel", _period(cube))
        return draw(_counts(latents), heading)[0]
    times = latents.time.values
    places = spread(len(times), DATES_SHOWN) if date is None else [nearest_date(times, date)]
    chosen = latents.isel(time=places)
    captions = captions_of(chosen.time.values, cube)
    names = [str(name) for name in latents.latent.values]
    if variable is not None:
        strips = _of_one(chosen, names, _place(names, variable), captions)
    else:
        if order is None or nats is None:
            own = xr.Dataset({"season": _season_of(latents), "nats": information(_thin(latents))})
            own = own.compute()  # in one go: both are of the same pixels
            order = list(_ordered(own["season"])) if order is None else order
            nats = own["nats"].values if nats is None else nats
        left = _left(chosen, names, captions, nats)
        strips = [_colours(chosen, names, list(order)[:3], captions), left]
    count = f"{len(places)} of {len(times)} dates shown"
    period = period_of(times if date is None else chosen.time.values)
    return draw(strips, where_and_what(latents, f"{len(names)} latents", count, period))[0]


def latents_season(
    latents: xr.Dataset,
    *,
    variable: str | None = None,
    order: Sequence[int] | None = None,
    cube: xr.DataTree | None = None,
) -> Season:
    """The means of all dates, one after the other. Computes: reads those of the latents shown.
    Arguments and errors are those of :func:`latents_picture`."""
    names, times = [str(name) for name in latents.latent.values], latents.time.values
    captions = captions_of(times, cube)
    if variable is not None:
        strip = _mean(latents, names, _place(names, variable), captions)
    else:
        order = list(most_seasonal(latents)) if order is None else order
        strip = _colours(latents, names, list(order)[:3], captions)
    words = f"{len(names)} latents", f"{len(times)} dates", period_of(times)
    return Season(strip, times, where_and_what(latents, *words), passes_of(cube))


def most_seasonal(latents: xr.Dataset) -> NDArray[np.intp]:
    """Return the latents' places, the one whose mean varies most over the dates first.

    The variance of the mean counts in units of the posterior variance; where there is one date
    only, it is that over space.
    """
    return _ordered(_season_of(latents))


def _season_of(latents: xr.Dataset) -> xr.DataArray:
    """How much each latent varies (latent,), lazy."""
    thin = _thin(latents)
    over: tuple[str, ...] = ("time",)
    left: tuple[str, ...] = ("y", "x")
    if latents.sizes["time"] == 1:
        over, left = left, over
    return thin["mean"].var(over).mean(left) / (thin["std"] ** 2).mean((*over, *left))


def _ordered(season: xr.DataArray) -> NDArray[np.intp]:
    return np.argsort(-np.nan_to_num(season.values))


def _thin(latents: xr.Dataset) -> xr.Dataset:
    step = max(1, max(latents.sizes["y"], latents.sizes["x"]) // 256)
    return latents.isel(y=slice(None, None, step), x=slice(None, None, step))


def _colours(chosen: xr.Dataset, names: list[str], order: list[int], captions: list[str]) -> Strip:
    if len(order) < 3:
        return _mean(chosen, names, order[0], captions)
    means = chosen["mean"].isel(latent=order).transpose("time", "y", "x", "latent").values
    ends = colour_ends(images := list(means))
    key = ", ".join(
        f"{colour} {names[n]} ({low:.1f} to {high:.1f})".replace("-", "−")
        for colour, n, low, high in zip(COLOUR_NAMES, order, *ends, strict=True)
    )
    title = f"posterior mean of the three latents that vary most: {key}{unobserved_note(captions)}"
    return Strip(title, stretch(images, ends), captions)


def _mean(chosen: xr.Dataset, names: list[str], place: int, captions: list[str]) -> Strip:
    means = chosen["mean"].isel(latent=place).transpose("time", "y", "x").values
    top = float(np.nanpercentile(np.abs(means), 99)) if np.isfinite(means).any() else 1.0
    title = f"latent {names[place]}: posterior mean{unobserved_note(captions)}"
    return Strip(title, list(means), captions, "mean (prior: 0 ± 1)", "RdBu_r", (-top, top))


def _of_one(chosen: xr.Dataset, names: list[str], place: int, captions: list[str]) -> list[Strip]:
    stds = chosen["std"].isel(latent=place).transpose("time", "y", "x").values
    title = f"latent {names[place]}: posterior standard deviation"
    std = Strip(title, list(stds), captions, "std (prior: 1)", "magma")
    return [_mean(chosen, names, place, captions), std]


def _left(
    chosen: xr.Dataset, names: list[str], captions: list[str], nats: NDArray[np.float64]
) -> Strip:
    left, count = share_left(chosen, nats)
    title = (
        "how unsure: share of the prior's variance that observations left, mean over the "
        f"{count} of {len(names)} latents that they inform"
    )
    return Strip(title, list(left), captions, "posterior / prior variance", "magma")


def _counts(latents: xr.Dataset) -> list[Strip]:
    strips = []
    for name in latents.sensor.values:
        counts = latents["observations"].sel(sensor=name).values.astype(np.float32)
        limits = (float(counts.min()), float(counts.max()))
        if limits[0] == limits[1]:  # neither few nor many
            limits = (limits[0] - 1, limits[1] + 1)
        strips.append(Strip(str(name), [counts], [""], "observations", "viridis", limits))
    return strips


def _period(cube: xr.DataTree | None) -> str:
    passes = passes_of(cube)
    return "" if passes is None or not passes.size else period_of(passes)


def _place(names: list[str], wanted: str) -> int:
    if wanted in names:
        return names.index(wanted)
    if wanted.isdecimal() and int(wanted) < len(names):
        return int(wanted)
    raise InputError(
        f"There is no latent {wanted!r} here; there are {names[0]} to {names[-1]}, and "
        "`observations`."
    )
