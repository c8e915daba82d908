"""Pictures of maps: classes in their colours beside their entropy, with a legend; or a number."""

from __future__ import annotations

import numpy as np
import xarray as xr
import zarr
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray

from terralatent.catalogs.errors import InputError
from terralatent.pipeline.overviews.opened import Budget
from terralatent.pipeline.pictures.heading import period_of, where_and_what
from terralatent.pipeline.pictures.mosaic import Strip, draw, panel_pixels
from terralatent.pipeline.probes.legend import Legend

__all__ = ["coloured", "draw_legend", "landcover_budget", "landcover_picture"]

MOST_PIXELS = 2048
"""Along a side of a picture; every so many pixels one is drawn where there are more."""

ACROSS, ROW = 4, 0.24
"""Columns of a legend, and inches of a row of it."""


def landcover_budget(root: zarr.Group, variable: str | None) -> Budget:
    """What :func:`landcover_picture` reads of each pixel. Reads none."""
    strips = 2 if "class" in root and variable is None else 1
    # Of a class and its entropy, or of one number.
    return Budget(3 if strips == 2 else 4, panel_pixels(strips, 1))


def landcover_picture(
    landcover: xr.Dataset,
    *,
    variable: str | None = None,
    truth: xr.DataArray | None = None,
) -> Figure:
    """Draw a map of classes and its entropy, or of a number. Computes: reads what is shown.

    Args:
        landcover: As :func:`terralatent.pipeline.open_landcover` gives it.
        variable: Of classes: ``entropy``, or the name of a class, whose probability is drawn; of a
            number ``mean`` or ``std``. Classes beside entropy, or the mean, by default.
        truth: What the classes should be, (y, x) of the same grid, with CF's attributes of a map
            that may have more classes; it is drawn between classes and entropy.

    Raises:
        InputError: If there is no such variable.
    """
    step = max(1, -(-max(landcover.sizes["y"], landcover.sizes["x"]) // MOST_PIXELS))
    thin = landcover.isel(y=slice(step // 2, None, step), x=slice(step // 2, None, step))
    title = str(landcover.attrs.get("title", ""))
    dates = np.array(landcover.attrs.get("latents_dates", ()), dtype="datetime64[us]")
    period = f"of latents {period_of(dates)}" if dates.size else ""
    drawn = f"one pixel of {step} drawn" if step > 1 else ""
    heading = where_and_what(thin, title, period, drawn)
    if "class" not in landcover:
        name = variable or "mean"
        _require(name, ["mean", "std"])
        return draw([_single(thin[name], title)], heading)[0]
    legend = Legend.from_attrs(landcover["class"].attrs)
    if variable is not None:
        _require(variable, ["entropy", *legend.names])
        if variable == "entropy":
            return draw([_single(thin["entropy"], "bit")], heading)[0]
        chosen = thin["probability"].sel(category=variable)
        strip = _single(chosen, "1", f"probability of {variable}", (0.0, 1.0))
        return draw([strip], heading)[0]
    values = thin["class"].values
    strips = [
        Strip(f"classes of {landcover.attrs.get('column', '')}", [coloured(values, legend)], [""])
    ]
    if truth is not None:
        legend = Legend.from_attrs(truth.attrs)
        wanted = truth.isel(y=slice(step // 2, None, step), x=slice(step // 2, None, step)).values
        strips.append(Strip("the truth", [coloured(wanted, legend)], [""]))
    strips.append(
        _single(thin["entropy"], "bit", limits=(0.0, max(1.0, float(np.log2(len(legend))))))
    )
    rows = -(-len(legend) // ACROSS)
    figure, foot = draw(strips, heading, below=0.1 + ROW * rows)
    draw_legend(foot, legend, values)
    return figure


def _single(
    array: xr.DataArray, units: str, title: str = "", limits: tuple[float, float] | None = None
) -> Strip:
    text = title or str(array.attrs.get("long_name", array.name))
    return Strip(text, [np.asarray(array.values, np.float32)], [""], units, "viridis", limits)


def coloured(values: NDArray[np.uint8], legend: Legend) -> NDArray[np.float32]:
    """Classes as red, green and blue; NaN where there is none."""
    table = np.full((256, 3), np.nan, np.float32)
    for value, colour in zip(legend.values, legend.colours, strict=True):
        table[value] = to_rgb(colour)
    return table[values]


def draw_legend(foot: Figure, legend: Legend, values: NDArray[np.uint8]) -> None:
    """Colours and names of the classes, each with its share of the map."""
    counts = np.bincount(values.ravel(), minlength=256)
    total = max(1, int(counts[list(legend.values)].sum()))
    patches = [
        Patch(color=colour, label=f"{name}  {counts[value] / total:.1%}")
        for name, value, colour in zip(legend.names, legend.values, legend.colours, strict=True)
    ]
    foot.legend(handles=patches, loc="center", ncols=ACROSS, frameon=False, fontsize=8)


def _require(variable: str, known: list[str]) -> None:
    if variable not in known:
        raise InputError(f"There is no {variable!r} here; there are {', '.join(known)}.")
