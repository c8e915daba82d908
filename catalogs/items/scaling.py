"""Digital numbers to physical units, as the item states it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from terralatent.catalogs.items.item import baseline_key, processing_baseline, properties
from terralatent.catalogs.sources.sensors import Quantity, Sensor

__all__ = ["NOT_APPLIED", "Scaling", "ScalingError", "data_type", "read_scaling"]

NOT_APPLIED = ", not taken off"
"""How :attr:`Scaling.offset_from` ends where a flag says that the offset is still to be applied."""

_MOST = 1e9
"""No product's scale or offset is near it; beyond, products overflow."""

_MOST_FLOAT32 = float(np.finfo(np.float32).max)

_UNITS: Mapping[str, Quantity] = {
    "db": "decibel",
    "decibel": "decibel",
    "decibels": "decibel",
    "amplitude": "amplitude",
    "linear amplitude": "amplitude",
    "power": "power",
    "linear power": "power",
    "linear": "power",
}
"""What items call the unit of backscatter."""


class ScalingError(ValueError):
    """An item does not state how its digital numbers become physical units."""


@dataclass(frozen=True)
class Scaling:
    """unit = scale * dn + offset, for the measured bands of one item."""

    scale: float
    """Units for one step of the digital number."""

    offset: float
    """Units of the digital number 0."""

    nodata: float | None
    """The digital number that marks a missing pixel; None where only NaN does."""

    quantity: Quantity | None = None
    """What ``unit`` is of backscatter, where the item states it; None: as of its sensor."""

    offset_from: str = field(default="", compare=False)
    """Where the offset is from, such as ``bands`` or ``baseline 05.00``."""


def read_scaling(item: Mapping[str, Any], sensor: Sensor, keys: Mapping[str, str]) -> Scaling:
    """Read scale, offset and no data of an item's bands, which must agree.

    From ``raster:bands`` (STAC 1.0), ``bands`` or the asset itself (1.1); where these are silent,
    from the processing baseline if the sensor's offset depends on it, else the sensor's own.
    A catalogue that says it has already applied the offset is believed. Never from the date.

    Args:
        item: A STAC item.
        sensor: The sensor that it belongs to, as its source has it.
        keys: For each band of the sensor, the key of its asset.

    Raises:
        ScalingError: If nothing states scale or offset, or if the bands differ.
    """
    by_band = {band: _read_asset(item, sensor, item["assets"][key]) for band, key in keys.items()}
    if len(set(by_band.values())) > 1:
        raise ScalingError(
            "its bands differ in scale, offset or nodata: "
            + ", ".join(
                f"{band} {s.scale:g} {s.offset:g} {s.nodata}" for band, s in by_band.items()
            )
        )
    return next(iter(by_band.values()))


def data_type(asset: Mapping[str, Any]) -> str:
    """Return the ``data_type`` that an asset states; empty where it is silent."""
    return str(_stated(asset, "data_type") or "")


def _read_asset(item: Mapping[str, Any], sensor: Sensor, asset: Mapping[str, Any]) -> Scaling:
    scale, offset = _stated(asset, "scale"), _stated(asset, "offset")
    quantity = None
    if sensor.decibel:
        quantity = _UNITS.get(str(_stated(asset, "unit")).lower())
        if scale is None:
            _require_calibrated(item, asset)
    if sensor.offset_since:
        offset, source = _offset(item, sensor, offset)
    elif offset is not None:
        source = "bands"
    elif scale is not None:  # a scale without an offset has none
        offset, source = 0.0, "bands"
    elif sensor.stated is not None:
        offset, source = sensor.stated, "stated"
    else:
        offset, source = sensor.offset, "product"
    scale = _number(sensor.scale if scale is None else scale, "scale")
    offset = _number(offset, "offset")
    if scale == 0.0:
        raise ScalingError("its scale is 0")
    return Scaling(scale, offset, _nodata(asset, sensor), quantity, source)


def _require_calibrated(item: Mapping[str, Any], asset: Mapping[str, Any]) -> None:
    if str(_stated(asset, "data_type") or "float").startswith(("int", "uint")):
        raise ScalingError("it holds uncalibrated integers and states no scale")
    if str(item.get("collection")).endswith("-grd"):
        raise ScalingError("ground range detected scenes are not calibrated; it states no scale")


def _offset(item: Mapping[str, Any], sensor: Sensor, of_bands: Any) -> tuple[Any, str]:
    """The offset of an item where it depends on the baseline, and where it is from.

    ``of_bands`` is the one stated with the bands, None where there is none.
    """
    baseline = processing_baseline(item) if "baseline" in sensor.believe else ""
    flag = _offset_applied(item, sensor) if "flag" in sensor.believe else None
    if flag is True:
        return sensor.offset, "taken off"
    # Earth Search writes the same offset into raster:bands whether or not it has been applied,
    # and for old baselines that never had one: https://github.com/Element84/earth-search/issues/66
    if of_bands is not None and "bands" in sensor.believe and not (flag is False and baseline):
        return of_bands, "bands"
    if baseline:
        offset = sensor.offset
        for first, since in sensor.offset_since:
            if baseline_key(baseline) >= baseline_key(first):
                offset = since
        return offset, f"baseline {baseline}{NOT_APPLIED if flag is False else ''}"
    if sensor.stated is not None:
        return sensor.stated, "stated"
    raise ScalingError(
        "it states neither an offset nor a processing baseline; if you know the offset, give it "
        f'(offsets={{"{sensor.name}": NUMBER}})'
    )


def _offset_applied(item: Mapping[str, Any], sensor: Sensor) -> bool | None:
    """What the item says on whether its offset has been applied; None: nothing."""
    flags = [properties(item).get(name) for name in sensor.offset_applied]
    return next((flag for flag in flags if isinstance(flag, bool)), None)


def _stated(asset: Mapping[str, Any], name: str) -> Any:
    """What an asset states of its first band, in any of the forms in use; None: nothing."""
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
    stated = _stated(asset, "nodata")
    if stated is None:
        return sensor.nodata
    nodata = _number(stated, "nodata", finite=False)
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
