"""The sensors: bands and their names elsewhere, scale, offset, no data, clear sky, packing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from terralatent.catalogs.clear import ClearRule
from terralatent.catalogs.errors import InputError

__all__ = ["SENSORS", "Packing", "QualityBand", "Sensor", "mask_by", "pick_sensors"]


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
        """Asset keys to look for, the own one first."""
        return (self.asset, *self.aliases)


@dataclass(frozen=True)
class Sensor:
    """One sensor product, as the cube keeps it and as catalogues publish it. Hashable by value."""

    name: str
    """Name of the cube's group and of ``--sensor``."""

    title: str
    """What people call it."""

    bands: tuple[str, ...]
    """Names of the bands, in the order in which the cube stores them."""

    aliases: tuple[tuple[str, ...], ...]
    """For each band, the asset keys under which other catalogues have it."""

    quality: tuple[QualityBand, ...]
    """The mask bands that may come with it, the best first; empty: what is valid is clear."""

    resolution: float
    """Pixel size of the finest band as published, in metres."""

    scale: float
    """Units per digital number where the item is silent: unit = scale * dn + offset."""

    offset: float
    """In units. The item's own word wins; see :attr:`offset_by_baseline`."""

    nodata: float | None
    """The digital number of a missing pixel where the item is silent; None: only NaN is missing."""

    units: str
    """Units after scaling, as written into the cube's ``units`` attribute."""

    packing: Packing
    """How the cube stores it."""

    collections: tuple[str, ...]
    """Collection ids under which catalogues are known to publish it."""

    constellation: str
    """``constellation`` of its items, where their collection has another id."""

    orbit_state: str | None = None
    """``sat:orbit_state`` that its items must have; None: any."""

    decibel: bool = False
    """Whether the items hold linear power, which the cube keeps as 10 log10 of it."""

    offset_by_baseline: bool = False
    """Whether the offset depends on the processing baseline, so that :attr:`offset` alone does
    not tell it: digital numbers of Sentinel-2 are 1000 higher from baseline 04.00 on."""

    def __post_init__(self) -> None:
        if len(set(self.bands)) != len(self.bands):
            raise ValueError(f"{self.name}: bands must be unique, got {self.bands}.")
        if len(self.aliases) != len(self.bands):
            raise ValueError(
                f"{self.name}: {len(self.bands)} bands have {len(self.aliases)} tuples of aliases."
            )

    def asset_keys(self, assets: Mapping[str, Any]) -> dict[str, str]:
        """Find the key in ``assets`` of each band; bands that are not there are left out."""
        found: dict[str, str] = {}
        for band, aliases in zip(self.bands, self.aliases, strict=True):
            key = next((key for key in (band, *aliases) if key in assets), None)
            if key is not None:
                found[band] = key
        return found

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


_SENTINEL_2 = Sensor(
    name="sentinel-2-l2a",
    title="Sentinel-2 surface reflectance",
    bands=("B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12"),
    aliases=(
        ("blue", "B02_10m", "B2"),
        ("green", "B03_10m", "B3"),
        ("red", "B04_10m", "B4"),
        ("rededge1", "B05_20m", "B5"),
        ("rededge2", "B06_20m", "B6"),
        ("rededge3", "B07_20m", "B7"),
        ("nir", "B08_10m", "B8"),
        ("nir08", "B8A_20m"),
        ("swir16", "B11_20m"),
        ("swir22", "B12_20m"),
    ),
    quality=(
        QualityBand(
            asset="SCL",
            # Vegetation, bare soil, water, unclassified: class 7 holds much clear built-up land.
            rule=ClearRule(codes=(4, 5, 6, 7)),
            fill_value=0,
            dtype="uint8",
            aliases=("scl", "SCL_20m"),
        ),
    ),
    resolution=10.0,
    scale=1e-4,
    offset=0.0,
    offset_by_baseline=True,
    # The offset keeps dark pixels below zero that atmospheric correction makes.
    packing=Packing(scale_factor=1e-4, add_offset=-0.1, fill_value=0, dtype="uint16"),
    collections=("sentinel-2-l2a", "sentinel-2-c1-l2a"),
    constellation="sentinel-2",
    units="1",
    nodata=0.0,
)


def _sentinel_1(name: str, title: str, orbit_state: str) -> Sensor:
    return Sensor(
        name=name,
        title=title,
        bands=("vv", "vh"),
        aliases=(("VV", "gamma0_vv"), ("VH", "gamma0_vh")),
        quality=(),
        resolution=10.0,
        scale=1.0,
        offset=0.0,
        nodata=None,
        units="dB",
        packing=Packing(scale_factor=0.01, add_offset=0.0, fill_value=-32768, dtype="int16"),
        collections=("sentinel-1-rtc", "sentinel-1-grd"),
        constellation="sentinel-1",
        orbit_state=orbit_state,
        decibel=True,
    )


_LANDSAT = Sensor(
    name="landsat-c2-l2",
    title="Landsat surface reflectance",
    # Numbered as on Landsat 8 and 9; the names by colour also fit the older Landsats.
    bands=("B02", "B03", "B04", "B05", "B06", "B07"),
    aliases=(("blue",), ("green",), ("red",), ("nir08",), ("swir16",), ("swir22",)),
    quality=(
        QualityBand(
            asset="qa_pixel",
            # Collection 2: fill, dilated cloud, cirrus, cloud, shadow, snow.
            # https://www.usgs.gov/landsat-missions/landsat-collection-2-quality-assessment-bands
            rule=ClearRule(no_bits=(0, 1, 2, 3, 4, 5)),
            fill_value=1,
            dtype="uint16",
        ),
        QualityBand(
            asset="pixel_qa",
            # Collection 1: clear or water; no fill, shadow, snow, cloud, no cloud confidence of
            # medium or high (bit 7), no high confidence of cirrus (bits 8 and 9).
            # https://www.usgs.gov/landsat-missions/landsat-collection-1-level-1-quality-assessment-band
            rule=ClearRule(any_bits=(1, 2), no_bits=(0, 3, 4, 5, 7), not_together=((8, 9),)),
            fill_value=1,
            dtype="uint16",
        ),
    ),
    resolution=30.0,
    scale=2.75e-5,
    offset=-0.2,
    packing=Packing(scale_factor=1e-4, add_offset=-0.2, fill_value=0, dtype="uint16"),
    collections=("landsat-c2-l2",),
    constellation="landsat",
    units="1",
    nodata=0.0,
)

SENSORS: Mapping[str, Sensor] = MappingProxyType(
    {
        sensor.name: sensor
        for sensor in (
            _SENTINEL_2,
            _sentinel_1("sentinel-1-asc", "Sentinel-1 backscatter, ascending", "ascending"),
            _sentinel_1("sentinel-1-desc", "Sentinel-1 backscatter, descending", "descending"),
            _LANDSAT,
        )
    }
)
"""Every sensor there is, by name. Sentinel-1's orbit directions are two sensors: never mixed."""


def pick_sensors(names: Sequence[str] | None) -> tuple[Sensor, ...]:
    """Return the sensors called ``names``, in the order of :data:`SENSORS`; None means all.

    Raises:
        InputError: If a name is unknown, or if there is none.
    """
    if names is None:
        return tuple(SENSORS.values())
    unknown = [name for name in names if name not in SENSORS]
    if unknown:
        raise InputError(f"Unknown sensor {', '.join(unknown)}; known are {', '.join(SENSORS)}.")
    if not names:
        raise InputError(f"No sensor was asked for; known are {', '.join(SENSORS)}.")
    return tuple(sensor for sensor in SENSORS.values() if sensor.name in names)


def mask_by(sensors: Sequence[Sensor], asset: str) -> tuple[Sensor, ...]:
    """Return ``sensors``, of which those that may come with the mask band ``asset`` take no other.

    Raises:
        InputError: If no sensor that is known has such a mask band.
    """
    known = {s.name: [b.asset for b in s.quality] for s in (*SENSORS.values(), *sensors)}
    if not any(asset in assets for assets in known.values()):
        told = [f"{', '.join(assets)} ({name})" for name, assets in known.items() if assets]
        raise InputError(f"No sensor has a mask band {asset!r}; there are {'; '.join(told)}.")
    chosen = {s: tuple(band for band in s.quality if band.asset == asset) for s in sensors}
    return tuple(replace(s, quality=one or s.quality) for s, one in chosen.items())
