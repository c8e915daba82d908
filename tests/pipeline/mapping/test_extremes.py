"""The smallest cube and the longest series are mapped as any other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from distributed import Client
from rasterio.warp import transform_bounds
from shapely.geometry import box

from terralatent.catalogs.scenes.scenes import Scenes
from terralatent.models.checkpoint import load_model
from terralatent.pipeline import build_cube, decode, embed, open_latents
from terralatent.pipeline.cube.series import read_series
from terralatent.pipeline.dates import days_since_1970
from terralatent.pipeline.mapping.opened import open_bands
from terralatent.pipeline.store.repository import Store
from tests.made import tiny
from tests.made.catalogue import CRS, LEFT, TOP
from tests.made.models import made_up_model
from tests.made.tiny import tiny_cube

SENSOR = "sentinel-2-l2a"
STEP = 1e-3
"""Far above rounding of float32, far below the latents' unit variance: packing is off here."""


def inferred(cube: Path, model: Path, times: np.ndarray, y: int, x: int) -> tuple[np.ndarray, ...]:
    """Mean and standard deviation of one pixel, straight from the model, (time, latent)."""
    root = Store.of(cube).group()
    sensors = sorted(name for name, group in root.groups() if "data" in group)
    series = read_series(root, sensors, slice(y, y + 1), slice(x, x + 1)).series()
    mean, var = load_model(model).infer(series, torch.from_numpy(days_since_1970(times)))
    return mean[0].numpy(), var[0].sqrt().numpy()


def test_a_cube_of_one_pixel(made_up: Scenes, workers: Client, tmp_path: Path) -> None:
    x, y = LEFT + 205.0, TOP - 205.0
    spot = box(*transform_bounds(CRS, "EPSG:4326", x - 3, y - 3, x + 3, y + 3))
    cube, latents, bands = (tmp_path / name for name in ("cube", "latents", "bands"))
    build_cube(made_up, spot, cube, client=workers)
    model = made_up_model(cube, tmp_path / "model")

    embed(cube, model, latents, dates="acquisitions", precision="float32", client=workers)
    decode(cube, model, SENSOR, "acquisitions", bands, client=workers)

    opened = open_latents(latents)
    assert dict(opened.sizes) | {"y": 1, "x": 1} == dict(opened.sizes)
    wanted = inferred(cube, model, opened.time.values, 0, 0)
    for name, values in zip(("mean", "std"), wanted, strict=True):
        np.testing.assert_allclose(opened[name].values[:, :, 0, 0], values, atol=STEP)
    assert np.isfinite(open_bands(bands)["mean"].values).all()


@pytest.mark.parametrize(
    ("acquisitions", "dates", "latents"), [(24, 300, 64), (1_460, 240, 4)], ids=["wide", "20 years"]
)
def test_long_series_and_many_latents(
    acquisitions: int, dates: int, latents: int, workers: Client, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    every = 12.0 if acquisitions == 24 else 5.0
    monkeypatch.setitem(tiny.SENSORS, SENSOR, (3, acquisitions, every))
    cube = tiny_cube(tmp_path / "cube", side=4, block=4)
    model = made_up_model(cube, tmp_path / "model", latents=latents)
    days = tiny.FIRST_DAY + np.linspace(0.0, max(acquisitions * every, dates), dates)
    times = (np.floor(days) * 86_400e6).astype("datetime64[us]")

    embed(
        cube, model, tmp_path / "latents", dates=",".join(str(time)[:10] for time in times),
        precision="float32", client=workers,
    )  # fmt: skip

    opened = open_latents(tmp_path / "latents")
    assert opened["mean"].shape == (dates, latents, 4, 4)
    wanted = inferred(cube, model, opened.time.values, 2, 1)
    for name, values in zip(("mean", "std"), wanted, strict=True):
        np.testing.assert_allclose(opened[name].values[:, :, 2, 1], values, atol=STEP)
