"""Files, models and cubes as a command may be given them by mistake: foreign, empty, cut short."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import icechunk
import pyarrow as pa
import pyarrow.parquet as pq
import zarr

from terralatent.models.checkpoint import save_model
from terralatent.models.gpvae import GPVAE, ModelConfig


def write_files(folder: Path) -> None:
    """Files and folders of no use, and some of little."""
    (folder / "file").write_text("mine")
    (folder / "foreign").mkdir()
    (folder / "foreign" / "mine.txt").write_text("mine")
    (folder / "plain").mkdir()
    (folder / "plain" / "zarr.json").write_text('{"zarr_format": 3, "node_type": "group"}')
    repository = icechunk.Repository.create(
        icechunk.local_filesystem_storage(str(folder / "repository"))
    )
    session = repository.writable_session("main")
    zarr.create_group(session.store)
    session.commit("of somebody else")
    (folder / "empty").touch()
    (folder / "dates").write_text("2018-05-01\nmonday\n")
    for name in ("noise", "noise.parquet"):
        (folder / name).write_bytes(bytes(range(256)))
    pq.write_table(pa.table({"a": [1]}), folder / "table.parquet")
    scenes = (folder / "scenes").read_bytes()
    (folder / "cut.parquet").write_bytes(scenes[: len(scenes) // 2])
    table = pq.read_table(folder / "scenes")
    facts = {**table.schema.metadata, b"terralatent:search": b"{scribbled"}
    pq.write_table(table.replace_schema_metadata(facts), folder / "scribbled.parquet")

    catalogue = {"type": "Catalog", "stac_version": "1.0.0", "id": "c", "description": ""}
    for name, links in (("barren", []), ("dangling", [{"rel": "item", "href": "./gone.json"}])):
        (folder / name).mkdir()
        (folder / name / "catalog.json").write_text(json.dumps({**catalogue, "links": links}))

    (folder / "broken.geojson").write_text('{"type": "Poly')
    ring = {
        "bow": [[0, 0], [1, 1], [1, 0], [0, 1], [0, 0]],
        "earth": [[-170, -80], [170, -80], [170, 80], [-170, 80], [-170, -80]],
        "field": [[3.02, 50.816], [3.023, 50.816], [3.023, 50.818], [3.02, 50.816]],
        "words": [["a", "b"], ["c", "d"], ["e", "f"], ["a", "b"]],
    }
    contents: dict[str, Any] = {
        "list": [1, 2],
        "topology": {"type": "Topology"},
        "missing": {"type": "Polygon"},
        "nothing": {"type": "FeatureCollection", "features": []},
        "null": {"type": "Feature", "geometry": None, "properties": {}},
        "point": {"type": "Point", "coordinates": [3.02, 50.816]},
        **{name: {"type": "Polygon", "coordinates": [points]} for name, points in ring.items()},
    }
    for name, content in contents.items():
        (folder / f"{name}.geojson").write_text(json.dumps(content))


def write_models(folder: Path) -> None:
    """Copies of a model that lost something, and whole ones that fit another cube."""
    for name, file, share in (
        ("no-weights", "weights.safetensors", 0.0),
        ("no-manifest", "model.json", 0.0),
        ("cut-weights", "weights.safetensors", 0.5),
        ("cut-manifest", "model.json", 0.5),
    ):
        lose(shutil.copytree(folder / "model", folder / name) / file, share)

    config = json.loads((folder / "model" / "model.json").read_text())["config"]
    radar = next(sensor for sensor in config["sensors"] if sensor["name"] == "sentinel-1-asc")
    absent = next(sensor for sensor in config["sensors"] if sensor["name"] == "landsat-c2-l2")
    for name, sensor in (
        ("other-bands", {**radar, "bands": ["hh", "hv"]}),
        ("other-units", {**radar, "units": "linear"}),
        ("other-sensor", absent),
    ):
        changed = ModelConfig.model_validate({**config, "sensors": [sensor]})
        save_model(GPVAE(changed), folder / name, {})


def damage(cube: Path, folder: Path) -> None:
    """Copies of a cube, each without files of one kind, or with half of them."""
    for kind, pattern in (
        ("manifest", "manifests/*"),
        ("snapshot", "snapshots/*"),
        ("branch", "refs/*/*"),
        ("chunk", "chunks/*"),
    ):
        for how, share in (("no", 0.0), ("cut", 0.5)):
            copy = shutil.copytree(cube, folder / f"{how}-{kind}-of-cube")
            for file in copy.glob(pattern):
                lose(file, share)


def lose(file: Path, share: float) -> None:
    """Keep the first part of a file, or nothing of it."""
    content = file.read_bytes()
    file.unlink()
    if share:
        file.write_bytes(content[: int(share * len(content))])
