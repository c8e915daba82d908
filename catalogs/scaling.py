"""Digital numbers to physical units, by the item's own words."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from terralatent.catalogs.item import baseline_key, processing_baseline, properties
from terralatent.catalogs.sensors import Sensor

__all__ = ["Scaling", "ScalingError", "read_scaling", "told_type"]

_OFFSET_FROM = (4, 0)
"""The first baseline of Sentinel-2 whose digital numbers are raised by 1000."""

_MOST = 1e9
"""No product's scale or offset is near it; beyond, products overflow."""

_MOST_FLOAT32 = float(np.finfo(np.float32).max)

_RAISED = -0.1
"""Reflectance of the digital number 0 from that baseline on."""


class ScalingError(ValueError):
    """An item does not tell how its digital numbers become physical units."""


@dataclass(frozen=True)
class Scaling:
    """unit = scale * dn + offset, for the measured bands of one item."""

    scale: float
    """Units for one step of the digital number."""

    offset: float
    """Units of the digital number 0."""

    nodata: float | None
    """The digital number that marks a missing pixel; None where only NaN does."""


def read_scaling(item: Mapping[str, Any], sensor: Sensor, keys: Mapping[str, str]) -> Scaling:
    """Read scale, offset and no data of an item's bands, which must agree.

    From ``raster:bands`` (STAC 1.0), ``bands`` or the asset itself (1.1); where these are silent,
    from the processing baseline if the sensor's offset depends on it, else the sensor's own.
    A catalogue that says it has already taken the offset off is believed. Never from the date.

    Args:
        item: A STAC item.
        sensor: The sensor that it belongs to.
        keys: For each band of the sensor, the key of its asset.

    Raises:
        ScalingError: If nothing tells scale or offset, or if the bands differ.
    """
    told = {band: _read_asset(item, sensor, item["assets"][key]) for band, key in keys.items()}
    if len(set(told.values())) > 1:
        raise ScalingError(
            "its bands differ in scale, offset or nodata: "
            + ", ".join(f"{band} {s.scale:g} {s.offset:g} {s.nodata}" for band, s in told.items())
        )
    return next(iter(told.values()))


def told_type(asset: Mapping[str, Any]) -> str:
    """Return the ``data_type`` that an asset tells of its numbers; empty where it is silent."""
    return str(_told(asset, "data_type") or "")


def _read_asset(item: Mapping[str, Any], sensor: Sensor, asset: Mapping[str, Any]) -> Scaling:
    scale = _told(asset, "scale")
    offset = _told(asset, "offset")
    if scale is None:
        scale = sensor.scale
        if sensor.decibel and str(_told(asset, "data_type") or "float").startswith(("int", "uint")):
            raise ScalingError("it holds uncalibrated integers and tells no scale")
        if sensor.decibel and str(item.get("collection")).endswith("-grd"):
            raise ScalingError("ground range detected scenes are not calibrated; it tells no scale")
    if sensor.offset_by_baseline:
        offset = _offset_by_baseline(item, offset)
    elif offset is None:
        # A scale without an offset has none; silence on both means the product's own.
        offset = sensor.offset if _told(asset, "scale") is None else 0.0
    scale, offset = _number(scale, "scale"), _number(offset, "offset")
    if scale == 0.0:
        raise ScalingError("its scale is 0")
    return Scaling(scale, offset, _nodata(asset, sensor))


def _offset_by_baseline(item: Mapping[str, Any], offset: Any) -> Any:
    baseline = processing_baseline(item)
    # Earth Search writes the same offset into raster:bands whether or not it has been taken off,
    # and for old baselines that never had one: https://github.com/Element84/earth-search/issues/66
    taken_off = properties(item).get("earthsearch:boa_offset_applied")
    if taken_off is True:
        return 0.0
    if offset is not None and not (taken_off is False and baseline):
        return offset
    if not baseline:
        raise ScalingError("it tells neither an offset nor a processing baseline")
    return _RAISED if baseline_key(baseline) >= _OFFSET_FROM else 0.0


def _told(asset: Mapping[str, Any], name: str) -> Any:
    """What an asset says of its first band, in any of the forms in use; None: nothing."""
    for bands in ("raster:bands", "bands"):
        first = asset.get(bands)
        if isinstance(first, (list, tuple)) and first and isinstance(first[0], Mapping):
            for key in (name, f"raster:{name}"):
                if first[0].get(key) is not None:
                    return first[0][key]
    for key in (f"raster:{name}", name):
        if asset.get(key) is not None:
            return asset[key]
    return None


def _nodata(asset: Mapping[str, Any], sensor: Sensor) -> float | None:
    told = _told(asset, "nodata")
    if told is None:
        return sensor.nodata
    nodata = _number(told, "nodata", finite=False)
    return None if math.isnan(nodata) else nodata


def _number(value: Any, name: str, *, finite: bool = True) -> float:
    try:
        number = float(value)  # also the strings "nan", "inf" and "-inf" of the raster extension
    except (TypeError, ValueError, OverflowError):
        raise ScalingError(f"its {name} is {str(value)[:50]!r}, not a number") from None
    if finite and not math.isfinite(number):
        raise ScalingError(f"its {name} is {value!r}, not a finite number")
    if math.isfinite(number) and abs(number) > (_MOST if finite else _MOST_FLOAT32):
        raise ScalingError(f"its {name} is {number:g}, beyond reason")
    return number
