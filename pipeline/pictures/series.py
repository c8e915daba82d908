"""Pictures of one pixel through time: its observations, its decoded bands and its latents."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.dates import AutoDateLocator, DateFormatter
from matplotlib.figure import Figure

from terralatent.catalogs.errors import InputError
from terralatent.pipeline.pictures.composites import plotted_bands, units_of
from terralatent.pipeline.pictures.mosaic import crs_name
from terralatent.pipeline.pictures.picture import Picture

__all__ = ["band_series", "find_pixel", "latent_series", "observed_series"]

BLUE, GREY = "#3b75af", "#9a9a9a"

NINETY = 1.645
"""Standard deviations on both sides of a mean that hold 90 % of a Gaussian."""


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

    ``cube`` is opened with ``clear=False``. Computes: reads one pixel of every date.
    """
    picked = {name: cube[name].ds.isel(x=at[0], y=at[1]) for name in sensors}
    shown = {name: _bands_of(group, variable) for name, group in picked.items()}
    rows = [(name, bands) for name, bands in shown.items() if bands]
    if not rows:
        known = "; ".join(
            f"{name} has {', '.join(str(band) for band in group.band.values)}"
            for name, group in picked.items()
        )
        raise InputError(f"No sensor here has a band {variable!r}: {known}.")
    figure, axes = _axes(len(rows), 1, f"observations of {_place(cube[sensors[0]].ds, at)}", 2.2)
    for axis, (name, bands) in zip(axes.flat, rows, strict=True):
        group = picked[name].compute()
        clear = group["clear"].values.astype(bool)
        for n, band in enumerate(bands):
            values = group["data"].sel(band=band).values
            there = clear & np.isfinite(values)
            times = group.time.values[there]
            axis.plot(times, values[there], "-", color=f"C{n}", linewidth=0.6, alpha=0.5)
            axis.plot(times, values[there], "o", color=f"C{n}", markersize=2.8, label=band)
        hidden = group.time.values[~clear]
        axis.vlines(
            hidden, 0, 0.03, color=GREY, linewidth=0.8, transform=axis.get_xaxis_transform()
        )
        axis.set_title(
            f"{name}: {clear.sum()} of {len(clear)} observations clear", fontsize=9, loc="left"
        )
        axis.set_ylabel(units_of(group["data"]), fontsize=8)
        axis.legend(fontsize=7, ncols=4, frameon=False, loc="lower right", bbox_to_anchor=(1, 0.97))
    return figure


def band_series(bands: xr.Dataset, at: tuple[int, int], variable: str | None) -> Figure:
    """Draw the decoded bands of the pixel ``at``: mean, credible and predictive intervals of 90 %.

    Computes: reads one pixel of every date.
    """
    group = bands.isel(x=at[0], y=at[1]).compute()
    names = _bands_of(group, variable, most=6)
    if not names:
        known = ", ".join(str(band) for band in group.band.values)
        raise InputError(f"There is no band {variable!r} here; there are {known}.")
    heading = f"{bands.attrs.get('sensor', 'decoded')}, {_place(bands, at)}"
    figure, axes = _axes(math.ceil(len(names) / 2), min(2, len(names)), heading, 2.0)
    for axis, band in zip(axes.flat, names, strict=False):
        decoded = group.sel(band=band)
        time, mean = decoded.time.values, decoded["mean"].values
        half = NINETY * decoded["std_signal"].values
        marks: dict[str, Any] = {"color": BLUE, "linewidth": 1.2}
        if len(time) <= 60:
            marks |= {"marker": "o", "markersize": 3}
        axis.fill_between(time, decoded["q05"], decoded["q95"], color=BLUE, alpha=0.16, linewidth=0,
                          label="90 % predictive interval of a new observation")  # fmt: skip
        axis.fill_between(time, mean - half, mean + half, color=BLUE, alpha=0.35, linewidth=0,
                          label="90 % credible interval of the surface")  # fmt: skip
        axis.plot(time, mean, label="surface", **marks)
        axis.set_title(str(band), fontsize=9, loc="left")
        axis.set_ylabel(units_of(group["mean"]), fontsize=8)
    key = axes[0, 0].get_legend_handles_labels()
    figure.legend(*key, loc="outside lower left", fontsize=7, frameon=False, ncols=3)
    return figure


def latent_series(latents: xr.Dataset, at: tuple[int, int]) -> Figure:
    """Draw the latents of the pixel ``at`` ± 2 std. Computes: reads one pixel of every date."""
    group = latents.isel(x=at[0], y=at[1]).compute()
    names = [str(name) for name in group.latent.values]
    across = min(4, len(names))
    figure, axes = _axes(
        math.ceil(len(names) / across), across, f"latents of {_place(latents, at)}", 1.35
    )
    for n, (axis, name) in enumerate(zip(axes.flat, names, strict=False)):
        latent = group.isel(latent=n)
        time, mean, half = latent.time.values, latent["mean"].values, 2 * latent["std"].values
        axis.axhline(0.0, color=GREY, linewidth=0.6)
        axis.fill_between(time, mean - half, mean + half, color=BLUE, alpha=0.25, linewidth=0)
        axis.plot(time, mean, color=BLUE, linewidth=1.2, marker="o", markersize=2)
        axis.set_title(f"latent {name}", fontsize=8, loc="left", pad=2)
    counts = ", ".join(
        f"{name} {int(count)}"
        for name, count in zip(group.sensor.values, group["observations"].values, strict=True)
    )
    figure.supxlabel(f"mean ± 2 std; clear observations: {counts}", fontsize=8)
    return figure


def _bands_of(group: xr.Dataset, variable: str | None, most: int = 4) -> list[str]:
    names = [str(band) for band in group.band.values]
    if variable is None:
        return plotted_bands(names, most)
    return [variable] if variable in names else []


def _place(data: xr.Dataset, at: tuple[int, int]) -> str:
    x, y = float(data.x[at[0]]), float(data.y[at[1]])
    return f"pixel {at[0]},{at[1]} (x {x:.10g}, y {y:.10g}, {crs_name(data)})"


def _axes(rows: int, columns: int, heading: str, height: float) -> tuple[Figure, Any]:
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
