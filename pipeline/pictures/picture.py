"""A figure that a notebook displays, whether or not pyplot is imported there, and its colours."""

from __future__ import annotations

from io import BytesIO

from matplotlib.figure import Figure

__all__ = ["BLACK", "BLUE", "GREY", "ORANGE", "SERIES", "SKY", "VERMILION", "Picture"]

# Okabe and Ito's colours, distinct in all kinds of colour vision.
BLUE, ORANGE, GREEN, VERMILION, PURPLE, SKY = (
    "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9",
)  # fmt: skip
GREY, BLACK = "#9a9a9a", "#000000"

SERIES = ((BLUE, "o"), (VERMILION, "s"), (GREEN, "^"), (ORANGE, "D"), (PURPLE, "v"), (SKY, "P"))
"""Colour and marker of lines that share a plot, in order."""

DISPLAYED_DPI = 100
"""Of what a notebook shows and keeps; files have the figure's own."""


class Picture(Figure):
    """A figure made without pyplot, which alone would teach a notebook to display it."""

    def _repr_png_(self) -> bytes:
        """The picture as IPython displays it."""
        stream = BytesIO()
        self.savefig(stream, format="png", dpi=DISPLAYED_DPI)
        return stream.getvalue()
