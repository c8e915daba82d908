"""The bands that a cube and a model share: which are read, which are never valid."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import zarr

from terralatent.models.checkpoint import check_cube
from terralatent.models.config import ModelConfig

__all__ = ["SensorBands", "share_bands"]

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
    config: ModelConfig, root: zarr.Group, sensors: Sequence[str]
) -> tuple[SensorBands, ...]:
    """Find the bands that a cube and a model share, and log which one of them has alone.

    Reads no pixels.

    Args:
        config: The model's.
        root: Of the cube.
        sensors: Those that it has.

    Returns:
        Sensors of which they share a band, sorted by name.

    Raises:
        CheckpointError: If they share none, or the units of a sensor differ.
    """
    cube = {name: _bands_and_units(root, name) for name in sensors}
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


def _bands_and_units(root: zarr.Group, sensor: str) -> tuple[list[str], str]:
    bands = [str(band) for band in np.asarray(root[f"{sensor}/band"])]
    return bands, str(root[f"{sensor}/data"].attrs.get("units", ""))
