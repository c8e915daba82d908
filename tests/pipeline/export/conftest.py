"""Small stores of each kind, laid out by hand; not to be changed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from terralatent.pipeline.cube.layout import grid_attrs
from terralatent.pipeline.probes.legend import Legend
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
from tests.made.latents import SIDE, grid, made_up_fields
from tests.made.tiny import tiny_cube

YEARS, COMPONENTS, BLOCK = 3, 5, 16


@pytest.fixture(scope="session")
def latents(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Latents of three dates in four blocks."""
    return made_up_fields(tmp_path_factory.mktemp("exported") / "latents").latents


@pytest.fixture(scope="session")
def two_sensors(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cube of two sensors, 24 and 30 dates in shards of 16."""
    return tiny_cube(tmp_path_factory.mktemp("exported") / "cube")


@pytest.fixture(scope="session")
def annual(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Components of years: int8, one array with an offset, bounds of time and states over time."""
    path = tmp_path_factory.mktemp("exported") / "annual"
    random = np.random.default_rng(3)
    shape, blocks = (YEARS, COMPONENTS, SIDE, SIDE), (YEARS, SIDE // BLOCK, SIDE // BLOCK)
    chunk, shard = (1, COMPONENTS, 8, 8), (1, COMPONENTS, BLOCK, BLOCK)
    packing = {
        "mean": {"scale_factor": 0.03, "units": "1"},
        "log_std": {"scale_factor": 0.02, "add_offset": -1.5},
    }
    arrays = []
    for name, attrs in packing.items():
        values = random.integers(-127, 128, shape, dtype=np.int8)
        values[..., -3:] = -128
        attrs = {**attrs, "_FillValue": -128, "grid_mapping": "spatial_ref"}
        arrays.append(
            ArrayLayout(name, ("time", "component", "y", "x"), shape, "int8", chunk, shard, -128,
                        attrs, values)
        )  # fmt: skip
    counts = random.integers(0, 256, (YEARS, 2, SIDE, SIDE), dtype=np.uint8)
    arrays.append(
        ArrayLayout("observations", ("time", "sensor", "y", "x"), counts.shape, "uint8",
                    (1, 2, 8, 8), (1, 2, BLOCK, BLOCK), 0, {"grid_mapping": "spatial_ref"}, counts)
    )  # fmt: skip
    days = np.array(["2016-10-01", "2017-10-01", "2018-10-01"], "datetime64[us]")
    ends = np.array(["2017-09-30", "2018-09-30", "2019-09-30"], "datetime64[us]")
    arrays += [
        time_array("time", "time", days),
        coordinate("time_bnds", ("time", "bnds"), np.stack([days, ends], 1).astype(np.int64)),
        coordinate("component", ("component",), np.arange(COMPONENTS)),
        coordinate("sensor", ("sensor",), np.array(["sentinel-2-l2a", "sentinel-1-asc"], object)),
        coordinate("cube_snapshot", ("time",), np.array(["A", "B", "Ä"], object)),
        coordinate("state", ("time", "block_y", "block_x"), np.ones(blocks, np.uint8)),
        coordinate("clipped", ("time", "block_y", "block_x"), np.zeros(blocks, np.int64)),
        *grid_arrays(grid()),
    ]
    attrs = {**grid_attrs(grid()), "model_name": "made-up", "model_hash": "abc"}
    lay_out(
        Store.of(path), Layout("annual", {"block": BLOCK}, (GroupLayout("", tuple(arrays), attrs),))
    )
    return path


@pytest.fixture(scope="session")
def classes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A map of two classes and none."""
    path = tmp_path_factory.mktemp("exported") / "map"
    values = np.random.default_rng(4).integers(0, 3, (SIDE, SIDE), dtype=np.uint8)
    attrs = {"long_name": "most probable class", "_FillValue": 0, "grid_mapping": "spatial_ref"}
    attrs |= Legend.of(["maize", "open water"]).attrs()
    array = ArrayLayout(
        "class", ("y", "x"), values.shape, "uint8", (8, 8), (16, 16), 0, attrs, values
    )
    group = GroupLayout("", (array, *grid_arrays(grid())), grid_attrs(grid()))
    lay_out(Store.of(path), Layout("landcover", {"block": BLOCK}, (group,)))
    return path
