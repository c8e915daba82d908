"""What stands above a picture: what it shows, where, a scale bar and the direction of north."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from mpl_toolkits.axes_grid1.anchored_artists import AnchoredSizeBar  # type: ignore
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

__all__ = ["Heading", "crs_name", "draw_scale", "period_of", "where_and_what"]

WIDEST = 1.1
"""Of a scale bar, inches."""

ROUND = (1, 2, 5)
"""First digits of the length of a scale bar."""


@dataclass(frozen=True)
class Heading:
    """Two lines above a picture, and the grid that its maps are on."""

    what: str
    """In bold: what is shown, and of which period."""

    where: str = ""
    """Centre and grid."""

    grid: GeoBox | None = None

    @property
    def metres(self) -> float | None:
        """Width of a pixel; None where the CRS has another unit, so that no bar is drawn."""
        crs = None if self.grid is None else self.grid.crs
        metric = crs is not None and crs.projected and set(crs.units) <= {"metre", "m", "meter"}
        return abs(float(self.grid.resolution.x)) if self.grid is not None and metric else None


def where_and_what(data: xr.Dataset | xr.DataArray, *words: str) -> Heading:
    """Head a picture with ``words``, and with centre and grid of ``data``. Reads no pixels."""
    ny, nx = data.sizes["y"], data.sizes["x"]
    grid: GeoBox = data.odc.geobox
    size, level = abs(float(grid.resolution.x)), int(data.attrs.get("level", 0))
    kind = f"pixels of {size:g} m" + (f" (level {level} of the overviews)" if level else "")
    where = f"{nx:,} × {ny:,} {kind}, {crs_name(data)}"
    if grid.crs is not None:
        centre = grid.extent.centroid.to_crs("EPSG:4326")
        (longitude, latitude), *_ = centre.coords
        east, north = "E" if longitude >= 0 else "W", "N" if latitude >= 0 else "S"
        where = f"centre {abs(longitude):.2f}° {east}, {abs(latitude):.2f}° {north} · {where}"
    return Heading(" · ".join(word for word in words if word), where, grid)


def crs_name(data: xr.Dataset | xr.DataArray) -> str:
    """Return a short name of the CRS of ``data``, such as ``EPSG:32631``. Reads no pixels."""
    crs = data.odc.crs
    code = crs.to_epsg() if crs is not None else None
    return f"EPSG:{code}" if code else "unnamed CRS"


def period_of(times: NDArray[Any]) -> str:
    """The first and the last day of ``times``, in words."""
    first, last = (np.datetime_as_string(time, unit="D") for time in (min(times), max(times)))
    return first if first == last else f"{first} to {last}"


def draw_scale(panel: Axes, metres: float, pixels: int, width: float) -> None:
    """Lay a scale bar and an arrow to grid north into the upper right corner of the figure.

    Args:
        panel: A map of it, whose scale they have.
        metres: Width of a pixel.
        pixels: Of a row of the map.
        width: Of the map, inches.
    """
    figure: Any = panel.get_figure()
    length = _round_below(WIDEST * metres * pixels / width)
    text = f"{length / 1000:g} km" if length >= 1000 else f"{length:g} m"
    across, high = figure.get_size_inches()
    bar = AnchoredSizeBar(
        panel.transData, length / metres, text, "center right", pad=0.0, sep=2, frameon=False,
        size_vertical=0.03 * pixels / width, bbox_to_anchor=(1 - 0.45 / across, 1 - 0.24 / high),
        bbox_transform=figure.transFigure, prop={"size": 8},
    )  # fmt: skip
    bar.set_clip_on(False)
    panel.add_artist(bar)
    x = 1 - 0.24 / across
    figure.text(x, 1 - 0.16 / high, "N", fontsize=8, ha="center", va="center")
    panel.annotate(
        "", xy=(x, 1 - 0.22 / high), xytext=(x, 1 - 0.42 / high), xycoords="figure fraction",
        annotation_clip=False, arrowprops={"arrowstyle": "-|>", "color": "black", "shrinkA": 0,
                                           "shrinkB": 0, "mutation_scale": 9},
    )  # fmt: skip


def _round_below(length: float) -> float:
    power = 10.0 ** np.floor(np.log10(length))
    return float(max(first * power for first in ROUND if first * power <= length))
