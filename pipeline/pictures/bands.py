"""Pictures of decoded bands: the predicted surface at a date, and its standard deviation."""

from __future__ import annotations

from typing import Any

import xarray as xr
import zarr
from matplotlib.figure import Figure

from terralatent.pipeline.indices import INDICES, bands_of, index_std
from terralatent.pipeline.overviews.opened import Budget
from terralatent.pipeline.pictures.composites import band_or_index, composite_of, units_of
from terralatent.pipeline.pictures.cube import nearest_date
from terralatent.pipeline.pictures.heading import period_of, where_and_what
from terralatent.pipeline.pictures.mosaic import Strip, draw, panel_pixels, spread
from terralatent.pipeline.pictures.observed import captions_of, passes_of, unobserved_note
from terralatent.pipeline.pictures.season import Season

__all__ = ["bands_budget", "bands_picture", "bands_season"]

DATES_SHOWN = 12


def bands_budget(
    root: zarr.Group, variable: str | None, date: str | None, *, moving: bool = False
) -> Budget:
    """What :func:`bands_picture` reads of each pixel, or :func:`bands_season`. Reads none."""
    mean: Any = root["mean"]
    bands = 1
    if variable is None:
        bands = 3
    elif variable.lower() in INDICES:
        bands = len(INDICES[variable.lower()].colours)
    if moving:
        return Budget(bands * mean.shape[0] * mean.dtype.itemsize, panel_pixels(1, 1))
    panels = 1 if date is not None else min(mean.shape[0], DATES_SHOWN)
    return Budget(2 * bands * panels * mean.dtype.itemsize, panel_pixels(2, panels))


def bands_picture(
    bands: xr.Dataset,
    *,
    variable: str | None = None,
    date: str | None = None,
    cube: xr.DataTree | None = None,
) -> Figure:
    """Draw the predicted surface and its standard deviation at up to 12 dates, evenly spread.

    Computes: reads the dates shown.

    Args:
        bands: As :func:`terralatent.pipeline.mapping.opened.open_bands` gives it.
        variable: A band, drawn in its units, or an index of bands (its standard deviation is that
            of :func:`terralatent.pipeline.indices.index_std`); a colour composite by default.
        date: ISO date; only the stored date nearest to it.
        cube: That they were made from, where it is known: dates far from every acquisition are
            marked.

    Raises:
        InputError: If there is no such band, or ``date`` is no date.
    """
    times = bands.time.values
    places = spread(len(times), DATES_SHOWN) if date is None else [nearest_date(times, date)]
    chosen = bands.isel(time=places)
    captions = captions_of(chosen.time.values, cube)
    strips = [_surface(chosen, variable, captions), _std(chosen, variable, captions)]
    count = f"{len(places)} of {len(times)} decoded dates shown"
    period = period_of(times if date is None else chosen.time.values)
    return draw(strips, where_and_what(bands, _sensor(bands), count, period))[0]


def bands_season(
    bands: xr.Dataset, *, variable: str | None = None, cube: xr.DataTree | None = None
) -> Season:
    """The surface at all dates, one after the other. Computes: reads them. Arguments and errors are
    those of :func:`bands_picture`."""
    times = bands.time.values
    strip = _surface(bands, variable, captions_of(times, cube))
    words = _sensor(bands), f"decoded at {len(times)} dates", period_of(times)
    return Season(strip, times, where_and_what(bands, *words), passes_of(cube))


def _surface(chosen: xr.Dataset, variable: str | None, captions: list[str]) -> Strip:
    mean, note = chosen["mean"], unobserved_note(captions)
    if variable is None:
        composite = composite_of(mean)
        images, legend = composite.drawn(composite.images(mean), units_of(mean))
        return Strip(f"surface, {legend}{note}", images, captions)
    one = band_or_index(mean, variable, _sensor(chosen))
    images = list(one.transpose("time", "y", "x").values)
    return Strip(f"surface: {_title(one, variable)}{note}", images, captions, units_of(one),
                 "cividis")  # fmt: skip


def _std(chosen: xr.Dataset, variable: str | None, captions: list[str]) -> Strip:
    std, units = chosen["std_signal"], units_of(chosen["mean"])
    if variable is None:
        names = composite_of(std).bands
        spreads = (std.sel(band=list(names)) ** 2).mean("band") ** 0.5
        title = f"root mean square over {', '.join(names)}"
    elif variable in std.band.values:
        spreads, title = std.sel(band=variable), variable
    else:
        spreads = index_std(chosen["mean"], std, variable, _sensor(chosen))
        own = ", ".join(bands_of(std, variable, _sensor(chosen)).values())
        title = f"{variable.upper()}, to first order, errors of {own} independent"
        units = variable.upper()
    images = list(spreads.transpose("time", "y", "x").values)
    return Strip(f"how unsure: standard deviation of the surface, {title}", images, captions,
                 units, "magma")  # fmt: skip


def _title(one: xr.DataArray, variable: str) -> str:
    return str(one.attrs["long_name"]) if one.name in INDICES else variable


def _sensor(bands: xr.Dataset) -> str:
    return str(bands.attrs.get("sensor", ""))
