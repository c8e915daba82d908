"""Made-up series and tiny cubes for tests: small, fast, and with gaps as clouds leave them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from odc.geo.geobox import GeoBox
from rasterio import Affine

from terralatent.catalogs.sources.sensors import SENSORS as CATALOGUE
from terralatent.models.observations import Observations
from terralatent.pipeline.cube.time_axis import PER_DATE
from terralatent.pipeline.store.arrays import (
    ArrayLayout,
    GroupLayout,
    Layout,
    coordinate,
    grid_arrays,
)
from terralatent.pipeline.store.creation import lay_out
from terralatent.pipeline.store.repository import Store

FIRST_DAY = 17379.0
"""2017-08-01, in days since 1970."""

SENSORS = {
    "sentinel-2-l2a": (3, 24, 12.0),
    "sentinel-1-asc": (2, 30, 9.5),
}
"""Number of bands and of acquisitions, and days between two of them."""


def tiny_series(pixels: int, sensor: str = "sentinel-2-l2a", seed: int = 0) -> Observations:
    """Seasonal series with a level of their own; a third of the acquisitions is mostly masked."""
    bands, dates, step = SENSORS[sensor]
    generator = torch.Generator().manual_seed(seed)
    days = FIRST_DAY + step * torch.arange(dates, dtype=torch.float64)
    level = torch.rand(pixels, 1, 1, generator=generator)
    season = torch.sin(2 * torch.pi * days / 365.25).float().reshape(1, dates, 1)
    slope = torch.linspace(-1.0, 1.0, bands).reshape(1, 1, bands)
    noise = torch.randn(pixels, dates, bands, generator=generator)
    values = 0.2 + 0.1 * level + 0.05 * level * season * slope + 0.01 * noise
    cloudy = torch.rand(1, dates, generator=generator) < 0.33
    chance = torch.where(cloudy, 0.8, 0.1) if sensor.startswith("sentinel-2") else 0.0 * cloudy
    masked = torch.rand(pixels, dates, generator=generator) < chance
    return Observations(
        days=days,
        values=torch.where(masked.unsqueeze(-1), torch.nan, values),
        valid=~masked.unsqueeze(-1).expand(-1, -1, bands),
        distance=torch.full((pixels, dates), 4.0),
        incidence=torch.full((dates,), torch.nan),
    )


def tiny_pixels(pixels: int, seed: int = 0) -> dict[str, Observations]:
    """The same pixels as both sensors see them."""
    return {name: tiny_series(pixels, name, seed) for name in SENSORS}


def tiny_cube(
    path: Path,
    *,
    side: int = 20,
    block: int = 10,
    seed: int = 0,
    bands: slice = slice(None),
    sensors: Sequence[str] = tuple(SENSORS),
    scale: float = 1.0,
    period: tuple[str, str] = ("2017-08-01", "2018-05-31"),
) -> Path:
    """Lay out a cube of the sensors, full of seasonal series; its last column is never observed.

    Args:
        path: Where the store goes.
        side: Rows and columns.
        block: Pixels along a side of a block.
        seed: Of the pixels.
        bands: The bands to keep of each sensor, a real one's order.
        sensors: Those it has.
        scale: Of all reflectances, so that another place is made.
        period: Of the search that it says it is of; its acquisitions stay what they are.
    """
    grid = GeoBox((side, side), Affine(10.0, 0.0, 540_000.0, 0.0, -10.0, 5_680_000.0), "EPSG:32631")
    groups = [GroupLayout("", ())]
    groups += [_tiny_group(name, grid, block, seed, bands, scale) for name in sensors]
    identity = {
        "seed": seed,
        "scale": scale,
        "grid": {"shape": [side, side]},
        "block": block,
        "period": list(period),
    }
    lay_out(Store.of(path), Layout("cube", identity, tuple(groups)))
    return path


def _tiny_group(
    name: str, grid: GeoBox, block: int, seed: int, bands: slice, scale: float
) -> GroupLayout:
    """One sensor's group as a build leaves it, for the first of the sensor's own bands."""
    sensor, series = CATALOGUE[name], tiny_series(grid.shape[0] * grid.shape[1], name, seed)
    rows, columns = grid.shape
    names = sensor.bands[: series.values.shape[-1]][bands]
    dates, packing = len(series.days), sensor.packing
    values = series.values.numpy().reshape(rows, columns, dates, -1).transpose(2, 3, 0, 1)[:, bands]
    values = scale * values if sensor.quality else 20.0 * values - 15.0
    bright = 0.8 if sensor.quality else 0.0
    filled = (np.nan_to_num(values, nan=bright) - packing.add_offset) / packing.scale_factor
    data = filled.round().astype(packing.dtype)
    clear = series.observed.numpy().reshape(rows, columns, dates).transpose(2, 0, 1).copy()
    clear[..., -1] = False
    data[..., -1] = packing.fill_value
    attrs = {
        "scale_factor": packing.scale_factor,
        "add_offset": packing.add_offset,
        "_FillValue": packing.fill_value,
        "units": sensor.units,
        "long_name": sensor.title,
        "grid_mapping": "spatial_ref",
    }
    chunk = (16, len(names), block, block)
    arrays = [
        ArrayLayout(
            "data", ("time", "band", "y", "x"), data.shape, packing.dtype, chunk, chunk,
            packing.fill_value, attrs, data,
        ),
        coordinate(
            "time", ("time",), (series.days.numpy() * 86_400e6).astype(np.int64),
            {"units": "microseconds since 1970-01-01", "calendar": "proleptic_gregorian"},
        ),
        coordinate("band", ("band",), np.array(names, dtype=object)),
        *(coordinate(name, ("time",), np.full(dates, np.nan, np.float32)) for name in PER_DATE),
        coordinate(
            "state", ("unit_t", "unit_y", "unit_x"),
            np.ones((-(-dates // 16), -(-rows // block), -(-columns // block)), np.uint8),
        ),
        *grid_arrays(grid),
    ]  # fmt: skip
    if sensor.quality:
        rule = sensor.quality[0].rule
        quality = np.where(clear, rule.codes[0], 9).astype("uint8")
        attrs = {"clear_rule": rule.to_json(), "nodata": 0, "grid_mapping": "spatial_ref"}
        attrs["long_name"] = sensor.quality[0].asset
        chunk = (16, block, block)
        arrays.append(
            ArrayLayout(
                "quality", ("time", "y", "x"), quality.shape, "uint8", chunk, chunk, 0, attrs,
                quality,
            )
        )  # fmt: skip
    return GroupLayout(name, tuple(arrays), {"losses": []})
