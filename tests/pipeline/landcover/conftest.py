"""Made-up fields, and maps of them."""

from __future__ import annotations

from pathlib import Path

import pytest
from distributed import Client

from terralatent.pipeline import classify
from tests.made.latents import Fields, made_up_fields


@pytest.fixture(scope="module")
def fields(tmp_path_factory: pytest.TempPathFactory) -> Fields:
    """Latents of 64 fields in blocks of 16 pixels; not to be changed."""
    return made_up_fields(tmp_path_factory.mktemp("fields") / "latents")


@pytest.fixture(scope="module")
def land(fields: Fields, workers: Client, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A map of their crops, with all that is written beside it; not to be changed."""
    out = tmp_path_factory.mktemp("map") / "map"
    cog = out.with_name("map.tif")
    classify(fields.latents, fields.frame, "crop", out, cog=cog, client=workers)
    return out
