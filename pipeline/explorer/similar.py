"""The pixels that are like one that was clicked, as a layer of the map."""

from __future__ import annotations

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from terralatent.catalogs.errors import InputError
from terralatent.pipeline.explorer.layers import Layer
from terralatent.pipeline.explorer.levels import Levels, Wanted
from terralatent.pipeline.probes.dataset import at_pixels, features_of

__all__ = ["similar_layer"]

ENDS = (0.0, 1.0)
"""Of the colours: at right angles, and the same direction."""


def similar_layer(levels: Levels, x: float, y: float) -> Layer:
    """The cosine of every pixel's posterior means and those of one pixel, -1 to 1.

    As :meth:`~terralatent.pipeline.accessor.opened.Opened.similar_to` has it; of a level the means
    of its larger pixels. Computes: reads the pixel.

    Args:
        levels: Latents or annual vectors.
        x: Of the pixel, in map coordinates.
        y: The same.

    Raises:
        InputError: If there are no values at the place.
    """
    at = levels.pixel(x, y)
    every = features_of(levels.finest[["mean"]], "view")
    place = None if at is None else at_pixels(every, *(np.array([n]) for n in at))[0]
    if place is None or not np.isfinite(place).all():
        raise InputError("There are no values at this place; click one inside the scenes.")
    return Layer(
        "similar pixels", levels, Wanted(("mean",)), lambda part: _cosine(part, place), "viridis",
        "cosine similarity", given=ENDS,
        about=f"How much every pixel is like the one at x {x:.0f}, y {y:.0f}, over all dates.",
        every_date=True,
    )  # fmt: skip


def _cosine(part: xr.Dataset, place: NDArray[np.float32]) -> NDArray[np.float32]:
    features = features_of(part, "view").transpose("y", "x", "feature").values
    lengths = np.linalg.norm(features, axis=-1) * np.linalg.norm(place)
    found: NDArray[np.float32] = features @ place / np.maximum(lengths, np.float32(1e-9))
    return found
