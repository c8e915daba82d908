"""One tiny store of each kind."""

from __future__ import annotations

from collections.abc import Iterator

import dask
import pytest
from distributed import Client

from tests.made.opened import Stores, make_stores


@pytest.fixture(autouse=True)
def in_this_thread() -> Iterator[None]:
    """What is lazy is computed here and not by workers: chunks are tiny."""
    with dask.config.set(scheduler="synchronous"):
        yield


@pytest.fixture(scope="session")
def stores(workers: Client, tmp_path_factory: pytest.TempPathFactory) -> Stores:
    """Cube, model, latents, bands, annual vectors and classes; not to be changed."""
    return make_stores(tmp_path_factory.mktemp("opened"), workers)
