"""The bands that a cube and a model share: which are read, which are never valid."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import zarr

from terralatent.models.checkpoint import check_cube
from terralatent.models.config import ModelConfig

__all__ = ["SensorBands", "share_bands", "stored_bands"]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SensorBands:
    """The bands of one sensor that a cube is read with for a model."""

    sensor: str
    """Its name."""

    model: tuple[str, ...]
    """Those of the model, in its order, which observations have: what the cube lacks of them is
    never valid, and what it has beside them is not read."""

    shared: tuple[str, ...]
    """Those that both have, at least one, in the model's order."""


def share_bands(
    config: ModelConfig, cube: Mapping[str, tuple[Sequence[str], str]]
) -> tuple[SensorBands, ...]:
    """Find the bands that a cube and a model share, and log which one of them has alone.

    Reads no pixels.

    Args:
        config: The model's.
        cube: Bands and units of each sensor that it has, see :func:`stored_bands`.

    Returns:
        Sensors of which they share a band, sorted by name.

    Raises:
        CheckpointError: If they share none, or the units of a sensor differ.
    """
    shared = check_cube(config, cube)
    for sensor in sorted(config.sensors, key=lambda sensor: sensor.name):
        if sensor.name not in cube:
            continue
        used = shared.get(sensor.name, ())
        if lacking := [band for band in sensor.bands if band not in used]:
            log.info("%s: the cube has no %s (as if masked)", sensor.name,
                     ", ".join(lacking))  # fmt: skip
        if unknown := [band for band in cube[sensor.name][0] if band not in sensor.bands]:
            log.info("%s: the model does not know %s of the cube (not read)", sensor.name,
                     ", ".join(unknown))  # fmt: skip
    return tuple(
        SensorBands(name, config.sensor(name).bands, bands) for name, bands in shared.items()
    )


def stored_bands(root: zarr.Group, sensors: Sequence[str]) -> dict[str, tuple[list[str], str]]:
    """The bands and the units of some sensors of a stored cube. Reads no pixels."""
    return {
        name: (
            [str(band) for band in np.asarray(root[f"{name}/band"])],
            str(root[f"{name}/data"].attrs.get("units", "")),
        )
        for name in sensors
    }
