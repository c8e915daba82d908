"""Colours of what was opened in a notebook, date by date, by hvplot where it is installed."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import xarray as xr

from terralatent.catalogs.errors import InputError
from terralatent.pipeline.accessor.colours import DIMS, Limits, rgb
from terralatent.pipeline.accessor.kinds import require
from terralatent.pipeline.accessor.measures import std_map

__all__ = ["explore"]


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
    if kind == "sensor":
        return colours
    unsure = std_map(data).reset_coords(drop=True)
    beside = unsure.hvplot.image(
        x="x", y="y", title=str(unsure.attrs["long_name"]), cmap="magma", **dates, **whole
    )
    return colours + beside
