"""What the tests of accessors share."""

from __future__ import annotations

from collections.abc import Iterator

import dask
import pytest


@pytest.fixture(autouse=True)
def in_this_thread() -> Iterator[None]:
    """What is lazy is computed here and not by workers: chunks are tiny."""
    with dask.config.set(scheduler="synchronous"):
        yield
