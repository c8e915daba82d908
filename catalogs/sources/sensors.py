"""The sensors: bands and their names elsewhere, scale, offset, no data, clear sky, packing.

The built-in ones stand in ``sensors.toml`` beside this module.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import numpy as np

from terralatent.catalogs.errors import InputError
from terralatent.catalogs.sources.clear import ClearRule
from terralatent.catalogs.sources.toml_tables import Table, read_tables, validate

__all__ = [
    "BUILT_IN",
    "SENSORS",
    "Border",
    "OffsetSource",
    "Packing",
    "QualityBand",
    "Quantity",
    "Resampling",
    "Sensor",
    "find_key",
    "mask_by",
    "pick_sensors",
    "sensors_of",
    "with_offsets",
]

BUILT_IN = Path(__file__).with_name("sensors.toml")
"""The table of the built-in sensors."""

Quantity = Literal["value", "power", "amplitude", "decibel"]
"""What scale * dn + offset is: the value itself, or what backscatter in dB is made of."""

Resampling = Literal["nearest", "bilinear", "cubic", "average"]
"""How pixels of a file become pixels of the grid."""

OffsetSource = Literal["flag", "bands", "baseline"]
"""Where an item states its offset: by a flag that it is applied already, with its bands, or by its
processing baseline."""


@dataclass(frozen=True)
class Packing:
    """How the cube stores a band, by CF: value = integer * scale_factor + add_offset."""

    scale_factor: float
    """In the sensor's units for one step of the integer."""

    add_offset: float
    """In the sensor's units; the value of the integer 0."""

    fill_value: int
    """The integer that means no data."""

    dtype: str
    """NumPy name of the integer type."""

    def __post_init__(self) -> None:
        kinds = ("uint8", "int8", "uint16", "int16", "uint32", "int32")
        if self.dtype not in kinds:
            raise ValueError(f"the dtype {self.dtype!r} is none of {', '.join(kinds)}")
        lowest = np.iinfo(self.dtype).min
        if self.fill_value != lowest:
            raise ValueError(f"the fill value {self.fill_value} is not the lowest, {lowest}")
        if not self.scale_factor > 0:
            raise ValueError(f"the scale factor {self.scale_factor} is not above zero")


@dataclass(frozen=True)
class QualityBand:
    """The mask band that a product carries beside its measurements."""

    asset: str
    """Asset key."""

    rule: ClearRule
    """Which of its values are clear."""

    fill_value: int
    """What the sensor itself calls no data in this band."""

    dtype: str
    """NumPy name of the integer type in which it comes and is stored."""

    aliases: tuple[str, ...] = ()
    """Asset keys of the same band in other catalogues."""

    @property
    def keys(self) -> tuple[str, ...]:
        """Possible asset keys, the own one first."""
        return (self.asset, *self.aliases)


@dataclass(frozen=True)
class Border:
    """Noise along the edges of old radar scenes: low values that no signal made."""

    below: float
    """Linear power under which all bands of a pixel lie."""

    width: float
    """How far it reaches from where there is no data, in metres."""

    software: str
    """The processor whose versions before :attr:`version` left it, as named in
    ``processing:software``."""

    version: str
    """The first version without it, such as ``002.90``."""

    until: date
    """An item that does not state the version has it where it was sensed before this day."""


@dataclass(frozen=True)
class Sensor:
    """One sensor product, as the cube keeps it and as catalogues publish it. Hashable by value.

    Examples:
        >>> import terralatent as tl
        >>> tl.SENSORS["sentinel-1-asc"].bands, tl.SENSORS["sentinel-1-asc"].units
        (('vv', 'vh'), 'dB')
    """

    name: str
    """Name of the cube's group and of ``sensors=``."""

    title: str
    """What people call it."""

    bands: tuple[str, ...]
    """Names of the bands, in the order in which the cube stores them."""

    keys: tuple[tuple[str, ...], ...]
    """For each band, its possible asset keys; the first that is there counts."""

    quality: tuple[QualityBand, ...]
    """The mask bands that may come with it, the best first; empty: what is valid is clear."""

    resolution: float
    """Pixel size of the finest band as published, in metres."""

    scale: float
    """Units per digital number where the item is silent: unit = scale * dn + offset."""

    offset: float
    """In units. The item's own offset wins; see :attr:`offset_since`."""

    units: str
    """Units after scaling, as written into the cube's ``units`` attribute."""

    packing: Packing
    """How the cube stores it."""

    collections: tuple[str, ...]
    """Collection ids under which catalogues are known to publish it."""

    constellation: str
    """``constellation`` of its items, where their collection has another id."""

    nodata: float | None = None
    """The digital number of a missing pixel where the item is silent; None: only NaN is missing."""

    orbit_state: str | None = None
    """``sat:orbit_state`` that its items must have; None: any."""

    quantity: Quantity = "value"
    """What its files hold where the item is silent; backscatter is kept in dB."""

    resampling: Resampling = "nearest"
    """For the bands. Mask bands are classes, always read by the nearest pixel."""

    border: Border | None = None
    """Noise that is masked along the edges of old scenes."""

    offset_since: tuple[tuple[str, float], ...] = ()
    """From which processing baseline on which offset holds instead of :attr:`offset`, so that an
    item has to state one of the two; the newest last. Empty: the offset is always the same."""

    offset_applied: tuple[str, ...] = ()
    """Properties that are true where a catalogue has applied the offset already."""

    believe: tuple[OffsetSource, ...] = ("flag", "bands", "baseline")
    """Which of an item's statements on its offset count, where :attr:`offset_since` needs them."""

    stated: float | None = None
    """The offset, in units, of items that do not state theirs, as given by the user."""

    coarser: tuple[tuple[str, float], ...] = ()
    """Bands that are published in larger pixels than :attr:`resolution`, and these, in metres."""

    delay: float = 1.0
    """Days from sensing until its products are there, where their items do not say."""

    def __post_init__(self) -> None:
        if len(set(self.bands)) != len(self.bands) or not self.bands:
            raise ValueError(f"{self.name}: bands must be unique, got {self.bands}")
        if len(self.keys) != len(self.bands) or not all(self.keys):
            raise ValueError(
                f"{self.name}: {len(self.bands)} bands have {len(self.keys)} tuples of asset keys"
            )
        for baseline, _ in self.offset_since:
            if not re.fullmatch(r"\d+\.\d+", baseline):
                raise ValueError(f"{self.name}: {baseline!r} is no processing baseline like 04.00")
        if self.decibel and self.units != "dB":
            raise ValueError(f"{self.name}: {self.quantity} is kept in dB, not in {self.units!r}")
        if not self.scale or not self.resolution > 0 or not self.delay >= 0:
            sizes = f"scale {self.scale} and resolution {self.resolution} must not be zero"
            raise ValueError(f"{self.name}: {sizes}, nor the delay {self.delay} negative")
        for band, metres in self.coarser:
            if not metres > self.resolution:
                raise ValueError(
                    f"{self.name}: {band} of {metres:g} m is not coarser than the resolution, "
                    f"{self.resolution:g} m"
                )

    @property
    def decibel(self) -> bool:
        """Whether it is backscatter, kept in dB."""
        return self.quantity != "value"

    def asset_keys(self, assets: Mapping[str, Any]) -> dict[str, str]:
        """Find the key in ``assets`` of each band; bands that are not there are left out."""
        present: dict[str, str] = {}
        for band, keys in zip(self.bands, self.keys, strict=True):
            if key := find_key(keys, assets):
                present[band] = key
        return present

    def missing(self, assets: Mapping[str, Any]) -> tuple[str, ...]:
        """The bands that are none of ``assets``, which are keyed by band names."""
        return tuple(band for band in self.bands if band not in assets)

    def with_bands(self, bands: Sequence[str]) -> Sensor:
        """The same sensor with some of its bands alone, in its own order.

        Raises:
            InputError: If a band is not one of :attr:`bands`, or there is none.
        """
        chosen = self.select(bands)
        if not chosen:
            raise InputError(f"{self.name} needs a band at least; it has {', '.join(self.bands)}.")
        keys = dict(zip(self.bands, self.keys, strict=True))
        return replace(self, bands=chosen, keys=tuple(keys[band] for band in chosen))

    def with_asset_keys(self, assets: Mapping[str, str]) -> Sensor:
        """The same sensor where bands and mask bands have the asset keys ``assets``."""
        return replace(
            self,
            keys=tuple(
                (assets[band],) if band in assets else keys
                for band, keys in zip(self.bands, self.keys, strict=True)
            ),
            quality=tuple(
                replace(band, aliases=(assets[band.asset],)) if band.asset in assets else band
                for band in self.quality
            ),
        )

    def by_resolution(self) -> tuple[tuple[str, ...], ...]:
        """Its bands by the pixel size in which they are published, the finest first."""
        groups: dict[float, list[str]] = {}
        metres = dict(self.coarser)
        for band in self.bands:
            groups.setdefault(metres.get(band, self.resolution), []).append(band)
        return tuple(tuple(groups[size]) for size in sorted(groups))

    def quality_band(self, asset: str) -> QualityBand:
        """Return the mask band called ``asset``.

        Raises:
            ValueError: If this sensor has no such mask band.
        """
        for band in self.quality:
            if band.asset == asset:
                return band
        raise ValueError(
            f"{self.name} has no mask band {asset!r}; it has {[b.asset for b in self.quality]}."
        )

    def select(self, bands: Sequence[str]) -> tuple[str, ...]:
        """Check ``bands`` against this sensor and put them in the cube's order.

        Raises:
            InputError: If a band is not one of :attr:`bands`.
        """
        unknown = sorted(set(bands) - set(self.bands))
        if unknown:
            raise InputError(
                f"{self.name} has no band {', '.join(unknown)}; it has {', '.join(self.bands)}."
            )
        return tuple(band for band in self.bands if band in bands)


def find_key(keys: Sequence[str], assets: Mapping[str, Any]) -> str | None:
    """The first of ``keys`` that is in ``assets``; where none is, in other letters, ``Vv``.

    >>> find_key(["vv", "VV"], {"Vv": {}, "vh": {}})
    'Vv'
    """
    if (key := next((key for key in keys if key in assets), None)) is not None:
        return key
    in_lower_case = {str(key).lower(): key for key in assets}
    return next((found for key in keys if (found := in_lower_case.get(key.lower()))), None)


def sensors_of(tables: Iterable[Table]) -> Mapping[str, Sensor]:
    """Make the sensors of the TOML ``tables``, in their order.

    ``bands`` is a table of each band's other asset keys, ``offset_since`` one of offsets by
    processing baseline, ``coarser`` one of pixel sizes by band; ``quality`` is left out where there
    is no mask band.

    Raises:
        InputError: If a table does not fit.
    """
    made = {}
    for table in tables:
        if table.kind != "sensors":
            continue
        content = {"quality": (), **table.content, "name": table.name}
        bands = validate(dict[str, tuple[str, ...]], content.get("bands", {}), table, "bands")
        content["bands"] = tuple(bands)
        content["keys"] = tuple((band, *others) for band, others in bands.items())
        if "taken_off" in content:  # what the key was called in files written for 0.1.0
            content["offset_applied"] = content.pop("taken_off")
        for key in ("offset_since", "coarser"):
            if key in content:
                content[key] = tuple(validate(dict[str, float], content[key], table, key).items())
        made[table.name] = validate(Sensor, content, table)
    return MappingProxyType(made)


SENSORS: Mapping[str, Sensor] = sensors_of(read_tables([BUILT_IN]))
"""The built-in sensors by name."""


def pick_sensors(
    names: Sequence[str] | None, known: Mapping[str, Sensor] = SENSORS
) -> tuple[Sensor, ...]:
    """Return the sensors called ``names``, in the order of ``known``; None means all.

    Raises:
        InputError: If a name is unknown, or if there is none.
    """
    if names is None:
        return tuple(known.values())
    unknown = [name for name in names if name not in known]
    if unknown:
        raise InputError(f"Unknown sensor {', '.join(unknown)}; known are {', '.join(known)}.")
    if not names:
        raise InputError(f"No sensor was requested; known are {', '.join(known)}.")
    return tuple(sensor for sensor in known.values() if sensor.name in names)


def with_offsets(
    sensors: Sequence[Sensor], stated: Mapping[str, float] | None
) -> tuple[Sensor, ...]:
    """Return ``sensors`` with the offsets, in units, that a user states by their names.

    They hold for items that do not state their own.

    Raises:
        InputError: If a name is not among ``sensors``.
    """
    names = [sensor.name for sensor in sensors]
    for name in stated or {}:
        if name not in names:
            raise InputError(
                f"An offset is stated for {name}, but requested are {', '.join(names)}."
            )
    return tuple(
        replace(sensor, stated=(stated or {}).get(sensor.name, sensor.stated)) for sensor in sensors
    )


def mask_by(sensors: Sequence[Sensor], asset: str) -> tuple[Sensor, ...]:
    """Return ``sensors``, of which those that may come with the mask band ``asset`` take no other.

    Raises:
        InputError: If no known sensor has such a mask band.
    """
    known = {s.name: [b.asset for b in s.quality] for s in (*SENSORS.values(), *sensors)}
    if not any(asset in assets for assets in known.values()):
        there = [f"{', '.join(assets)} ({name})" for name, assets in known.items() if assets]
        raise InputError(f"No sensor has a mask band {asset!r}; there are {'; '.join(there)}.")
    chosen = {s: tuple(band for band in s.quality if band.asset == asset) for s in sensors}
    return tuple(replace(s, quality=bands or s.quality) for s, bands in chosen.items())
