"""Latents of one cube before and after more was seen, and what they are compared by."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import zarr
from distributed import Client

from terralatent.pipeline import embed
from terralatent.pipeline.store.repository import BRANCH, Store
from tests.made.models import awake_model
from tests.made.tiny import tiny_cube

SIDE, BLOCK = 18, 9
DATES = "2017-10-15,2018-03-15"
SEEN_BEFORE = 14
"""Acquisitions that the older run saw; all later ones were clouds to it."""


@dataclass(frozen=True)
class Grown:
    """Two runs, of one model."""

    model: Path
    cube: Path
    older: Path
    newer: Path


def brightened(cube: Path, first: int, columns: int) -> Path:
    """Treble all reflectance from one acquisition on, in the first columns, in one commit."""
    store = Store.of(cube)
    session = store.repository().writable_session(BRANCH)
    data = zarr.open_group(session.store, mode="r+")["sentinel-2-l2a/data"]
    values = np.asarray(data[first:, :, :, :columns]).astype(np.int64)
    offset = round(data.attrs["add_offset"] / data.attrs["scale_factor"])
    data[first:, :, :, :columns] = np.where(values == 0, 0, 3 * (values + offset) - offset)
    store.commit(session, "brighter")
    return cube


def clouded(cube: Path, first: int) -> Path:
    """Mask all Sentinel-2 acquisitions from one on, in one commit."""
    store = Store.of(cube)
    session = store.repository().writable_session(BRANCH)
    quality = zarr.open_group(session.store, mode="r+")["sentinel-2-l2a/quality"]
    quality[first:] = np.where(np.asarray(quality[first:]) == 0, 0, 9)
    store.commit(session, "clouds")
    return cube


@pytest.fixture(scope="session")
def grown(workers: Client, tmp_path_factory: pytest.TempPathFactory) -> Grown:
    """Of 18 x 18 pixels, whose last column lies outside every scene; not to be changed."""
    folder = tmp_path_factory.mktemp("grown")
    made = {"side": SIDE, "block": BLOCK, "sensors": ("sentinel-2-l2a",)}
    cube = tiny_cube(folder / "cube", **made)
    before = clouded(tiny_cube(folder / "before", **made), SEEN_BEFORE)
    model = awake_model(cube, folder)
    for source, name in ((before, "older"), (cube, "newer")):
        embed(source, model, folder / name, dates=DATES, client=workers)
    return Grown(model, cube, folder / "older", folder / "newer")
