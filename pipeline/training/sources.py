"""What one model learns from: cubes and tables of pixel series, under one Protocol."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from terralatent.catalogs.errors import InputError
from terralatent.catalogs.sources.sensors import SENSORS
from terralatent.pipeline.cube.masking import Masks
from terralatent.pipeline.cube.series import SeriesBlock

__all__ = ["Bands", "PixelSource", "agree"]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Bands:
    """What the values of a sensor mean; equal in all sources of a training that has begun."""

    names: tuple[str, ...]
    """Bands, in the order that observations have."""

    units: str
    """Units of the bands' values."""


class PixelSource(Protocol):
    """Series of pixels on one calendar for each sensor, cut into parts that are read one by one."""

    @property
    def name(self) -> str:
        """Its path or URL; several calendars may share it."""

    @property
    def snapshot(self) -> str:
        """The commit that is read; empty where there are none."""

    @property
    def identity(self) -> str:
        """SHA-256 of what it holds or was built from."""

    @property
    def version(self) -> str:
        """What a training notes of it: with another one it is another training."""

    @property
    def sensors(self) -> Mapping[str, Bands]:
        """The sensors that are used and have dates, and the bands that their series have."""

    @property
    def masks(self) -> Masks:
        """How the sensors are masked."""

    @property
    def together(self) -> bool:
        """Whether its pixels have the same dates, so that a date which few have clear is cloudy."""

    @property
    def sizes(self) -> tuple[int, ...]:
        """Pixels of each part."""

    @property
    def apart(self) -> tuple[bool, ...]:
        """For each part, whether it is kept for validation."""

    def read(self, part: int) -> SeriesBlock:
        """Read the series of a part. Computes."""

    def classes(self, part: int) -> NDArray[np.integer] | None:
        """The class of each pixel of a part, (N,), 0 where unlabelled; None without labels."""

    def with_sensors(self, sensors: Mapping[str, Bands]) -> Self:
        """The same source with some sensors, whose series have the bands given."""

    def keep_for(self, user: str) -> None:
        """Let what is read stay there for as long as ``user`` names it."""


Source = TypeVar("Source", bound=PixelSource)


def agree(sources: Sequence[Source], sensors: Sequence[str] | None = None) -> tuple[Source, ...]:
    """Give the series of each sensor the same bands in all sources: those that any of them has.

    What a source lacks is never valid there. Reads no pixels.

    Args:
        sources: As they were opened.
        sensors: Those to use; by default all.

    Raises:
        InputError: If no source has one of the sensors, if one has none of them, or if two disagree
            about the units of one.
    """
    holders: dict[str, list[Source]] = {}
    for source in sources:
        for name in source.sensors:
            holders.setdefault(name, []).append(source)
    unknown = sorted(set(sensors or ()) - set(holders))
    if unknown or not holders:
        raise InputError(
            f"no cube has acquisitions of {', '.join(unknown) or 'any sensor'}; "
            f"there are {', '.join(sorted(holders)) or 'none'}."
        )
    union = {name: _union(name, having) for name, having in holders.items()}
    return tuple(_use(source, union, sensors) for source in sources)


def _use(source: Source, union: Mapping[str, Bands], sensors: Sequence[str] | None) -> Source:
    used = [name for name in source.sensors if not sensors or name in sensors]
    if not used:
        raise InputError(
            f"{source.name} has acquisitions of none of {', '.join(sensors or ['its sensors'])}."
        )
    for name in used:
        own = source.sensors[name].names
        if lacking := [band for band in union[name].names if band not in own]:
            log.info("%s: %s lacks %s, which others have", source.name, name, ", ".join(lacking))
    return source.with_sensors({name: union[name] for name in used})


def _union(name: str, sources: Sequence[PixelSource]) -> Bands:
    """The bands of a sensor in several sources together, in the sensor's own order."""
    first = sources[0].sensors[name]
    for other in sources[1:]:
        bands = other.sensors[name]
        if bands.units != first.units:
            raise InputError(
                f"{other.name}: {name} is in {bands.units!r}, {sources[0].name} has it in "
                f"{first.units!r}; one model needs the same."
            )
    orders = [source.sensors[name].names for source in sources]
    if all(order == orders[0] for order in orders):
        return first
    every = list(dict.fromkeys(band for order in orders for band in order))
    own = SENSORS[name].bands if name in SENSORS else ()
    known = [band for band in own if band in every]
    return Bands((*known, *(band for band in every if band not in known)), first.units)
