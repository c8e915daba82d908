"""Pictures of one pixel through time: its observations and its latents."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.dates import AutoDateLocator, DateFormatter
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from terralatent.catalogs.errors import InputError
from terralatent.pipeline.indices import INDICES
from terralatent.pipeline.pictures.composites import band_or_index, plotted_bands, units_of
from terralatent.pipeline.pictures.heading import crs_name
from terralatent.pipeline.pictures.informative import INFORMATIVE, information
from terralatent.pipeline.pictures.picture import BLUE, GREY, SERIES, Picture

__all__ = [
    "Lines",
    "draw_interval",
    "draw_masked",
    "find_pixel",
    "latent_series",
    "lines_of",
    "masked_key",
    "observed_series",
    "pixel_name",
    "plots",
]

Lines = Mapping[str, xr.DataArray]
"""What is drawn of a pixel, (time,) each, by the name of a band or an index."""


def find_pixel(data: xr.Dataset, pixel: str) -> tuple[int, int]:
    """Read ``X,Y``: column and row if both are whole numbers of the grid, else map coordinates.

    Returns:
        (column, row) of the pixel, counted from the north-west corner. Reads no pixels.

    Raises:
        InputError: If ``pixel`` is no pair of numbers or lies outside the grid.
    """
    numbers = re.fullmatch(r"\s*([-+\d.eE]+)\s*,\s*([-+\d.eE]+)\s*", pixel)
    try:
        first, second = (float(number) for number in numbers.groups()) if numbers else (None, None)
    except ValueError:
        first = second = None
    if first is None or second is None or not (math.isfinite(first) and math.isfinite(second)):
        raise InputError(f"Pixel {pixel!r} is no pair of numbers X,Y.")
    nx, ny = data.sizes["x"], data.sizes["y"]
    whole = "." not in pixel and "e" not in pixel.lower()
    if whole and 0 <= first < nx and 0 <= second < ny:
        return int(first), int(second)
    west, south, east, north = data.odc.geobox.boundingbox
    if not (west <= first < east and south < second <= north):
        raise InputError(
            f"Pixel {pixel} lies outside the grid: x {west:.10g} to {east:.10g}, "
            f"y {south:.10g} to {north:.10g} ({crs_name(data)}), "
            f"or columns 0 to {nx - 1}, rows 0 to {ny - 1}."
        )
    column, row = data.odc.geobox.wld2pix(first, second)
    return min(int(column), nx - 1), min(int(row), ny - 1)


def observed_series(
    cube: xr.DataTree, sensors: list[str], at: tuple[int, int], variable: str | None
) -> Figure:
    """Draw the observations of the pixel ``at`` by each sensor; those not clear as ticks below.

    ``cube`` is opened with ``clear=False``; ``variable`` is a band, or an index of bands. Computes:
    reads one pixel of every date.

    Raises:
        InputError: If no sensor has such a band, or the bands of such an index.
    """
    picked = {name: cube[name].ds.isel(x=at[0], y=at[1]) for name in sensors}
    rows: dict[str, Lines] = {}
    for name, group in picked.items():
        try:
            rows[name] = lines_of(group["data"], variable, name)
        except InputError:
            continue
    if not rows:
        known = "; ".join(
            f"{name} has {', '.join(str(band) for band in group.band.values)}"
            for name, group in picked.items()
        )
        what = "the bands of" if str(variable).lower() in INDICES else "a band"
        raise InputError(f"No sensor here has {what} {variable!r}: {known}.")
    heading = f"observations of {pixel_name(cube[sensors[0]].ds, at)}"
    figure, axes = plots(len(rows), 1, heading, 2.2)
    hidden = 0
    for axis, (name, lines) in zip(axes.flat, rows.items(), strict=True):
        times, clear = picked[name].time.values, picked[name]["clear"].values.astype(bool)
        for (colour, marker), (band, line) in zip(SERIES, lines.items(), strict=False):
            there = clear & np.isfinite(values := line.values)
            axis.plot(times[there], values[there], "-", color=colour, linewidth=0.6, alpha=0.5)
            axis.plot(times[there], values[there], marker, color=colour, markersize=2.8, label=band)
        draw_masked(axis, times[~clear])
        hidden += int((~clear).sum())
        title = f"{name}: {clear.sum()} of {len(clear)} observations clear"
        if "quality" not in picked[name]:
            title = f"{name}: {clear.sum()} observations"
        axis.set_title(title, fontsize=9, loc="left")
        axis.set_ylabel(units_of(next(iter(lines.values()))), fontsize=8)
        axis.legend(fontsize=7, ncols=4, frameon=False, loc="lower right", bbox_to_anchor=(1, 0.97))
    if hidden:
        figure.legend(handles=[masked_key()], loc="outside lower left", fontsize=7, frameon=False)
    return figure


def latent_series(latents: xr.Dataset, at: tuple[int, int]) -> Figure:
    """Draw the latents of the pixel ``at`` ± 2 std, those that observations narrowed most first.

    Latents with less than 0.1 nats at this pixel are grey: they say what the prior says. Computes:
    reads one pixel of every date.
    """
    group = latents.isel(x=at[0], y=at[1]).compute()
    nats = information(group).values
    across = min(4, len(nats))
    heading = f"latents of {pixel_name(latents, at)}, most informative first"
    figure, axes = plots(math.ceil(len(nats) / across), across, heading, 1.35)
    for axis, n in zip(axes.flat, np.argsort(-np.nan_to_num(nats)), strict=False):
        latent = group.isel(latent=n)
        colour = BLUE if nats[n] >= INFORMATIVE else GREY
        time, mean, half = latent.time.values, latent["mean"].values, 2 * latent["std"].values
        axis.axhline(0.0, color=GREY, linewidth=0.6)
        draw_interval(axis, time, (mean - half, mean + half), colour, 0.25)
        axis.plot(time, mean, color=colour, linewidth=1.2, marker="o", markersize=2)
        title = f"latent {group.latent.values[n]}: {nats[n]:.2f} nats"
        axis.set_title(
            title, fontsize=8, loc="left", pad=2, color="black" if colour == BLUE else GREY
        )
    counts = ", ".join(
        f"{name} {int(count)}"
        for name, count in zip(group.sensor.values, group["observations"].values, strict=True)
    )
    words = (
        f"mean ± 2 std (prior: 0 ± 2); grey: below {INFORMATIVE} nats; clear observations: {counts}"
    )
    figure.supxlabel(words, fontsize=8)
    return figure


def lines_of(data: xr.DataArray, variable: str | None, sensor: str, most: int = 4) -> Lines:
    """Series of a pixel's ``data`` (time, band): bands that stand for the sensor, or ``variable``.

    Computes.

    Raises:
        InputError: If ``variable`` is neither a band nor an index that it has the bands of.
    """
    data = data.compute()
    if variable is None:
        names = plotted_bands([str(band) for band in data.band.values], most)
        return {name: data.sel(band=name) for name in names}
    one = band_or_index(data, variable, sensor)
    return {variable.upper() if one.name in INDICES else variable: one}


def pixel_name(data: xr.Dataset, at: tuple[int, int]) -> str:
    """A pixel's column and row, and where it lies."""
    x, y = float(data.x[at[0]]), float(data.y[at[1]])
    return f"pixel {at[0]},{at[1]} (x {x:.10g}, y {y:.10g}, {crs_name(data)})"


def draw_interval(
    axis: Any,
    time: NDArray[Any],
    ends: tuple[NDArray[Any], NDArray[Any]],
    colour: str,
    alpha: float,
    label: str = "",
) -> None:
    """Shade what lies between ``ends``, (time,) each; of one date draw a bar."""
    if len(time) == 1:  # between dates there would be nothing to fill
        axis.vlines(time, *ends, color=colour, alpha=alpha, linewidth=6, label=label or None)
    else:
        axis.fill_between(time, *ends, color=colour, alpha=alpha, linewidth=0, label=label or None)


def draw_masked(axis: Any, times: NDArray[Any]) -> None:
    """Mark acquisitions that are not clear: they have a date, and no value to be trusted."""
    axis.vlines(times, 0, 0.03, color=GREY, linewidth=0.8, transform=axis.get_xaxis_transform())


def masked_key() -> Line2D:
    """What stands for :func:`draw_masked` in a legend."""
    return Line2D([], [], color=GREY, marker="|", linestyle="none", markersize=6,
                  label="masked observation (cloud, shadow, no data)")  # fmt: skip


def plots(rows: int, columns: int, heading: str, height: float) -> tuple[Figure, Any]:
    """A figure of plots against time, ``height`` inches each."""
    width = 10.0 if columns < 3 else 11.5
    figure = Picture(figsize=(width, 0.6 + rows * height), dpi=150, layout="constrained")
    figure.suptitle(heading, x=0.012, ha="left", fontsize=10, fontweight="bold")
    axes = figure.subplots(rows, columns, sharex=True, squeeze=False)
    for axis in axes.flat:
        axis.tick_params(labelsize=7)
        axis.xaxis.set_major_locator(AutoDateLocator(minticks=2, maxticks=8 if columns < 3 else 4))
        axis.xaxis.set_major_formatter(DateFormatter("%Y-%m"))
        for side in ("top", "right"):
            axis.spines[side].set_visible(False)
    return figure, axes
