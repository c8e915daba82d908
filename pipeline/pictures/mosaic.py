"""Maps side by side: strips of panels that share their colours, laid out to the inch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from terralatent.pipeline.pictures.picture import Picture

__all__ = ["Strip", "crs_name", "draw", "panel_pixels", "spread", "stretch", "where_and_what"]

Image = NDArray[np.float32]

LARGEST, SMALLEST, WIDTH = 4.6, 2.0, 12.0
"""Width of a panel alone, of a panel among many, and of all of a row."""

DPI = 150
"""Pixels an inch of a picture."""

ACROSS = 6
"""Panels side by side, at most."""

MARGIN, GAP, HEADING, TITLE, CAPTION, BAR = 0.15, 0.08, 0.34, 0.32, 0.21, 0.95
"""Around the picture, between panels, and what each kind of text or colour bar takes. Inches."""

NOTHING = "#e4e4e4"
"""Colour of pixels without a value."""


@dataclass(frozen=True)
class Strip:
    """Panels of one meaning. Red-green-blue images need no colour bar, single bands get one."""

    title: str
    images: Sequence[Image]
    """Each (y, x), any units, or (y, x, 3) between 0 and 1. NaN where there is nothing."""

    captions: Sequence[str]
    """One above each image."""

    units: str = ""
    """Words beside the colour bar."""

    colours: str = "viridis"
    limits: tuple[float, float] | None = None
    """Ends of the colour bar; the 2nd and 98th percentile of all images by default."""

    @property
    def barred(self) -> bool:
        """Whether a colour bar stands beside it."""
        return self.images[0].ndim == 2


def draw(
    strips: Sequence[Strip], heading: str, *, most_across: int = ACROSS, below: float = 0.0
) -> tuple[Figure, Any]:
    """Lay ``strips`` out under ``heading``, one under the other, single panels side by side.

    Returns:
        The figure, and an empty sub-figure ``below`` inches high at its foot (None for 0).
    """
    beside, across, panel = _arrange(
        len(strips), max(len(strip.images) for strip in strips), most_across
    )
    ny, nx = strips[0].images[0].shape[:2]
    tall = panel * float(np.clip(ny / nx, 0.35, 2.5))
    bar = BAR if any(strip.barred for strip in strips) else 0.0
    column = across * (panel + GAP) - GAP + bar
    rows = [math.ceil(len(strip.images) / across) for strip in strips]
    heights = [TITLE + n * (CAPTION + tall + GAP) for n in rows]
    width = 2 * MARGIN + beside * column + (beside - 1) * GAP
    height = HEADING + (max(heights) if beside > 1 else sum(heights)) + below + MARGIN
    figure = Picture(figsize=(max(width, 7.0), height), dpi=DPI)
    _Page(figure).text(MARGIN, 0.17, heading, fontsize=10, fontweight="bold")
    left, top = MARGIN, HEADING
    for strip, strip_height in zip(strips, heights, strict=True):
        _draw_strip(_Page(figure), strip, (left, top), (panel, tall), across)
        left, top = (left + column + GAP, top) if beside > 1 else (left, top + strip_height)
    return figure, _foot(figure, below) if below else None


def panel_pixels(strips: int, panels: int) -> int:
    """Pixels along the width of a panel of a picture of ``strips`` with so many ``panels``."""
    return round(DPI * _arrange(strips, panels, ACROSS)[2])


def _arrange(strips: int, panels: int, most_across: int) -> tuple[int, int, float]:
    """How many strips stand side by side, and panels of each; and how wide a panel is, inches."""
    beside = strips if panels == 1 else 1
    across = 1 if beside > 1 else min(most_across, panels)
    return beside, across, min(LARGEST, max(SMALLEST, WIDTH / (across * beside)))


def stretch(
    images: Sequence[Image], clear: Sequence[NDArray[np.bool_]] | None = None
) -> list[Image]:
    """Bring red, green and blue of ``images``, each (y, x, 3), to 0..1 by percentiles of them all.

    The same units stand behind a colour in every panel. NaN stays NaN.

    Args:
        images: The panels.
        clear: Pixels of each panel, (y, x), that set the ends: clouds would leave the land black.
            All by default, and where there is none.
    """
    if clear is None or not any(mask.any() for mask in clear):
        clear = [np.ones(image.shape[:2], bool) for image in images]
    colours = np.concatenate([image[mask] for image, mask in zip(images, clear, strict=True)])
    colours = colours[np.isfinite(colours).all(axis=1)]
    if colours.size == 0:
        return [np.full_like(image, np.nan) for image in images]
    bottom, top = np.percentile(colours, [1.0, 99.0], axis=0)
    width = np.maximum(top - bottom, 1e-6)
    return [np.clip((image - bottom) / width, 0.0, 1.0).astype(np.float32) for image in images]


def spread(count: int, most: int) -> NDArray[np.intp]:
    """Return at most ``most`` of ``count`` places, evenly spread, first and last among them."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(np.intp))


def where_and_what(data: xr.Dataset | xr.DataArray, *words: str) -> str:
    """Return a heading: ``words``, then the grid of ``data``. Reads no pixels."""
    ny, nx = data.sizes["y"], data.sizes["x"]
    size = abs(float(data.odc.geobox.resolution.x))
    level = int(data.attrs.get("level", 0))
    kind = f"pixels of {size:g} m" + (f" (level {level} of the overviews)" if level else "")
    return " · ".join([*(word for word in words if word), f"{nx} × {ny} {kind}, {crs_name(data)}"])


def crs_name(data: xr.Dataset | xr.DataArray) -> str:
    """Return a short name of the CRS of ``data``, such as ``EPSG:32631``. Reads no pixels."""
    crs = data.odc.crs
    code = crs.to_epsg() if crs is not None else None
    return f"EPSG:{code}" if code else "unnamed CRS"


class _Page:
    """A figure in inches from its upper left corner."""

    def __init__(self, figure: Figure) -> None:
        self._figure = figure
        self._width, self._height = figure.get_size_inches()

    def text(self, left: float, top: float, text: str, **style: Any) -> None:
        self._figure.text(
            left / self._width, 1 - top / self._height, text, va="center", ha="left", **style
        )

    def axes(self, left: float, top: float, width: float, height: float) -> Any:
        bottom = self._height - top - height
        box = (left / self._width, bottom / self._height)
        return self._figure.add_axes((*box, width / self._width, height / self._height))


def _draw_strip(
    page: _Page, strip: Strip, at: tuple[float, float], panel: tuple[float, float], across: int
) -> None:
    (left, top), (wide, tall) = at, panel
    page.text(left, top + TITLE / 2, strip.title, fontsize=9)
    top += TITLE
    limits = strip.limits or _limits(strip.images)
    shown = None
    for n, (image, caption) in enumerate(zip(strip.images, strip.captions, strict=True)):
        row, place = divmod(n, across)
        x, y = left + place * (wide + GAP), top + row * (CAPTION + tall + GAP) + CAPTION
        axes = page.axes(x, y, wide, tall)
        axes.set_axis_off()
        axes.set_title(caption, fontsize=8, pad=3)
        axes.add_patch(_backdrop(image))
        if image.ndim == 3:
            axes.imshow(_on_grey(image), interpolation="nearest")
        else:
            style = {"cmap": strip.colours, "vmin": limits[0], "vmax": limits[1]}
            shown = axes.imshow(np.ma.masked_invalid(image), interpolation="nearest", **style)
    if shown is not None:
        x = left + across * (wide + GAP) + 0.03
        bar = page.axes(x, top + CAPTION, 0.14, tall)
        shown.figure.colorbar(shown, cax=bar, ticks=_ticks(limits))
        bar.set_ylabel(strip.units, fontsize=8)
        bar.tick_params(labelsize=7)


def _foot(figure: Figure, below: float) -> Any:
    height = figure.get_size_inches()[1]
    top = figure.add_gridspec(2, 1, height_ratios=[height - below, below], hspace=0.0)
    top.update(left=0.0, right=1.0, bottom=0.0, top=1.0)
    return figure.add_subfigure(top[1])


def _ticks(limits: tuple[float, float]) -> MaxNLocator:
    whole = all(end.is_integer() for end in limits)  # counts, which have no halves
    return MaxNLocator(5, steps=[1, 2, 2.5, 5, 10], integer=whole, min_n_ticks=2)


def _limits(images: Sequence[Image]) -> tuple[float, float]:
    values = np.concatenate([image[np.isfinite(image)].ravel() for image in images])
    if values.size == 0:
        return 0.0, 1.0
    low, high = np.percentile(values, [2.0, 98.0])
    return float(low), float(max(high, low + 1e-6))


def _backdrop(image: Image) -> Rectangle:
    """What shows through where an image has nothing."""
    ny, nx = image.shape[:2]
    return Rectangle((-0.5, -0.5), nx, ny, color=NOTHING, linewidth=0, zorder=-1)


def _on_grey(image: Image) -> Image:
    grey = np.asarray(to_rgb(NOTHING), dtype=np.float32)
    return np.where(np.isfinite(image).all(axis=-1, keepdims=True), image, grey)
