"""A cube whose last acquisition sees a part of it alone, before and after it came."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import pytest
from distributed import Client

from terralatent.catalogs.scenes.scenes import Scenes
from terralatent.catalogs.scenes.search import search_scenes
from terralatent.pipeline.ingest.build import build_cube
from tests.made.catalogue import SIDE, add_sentinel_1, add_sentinel_2, optical, region
from tests.made.models import made_up_model

NEW = "O17"
"""The acquisition that comes: it sees the columns from the 16th on."""

LATE = "O07"
"""One that comes late: it lies between others, and sees the first 16 columns."""

AGAIN = "O12_N0500"
"""A later processing of an acquisition that was there from the beginning."""

BLOCK = 16
DATES = "2018-03-10,2018-04-10"


def few_bands(rng: np.random.Generator, columns: int = SIDE) -> dict[str, np.ndarray]:
    bands = optical(rng, columns)
    return {band: bands[band] for band in ("B02", "B11", "SCL")}


@pytest.fixture(scope="session")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, rng = tmp_path_factory.mktemp("archive"), np.random.default_rng(5)
    for n in range(3):
        power = {
            band: rng.gamma(2.0, 0.05, (SIDE // 2, SIDE // 2)).astype(np.float32)
            for band in ("vv", "vh")
        }
        day = np.datetime64("2018-03-01") + 6 * n
        add_sentinel_1(folder, f"{day}T17:30:00Z", power, name=f"R{n}")
    for day in (2, 12):
        add_sentinel_2(folder, f"2018-03-{day:02d}T10:50:00Z", few_bands(rng), name=f"O{day:02d}")
    raised = {
        band: np.where(pixels == 0, 0, pixels + (1000 if band != "SCL" else 0)).astype(pixels.dtype)
        for band, pixels in few_bands(rng).items()
    }
    add_sentinel_2(
        folder, "2018-03-12T10:50:00Z", raised, name=AGAIN, baseline="05.00", offset=-0.1
    )
    part = few_bands(rng, 24)
    add_sentinel_2(folder, "2018-03-17T10:50:00Z", part, name=NEW, first_column=16)
    part = few_bands(rng, 16)
    add_sentinel_2(folder, "2018-03-07T10:50:00Z", part, name=LATE)
    return folder


@pytest.fixture(scope="session")
def every(archive: Path) -> Scenes:
    return search_scenes(archive, region(), "2018-03-01", "2018-04-30")


def without(scenes: Scenes, *names: str) -> Scenes:
    """What a search finds before some items are there."""
    return Scenes.gather(
        [item for item in scenes.items if item["id"] not in names],
        scenes.wanted,
        source=scenes.place,
        period=scenes.period,
        access=scenes.access,
    )


class Grow(Protocol):
    """Builds a cube of all items but some, or lets it grow."""

    def __call__(self, cube: Path, missing: Sequence[str], *, again: bool = False) -> None:
        """``again``: with the later processing of one of them."""


@pytest.fixture
def grow(every: Scenes, workers: Client) -> Grow:

    def build(cube: Path, missing: Sequence[str], *, again: bool = False) -> None:
        missing = [*missing, *([] if again else [AGAIN])]
        build_cube(without(every, *missing), region(), cube, block=BLOCK, client=workers)

    return build


@pytest.fixture(scope="session")
def early(every: Scenes, workers: Client, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a cube of before either came, and a model; not to be changed."""
    folder = tmp_path_factory.mktemp("early")
    build_cube(
        without(every, NEW, LATE, AGAIN), region(), folder / "cube", block=BLOCK, client=workers
    )
    made_up_model(folder / "cube", folder / "model")
    return folder


@pytest.fixture
def place(early: Path, tmp_path: Path) -> Path:
    """A copy of it that may be changed."""
    return shutil.copytree(early, tmp_path / "place")
