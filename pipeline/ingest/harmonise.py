"""Digital numbers of an item to the cube's packed integers."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from terralatent.catalogs.items.scaling import Scaling
from terralatent.catalogs.sources.sensors import Packing, Sensor

__all__ = ["contradiction", "linear_power", "pack", "pack_item", "unpack"]

LEAST_POWER = -1.0
"""Noise that was taken off leaves power and amplitude a little below zero, but never so far."""

LEAST_DECIBEL = -60.0
"""What is lower is no backscatter, but a number that stands for no data and that nobody stated."""

MOST_REFLECTANCE = 7.0
"""Saturated pixels of Sentinel-2 have 6.55, the brightest clouds 2; percent and thousands more."""

SAMPLE = 2**18
"""Pixels of a window, about, whose values are held against their unit."""

_MEND_SCALE = (
    "mend the scale of its item, or where that has none the sensor's in a file of described="
)

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


def contradiction(pixels: npt.NDArray[np.generic], scaling: Scaling, sensor: Sensor) -> str | None:
    """Tell what shows that digital numbers are not in the unit that their item states.

    By most of the values, so that no bright roof, glint or odd pixel speaks for a scene.

    Args:
        pixels: Digital numbers of one band, (y, x).
        scaling: The item's scale, offset and no data.
        sensor: Its sensor.

    Returns:
        The reason why they are not to be used; None where nothing speaks against them.
    """
    step = max(1, int((pixels.size / SAMPLE) ** 0.5))
    sample = pixels[::step, ::step]
    sample = sample[~_missing(sample, scaling.nodata)]
    values = sample.astype(np.float64) * scaling.scale + scaling.offset
    quantity = scaling.quantity or sensor.quantity
    if quantity in ("power", "amplitude"):
        known = values[values > LEAST_DECIBEL]
        if _most(known < LEAST_POWER):
            return (
                f"most of its values are below zero (median {np.median(known):.3g}), which no "
                f'{quantity} is; if they are decibels, state quantity = "decibel" of its sensor in '
                "a file of described="
            )
    elif quantity == "value" and sensor.units == "1":
        if _most(values > MOST_REFLECTANCE):
            return (
                f"most of its values are no reflectance (median {np.median(values):.3g} by its "
                f"scale of {scaling.scale:g}); {_MEND_SCALE}"
            )
        # Integers are no fractions; a median of each band would take longer than packing it.
        fractional = scaling.scale < 0.01 and sample.dtype.kind == "f"
        if fractional and _most((np.abs(sample) < 2.0) & (sample != np.rint(sample))):
            middle = float(np.median(sample.astype(np.float64)))
            return (
                f"most of its digital numbers are fractions (median {middle:.3g}), "
                f"which its scale of {scaling.scale:g} makes almost zero; {_MEND_SCALE}"
            )
    return None


def _most(shown: npt.NDArray[np.bool_]) -> bool:
    return shown.size > 0 and bool(np.count_nonzero(shown) * 2 > shown.size)


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
