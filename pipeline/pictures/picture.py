"""A figure that a notebook displays, whether or not pyplot is imported there."""

from __future__ import annotations

from io import BytesIO

from matplotlib.figure import Figure

__all__ = ["Picture"]

DISPLAYED_DPI = 100
"""Of what a notebook shows and keeps; files have the figure's own."""


class Picture(Figure):
    """A figure made without pyplot, which alone would teach a notebook to display it."""

    def _repr_png_(self) -> bytes:
        """The picture as IPython displays it."""
        stream = BytesIO()
        self.savefig(stream, format="png", dpi=DISPLAYED_DPI)
        return stream.getvalue()
