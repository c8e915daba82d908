"""What covers the land: its classes, and how wild plants answer to warmth, light and water."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Literal

from pydantic import ConfigDict, TypeAdapter, with_config

__all__ = ["VEGETATION", "LandCover", "Plant", "Vegetation"]


class LandCover(IntEnum):
    """What covers a parcel for a crop year."""

    WINTER_WHEAT = 1
    WINTER_BARLEY = 2
    MAIZE = 3
    POTATO = 4
    SUGAR_BEET = 5
    PEA = 6
    GRASS = 7
    FOREST = 8
    BUILT_UP = 9
    WATER = 10
    RICE = 11
    SOY = 12
    SORGHUM = 13
    SPRING_WHEAT = 14
    TWO_CROPS = 15
    FALLOW = 16
    PLANTATION = 17
    EVERGREEN_FOREST = 18
    CONIFER_FOREST = 19
    SHRUBS = 20
    SAVANNA = 21
    WETLAND = 22
    STEPPE = 23
    BARE_SOIL = 24
    ROCK = 25

    @property
    def title(self) -> str:
        """The name in words."""
        return self.name.lower().replace("_", " ")


class Plant(IntEnum):
    """What stands on a parcel on a day; each has leaves of its own."""

    WHEAT = 0
    BARLEY = 1
    MAIZE = 2
    POTATO = 3
    BEET = 4
    PEA = 5
    GRASS = 6
    TREES = 7
    COVER_CROP = 8
    STUBBLE = 9
    RICE = 10
    SOY = 11
    SORGHUM = 12
    BROADLEAF = 13
    CONIFER = 14
    SHRUB = 15
    DRY_GRASS = 16
    PALM = 17
    REED = 18


@with_config(ConfigDict(extra="forbid"))
@dataclass(frozen=True)
class Vegetation:
    """Plants that nobody sows: green as far as the season lets them (see ``wild.py``)."""

    plant: str
    """Name of the :class:`Plant`."""
    always: float
    """Green leaf area that stays through the year, m2/m2."""
    seasonal: float
    """Green leaf area that the best of seasons adds, m2/m2."""
    needs: tuple[Literal["warmth", "light", "water"], ...] = ()
    """What the seasonal leaves wait for."""
    litter: float = 30.0
    """Days in which what has died falls or rots to a third."""
    thirst: float = 0.5
    """Water of the root zone, 0 to 1, from which growth has enough."""
    wood: float = 0.0
    """Trunks and branches as radar sees them in any season, in m2/m2 of leaves that would weigh as
    much."""
    felled: float = 0.0
    """Share of the parcels that are felled in a year, and grow again."""
    water: tuple[float, float] = (0.0, 0.0)
    """Share of the ground that stands under water in the driest and the wettest season."""

    def __post_init__(self) -> None:
        if self.plant.upper() not in Plant.__members__:
            raise ValueError(f"plant {self.plant!r} is none of {', '.join(Plant.__members__)}")
        if min(self.always, self.seasonal) < 0 or self.always + self.seasonal > 7.5:
            raise ValueError(
                f"leaf areas {self.always} and {self.seasonal} are not within 0 to 7.5"
            )


def _read() -> dict[LandCover, Vegetation]:
    tables = tomllib.loads(Path(__file__).with_name("covers.toml").read_text("utf-8"))
    vegetation = TypeAdapter(dict[str, Vegetation]).validate_python(tables)
    return {LandCover[name.upper()]: table for name, table in vegetation.items()}


VEGETATION = _read()
"""Wild plants by class, from ``covers.toml``; classes without any are crops, or carry none."""
