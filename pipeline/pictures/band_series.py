"""Pictures of one pixel's decoded bands through time, beside what was observed of it."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.figure import Figure
from numpy.typing import NDArray

from terralatent.pipeline.indices import INDICES, index_of, index_std
from terralatent.pipeline.pictures.composites import units_of
from terralatent.pipeline.pictures.picture import BLACK, BLUE, GREY, SKY
from terralatent.pipeline.pictures.series import (
    draw_interval,
    draw_masked,
    lines_of,
    masked_key,
    pixel_name,
    plots,
)

__all__ = ["NINETY", "band_series"]

NINETY = 1.645
"""Standard deviations on both sides of a mean that hold 90 % of a Gaussian."""

GAP_DAYS = 30
"""Without a clear observation, from which the background is grey."""

ASSUMED = "intervals of the index to first order, errors of its bands taken as independent"


@dataclass(frozen=True)
class Decoded:
    """One band or index of a pixel, (time,) each."""

    mean: NDArray[Any]
    surface: tuple[NDArray[Any], NDArray[Any]]
    """Ends of the 90 % credible interval."""

    new: tuple[NDArray[Any], NDArray[Any]]
    """Ends of the 90 % predictive interval of a new observation."""


@dataclass(frozen=True)
class Observed:
    """What the sensor saw of the pixel."""

    times: NDArray[Any]
    clear: NDArray[np.bool_]
    values: dict[str, NDArray[Any]]
    """By band or index."""


def band_series(
    bands: xr.Dataset, at: tuple[int, int], variable: str | None, cube: xr.DataTree | None
) -> Figure:
    """Draw decoded bands of the pixel ``at``: mean, credible and predictive intervals of 90 %, and
    the observations of the sensor, those that are masked as ticks below.

    Computes: reads one pixel of every date, of ``bands`` and of ``cube``.

    Args:
        bands: As :func:`terralatent.pipeline.mapping.opened.open_bands` gives it.
        at: Column and row.
        variable: A band, or an index of bands, whose intervals are those of
            :func:`terralatent.pipeline.indices.index_std`; bands that stand for the sensor by
            default.
        cube: That they were made from, opened with ``clear=False``; None where it is not to be
            found, which the picture says.

    Raises:
        InputError: If there is no such band.
    """
    sensor = str(bands.attrs.get("sensor", ""))
    group = bands.isel(x=at[0], y=at[1]).compute()
    lines = lines_of(group["mean"], variable, sensor)
    observed = None
    if cube is not None and sensor in cube.children:
        observed = _observed(cube[sensor].ds.isel(x=at[0], y=at[1]), variable, sensor)
    heading = f"{sensor or 'decoded'}, {pixel_name(bands, at)}"
    # One below the other: a gap is then seen in all of them, and dates are far enough apart.
    figure, axes = plots(len(lines), 1, heading, 2.3 if len(lines) == 1 else 1.75)
    for axis, (name, line) in zip(axes.flat, lines.items(), strict=True):
        _draw(axis, group.time.values, _decoded(group, name, sensor), name, observed)
        axis.set_ylabel(name if line.name in INDICES else f"{name}, {units_of(line)}", fontsize=8)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    if observed is not None and not observed.clear.all():
        handles, labels = [*handles, masked_key()], [*labels, masked_key().get_label()]
    figure.legend(handles, labels, loc="outside lower left", fontsize=7.5, frameon=False, ncols=3)
    notes = [] if variable is None or variable in group.band.values else [ASSUMED]
    if observed is None:
        notes.append("without observations: the cube that these bands were made from is not found")
    if notes:
        axes[-1, 0].set_xlabel("; ".join(notes), fontsize=7, loc="left")
    return figure


def _decoded(group: xr.Dataset, name: str, sensor: str) -> Decoded:
    if name in group.band.values:
        own = group.sel(band=name)
        mean, half = own["mean"].values, NINETY * own["std_signal"].values
        return Decoded(mean, (mean - half, mean + half), (own["q05"].values, own["q95"].values))
    mean = index_of(group["mean"], name, sensor).values
    half, wide = (
        NINETY * index_std(group["mean"], group[std], name, sensor).values
        for std in ("std_signal", "std")
    )
    return Decoded(mean, (mean - half, mean + half), (mean - wide, mean + wide))


def _observed(group: xr.Dataset, variable: str | None, sensor: str) -> Observed:
    clear = group["clear"].values.astype(bool)
    lines = lines_of(group["data"], variable, sensor, most=group.sizes["band"])
    return Observed(group.time.values, clear, {name: own.values for name, own in lines.items()})


def _draw(
    axis: Any, time: NDArray[Any], decoded: Decoded, name: str, observed: Observed | None
) -> None:
    if observed is not None:
        _draw_gaps(axis, observed)
    draw_interval(axis, time, decoded.new, SKY, 0.35, "new observation, 90 % predictive interval")
    draw_interval(axis, time, decoded.surface, BLUE, 0.45, "surface, 90 % credible interval")
    marks = {"marker": "o", "markersize": 4} if len(time) == 1 else {}
    axis.plot(time, decoded.mean, color=BLUE, linewidth=1.5, label="surface, mean", **marks)
    shown = [*decoded.new, *decoded.surface]
    if observed is not None and name in observed.values:
        values = observed.values[name]
        there = observed.clear & np.isfinite(values)
        axis.plot(observed.times[there], values[there], "o", color=BLACK, markersize=3,
                  label="clear observation")  # fmt: skip
        draw_masked(axis, observed.times[~observed.clear])
        shown.append(values[there])
    finite = np.concatenate([np.ravel(part) for part in shown])
    finite = finite[np.isfinite(finite)]
    if finite.size:
        room = 0.06 * max(float(np.ptp(finite)), 1e-3)
        axis.set_ylim(finite.min() - 1.5 * room, finite.max() + room)
    axis.margins(x=0.01)


def _draw_gaps(axis: Any, observed: Observed) -> None:
    clear = observed.times[observed.clear]
    label: str | None = f"{GAP_DAYS} days or more without a clear observation"
    for before, after in pairwise(clear):
        if after - before >= np.timedelta64(GAP_DAYS, "D"):
            axis.axvspan(before, after, color=GREY, alpha=0.18, lw=0, zorder=0, label=label)
            label = None
