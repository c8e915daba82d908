"""Values as pixels on the screen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.colors import to_rgb
from numpy.typing import NDArray

__all__ = ["Ends", "classes_image", "palette_of", "rgb_image", "scale_image"]

Ends = tuple[Any, Any]
"""What is drawn as the first colour and as the last, each a number, or three for channels."""

Image = NDArray[np.uint32]
"""(y, x), four bytes a pixel: red, green, blue, opacity; the lowest row first, as screens of maps
have it."""


def rgb_image(values: NDArray[np.floating], ends: Ends) -> Image:
    """Three channels (y, x, 3) stretched between ``ends``; NaN is transparent."""
    low, high = (np.asarray(end, np.float32) for end in ends)
    share = (values - low) / np.maximum(high - low, np.float32(1e-6))
    return _packed(share, np.isfinite(values).all(axis=-1))


def scale_image(values: NDArray[np.floating], ends: Ends, name: str) -> Image:
    """One number a pixel (y, x) by a colour scale of matplotlib; NaN is transparent."""
    low, high = float(ends[0]), float(ends[1])
    there = np.isfinite(values)
    share = np.clip((np.where(there, values, low) - low) / max(high - low, 1e-9), 0.0, 1.0)
    return _packed(colormaps[name](share)[..., :3], there)


def classes_image(
    values: NDArray[np.integer], known: Sequence[int], colours: Sequence[str]
) -> Image:
    """Classes (y, x) in their colours; what has none is transparent."""
    table = np.zeros((256, 3))
    for value, colour in zip(known, colours, strict=True):
        table[value] = to_rgb(colour)
    return _packed(table[values], np.isin(values, list(known)))


def palette_of(name: str) -> list[str]:
    """A colour scale as 256 colours ``#rrggbb``."""
    shades = np.round(colormaps[name](np.linspace(0, 1, 256))[:, :3] * 255).astype(int)
    return [f"#{red:02x}{green:02x}{blue:02x}" for red, green, blue in shades]


def _packed(share: NDArray[np.floating], there: NDArray[np.bool_]) -> Image:
    image = np.empty((*there.shape, 4), np.uint8)
    filled = np.where(there[..., None], share, 0.0)
    image[..., :3] = np.round(np.clip(filled, 0.0, 1.0) * 255)
    image[..., 3] = np.where(there, 255, 0)
    return np.ascontiguousarray(image[::-1]).view(np.uint32)[..., 0]
