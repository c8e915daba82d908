"""Maps side by side: strips of panels that share their colours, laid out to the inch."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from terralatent.pipeline.pictures.heading import Heading, draw_scale
from terralatent.pipeline.pictures.picture import Picture

__all__ = [
    "Strip",
    "colour_ends",
    "draw",
    "limits_of",
    "paint",
    "panel_pixels",
    "spread",
    "stretch",
]

Image = NDArray[np.float32]

ALONE, LARGEST, SMALLEST, WIDTH = 5.8, 4.6, 2.0, 12.0
"""Width of the only panel, of one of a few, of one among many, and of all of a row. Inches."""

DPI = 150
"""Pixels an inch of a picture."""

NARROWEST = 7.0
"""A picture, inches: room for a heading."""

ACROSS = 6
"""Panels side by side, at most."""

MARGIN, GAP, HEADING, TITLE, CAPTION, BAR = 0.15, 0.08, 0.52, 0.32, 0.21, 0.95
LINE, SCALE = 0.17, 1.9
"""Around the picture, between panels, and what each kind of text or colour bar takes: LINE each
further line of a text, SCALE the scale bar beside the heading. Inches."""

LETTER, BOLD = 0.52, 1.12
"""Width of a letter of running text, of the font's size; and how much wider a bold one is."""

CUT = (1.0, 99.0)
"""Percentiles that colours begin and end at."""

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
    """Ends of the colour bar; the 2nd and 98th percentile of all images by default. Where values
    lie beyond them, the bar ends in arrows."""

    span: tuple[float, float] | None = None
    """Least and greatest value that the colour bar stands for; those of the images by default."""

    def first(self, limits: tuple[float, float] | None) -> Strip:
        """The first panel alone, in the colours of all."""
        span = _span(self.images) if self.barred else None
        images, captions = self.images[:1], self.captions[:1]
        return replace(self, images=images, captions=captions, limits=limits, span=span)

    @property
    def barred(self) -> bool:
        """Whether a colour bar stands beside it."""
        return self.images[0].ndim == 2


def draw(
    strips: Sequence[Strip],
    heading: Heading | str,
    *,
    most_across: int = ACROSS,
    below: float = 0.0,
) -> tuple[Figure, Any]:
    """Lay ``strips`` out under ``heading``, one under the other, single panels side by side.

    A scale bar and grid north stand beside a heading that knows the grid.

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
    room = column if beside > 1 else max(column, NARROWEST - 2 * MARGIN)
    titles = [_wrapped(strip.title, room, 9) for strip in strips]
    title = TITLE + LINE * max(text.count("\n") for text in titles)
    heights = [title + n * (CAPTION + tall + GAP) for n in rows]
    width = 2 * MARGIN + beside * column + (beside - 1) * GAP
    width = max(width, NARROWEST)
    if isinstance(heading, str):
        heading = Heading(heading)
    what = _wrapped(heading.what, width - 2 * MARGIN - SCALE, 10 * BOLD)
    more = LINE * what.count("\n")
    above = HEADING + more
    height = above + (max(heights) if beside > 1 else sum(heights)) + below + MARGIN
    figure = Picture(figsize=(width, height), dpi=DPI)
    page = _Page(figure)
    page.text(MARGIN, 0.16 + more / 2, what, fontsize=10, fontweight="bold")
    page.text(MARGIN, above - 0.16, heading.where, fontsize=8)
    left, top = MARGIN, above
    panels = []
    for strip, text, strip_height in zip(strips, titles, heights, strict=True):
        page.text(left, top + title / 2, text, fontsize=9)
        panels.append(_draw_strip(page, strip, (left, top + title), (panel, tall), across))
        left, top = (left + column + GAP, top) if beside > 1 else (left, top + strip_height)
    if heading.metres is not None:
        draw_scale(panels[0], heading.metres, nx, min(panel, tall * nx / ny))
    return figure, _foot(figure, below) if below else None


def panel_pixels(strips: int, panels: int) -> int:
    """Pixels along the width of a panel of a picture of ``strips`` with so many ``panels``."""
    return round(DPI * _arrange(strips, panels, ACROSS)[2])


def _arrange(strips: int, panels: int, most_across: int) -> tuple[int, int, float]:
    """How many strips stand side by side, and panels of each; and how wide a panel is, inches."""
    beside = strips if panels == 1 else 1
    across = 1 if beside > 1 else min(most_across, panels)
    largest = ALONE if across * beside == 1 else LARGEST
    return beside, across, min(largest, max(SMALLEST, WIDTH / (across * beside)))


def colour_ends(
    images: Sequence[Image],
    clear: Sequence[NDArray[np.bool_]] | None = None,
    *,
    shared: bool = False,
) -> NDArray[np.float64]:
    """The values that red, green and blue begin and end at: percentiles of all ``images``.

    Args:
        images: The panels, each (y, x, 3).
        clear: Pixels of each panel, (y, x), that set the ends: clouds would leave the land black.
            All by default, and where there is none.
        shared: Whether all three have the same ends, as channels of one unit must: of ends of
            their own, soil turns purple.

    Returns:
        (end, channel); NaN where no pixel has a value.
    """
    if clear is None or not any(mask.any() for mask in clear):
        clear = [np.ones(image.shape[:2], bool) for image in images]
    colours = np.concatenate([image[mask] for image, mask in zip(images, clear, strict=True)])
    colours = colours[np.isfinite(colours).all(axis=1)]
    if colours.size == 0:
        return np.full((2, 3), np.nan)
    ends = np.percentile(colours, CUT, axis=None if shared else 0)
    return np.broadcast_to(ends.reshape(2, -1), (2, 3))


def stretch(images: Sequence[Image], ends: NDArray[np.float64]) -> list[Image]:
    """Bring red, green and blue of ``images``, each (y, x, 3), to 0..1 between ``ends``.

    The same units stand behind a colour in every panel. NaN stays NaN.
    """
    bottom, width = ends[0], np.maximum(ends[1] - ends[0], 1e-6)
    return [np.clip((image - bottom) / width, 0.0, 1.0).astype(np.float32) for image in images]


def spread(count: int, most: int) -> NDArray[np.intp]:
    """Return at most ``most`` of ``count`` places, evenly spread, first and last among them."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(np.intp))


def limits_of(
    images: Sequence[Image], clear: Sequence[NDArray[np.bool_]] | None = None
) -> tuple[float, float]:
    """The 2nd and 98th percentile of all ``images``, of their ``clear`` pixels if any is."""
    if clear is None or not any(mask.any() for mask in clear):
        clear = [np.ones(image.shape[:2], bool) for image in images]
    values = np.concatenate([image[mask] for image, mask in zip(images, clear, strict=True)])
    values = values[np.isfinite(values)]
    if values.size == 0:
        return 0.0, 1.0
    low, high = np.percentile(values, [2.0, 98.0])
    return float(low), float(max(high, low + 1e-6))


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
) -> Axes:
    """Draw a strip; return its first panel."""
    (left, top), (wide, tall) = at, panel
    barred, drawn = strip.barred, []
    limits = strip.limits or (limits_of(strip.images) if barred else (0.0, 1.0))
    for n, (image, caption) in enumerate(zip(strip.images, strip.captions, strict=True)):
        row, place = divmod(n, across)
        x, y = left + place * (wide + GAP), top + row * (CAPTION + tall + GAP) + CAPTION
        axes = page.axes(x, y, wide, tall)
        axes.set_axis_off()
        axes.set_title(caption, fontsize=8, pad=3)
        axes.add_patch(_backdrop(image))
        style = {"cmap": strip.colours, "vmin": limits[0], "vmax": limits[1]} if barred else {}
        drawn.append(axes.imshow(paint(image), interpolation="nearest", **style))
    if barred:
        # One bar for all rows, as high as they are together.
        x, rows = left + across * (wide + GAP) + 0.03, math.ceil(len(strip.images) / across)
        high = rows * (CAPTION + tall + GAP) - CAPTION - GAP
        _draw_bar(page, strip, limits, drawn[-1], (x, top + CAPTION, 0.14, high))
    first: Axes = drawn[0].axes
    return first


def paint(image: Image) -> Any:
    """What stands for a map in its panel: grey where it has nothing."""
    if image.ndim == 3:
        grey = np.asarray(to_rgb(NOTHING), dtype=np.float32)
        return np.where(np.isfinite(image).all(axis=-1, keepdims=True), image, grey)
    return np.ma.masked_invalid(image)


def _draw_bar(
    page: _Page,
    strip: Strip,
    limits: tuple[float, float],
    drawn: AxesImage,
    at: tuple[float, float, float, float],
) -> None:
    """The colour bar of a strip, with arrows where values lie beyond it; a line of text where
    there is one value alone."""
    least, most = strip.span or _span(strip.images)
    if least == most:
        text = f"{least:g} {strip.units} everywhere"
        page.text(at[0], at[1] + at[3] / 2, text, fontsize=8, rotation=90)
        return
    beyond = {(True, True): "both", (True, False): "min", (False, True): "max"}
    extend = beyond.get((least < limits[0], most > limits[1]), "neither")
    bar = page.axes(*at)
    bar.get_figure().colorbar(
        drawn, cax=bar, ticks=_ticks(limits), extend=extend, extendfrac=0.12 / at[3]
    )
    bar.set_ylabel(strip.units, fontsize=8)
    bar.tick_params(labelsize=7)


def _span(images: Sequence[Image]) -> tuple[float, float]:
    ends = [(np.nanmin(image), np.nanmax(image)) for image in images if np.isfinite(image).any()]
    if not ends:
        return 0.0, 1.0
    return float(min(least for least, _ in ends)), float(max(most for _, most in ends))


def _wrapped(text: str, inches: float, points: float) -> str:
    """``text`` in lines that are not wider than so many inches."""
    return textwrap.fill(text, max(20, int(inches * 72 / (LETTER * points))))


def _foot(figure: Figure, below: float) -> Any:
    height = figure.get_size_inches()[1]
    top = figure.add_gridspec(2, 1, height_ratios=[height - below, below], hspace=0.0)
    top.update(left=0.0, right=1.0, bottom=0.0, top=1.0)
    return figure.add_subfigure(top[1])


def _ticks(limits: tuple[float, float]) -> MaxNLocator:
    whole = all(end.is_integer() for end in limits)  # counts, which have no halves
    return MaxNLocator(5, steps=[1, 2, 2.5, 5, 10], integer=whole, min_n_ticks=2)


def _backdrop(image: Image) -> Rectangle:
    """What shows through where an image has nothing."""
    ny, nx = image.shape[:2]
    return Rectangle((-0.5, -0.5), nx, ny, color=NOTHING, linewidth=0, zorder=-1)
