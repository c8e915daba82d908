"""Colours of what was opened in a notebook, date by date, by hvplot where it is installed."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import xarray as xr

from terralatent.catalogs.errors import InputError
from terralatent.pipeline.accessor.colours import DIMS, Limits, rgb
from terralatent.pipeline.accessor.measures import std_map
from terralatent.pipeline.accessor.series import series
from terralatent.pipeline.kinds import require
from terralatent.pipeline.pictures.composites import plotted_bands

__all__ = ["explore"]

SERIES = {"sensor": "data", "bands": "surface", "latents": "mean"}
"""What is drawn of a pixel that is tapped."""


def explore(
    data: xr.Dataset, percent: float = 2.0, *, limits: Limits | None = None, **options: Any
) -> Any:
    """See :meth:`terralatent.pipeline.accessor.opened.Opened.explore`."""
    try:
        import_module("hvplot.xarray")  # gives .hvplot
    except ImportError as error:
        raise InputError(
            f"explore draws with hvplot, which is not installed ({error}); run `pip install hvplot`"
            " and start the notebook's kernel again, or use rgb().plot.imshow()."
        ) from error
    kind = require(data, "explore", *DIMS, "classes", "numbers")
    whole = {"aspect": "equal", **options}
    if kind in ("classes", "numbers"):
        shown = data["class" if kind == "classes" else "mean"]
        return shown.hvplot.image(x="x", y="y", title=shown.attrs["long_name"], **whole)
    image = rgb(data, percent, limits=limits).reset_coords(drop=True)
    dates = {"groupby": "time"} if "time" in image.dims else {}
    colours = image.hvplot.rgb(
        x="x", y="y", bands="rgb", title=str(image.attrs["long_name"]), **dates, **whole
    )
    panels = colours
    if kind != "sensor":
        unsure = std_map(data).reset_coords(drop=True)
        panels += unsure.hvplot.image(
            x="x", y="y", title=str(unsure.attrs["long_name"]), cmap="magma", **dates, **whole
        )
    if kind in SERIES and dates:
        panels += _tapped(data, SERIES[kind], colours)
    return panels.cols(1 if kind == "sensor" else 2) if hasattr(panels, "cols") else panels


def _tapped(data: xr.Dataset, variable: str, colours: Any) -> Any:
    """The series of the pixel that is tapped in ``colours``; of the middle one at first."""
    holoviews = import_module("holoviews")
    middle = {name: float(data[name][data.sizes[name] // 2]) for name in ("x", "y")}
    tap = holoviews.streams.Tap(source=colours, **middle)
    return holoviews.DynamicMap(lambda x, y: _curves(data, variable, x, y), streams=[tap])


def _curves(data: xr.Dataset, variable: str, x: float, y: float) -> Any:
    """Lines of the latents or of four bands, and what was seen where that is known."""
    pixel = series(data, x, y)
    by = "latent" if variable == "mean" else "band"
    pixel = pixel if by in pixel.dims else pixel.expand_dims(by)
    if by == "band":
        pixel = pixel.sel(band=plotted_bands([str(name) for name in pixel["band"].values]))
    style = {"x": "time", "by": by, "title": f"x {x:.0f}, y {y:.0f}"}
    if variable == "data":
        return _values(pixel["data"].where(pixel["clear"])).hvplot.scatter(**style)
    lines = _values(pixel[variable]).hvplot.line(**style)
    if "observed" not in pixel:
        return lines
    seen = pixel["observed"].where(pixel["clear"]).rename(acquisition="time")
    return lines * _values(seen).hvplot.scatter(size=8, **style)


def _values(array: xr.DataArray) -> xr.DataArray:
    return array.reset_coords(drop=True).rename("value")
