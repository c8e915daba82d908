"""Pictures of a cube: its clearest dates in colour, and how much of it was clear through time."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.figure import Figure
from numpy.typing import NDArray

from terralatent.catalogs.errors import InputError
from terralatent.catalogs.moments import Moment, read_span
from terralatent.pipeline.pictures.composites import composite_of, units_of
from terralatent.pipeline.pictures.mosaic import Strip, draw, stretch, where_and_what

__all__ = ["cube_picture", "nearest_date", "sensors_of"]

DATES_SHOWN = 12
ENOUGH_PIXELS = 512
"""Clear shares are taken from at most about so many pixels a side."""


def cube_picture(
    cube: xr.DataTree, sensor: str, *, variable: str | None = None, date: str | None = None
) -> Figure:
    """Draw ``sensor``: its clearest dates through the seasons, or the one nearest to ``date``.

    Clouds are drawn as they are. Computes: reads the masks of all dates of all sensors, and the
    pixels of the dates shown.

    Args:
        cube: As :func:`terralatent.pipeline.open_cube` gives it with ``clear=False``.
        sensor: One of its groups.
        variable: A band, drawn by itself in its units; a colour composite by default.
        date: ISO date; only the acquisition nearest to it.

    Raises:
        InputError: If the sensor has no such band, or ``date`` is no date.
    """
    data = cube[sensor].ds["data"]
    nearest = None if date is None else nearest_date(data.time.values, date)
    if variable is not None:
        _require_band(data, variable)
    shares = {name: clear_share(cube[name].ds) for name in sensors_of(cube)}
    if nearest is None:
        places = clearest(data.time.values, shares[sensor], DATES_SHOWN)
    else:
        places = np.array([nearest])
    chosen = data.isel(time=places)
    captions = [
        f"{np.datetime_as_string(time, unit='D')}  {share:.0%} clear"
        for time, share in zip(chosen.time.values, shares[sensor][places], strict=True)
    ]
    clear = cube[sensor].ds["clear"].isel(time=places)
    strip = (
        _bands(chosen, clear, captions) if variable is None else _band(chosen, variable, captions)
    )
    heading = where_and_what(data, sensor, f"{data.sizes['time']} acquisitions")
    if date is not None:
        return draw([strip], heading)[0]
    figure, foot = draw([strip], heading, below=0.6 + 0.62 * len(shares))
    _draw_shares(foot, cube, shares, sensor, data.time.values[places])
    return figure


def sensors_of(cube: xr.DataTree) -> list[str]:
    """Return the names of the groups that hold pixels. Reads none."""
    return [str(name) for name, group in cube.children.items() if "data" in group.ds]


def clear_share(sensor: xr.Dataset) -> NDArray[np.float64]:
    """Return the share of clear pixels among those ever clear, one for each date. Computes.

    Reads masks alone: which pixels lie inside the scenes is not asked of the bands.
    """
    step = max(1, max(sensor.sizes["y"], sensor.sizes["x"]) // ENOUGH_PIXELS)
    coarse = sensor["clear"].isel(y=slice(None, None, step), x=slice(None, None, step))
    clear = coarse.transpose("time", "y", "x").values
    inside = max(int(clear.any(axis=0).sum()), 1)
    shares: NDArray[np.float64] = clear.sum(axis=(1, 2)) / inside
    return shares


def clearest(times: NDArray[Any], share: NDArray[np.float64], most: int) -> NDArray[np.intp]:
    """Choose the clearest date of each of ``most`` equal parts of the period, in order."""
    if len(times) <= most:
        return np.arange(len(times))
    span = (times - times[0]) / (times[-1] - times[0])
    part = np.minimum((span * most).astype(int), most - 1)
    best = [np.flatnonzero(part == n)[np.argmax(share[part == n])] for n in np.unique(part)]
    return np.array(best)


def nearest_date(times: NDArray[Any], date: Moment) -> int:
    """Return the place of the time nearest to ``date``, or to its beginning.

    Raises:
        InputError: If ``date`` is no date.
    """
    wanted = read_span(date, "Date {value} is no ISO date, such as 2018-07-15.").first
    return int(np.argmin(np.abs(times.astype("datetime64[us]") - wanted)))


def _bands(data: xr.DataArray, clear: xr.DataArray, captions: list[str]) -> Strip:
    composite = composite_of(data)
    images = stretch(composite.images(data), list(clear.transpose("time", "y", "x").values))
    return Strip(composite.title, images, captions)


def _band(data: xr.DataArray, band: str, captions: list[str]) -> Strip:
    images = list(data.sel(band=band).values)
    return Strip(band, images, captions, units=units_of(data), colours="cividis")


def _require_band(data: xr.DataArray, band: str) -> None:
    known = [str(name) for name in data.band.values]
    if band not in known:
        raise InputError(f"There is no band {band!r} here; there are {', '.join(known)}.")


def _draw_shares(
    area: Any,
    cube: xr.DataTree,
    shares: dict[str, NDArray[np.float64]],
    sensor: str,
    shown: NDArray[Any],
) -> None:
    title = "clear share of each acquisition"
    area.text(0.012, 0.9, title, fontsize=9)
    place = {"left": 0.13, "right": 0.98, "top": 0.8, "bottom": 0.14, "hspace": 0.45}
    axes = area.subplots(len(shares), 1, sharex=True, squeeze=False, gridspec_kw=place)[:, 0]
    for axis, (name, share) in zip(axes, shares.items(), strict=True):
        times = cube[name].ds.time.values
        axis.vlines(times, 0, share, color="#3b75af", linewidth=1.1)
        if name == sensor:
            axis.plot(
                shown, np.full(len(shown), 1.16), "v", color="#d1495b", markersize=4, clip_on=False
            )
        axis.set_ylim(0, 1.05)
        axis.set_yticks([0, 1], ["0 %", "100 %"], fontsize=7)
        axis.set_ylabel(
            f"{name}\n{len(times)} acquisitions", rotation=0, ha="right", va="center", fontsize=8
        )
        axis.tick_params(axis="x", labelsize=7)
        for side in ("top", "right"):
            axis.spines[side].set_visible(False)
