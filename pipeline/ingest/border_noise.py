"""Noise along the edges of old radar scenes: where it may be, and which pixels it is."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
from odc.geo.geobox import GeoBox
from scipy import ndimage
from shapely.geometry.base import BaseGeometry

from terralatent.catalogs.antimeridian import on_globe
from terralatent.catalogs.items.item import footprint, properties, sensed_at
from terralatent.catalogs.sources.sensors import Border

__all__ = ["border_halo", "border_noise"]

MARGIN = 2000.0
"""Metres by which footprints in catalogues may be wrong."""


def border_halo(item: Mapping[str, Any], border: Border | None, grid: GeoBox) -> int:
    """How far around a window an item must be read to find its noise, in pixels.

    Args:
        item: A STAC item.
        border: The rule of its sensor; None: it has none.
        grid: The whole cube's: the answer must be the same for all windows.

    Returns:
        0 where the item has no such noise, or its edges are far from the grid.
    """
    if border is None or not _is_old(item, border):
        return 0
    shape = footprint(item)
    inside = shape is not None and shape.contains(_around(grid, border.width + MARGIN))
    return 0 if inside else math.ceil(border.width / abs(grid.resolution.x))


def border_noise(power: npt.NDArray[np.float64], below: float, steps: int) -> npt.NDArray[np.bool_]:
    """Find the noise along the edges of a scene.

    Low pixels that hang together with one that has no data, over low pixels: a lake in the middle
    of a scene stays.

    Args:
        power: Linear, (band, y, x), NaN where there is no data.
        below: A pixel is low if all its bands are.
        steps: Pixels from the edge that it reaches at most; it is right for pixels that lie as far
            inside of the array.

    Returns:
        (y, x), True where it is noise.
    """
    missing = np.isnan(power)
    outside = missing.all(axis=0)
    low = (missing | (power < below)).all(axis=0)
    if not (low & ~outside).any():
        return np.zeros(low.shape, dtype=bool)
    reached = ndimage.binary_dilation(
        outside, structure=np.ones((3, 3), bool), iterations=steps, mask=low
    )
    noise: npt.NDArray[np.bool_] = reached & ~outside
    return noise


@lru_cache(maxsize=8)
def _around(grid: GeoBox, metres: float) -> BaseGeometry:
    """A grid and so many metres around it, in degrees."""
    wide = grid.pad(math.ceil(metres / abs(grid.resolution.x)))
    return on_globe(wide.extent.to_crs("EPSG:4326").geom)


def _is_old(item: Mapping[str, Any], border: Border) -> bool:
    software = properties(item).get("processing:software")
    version = software.get(border.software) if isinstance(software, Mapping) else None
    if isinstance(version, str) and re.search(r"\d", version):
        return _numbers(version) < _numbers(border.version)
    time = sensed_at(item)
    return time is not None and bool(time < np.datetime64(border.until))


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", version)))
