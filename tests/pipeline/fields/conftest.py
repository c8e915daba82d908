"""A tiny cube, a model and fields on it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.made.models import made_up_model
from tests.made.tiny import tiny_cube
from tests.pipeline.fields.places import SIDE


@pytest.fixture(scope="package")
def cube(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both sensors in blocks of 10 pixels; the last column is outside every scene."""
    return tiny_cube(tmp_path_factory.mktemp("cube") / "cube", side=SIDE, block=10)


@pytest.fixture(scope="package")
def model(cube: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_up_model(cube, tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="package")
def labels() -> np.ndarray:
    """Fields of 1, 6, 64 and 9 pixels across blocks, one of which has 3 outside every scene."""
    labels = np.zeros((SIDE, SIDE), dtype=np.int64)
    labels[0, 0] = 5
    labels[2:4, 8:11] = 7
    labels[6:14, 6:14] = 9
    labels[16:19, 17:20] = 12
    return labels
