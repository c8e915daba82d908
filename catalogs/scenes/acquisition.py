"""One pass of a sensor over the region: the items that it consists of, and what became of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from terralatent.catalogs.items.scaling import Scaling

__all__ = ["Acquisition", "Fate", "no_asset_for"]


@dataclass(frozen=True)
class Acquisition:
    """What one sensor observed in one pass: one entry of the cube's time axis. Small, picklable."""

    sensor: str
    """Name of the sensor."""

    time: np.datetime64
    """When the earliest of its items was sensed, datetime64[us], UTC; a millisecond later where
    another platform's acquisition has that time."""

    items: tuple[dict[str, Any], ...]
    """STAC items in merge order: of two valid pixels the first item's counts. Only the assets that
    the cube reads are kept; they are keyed by the sensor's own band names and by
    :attr:`quality`, and their hrefs are absolute. A band that an item lacks has none."""

    scalings: tuple[Scaling, ...]
    """Scale, offset and no data of each item: tiles of two baselines may lie side by side."""

    quality: str | None
    """Asset key of the mask band, one for all acquisitions of a sensor; None where it has none."""

    platform: str
    """Such as ``sentinel-2b``; empty where unknown."""

    orbit: int
    """Relative orbit, for Landsat the WRS path; -1 where unknown."""

    baseline: str
    """Processing baseline, several joined by a plus sign; empty where unknown."""

    cloud_cover: float
    """In percent, the mean of the items that state it; NaN where unknown."""

    incidence: float
    """Angle of incidence in degrees, the mean of the items that state it; NaN where unknown."""

    @property
    def scale(self) -> float:
        """The first item's scale."""
        return self.scalings[0].scale

    @property
    def offset(self) -> float:
        """The first item's offset."""
        return self.scalings[0].offset

    @property
    def offset_from(self) -> str:
        """Where the first item's offset is from."""
        return self.scalings[0].offset_from


@dataclass(frozen=True)
class Fate:
    """What became of one item of the search."""

    item_id: str
    """Its id."""

    sensor: str
    """Name of its sensor; empty where it belongs to none."""

    time: np.datetime64
    """When it was sensed, datetime64[us]; NaT where it does not say."""

    fate: Literal["used", "merged", "dropped"]
    """``used``: the first of its acquisition; ``merged``: fills what that one leaves open."""

    reason: str
    """Why it was merged or dropped, and which bands it lacks; empty where used whole."""

    scaling: Scaling | None = None
    """What is applied to its digital numbers; None where it is dropped."""


def no_asset_for(bands: Sequence[str]) -> str:
    """How a reason names the bands that an item lacks."""
    return f"it has no asset for {', '.join(bands)}"
