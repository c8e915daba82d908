"""The cube's arrays and attributes, laid out before any pixel is read."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import zarr_cm
from odc.geo.geobox import GeoBox

from terralatent.catalogs.acquisition import Acquisition
from terralatent.catalogs.errors import InputError
from terralatent.catalogs.scenes import Scenes
from terralatent.catalogs.sensors import Sensor
from terralatent.pipeline.arrays import (
    ArrayLayout,
    GroupLayout,
    Layout,
    coordinate,
    grid_arrays,
    inner_chunk,
)
from terralatent.pipeline.states import DONE, PARTIAL, PENDING

__all__ = ["DATES_A_SHARD", "STATES", "cube_layout", "grid_attrs", "state_shape"]

DATES_A_SHARD = 16
"""Dates of one shard: an append rewrites the last shard alone."""

STATES = {"pending": PENDING, "done": DONE, "partial": PARTIAL}
"""Values of ``state``: not read yet; read; read, with scenes that failed masked and named."""

PER_DATE = (
    *("platform", "orbit", "baseline", "scale", "offset", "offset_from"),
    *("cloud_cover", "incidence"),
)
"""Coordinates along time that say where an acquisition comes from. Older cubes lack some."""

TIME_UNITS = "microseconds since 1970-01-01"


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
    groups = [GroupLayout("", (), grid_attrs(grid)), GroupLayout("items", _items(scenes))]
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
        groups.append(_sensor_group(sensor, acquisitions, grid, block))
        identity["sensors"][name] = {
            "bands": list(sensor.bands),
            "acquisitions": len(acquisitions),
            "scenes": scenes_hash(acquisitions),
        }
        if scenes.mask is not None and acquisitions[0].quality == scenes.mask:
            identity["sensors"][name]["mask"] = scenes.mask
    return Layout("cube", identity, tuple(groups))


def scenes_hash(acquisitions: Sequence[Acquisition]) -> str:
    """A short hash of what is read and how: times, item ids, scales; not where the files lie."""
    content = [
        [
            str(acquisition.time),
            [item["id"] for item in acquisition.items],
            [[s.scale, s.offset, s.nodata] for s in acquisition.scalings],
        ]
        for acquisition in acquisitions
    ]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]


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
    sensor: Sensor, acquisitions: Sequence[Acquisition], grid: GeoBox, block: int
) -> GroupLayout:
    packing, dates, shape = sensor.packing, len(acquisitions), tuple(grid.shape)
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
    if acquisitions[0].quality is not None:
        mask = sensor.quality_band(acquisitions[0].quality)
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
    units = state_shape(dates, (shape[0], shape[1]), block)
    arrays.append(
        coordinate(
            "state",
            ("unit_t", "unit_y", "unit_x"),
            np.zeros(units, dtype=np.uint8),
            {
                "long_name": "state of each time shard of each block",
                "flag_values": list(STATES.values()),
                "flag_meanings": " ".join(STATES),
            },
        )
    )
    attrs = {**grid_attrs(grid), "coordinates": " ".join(["spatial_ref", *PER_DATE]), "losses": []}
    columns = _date_arrays(sensor, acquisitions)
    return GroupLayout(sensor.name, (*arrays, *columns, *grid_arrays(grid)), attrs)


def _date_arrays(sensor: Sensor, acquisitions: Sequence[Acquisition]) -> list[ArrayLayout]:
    def column(name: str, dtype: str, attrs: Mapping[str, Any]) -> ArrayLayout:
        values = np.array([getattr(acquisition, name) for acquisition in acquisitions], dtype)
        return coordinate(name, ("time",), values, attrs)

    return [
        _times("time", "time", [acquisition.time for acquisition in acquisitions]),
        coordinate("band", ("band",), np.array(sensor.bands, dtype=object)),
        column("platform", "object", {"long_name": "platform"}),
        column("orbit", "int32", {"long_name": "relative orbit or WRS path, -1 unknown"}),
        column("baseline", "object", {"long_name": "processing baseline"}),
        column("scale", "float64", {"long_name": "scale of the first item, taken into account"}),
        column("offset", "float64", {"long_name": "offset of the first item, taken into account"}),
        column("offset_from", "object", {"long_name": "who told the offset of the first item"}),
        column("cloud_cover", "float32", {"units": "percent", "long_name": "cloud cover"}),
        column("incidence", "float32", {"units": "degree", "long_name": "angle of incidence"}),
    ]


def _times(name: str, dim: str, times: Sequence[np.datetime64]) -> ArrayLayout:
    """Microseconds since 1970 in UTC; the lowest integer where a time is not known."""
    values = np.array(times, dtype="datetime64[us]").astype(np.int64)
    attrs = {"units": TIME_UNITS, "calendar": "proleptic_gregorian", "standard_name": "time"}
    return coordinate(name, (dim,), values, attrs)


def _items(scenes: Scenes) -> tuple[ArrayLayout, ...]:
    fates = scenes.fates

    def text(name: str, values: Sequence[str], about: str) -> ArrayLayout:
        return coordinate(name, ("item",), np.array(values, dtype=object), {"long_name": about})

    def number(name: str, about: str) -> ArrayLayout:
        values = [getattr(fate.scaling, name, math.nan) for fate in fates]
        return coordinate(name, ("item",), np.array(values, "float64"), {"long_name": about})

    return (
        text("id", [fate.item_id for fate in fates], "item id"),
        text("sensor", [fate.sensor for fate in fates], "sensor, empty where it has none"),
        _times("time", "item", [fate.time for fate in fates]),
        text("fate", [fate.fate for fate in fates], "used, merged or dropped"),
        text("reason", [fate.reason for fate in fates], "why it was merged or dropped"),
        number("scale", "units for one step of its digital numbers, NaN where dropped"),
        number("offset", "units of its digital number 0, NaN where dropped"),
        text(
            "offset_from",
            ["" if fate.scaling is None else fate.scaling.offset_from for fate in fates],
            "who told its offset: the item's bands, its baseline, a flag, the product, the user",
        ),
    )
