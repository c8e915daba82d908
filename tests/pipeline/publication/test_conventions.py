"""What stores of embeddings say of themselves is what the conventions of Zarr ask for."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import zarr_cm
from odc.geo.geobox import GeoBox
from rasterio import Affine

from terralatent.pipeline.cube.layout import grid_attrs
from terralatent.pipeline.store.arrays import ArrayLayout
from terralatent.pipeline.store.conventions import CONVENTIONS, embedding_attrs
from terralatent.pipeline.store.repository import Store
from terralatent.pipeline.store.whereabouts import place_beside, resolve_beside
from tests.pipeline.publication.conftest import SCHEMAS

GEOEMB = json.loads((SCHEMAS / "geoemb-0655212.json").read_text())


def group(attrs: Any) -> dict[str, Any]:
    return {"zarr_format": 3, "node_type": "group", "attributes": json.loads(json.dumps(attrs))}


def test_latents_follow_the_conventions(latents: Path) -> None:
    metadata = group(Store.of(latents).group().attrs.asdict())
    jsonschema.Draft202012Validator(GEOEMB).validate(metadata)
    zarr_cm.proj.validate_group_metadata(metadata)
    zarr_cm.spatial.validate_group_metadata(metadata)
    names = [entry["name"] for entry in metadata["attributes"][CONVENTIONS]]
    assert sorted(names) == ["geoemb:", "proj", "spatial"]


def test_the_transform_begins_at_the_outer_corner() -> None:
    grid = GeoBox((7, 9), Affine(10.0, 0.0, 540_000.0, 0.0, -10.0, 5_680_000.0), "EPSG:32631")
    attrs = grid_attrs(grid)
    transform, bbox = attrs["spatial:transform"], attrs["spatial:bbox"]
    assert (transform[2], transform[5]) == (bbox[0], bbox[3])
    assert attrs["spatial:registration"] == "pixel"


def test_packing_comes_from_the_arrays() -> None:
    """A mean with a scale and a deviation with a scale and an offset, as annual embeddings have."""

    def array(name: str, **attrs: float) -> ArrayLayout:
        dims, shape = ("time", "component", "y", "x"), (2, 5, 3, 3)
        return ArrayLayout(name, dims, shape, "int8", shape, attrs=attrs)

    kept = {"uuid": "another", "name": "other"}
    attrs = embedding_attrs(
        {CONVENTIONS: [kept], "title": "stays"},
        array("mean", scale_factor=0.05),
        array("log_std", scale_factor=0.02, add_offset=-2.0),
        dimension="component",
        model="urn:terralatent:model:1",
        sensors=["sentinel-2-l2a", "sentinel-1-asc", "sentinel-1-desc", "our-drone"],
        resolution=10.0,
        kind="log_standard_deviation",
        temporal={"kind": "window", "bounds": "time_bnds"},
    )
    jsonschema.Draft202012Validator(GEOEMB).validate(group(attrs))
    assert attrs["geoemb:dimensions"] == 5
    assert attrs["geoemb:quantization"]["scale"] == {"type": "scalar", "scale": 0.05, "offset": 0.0}
    unsure = attrs["terralatent:uncertainty"]
    assert unsure["quantization"]["scale"] == {"type": "scalar", "scale": 0.02, "offset": -2.0}
    assert unsure["array_name"] == "log_std"
    assert len(attrs["geoemb:source_data"]) == 3  # both directions of Sentinel-1 are one product
    assert attrs[CONVENTIONS][0] == kept
    assert attrs["title"] == "stays"


def test_places_are_noted_as_seen_from_the_store(tmp_path: Path) -> None:
    store = Store.of(tmp_path / "results" / "latents")
    noted = place_beside(store, tmp_path / "cube")
    assert noted == "../../cube"
    assert resolve_beside(store, noted) == str(tmp_path / "cube")
    assert place_beside(store, "s3://bucket/cube") == "s3://bucket/cube"
    assert resolve_beside(store, "") is None
