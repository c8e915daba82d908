"""Untrained models that fit a cube: random networks are enough to test what runs them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from odc.geo.geobox import GeoBox
from rasterio.warp import transform_bounds
from shapely.geometry import box
from shapely.geometry.base import BaseGeometry

from terralatent.models.checkpoint import load_model, save_model
from terralatent.models.gpvae import GPVAE, ModelConfig, SensorConfig
from terralatent.pipeline.store.repository import Store
from tests.made.catalogue import CRS, LEFT, SIDE, TOP

ABSENT = SensorConfig(
    name="landsat-c2-l2",
    bands=("B02", "B03", "B04", "B05", "B06", "B07"),
    units="1",
    centre=(0.2,) * 6,
    spread=(0.1,) * 6,
)
"""A sensor that the made-up cube lacks."""


def made_up_model(cube: Path, folder: Path, *, seed: int = 0, latents: int = 4) -> Path:
    """Write a model with random networks for the sensors of ``cube`` and one more."""
    root = Store.of(cube).group(kind="cube")
    sensors = [ABSENT]
    for name, group in root.groups():
        if "data" in group:
            bands = tuple(str(band) for band in np.asarray(group["band"]))
            units = str(group["data"].attrs["units"])
            middle, spread = (-12.0, 4.0) if units == "dB" else (0.2, 0.15)
            centre, width = (middle,) * len(bands), (spread,) * len(bands)
            sensors.append(
                SensorConfig(name=name, bands=bands, units=units, centre=centre, spread=width)
            )
    config = ModelConfig(sensors=tuple(sensors), latents=latents, hidden=8)
    save_model(GPVAE(config, seed=seed), folder, {"seed": seed})
    return folder


def wide_region() -> BaseGeometry:
    """The made-up region and, to its east, eight columns that no scene covers."""
    bounds = (LEFT + 1, TOP - 10 * SIDE + 1, LEFT + 10 * (SIDE + 8) - 1, TOP - 1)
    return box(*transform_bounds(CRS, "EPSG:4326", *bounds, densify_pts=21))


def outside_every_scene(grid: GeoBox) -> np.ndarray:
    """Where the wide region lies outside every scene, (y, x)."""
    shape = (grid.shape[0], grid.shape[1])
    x = grid.affine.c + 10.0 * (np.arange(shape[1]) + 0.5)
    y = grid.affine.f - 10.0 * (np.arange(shape[0]) + 0.5)
    inside_x = (x > LEFT) & (x < LEFT + 10 * SIDE)
    inside_y = (y < TOP) & (y > TOP - 10 * SIDE)
    return ~(inside_y[:, None] & inside_x[None, :])


def awake_model(cube: Path, folder: Path, *, seed: int = 3) -> Path:
    """Write a made-up model that fills missing bands, and in which also those layers have weights
    that start at zero: whatever an encoder is given moves latents, as in a trained model."""
    config = load_model(made_up_model(cube, folder / "asleep", seed=seed)).config
    model = GPVAE(config.model_copy(update={"fills_bands": True}), seed=seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "kernel" not in name:
                parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
        for sensor in config.sensors:
            fill = model.sensor(sensor.name).encoder.fill
            assert fill is not None
            mixing = torch.randn(2 * [len(sensor.bands)], generator=generator)
            fill.relate(torch.zeros(len(sensor.bands)), mixing @ mixing.T + torch.eye(len(mixing)))
    save_model(model, folder / "awake", {"seed": seed})
    return folder / "awake"
