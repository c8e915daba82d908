"""Pictures of annual vectors: three components as colours, window by window, and how unsure."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
import zarr
from matplotlib.figure import Figure

from terralatent.catalogs.errors import InputError
from terralatent.pipeline.overviews.opened import Budget
from terralatent.pipeline.pictures.cube import nearest_date
from terralatent.pipeline.pictures.heading import period_of, where_and_what
from terralatent.pipeline.pictures.mosaic import (
    Strip,
    colour_ends,
    draw,
    panel_pixels,
    spread,
    stretch,
)

__all__ = ["annual_budget", "annual_picture"]

WINDOWS_SHOWN = 12
COLOURS = ("red", "green", "blue")


def annual_budget(root: zarr.Group, variable: str | None, date: str | None) -> Budget:
    """What :func:`annual_picture` reads of each pixel. Reads none."""
    mean: Any = root["mean"]
    panels = 1 if date is not None else min(mean.shape[0], WINDOWS_SHOWN)
    components = 1 if variable is not None else 3
    return Budget(2 * components * panels * mean.dtype.itemsize, panel_pixels(2, panels))


def annual_picture(
    vectors: xr.Dataset, *, variable: str | None = None, date: str | None = None
) -> Figure:
    """Draw the annual vectors of at most 12 windows, evenly spread, or of one.

    Computes: reads the components that are drawn.

    Args:
        vectors: As :func:`terralatent.pipeline.open_annual` gives it.
        variable: A component, by number, drawn by itself; ``observations``; the first three, which
            explain most, as red, green and blue by default.
        date: ISO date; only the window whose first day is nearest to it.

    Raises:
        InputError: If there is no such component, or ``date`` is no date.
    """
    times = vectors.time.values
    places = spread(len(times), WINDOWS_SHOWN) if date is None else [nearest_date(times, date)]
    chosen = vectors.isel(time=places)
    captions = [
        f"{str(first)[:10]} to {str(end - np.timedelta64(1, 'D'))[:10]}"
        for first, end in zip(chosen.time.values, chosen.window_end.values, strict=True)
    ]
    count = vectors.sizes["component"]
    windows = f"{len(places)} of {len(times)} windows shown"
    ends = np.array([times[0], vectors.window_end.values[-1] - np.timedelta64(1, "D")])
    words = f"annual vectors of {count} components", windows, period_of(ends)
    heading = where_and_what(vectors, *words)
    if variable == "observations":
        counts = chosen["observations"].sum("sensor").astype(np.float32)
        strip = Strip(
            "clear observations, all sensors", list(counts.values), captions, "observations"
        )
        return draw([strip], heading)[0]
    shown = list(range(min(3, count))) if variable is None else [_component(variable, count)]
    means = chosen["mean"].isel(component=shown).transpose("time", "y", "x", "component").values
    variance = (chosen["std"].isel(component=shown) ** 2).mean("component")
    if len(shown) == 3:
        colours = colour_ends(images := list(means))
        key = ", ".join(
            f"{colour} {n} ({low:.1f} to {high:.1f})".replace("-", "−")
            for colour, n, low, high in zip(COLOURS, shown, *colours, strict=True)
        )
        mean = Strip(f"posterior mean of components: {key}", stretch(images, colours), captions)
        what = "posterior standard deviation, root mean square of the three"
    else:
        name = ", ".join(map(str, shown))
        mean = Strip(f"component {name}: posterior mean", list(means[..., 0]), captions, "mean")
        what = f"component {name}: posterior standard deviation"
    stds = list(np.sqrt(variance.values))
    return draw(
        [mean, Strip(what, stds, captions, "std (spread of all places: 1)", "magma")], heading
    )[0]


def _component(wanted: str, count: int) -> int:
    if wanted.isdecimal() and int(wanted) < count:
        return int(wanted)
    raise InputError(
        f"There is no component {wanted!r} here; there are 0 to {count - 1}, and `observations`."
    )
