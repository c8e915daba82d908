"""Stores to publish, and a validator that knows the schemas and no network."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pystac
import pytest
from distributed import Client
from odc.geo.geobox import GeoBox
from pystac.validation.stac_validator import JsonSchemaSTACValidator
from rasterio import Affine

from terralatent.pipeline.cube.layout import grid_attrs
from terralatent.pipeline.mapping.embed import embed
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
from tests.made.models import made_up_model

SCHEMAS = Path(__file__).resolve().parents[2] / "schemas"
EXTENSIONS = "https://stac-extensions.github.io"
WHERE = {
    f"{EXTENSIONS}/{path.stem.rpartition('-')[0]}/{path.stem.rpartition('-')[2]}/schema.json": path
    for path in SCHEMAS.glob("*-v*.json")
}
CORE = "https://schemas.stacspec.org/v1.0.0"


@pytest.fixture(scope="session")
def validate() -> Any:
    """Validates a document by STAC and by every extension that it declares; asks no network."""
    validator = JsonSchemaSTACValidator()
    for uri, path in WHERE.items():
        validator.schema_cache[uri] = json.loads(path.read_text())
    for path in (SCHEMAS / "stac-spec-v1.0.0").glob("*.json"):
        schema = json.loads(path.read_text())
        spec = path.stem if path.stem in ("catalog", "collection") else "item"
        validator.schema_cache[f"{CORE}/{spec}-spec/json-schema/{path.name}"] = schema

    def refuse(uri: str) -> Any:
        if uri not in validator.schema_cache:
            raise AssertionError(f"the schema {uri} is not in tests/schemas")
        return validator.schema_cache[uri]

    validator._get_schema = refuse  # type: ignore[method-assign]

    def check(document: dict[str, Any]) -> None:
        kinds = {"Feature": "ITEM", "Collection": "COLLECTION", "Catalog": "CATALOG"}
        kind = getattr(pystac.STACObjectType, kinds[document["type"]])
        extensions = document.get("stac_extensions", [])
        validator.validate(document, kind, document["stac_version"], extensions)

    return check


@pytest.fixture(scope="session")
def model(cube: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained model of the tiny cube."""
    return made_up_model(cube, tmp_path_factory.mktemp("published-model") / "model")


@pytest.fixture(scope="session")
def latents(
    cube: Path, model: Path, workers: Client, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Latents of the tiny cube; not to be changed."""
    path = tmp_path_factory.mktemp("published") / "latents"
    embed(cube, model, path, dates="10D", client=workers)
    return path


def lay_out_annual(path: Path, latents: Path, *, years: int) -> Path:
    """A store of annual embeddings as `annual` lays it out, of the same cube, all of it whole."""
    attrs = Store.of(latents).group().attrs.asdict()
    grid = GeoBox((20, 30), Affine(10.0, 0.0, 540_000.0, 0.0, -10.0, 5_680_000.0), "EPSG:32631")
    k, block = 3, 16
    starts = np.array([f"{2017 + n}-10-01" for n in range(years)], "datetime64[us]")
    ends = np.array([f"{2018 + n}-09-30" for n in range(years)], "datetime64[us]")
    packing = {
        "mean": {"scale_factor": 0.05, "units": "1"},
        "log_std": {"scale_factor": 0.02, "add_offset": -2.0, "units": "1"},
    }
    arrays = [
        ArrayLayout(
            name, ("time", "component", "y", "x"), (years, k, *grid.shape), "int8",
            (1, k, block, block), (1, k, block, block), -128,
            {**about, "_FillValue": -128, "grid_mapping": "spatial_ref"},
            np.full((years, k, *grid.shape), 7, np.int8),
        )
        for name, about in packing.items()
    ]  # fmt: skip
    counts = np.full((years, 1, *grid.shape), 4, np.uint8)
    arrays.append(
        ArrayLayout(
            "observations", ("time", "sensor", "y", "x"), counts.shape, "uint8",
            (1, 1, block, block), (1, 1, block, block), 0, {"long_name": "clear"}, counts,
        )
    )  # fmt: skip
    for state in state_arrays(grid, block):
        values = np.full((years, *state.shape), int(state.name == "state"), state.dtype)
        arrays.append(coordinate(state.name, ("time", *state.dims), values, state.attrs))
    bounds = np.stack([starts, ends], axis=1).astype(np.int64)
    snapshot = np.array([attrs["cube_snapshot"]] * years, dtype=object)
    arrays += [
        time_array("time", "time", starts),
        coordinate("time_bnds", ("time", "bnds"), bounds),
        coordinate("component", ("component",), np.arange(k)),
        coordinate("sensor", ("sensor",), np.array(["sentinel-2-l2a"], dtype=object)),
        coordinate("cube_snapshot", ("time",), snapshot),
        *grid_arrays(grid),
    ]
    kept = {key: attrs[key] for key in ("model_hash", "latents_hash", "cube_items_hash")}
    root = GroupLayout(
        "", tuple(arrays), {**grid_attrs(grid), **kept, "sensors": ["sentinel-2-l2a"]}
    )
    identity = {"block": block, "components": k, "dates": [str(day) for day in starts]}
    lay_out(Store.of(path), Layout("annual", identity, (root,)))
    return path
