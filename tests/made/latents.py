"""Latents of made-up fields, laid out as `embed` does: what is where is known."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import geopandas
import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio import Affine
from shapely.geometry import box

from terralatent.pipeline.cube.layout import grid_attrs
from terralatent.pipeline.mapping.results.layout import state_arrays
from terralatent.pipeline.store.arrays import (
    ArrayLayout,
    GroupLayout,
    Layout,
    coordinate,
    grid_arrays,
    time_array,
)
from terralatent.pipeline.store.creation import lay_out
from terralatent.pipeline.store.repository import Store

SIDE, FIELD, OUTSIDE = 32, 4, 4
"""Pixels of the region and of a field along a side, and columns in the east without a scene."""

DATES, LATENTS = 3, 4
NAMES = ("grass", "maize", "water")
STEP, FILL = {"mean": 2.5e-4, "std": 2e-5}, {"mean": -32768, "std": 65535}
DTYPES = {"mean": "int16", "std": "uint16"}
LEFT, TOP = 540_000.0, 5_680_000.0


@dataclass(frozen=True)
class Fields:
    """A region of square fields, row by row, each of one class."""

    latents: Path
    """The store."""

    classes: NDArray[np.intp]
    """Place in :data:`NAMES` of every pixel, (y, x)."""

    frame: geopandas.GeoDataFrame
    """A polygon a field: ``crop``, ``number`` (which the first latent follows), ``farm``."""


def grid() -> GeoBox:
    """The pixels of the region."""
    return GeoBox((SIDE, SIDE), Affine(10.0, 0.0, LEFT, 0.0, -10.0, TOP), "EPSG:32631")


def made_up_fields(
    path: Path, *, block: int = 16, seed: int = 0, apart: float = 1.0, pending: bool = False
) -> Fields:
    """Write latents of fields whose classes and numbers are known.

    A pixel is the mean of its class, plus what its field has by itself, plus noise.

    Args:
        path: Of the store.
        block: Pixels along a side of a block.
        seed: Of all that is drawn.
        apart: Of the means of classes; at 0 latents know nothing of them.
        pending: Whether the first block was not computed.
    """
    random = np.random.default_rng(seed)
    count = SIDE // FIELD
    of_field = np.arange(count * count) % len(NAMES)
    random.shuffle(of_field)
    number = random.normal(size=count * count)
    shape = (len(of_field), DATES, LATENTS)
    means = apart * random.normal(size=(len(NAMES), *shape[1:]))
    own = means[of_field] + 0.3 * random.normal(size=shape)
    own[:, 0, 0] += number
    rows, columns = np.divmod(np.arange(SIDE * SIDE), SIDE)
    field = (rows // FIELD * count + columns // FIELD).reshape(SIDE, SIDE)
    values = own[field].transpose(2, 3, 0, 1)
    arrays = {
        "mean": values + 0.1 * random.normal(size=values.shape),
        "std": 0.3 + 0.05 * random.random(values.shape),
    }
    packed = {}
    for name, array in arrays.items():
        packed[name] = (array / STEP[name]).round().astype(DTYPES[name])
        packed[name][..., SIDE - OUTSIDE :] = FILL[name]
        if pending:
            packed[name][..., :block, :block] = FILL[name]
    _lay_out(path, packed, block, pending)
    squares = [
        box(x, y - 10 * FIELD, x + 10 * FIELD, y).buffer(-4.0)
        for y in TOP - 10.0 * FIELD * np.arange(count)
        for x in LEFT + 10.0 * FIELD * np.arange(count)
    ]
    frame = geopandas.GeoDataFrame(
        {
            "crop": [NAMES[place] for place in of_field],
            "code": of_field * 10 + 11,
            "number": number,
            "farm": np.arange(len(of_field)) // 4,
        },
        geometry=squares,
        crs="EPSG:32631",
    )
    return Fields(path, of_field[field], frame)


def _lay_out(path: Path, packed: dict[str, NDArray[np.integer]], block: int, pending: bool) -> None:
    own = grid()
    dates = np.array(["2018-05-04", "2018-06-04", "2018-07-04"], "datetime64[us]")
    chunk = (DATES, LATENTS, block, block)
    stored = [
        ArrayLayout(
            name, ("time", "latent", "y", "x"), values.shape, DTYPES[name], chunk, chunk,
            FILL[name], {"scale_factor": STEP[name], "_FillValue": FILL[name]}, values,
        )
        for name, values in packed.items()
    ]  # fmt: skip
    times = time_array("time", "time", dates)
    latent = coordinate("latent", ("latent",), np.arange(LATENTS))
    states = []
    for array in state_arrays(own, block):
        values = np.full(array.shape, int(array.name == "state"), array.dtype)
        if pending and array.name == "state":
            values[0, 0] = 0
        states.append(coordinate(array.name, array.dims, values, array.attrs))
    arrays = (*stored, times, latent, *grid_arrays(own), *states)
    attrs = {**grid_attrs(own), "model_hash": "made-up", "sensors": ["sentinel-2-l2a"]}
    identity = {"dates": [str(date) for date in dates], "block": block, "latents_hash": "made-up"}
    lay_out(Store.of(path), Layout("latents", identity, (GroupLayout("", arrays, attrs),)))
