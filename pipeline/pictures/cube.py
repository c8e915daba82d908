"""Pictures of a cube: its clearest dates in colour, and how much of it was clear through time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.figure import Figure
from numpy.typing import NDArray

from terralatent.catalogs.errors import InputError
from terralatent.catalogs.moments import Moment, read_span
from terralatent.pipeline.indices import INDICES
from terralatent.pipeline.pictures.composites import band_or_index, composite_of, units_of
from terralatent.pipeline.pictures.heading import period_of, where_and_what
from terralatent.pipeline.pictures.mosaic import Strip, draw, limits_of, spread
from terralatent.pipeline.pictures.picture import BLUE, VERMILION
from terralatent.pipeline.pictures.season import Season

__all__ = ["cube_picture", "cube_season", "nearest_date", "sensors_of"]

DATES_SHOWN = 12
ENOUGH_PIXELS = 512
"""Clear shares and seasons are taken from at most about so many pixels a side."""

HARDLY = 0.05
"""Clear share of a date that is not worth its panel."""

CLEAR_ENOUGH = 0.6
"""Clear share of a date that a season shows."""


@dataclass(frozen=True)
class Dates:
    """What is drawn of a sensor."""

    data: xr.DataArray
    """(time, band, y, x), lazy."""

    clear: xr.DataArray | None
    """Which pixels set the ends of colours, (time, y, x); all where there is no mask band."""

    captions: list[str]

    def strip(self, variable: str | None, sensor: str) -> Strip:
        """Their maps: in colours, or of one band or index. Computes."""
        clear = None
        if self.clear is not None:
            clear = list(self.clear.transpose("time", "y", "x").values)
        if variable is None:
            composite, units = composite_of(self.data), units_of(self.data)
            images, legend = composite.drawn(composite.images(self.data), units, clear)
            return Strip(legend, images, self.captions)
        one = band_or_index(self.data, variable, sensor)
        maps = list(one.transpose("time", "y", "x").values)
        title = str(one.attrs["long_name"]) if one.name in INDICES else variable
        return Strip(title, maps, self.captions, units_of(one), "cividis", limits_of(maps, clear))


def cube_picture(
    cube: xr.DataTree, sensor: str, *, variable: str | None = None, date: str | None = None
) -> Figure:
    """Draw ``sensor``: its clearest dates through the seasons, or the one nearest to ``date``.

    Clouds are drawn as they are. Of radar, whose single acquisitions are speckled, monthly means of
    its power are drawn. Computes: reads the masks of all dates of all sensors that have one, and
    the pixels of the dates shown.

    Args:
        cube: As :func:`terralatent.pipeline.open_cube` gives it with ``clear=False``.
        sensor: One of its groups.
        variable: A band, drawn by itself in its units, or an index of bands, see
            :data:`terralatent.pipeline.indices.INDICES`; a colour composite by default.
        date: ISO date; only the acquisition nearest to it.

    Raises:
        InputError: If the sensor has no such band, or ``date`` is no date.
    """
    data = cube[sensor].ds["data"]
    nearest = None if date is None else nearest_date(data.time.values, date)
    if variable is not None:
        band_or_index(data, variable, sensor)  # refuses before anything is read
    shares = {name: clear_share(cube[name].ds) for name in sensors_of(cube)}
    if nearest is not None:
        dates = _dates(cube[sensor].ds, [nearest], shares[sensor])
    elif is_radar(data):
        dates = monthly_means(data, most=DATES_SHOWN)
    else:
        places = clearest(data.time.values, shares[sensor], DATES_SHOWN)
        dates = _dates(cube[sensor].ds, places, shares[sensor])
    count = data.sizes["time"]
    if date is not None:
        words = f"1 of {count} acquisitions shown", period_of(dates.data.time.values)
    else:
        kind = "monthly means" if is_radar(data) else "clearest dates"
        shown = f"{len(dates.captions)} {kind} shown"
        words = f"{count} acquisitions, {shown}", period_of(data.time.values)
    heading = where_and_what(data, sensor, *words)
    if date is not None:
        return draw([dates.strip(variable, sensor)], heading)[0]
    figure, foot = draw([dates.strip(variable, sensor)], heading, below=0.6 + 0.62 * len(shares))
    _draw_shares(foot, cube, shares, sensor, dates.data.time.values)
    return figure


def cube_season(cube: xr.DataTree, sensor: str, variable: str | None = None) -> Season:
    """The dates of ``sensor`` of which at least 60 % are clear, one after the other; of radar its
    months. Computes: reads them, and the masks of all dates. Arguments and errors are those of
    :func:`cube_picture`."""
    whole = cube[sensor].ds
    step = _step(whole)
    thin = whole.isel(y=slice(step // 2, None, step), x=slice(step // 2, None, step))
    if variable is not None:
        band_or_index(thin["data"], variable, sensor)
    if is_radar(thin["data"]):
        dates = monthly_means(thin["data"])
    else:
        share = clear_share(whole)
        enough = np.ones(thin.sizes["time"], bool) if share is None else share >= CLEAR_ENOUGH
        if not enough.any():
            raise InputError(
                f"No acquisition of {sensor} is {CLEAR_ENOUGH:.0%} clear; end the name in .png for "
                "a picture of its clearest ones."
            )
        dates = _dates(thin, np.flatnonzero(enough), share)
    times = whole.time.values
    period = period_of(times)
    drawn = f"one pixel of {step} drawn" if step > 1 else ""
    count = f"{len(dates.captions)} of {len(times)} acquisitions"
    if is_radar(thin["data"]):
        count = f"{len(dates.captions)} monthly means of {len(times)} acquisitions"
    heading = where_and_what(thin["data"], sensor, count, period, drawn)
    return Season(dates.strip(variable, sensor), dates.data.time.values, heading, times)


def sensors_of(cube: xr.DataTree) -> list[str]:
    """Return the names of the groups that hold pixels. Reads none."""
    return [str(name) for name, group in cube.children.items() if "data" in group.ds]


def is_radar(data: xr.DataArray) -> bool:
    """Whether ``data`` is backscatter. Reads no pixels."""
    return composite_of(data).is_radar or data.attrs.get("units") == "dB"


def clear_share(sensor: xr.Dataset) -> NDArray[np.float64] | None:
    """Return the share of clear pixels among those ever clear, one for each date. Computes.

    Reads masks alone: which pixels lie inside the scenes is not asked of the bands. None for a
    sensor that has no mask band, of which nothing is read.
    """
    if "quality" not in sensor:
        return None
    step = _step(sensor)
    coarse = sensor["clear"].isel(y=slice(None, None, step), x=slice(None, None, step))
    clear = coarse.transpose("time", "y", "x").values
    inside = max(int(clear.any(axis=0).sum()), 1)
    shares: NDArray[np.float64] = clear.sum(axis=(1, 2)) / inside
    return shares


def clearest(times: NDArray[Any], share: NDArray[np.float64] | None, most: int) -> NDArray[np.intp]:
    """Choose the clearest date of each of ``most`` equal parts of the period, in order.

    Parts of which nothing was seen are left out, unless all are. Dates are evenly spread where no
    share is known.
    """
    if share is None:
        return spread(len(times), most)
    best = np.arange(len(times))
    if len(times) > most:
        span = (times - times[0]) / (times[-1] - times[0])
        part = np.minimum((span * most).astype(int), most - 1)
        found = [np.flatnonzero(part == n)[np.argmax(share[part == n])] for n in np.unique(part)]
        best = np.array(found)
    seen = share[best] >= HARDLY
    return best[seen] if seen.any() else best


def monthly_means(data: xr.DataArray, most: int | None = None) -> Dates:
    """Means of power over months of ``data``, which is in dB; of at most so many, evenly spread.

    Lazy: each chunk is read once for all months. Times are the middles of months.
    """
    month_of = data.time.values.astype("datetime64[M]")
    months = np.unique(month_of)
    if most is not None:
        months = months[spread(len(months), most)]
    power = 10.0 ** (data.isel(time=np.isin(month_of, months)) / np.float32(10.0))
    month_of = power.time.values.astype("datetime64[M]")
    means = [power.isel(time=month_of == month).mean("time") for month in months]
    middle = months.astype("datetime64[D]") + np.timedelta64(14, "D")
    joined = xr.concat(means, dim="time").assign_coords(time=middle.astype("datetime64[us]"))
    captions = [f"{month}  mean of {(month_of == month).sum()}" for month in months]
    decibel: xr.DataArray = 10.0 * xr.apply_ufunc(np.log10, joined, dask="allowed")
    return Dates(decibel.assign_attrs(data.attrs), None, captions)


def nearest_date(times: NDArray[Any], date: Moment) -> int:
    """Return the place of the time nearest to ``date``, or to its beginning.

    Raises:
        InputError: If ``date`` is no date.
    """
    wanted = read_span(date, "Date {value} is no ISO date, such as 2018-07-15.").first
    return int(np.argmin(np.abs(times.astype("datetime64[us]") - wanted)))


def _dates(
    sensor: xr.Dataset, places: Sequence[int] | NDArray[np.intp], share: NDArray[Any] | None
) -> Dates:
    chosen = sensor.isel(time=places)
    days = [str(np.datetime_as_string(time, unit="D")) for time in chosen.time.values]
    if share is None:
        return Dates(chosen["data"], None, days)
    captions = [
        f"{day}  {100 * own:.0f} % clear" for day, own in zip(days, share[places], strict=True)
    ]
    return Dates(chosen["data"], chosen["clear"], captions)


def _step(sensor: xr.Dataset) -> int:
    return max(1, max(sensor.sizes["y"], sensor.sizes["x"]) // ENOUGH_PIXELS)


def _draw_shares(
    area: Any,
    cube: xr.DataTree,
    shares: dict[str, NDArray[np.float64] | None],
    sensor: str,
    shown: NDArray[Any],
) -> None:
    title = "acquisitions, as high as they were clear where a mask band says so; ▼ shown above"
    area.text(0.012, 0.9, title, fontsize=9)
    place = {"left": 0.13, "right": 0.98, "top": 0.8, "bottom": 0.14, "hspace": 0.45}
    axes = area.subplots(len(shares), 1, sharex=True, squeeze=False, gridspec_kw=place)[:, 0]
    for axis, (name, share) in zip(axes, shares.items(), strict=True):
        times = cube[name].ds.time.values
        height = np.full(len(times), 0.5) if share is None else share
        axis.vlines(times, 0, height, color=BLUE, linewidth=1.1)
        if name == sensor:
            at = np.full(len(shown), 1.16)
            axis.plot(shown, at, "v", color=VERMILION, markersize=4, clip_on=False)
        axis.set_ylim(0, 1.05)
        axis.set_yticks(*(([], []) if share is None else ([0, 1], ["0 %", "100 %"])), fontsize=7)
        axis.set_ylabel(
            f"{name}\n{len(times)} acquisitions", rotation=0, ha="right", va="center", fontsize=8
        )
        axis.yaxis.set_label_coords(-0.045, 0.5)
        axis.tick_params(axis="x", labelsize=7)
        for side in ("top", "right"):
            axis.spines[side].set_visible(False)
