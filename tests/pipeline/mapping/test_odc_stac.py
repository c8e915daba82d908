"""Scenes that were loaded with odc-stac have the latents of the cube that is built of them.

Where tiles overlap, a cube takes all bands of a pixel from one of them, and odc-stac each band from
the first that has it: the scenes here are of one tile each.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import odc.stac
import pystac
import xarray as xr
from distributed import Client

from terralatent.catalogs.scenes.scenes import Scenes
from terralatent.catalogs.scenes.search import search_scenes
from terralatent.catalogs.sources.sensors import SENSORS
from terralatent.pipeline import as_sensor, embed
from terralatent.pipeline.ingest.build import build_cube
from terralatent.pipeline.region import grid_of
from terralatent.pipeline.store.repository import Store
from tests.made.catalogue import region
from tests.made.models import made_up_model

SENSOR = "sentinel-2-l2a"
DATES = ["2018-05-10", "2018-05-25"]


def loaded(scenes: Scenes, name: str, cube: Path) -> xr.Dataset:
    """The scenes of a sensor on the cube's grid, a time for each acquisition as a cube has them."""
    sensor, acquisitions = SENSORS[name], scenes.acquisitions(name)
    (mask, *_) = {own.quality for own in acquisitions} or {None}
    pass_of = {item["id"]: index for index, own in enumerate(acquisitions) for item in own.items}
    items = [pystac.Item.from_dict(item) for own in acquisitions for item in own.items]
    data = odc.stac.load(
        items,
        bands=[*sensor.bands, *([mask] if mask else [])],
        geobox=grid_of(Store.of(cube).group()[name]),
        groupby=lambda item, *_: pass_of[item.id],
        preserve_original_order=True,  # of two valid pixels the first counts
        resampling={"*": sensor.resampling, **({mask: "nearest"} if mask else {})},
    )
    offsets = xr.DataArray([own.scalings[0].offset for own in acquisitions], dims="time")
    angles = ("time", [own.incidence for own in acquisitions])
    data = data.assign_coords(time=[own.time for own in acquisitions], incidence=angles)
    return as_sensor(data, name, scale=acquisitions[0].scalings[0].scale, offset=offsets,
                     items=items)  # fmt: skip


def test_latents_of_loaded_scenes_are_those_of_their_cube(
    catalogue: Path, workers: Client, tmp_path: Path
) -> None:
    cube = tmp_path / "cube"
    found = search_scenes(catalogue, region(), "2018-05-07", "2018-05-31", sensors=[SENSOR])
    build_cube(found, region(), cube, block=16, client=workers)
    model = made_up_model(cube, tmp_path / "model")
    given = embed(loaded(found, SENSOR, cube), model, dates=DATES).compute()
    wanted = embed(cube, model, dates=DATES).compute()
    for name in ("mean", "std", "observations", "days_to_observation"):
        np.testing.assert_allclose(given[name], wanted[name], rtol=0, atol=1e-5, err_msg=name)
    assert float(wanted["mean"].std()) > 0.01
