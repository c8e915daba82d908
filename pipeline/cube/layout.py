"""The cube's arrays and attributes, laid out before any pixel is read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr_cm
from odc.geo.geobox import GeoBox

from terralatent.catalogs.errors import InputError
from terralatent.catalogs.scenes.acquisition import Acquisition
from terralatent.catalogs.sources.sensors import QualityBand, Sensor
from terralatent.pipeline.cube.items import item_arrays, rows_of
from terralatent.pipeline.cube.losses import STATE_FLAGS
from terralatent.pipeline.cube.time_axis import PER_DATE, CubeDate, date_arrays, found_dates
from terralatent.pipeline.store.arrays import (
    ArrayLayout,
    GroupLayout,
    Layout,
    coordinate,
    grid_arrays,
    inner_chunk,
)

if TYPE_CHECKING:
    from terralatent.catalogs.scenes.scenes import Scenes

__all__ = [
    "DATES_A_SHARD",
    "cube_layout",
    "grid_attrs",
    "sensor_identity",
    "state_array",
    "state_shape",
]

DATES_A_SHARD = 16
"""Dates of one shard: an append rewrites the last shard alone."""


def cube_layout(scenes: Scenes, grid: GeoBox, block: int) -> Layout:
    """Lay out a cube: one group for each sensor, and the table of items. Reads no pixels.

    Args:
        scenes: What the cube will hold.
        grid: Its grid.
        block: Pixels along y and x of one block, one of 1 to 64 or a multiple of 64.

    Raises:
        InputError: If the block has another size.
    """
    if block < 1 or block % inner_chunk(block):
        raise InputError(f"A block of {block} pixels cannot be; take up to 64 or a multiple of it.")
    rows = item_arrays(rows_of(scenes))
    groups = [GroupLayout("", (), grid_attrs(grid)), GroupLayout("items", rows)]
    identity: dict[str, Any] = {
        "grid": {
            "crs": str(grid.crs),
            "transform": list(grid.transform)[:6],
            "shape": list(grid.shape),
        },
        "block": block,
        "period": [str(day) for day in scenes.period],
        "sensors": {},
    }
    for name in scenes.sensors:
        sensor, acquisitions = scenes.sensor(name), scenes.acquisitions(name)
        mask = _mask_of(sensor, acquisitions)
        groups.append(_sensor_group(sensor, mask, found_dates(acquisitions), grid, block))
        identity["sensors"][name] = sensor_identity(sensor, mask)
    return Layout("cube", identity, tuple(groups))


def sensor_identity(sensor: Sensor, mask: QualityBand | None) -> dict[str, Any]:
    """How a sensor is kept and read, as far as that may not change from one acquisition to the
    next; JSON values."""
    border = sensor.border
    return {
        "bands": list(sensor.bands),
        "packing": asdict(sensor.packing),
        "mask": None if mask is None else {"band": mask.asset, "clear": mask.rule.to_json()},
        "resampling": sensor.resampling,
        "border": None if border is None else {"below": border.below, "width": border.width},
    }


def _mask_of(sensor: Sensor, acquisitions: Sequence[Acquisition]) -> QualityBand | None:
    asset = acquisitions[0].quality
    return None if asset is None else sensor.quality_band(asset)


def grid_attrs(grid: GeoBox) -> dict[str, Any]:
    """The grid by the ``proj:`` and ``spatial:`` Zarr conventions, as attributes of a group."""
    crs: Any = grid.crs
    box = grid.boundingbox
    where = {"code": f"EPSG:{crs.to_epsg()}"} if crs.to_epsg() else {"wkt2": crs.to_wkt()}
    projection: Any = zarr_cm.proj.create(**where)
    placement: Any = zarr_cm.spatial.create(
        dimensions=["y", "x"],
        shape=list(grid.shape),
        transform=list(grid.transform)[:6],
        bbox=[box.left, box.bottom, box.right, box.top],
        registration="pixel",
    )
    return dict(zarr_cm.create_many({"proj": projection, "spatial": placement}))


def state_shape(dates: int, shape: tuple[int, int], block: int) -> tuple[int, int, int]:
    """Time shards, rows and columns of blocks of a sensor's group."""
    return -(-dates // DATES_A_SHARD), -(-shape[0] // block), -(-shape[1] // block)


def _sensor_group(
    sensor: Sensor,
    mask: QualityBand | None,
    axis: Sequence[CubeDate],
    grid: GeoBox,
    block: int,
) -> GroupLayout:
    packing, dates, shape = sensor.packing, len(axis), (grid.shape[0], grid.shape[1])
    bands, inner = len(sensor.bands), inner_chunk(block)
    arrays = [
        ArrayLayout(
            name="data",
            dims=("time", "band", "y", "x"),
            shape=(dates, bands, *shape),
            dtype=packing.dtype,
            chunks=(DATES_A_SHARD, bands, inner, inner),
            shards=(DATES_A_SHARD, bands, block, block),
            fill_value=packing.fill_value,
            attrs={
                "scale_factor": packing.scale_factor,
                "add_offset": packing.add_offset,
                "_FillValue": packing.fill_value,
                "units": sensor.units,
                "long_name": sensor.title,
                "grid_mapping": "spatial_ref",
            },
        )
    ]
    if mask is not None:
        arrays.append(
            ArrayLayout(
                name="quality",
                dims=("time", "y", "x"),
                shape=(dates, *shape),
                dtype=mask.dtype,
                chunks=(DATES_A_SHARD, inner, inner),
                shards=(DATES_A_SHARD, block, block),
                fill_value=mask.fill_value,
                attrs={
                    "long_name": f"{mask.asset} of the product",
                    "nodata": mask.fill_value,
                    "clear_rule": mask.rule.to_json(),
                    "grid_mapping": "spatial_ref",
                },
            )
        )
    arrays.append(state_array(np.zeros(state_shape(dates, shape, block), dtype=np.uint8)))
    arrays.append(coordinate("band", ("band",), np.array(sensor.bands, dtype=object)))
    attrs = {**grid_attrs(grid), "coordinates": " ".join(["spatial_ref", *PER_DATE]), "losses": []}
    attrs["delay"] = sensor.delay
    everything = (*arrays, *date_arrays(axis), *grid_arrays(grid))
    return GroupLayout(sensor.name, everything, attrs)


def state_array(states: np.ndarray) -> ArrayLayout:
    """Lay out the states of a sensor, one for each time shard of each block."""
    return coordinate(
        "state",
        ("unit_t", "unit_y", "unit_x"),
        states,
        {"long_name": "state of each time shard of each block", **STATE_FLAGS},
    )
