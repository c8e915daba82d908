"""Landsat's own grid and mask: pixels of 30 m, and the bits of ``qa_pixel``.

USGS, "Landsat 8-9 Collection 2 Level 2 science product guide": bit 0 fill, 1 dilated cloud, 2
cirrus, 3 cloud, 4 shadow, 5 snow, 6 clear, 7 water, and from bit 8 on four pairs of bits with the
confidence in cloud, shadow, snow and cirrus (01 low, 11 high).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation
from scipy.special import ndtri

from terralatent.catalogs.simulation.sky import FALSE_ALARMS, ICE, SNOWY, Sky, SkyClass
from terralatent.catalogs.simulation.surface import doubled

__all__ = ["FILL", "OLI_NOISE", "landsat_pixels", "landsat_quality"]

FILL = 1
"""Of ``qa_pixel`` where there is no pixel."""

OLI_NOISE = (0.009, 0.04)
"""Standard deviation of a pixel's noise at 10 m: constant, and as a share of the reflectance."""

DILATED, CIRRUS, CLOUD, SHADOW, SNOW, CLEAR, WATER = 1, 2, 3, 4, 5, 6, 7
CONFIDENCE = {CLOUD: 8, SHADOW: 10, SNOW: 12, CIRRUS: 14}
"""Numbers of bits; of confidences, of the lower one of two."""

HALF_PIXELS, PIXEL = 3, 6
"""Pieces of 5 m from the region's edge to that of Landsat's pixels, and along one of them."""


def landsat_pixels(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Average pixels of 10 m to Landsat's, (y, x); what lies beyond the edges is as at them.

    Landsat's pixels begin 15 m before the region, so that their centres lie on multiples of 30 m.
    """
    pieces = doubled(image)
    count = -(-(pieces.shape[0] + HALF_PIXELS) // PIXEL)
    after = count * PIXEL - pieces.shape[0] - HALF_PIXELS
    whole = np.pad(pieces, (HALF_PIXELS, after), mode="edge")
    blocks = whole.reshape(count, PIXEL, count, PIXEL)
    return np.asarray(blocks.mean((1, 3)), dtype=np.float32)


def landsat_quality(
    sky: Sky, threshold: float, water: NDArray[np.bool_], snow: NDArray[np.float32]
) -> NDArray[np.uint16]:
    """Return ``qa_pixel`` as the processor would fill it, (y, x) with pixels of 30 m.

    Args:
        sky: The date.
        threshold: See :func:`~terralatent.catalogs.simulation.sky.mask_threshold`.
        water: Where there is water, (y, x) at 10 m.
        snow: Share of each pixel that shows snow, (y, x) at 10 m.
    """
    caught = (sky.classes > SkyClass.CLEAR) & (sky.noticed >= threshold)
    alarm = (sky.classes == SkyClass.CLEAR) & (sky.alarm > ndtri(1 - FALSE_ALARMS))

    def at_30_m(where: NDArray[np.bool_]) -> NDArray[np.bool_]:
        fine = doubled(where.astype(np.float32))
        return np.asarray(landsat_pixels(fine) > 0.5)

    cloud = at_30_m((caught & (sky.cloud > 0.3)) | alarm)
    cirrus = at_30_m(caught & (sky.classes == SkyClass.THIN_CLOUD)) & ~cloud
    shadow = at_30_m(caught & (sky.classes == SkyClass.SHADOW)) & ~cloud
    # Haze has no bit of its own: where the processor notices it, it says that a cloud is near.
    dilated = (binary_dilation(cloud) | at_30_m(caught & (sky.classes == SkyClass.HAZE))) & ~cloud
    luck = landsat_pixels(doubled(sky.alarm)) > ndtri(1 - ICE)
    ice = (landsat_pixels(snow) > SNOWY) & luck & ~cloud
    wet = landsat_pixels(water.astype(np.float32)) > 0.5
    clear = ~(cloud | cirrus | shadow | dilated | ice)
    bits = {
        DILATED: dilated, CIRRUS: cirrus, CLOUD: cloud, SHADOW: shadow, SNOW: ice,
        CLEAR: clear, WATER: wet & clear,
    }  # fmt: skip
    quality = np.zeros(cloud.shape, np.uint16)
    for bit, where in bits.items():
        quality |= (where.astype(np.uint16) << bit).astype(np.uint16)
    for bit, lower in CONFIDENCE.items():
        quality |= (np.where(bits[bit], 0b11, 0b01) << lower).astype(np.uint16)
    return quality
