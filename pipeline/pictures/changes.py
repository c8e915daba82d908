"""Pictures of changes: what moved beyond chance, what did not and what is not known, and by how
much."""

from __future__ import annotations

import numpy as np
import xarray as xr
import zarr
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray

from terralatent.catalogs.errors import InputError
from terralatent.pipeline.changes.arrays import CHANGED, EXPECTED, NOT_KNOWN, OUTSIDE, UNCHANGED
from terralatent.pipeline.overviews.opened import Budget
from terralatent.pipeline.pictures.cube import nearest_date
from terralatent.pipeline.pictures.heading import where_and_what
from terralatent.pipeline.pictures.mosaic import Strip, draw, panel_pixels, spread

__all__ = ["changes_budget", "changes_picture"]

DATES_SHOWN = 6

WORDS = {
    UNCHANGED: ("no change found", "#d9d9d9"),
    CHANGED: ("changed beyond chance", "#c2185b"),
    NOT_KNOWN: ("not enough known", "#8fb3cf"),
}
"""What stands for each value in the legend, and its colour."""

OUT = "#ffffff"
"""Of pixels outside every scene."""

FOOT = 0.34
"""Inches of the legend."""

PLAIN = ("distance", "minus_log10_p", "degrees", EXPECTED, "difference", "difference_std")


def changes_budget(root: zarr.Group, variable: str | None, date: str | None) -> Budget:
    """What :func:`changes_picture` reads of each pixel. Reads none."""
    panels = 1 if date is not None else min(root["time"].shape[0], DATES_SHOWN)
    strips = 2 if variable is None else 1
    return Budget(5 * panels if variable is None else 4 * panels, panel_pixels(strips, panels))


def changes_picture(
    changes: xr.Dataset, *, variable: str | None = None, date: str | None = None
) -> Figure:
    """Draw what changed, and beside it the distance, or the difference of an index. Computes.

    Args:
        changes: As :func:`terralatent.pipeline.open_changes` gives it.
        variable: An array, or the number of a latent, drawn by itself.
        date: ISO date; only the stored date nearest to it.

    Raises:
        InputError: If there is no such variable, or ``date`` is no date.
    """
    times = changes.time.values
    places = spread(len(times), DATES_SHOWN) if date is None else [nearest_date(times, date)]
    chosen = changes.isel(time=places)
    single = len(times) == 1
    captions = [""] if single else [str(time)[:10] for time in chosen.time.values]
    shown = "" if single else f"{len(places)} of {len(times)} dates shown"
    rate = changes.attrs.get("false_discovery_rate")
    known = "" if rate is None else f"false discovery rate {rate:g}"
    heading = where_and_what(changes, str(changes.attrs.get("title", "")), known, shown)
    if variable not in (None, "changed"):
        return draw([_strip(chosen, str(variable), captions)], heading)[0]
    values = list(chosen["changed"].values)
    strips = [Strip("what changed", [coloured(own) for own in values], captions)]
    if variable is None:
        name = "difference" if "difference" in changes else "distance"
        strips.append(_strip(chosen, name, captions))
    figure, foot = draw(strips, heading, below=FOOT)
    counts = sum((np.bincount(own.ravel(), minlength=256) for own in values), np.zeros(256, int))
    total = max(1, int(counts[list(WORDS)].sum()))
    patches = [
        Patch(color=colour, label=f"{words}  {counts[value] / total:.1%}")
        for value, (words, colour) in WORDS.items()
    ]
    if counts[OUTSIDE]:
        patches.append(Patch(facecolor=OUT, edgecolor="#bbbbbb", label="outside every scene"))
    foot.legend(handles=patches, loc="center", ncols=len(patches), frameon=False, fontsize=8)
    return figure


def coloured(values: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Flags as red, green and blue."""
    table = np.tile(np.array(to_rgb(OUT), np.float32), (256, 1))
    for value, (_, colour) in WORDS.items():
        table[value] = to_rgb(colour)
    return table[values]


def _strip(chosen: xr.Dataset, variable: str, captions: list[str]) -> Strip:
    """The panels of one array, or of what one latent moved by."""
    if "standardised" in chosen and variable.isdecimal():
        if int(variable) >= chosen.sizes["latent"]:
            raise _unknown(chosen, variable)
        images = list(chosen["standardised"].isel(latent=int(variable)).values)
        title = f"what latent {variable} moved by, in standard deviations of that"
        return Strip(title, images, captions, "", "RdBu_r", _symmetric(images))
    if variable not in PLAIN or variable not in chosen:
        raise _unknown(chosen, variable)
    array = chosen[variable]
    images = [np.where(np.isfinite(own), own, np.nan).astype(np.float32) for own in array.values]
    title = str(array.attrs.get("long_name", variable))
    if variable == "difference":
        return Strip(title, images, captions, "", "BrBG", _symmetric(images))
    return Strip(title, images, captions, "", "magma" if variable != "degrees" else "viridis")


def _symmetric(images: list[NDArray[np.float32]]) -> tuple[float, float]:
    """Limits as far below 0 as above it, by the 98th percentile of what is farther."""
    values = np.abs(np.concatenate([own[np.isfinite(own)] for own in images]))
    end = float(np.percentile(values, 98.0)) if values.size else 1.0
    return -max(end, 1e-6), max(end, 1e-6)


def _unknown(chosen: xr.Dataset, variable: str) -> InputError:
    known = ["changed", *(name for name in PLAIN if name in chosen)]
    latents = ""
    if "standardised" in chosen:
        latents = f" and latents 0 to {chosen.sizes['latent'] - 1}"
    return InputError(f"There is no {variable!r} here; there are {', '.join(known)}{latents}.")
