"""Pictures of decoded bands: the predicted surface at a date, and its standard deviation."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
import zarr
from matplotlib.figure import Figure

from terralatent.catalogs.errors import InputError
from terralatent.pipeline.overviews.opened import Budget
from terralatent.pipeline.pictures.composites import composite_of, units_of
from terralatent.pipeline.pictures.cube import nearest_date
from terralatent.pipeline.pictures.mosaic import (
    Strip,
    draw,
    panel_pixels,
    spread,
    stretch,
    where_and_what,
)

__all__ = ["bands_budget", "bands_picture"]

DATES_SHOWN = 12


def bands_budget(root: zarr.Group, variable: str | None, date: str | None) -> Budget:
    """What :func:`bands_picture` reads of each pixel. Reads none."""
    mean: Any = root["mean"]
    panels = 1 if date is not None else min(mean.shape[0], DATES_SHOWN)
    bands = 1 if variable is not None else 3
    return Budget(2 * bands * panels * mean.dtype.itemsize, panel_pixels(2, panels))


def bands_picture(
    bands: xr.Dataset, *, variable: str | None = None, date: str | None = None
) -> Figure:
    """Draw the predicted surface and its standard deviation at up to 12 dates, evenly spread.

    Computes: reads the dates shown.

    Args:
        bands: As :func:`terralatent.pipeline.mapping.opened.open_bands` gives it.
        variable: A band, drawn in its units; a colour composite by default.
        date: ISO date; only the stored date nearest to it.

    Raises:
        InputError: If there is no such band, or ``date`` is no date.
    """
    count = bands.sizes["time"]
    places = spread(count, DATES_SHOWN) if date is None else [nearest_date(bands.time.values, date)]
    chosen = bands.isel(time=places)
    captions = [str(day)[:10] for day in chosen.time.values]
    units = units_of(bands["mean"])
    names: tuple[str, ...]
    if variable is None:
        composite = composite_of(bands["mean"])
        images = stretch(composite.images(chosen["mean"]))
        mean = Strip(f"surface: {composite.title}", images, captions)
        names = composite.bands
    else:
        known = [str(band) for band in bands.band.values]
        if variable not in known:
            raise InputError(f"There is no band {variable!r} here; there are {', '.join(known)}.")
        images = list(chosen["mean"].sel(band=variable).values)
        mean = Strip(f"surface: {variable}", images, captions, units, "cividis")
        names = (variable,)
    spreads = np.sqrt((chosen["std_signal"].sel(band=list(names)) ** 2).mean("band").values)
    over = ", root mean square over" if len(names) > 1 else ":"
    title = f"standard deviation of the surface{over} {', '.join(names)}"
    std = Strip(title, list(spreads), captions, units, "magma")
    sensor = str(bands.attrs.get("sensor", ""))
    return draw([mean, std], where_and_what(bands, sensor, f"decoded at {count} dates"))[0]
