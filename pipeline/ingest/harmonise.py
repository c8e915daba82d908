"""Digital numbers of an item to the cube's packed integers."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from terralatent.catalogs.items.scaling import Scaling
from terralatent.catalogs.sources.sensors import Packing, Sensor

__all__ = ["linear_power", "pack", "pack_item", "unpack"]

_NEARLY_WHOLE = 1e-6
"""A shift this close to an integer is one: 0.1 / 1e-4 is not 1000 in floating point."""


def pack_item(pixels: npt.NDArray[np.generic], scaling: Scaling, sensor: Sensor) -> np.ndarray:
    """Turn an item's digital numbers into the integers in which the cube keeps its sensor.

    Where the item's scale is the packing's (reflectance of Sentinel-2), this is one integer
    addition: both copies of a reprocessed acquisition give the same integers, exactly. Linear power
    and amplitude become decibels; what is not positive has none and is no data.

    Args:
        pixels: Digital numbers, any shape, integer or float.
        scaling: The item's scale, offset and no data.
        sensor: Its sensor.

    Returns:
        Same shape, the packing's dtype; its fill value where there is no data, and nowhere else.
    """
    missing = _missing(pixels, scaling.nodata)
    packing = sensor.packing
    if (scaling.quantity or sensor.quantity) in ("value", "decibel"):
        return pack(pixels, missing, scaling.scale, scaling.offset, packing)
    power = linear_power(pixels, scaling, sensor)
    missing = np.isnan(power)
    decibel = 10.0 * np.log10(np.where(missing, 1.0, power))
    return pack(decibel, missing, 1.0, 0.0, packing)


def linear_power(
    pixels: npt.NDArray[np.generic], scaling: Scaling, sensor: Sensor
) -> npt.NDArray[np.float64]:
    """Return backscatter as linear power, float64, same shape; NaN where there is none.

    A tenth of the decibels is the logarithm of the power, which is the square of the amplitude.
    """
    power = np.asarray(pixels, dtype=np.float64) * scaling.scale + scaling.offset
    quantity = scaling.quantity or sensor.quantity
    if quantity == "decibel":
        power = 10.0 ** (power / 10.0)
    elif quantity == "amplitude":
        power = np.where(power > 0, power, 0.0) ** 2
    missing = _missing(pixels, scaling.nodata) | ~(power > 0) | np.isinf(power)
    return np.where(missing, np.nan, power)


def pack(
    values: npt.NDArray[np.generic],
    missing: npt.NDArray[np.bool_],
    scale: float,
    offset: float,
    packing: Packing,
) -> np.ndarray:
    """Pack ``scale * values + offset``: rounded, valid values kept off the fill value.

    Values beyond the integer's range are clipped to its ends.
    """
    kind = np.dtype(packing.dtype)
    limits = np.iinfo(kind)
    if packing.fill_value != limits.min:
        raise ValueError(
            f"The fill value must be the lowest of {kind}, {limits.min}, got {packing.fill_value}."
        )
    gain = scale / packing.scale_factor
    shift = (offset - packing.add_offset) / packing.scale_factor
    whole = abs(gain - 1.0) < _NEARLY_WHOLE and abs(shift - round(shift)) < _NEARLY_WHOLE
    if whole and values.dtype.kind in "ui" and values.dtype.itemsize <= 2:
        packed = values.astype(np.int32)
        packed += round(shift)
    else:
        exact = np.where(missing, 0.0, values).astype(np.float64)
        gain = 1.0 if whole else gain
        shift = round(shift) if whole else shift
        packed = np.clip(np.rint(exact * gain + shift), -(2**31), 2**31 - 1)
    result = np.clip(packed, limits.min + 1, limits.max).astype(kind)
    result[missing] = packing.fill_value
    return result


def unpack(
    packed: npt.NDArray[np.integer], packing: Packing, valid: npt.NDArray[np.bool_]
) -> npt.NDArray[np.float32]:
    """Return physical units in float32, NaN where not ``valid`` (same shape as ``packed``)."""
    values = packed.astype(np.float32)
    values *= np.float32(packing.scale_factor)
    values += np.float32(packing.add_offset)
    values[~valid] = np.nan
    return values


def _missing(pixels: npt.NDArray[np.generic], nodata: float | None) -> npt.NDArray[np.bool_]:
    missing = np.isnan(pixels) if pixels.dtype.kind == "f" else np.zeros(pixels.shape, dtype=bool)
    if nodata is not None:
        missing |= pixels == nodata
    return missing
