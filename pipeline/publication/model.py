"""The model behind a store: found by its hash, and described by its folder."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from safetensors import safe_open

from terralatent.catalogs.errors import InputError
from terralatent.catalogs.publication.model import ModelRecord, SensorInput
from terralatent.models.annual import ANNUAL_MAP
from terralatent.models.checkpoint import WEIGHTS, CheckpointError, model_hash, read_manifest
from terralatent.models.config import MANIFEST
from terralatent.models.shipped import CARD, model_folder, shipped_as, shipped_names
from terralatent.pipeline.publication.lineage import Lineage
from terralatent.pipeline.store.repository import Store
from terralatent.pipeline.store.whereabouts import MADE_FROM, MODEL_FOLDER, resolve_beside

__all__ = ["find_model", "record_of"]

KEPT = ("model", "latents", "hidden", "likelihood", "kernel", "posterior", "start", "nuisance")
"""Of a configuration, what is published as hyperparameters; others where they are set."""

ARCHITECTURES = {"gpvae": "Gaussian process variational autoencoder"}


def find_model(
    store: Store, lineage: Lineage, given: str | Path | None = None
) -> ModelRecord | None:
    """The record of a store's model; None of a cube, which has none.

    It is the one that is given; else the folder that the store names, the one beside it that was
    calibrated for it, or the one that comes with the package. Each must have the store's hash.

    Raises:
        InputError: If it cannot be found, or the given one is another model.
        CheckpointError: If the given one cannot be read.
    """
    wanted = lineage.attrs.get("model_hash")
    if wanted is None:
        if given is not None:
            raise InputError(f"{store} has no model; leave model= out.")
        return None
    if given is not None:
        folder = model_folder(given)
        if model_hash(folder) != wanted:
            raise InputError(
                f"{given} is not the model of {store}, whose hash is {str(wanted)[:12]}…; give "
                "that one with model=."
            )
        return record_of(folder)
    for folder in _candidates(store, lineage):
        try:
            if model_hash(folder) == wanted:
                return record_of(folder)
        except CheckpointError:
            continue
    raise InputError(
        f"The model of {store} (hash {str(wanted)[:12]}…) cannot be found; give its folder with "
        "model=."
    )


def record_of(folder: Path) -> ModelRecord:
    """Describe the model in a folder; reads the names and sizes of its weights alone."""
    manifest, digest = read_manifest(folder), model_hash(folder)
    config: dict[str, Any] = manifest["config"]
    named = shipped_as(manifest)
    ours = folder.parent == model_folder(None).parent
    name = named.get("model_name", folder.name) if ours else folder.name
    release = named.get("model_version", "") if ours else ""
    parts = [re.sub(r"[^\w.-]+", "-", part) for part in (name, release, digest[:8]) if part]
    with safe_open(folder / WEIGHTS, framework="np") as weights:
        shapes = [weights.get_slice(key).get_shape() for key in weights.keys()]  # noqa: SIM118
    files = {"model": folder / WEIGHTS, "manifest": folder / MANIFEST}
    for key, file in (("card", CARD), ("annual", ANNUAL_MAP)):
        if (folder / file).is_file():
            files[key] = folder / file
    return ModelRecord(
        id="-".join(parts),
        name=f"{name} {release}".strip(),
        digest=digest,
        created=str(manifest["created"]),
        architecture=ARCHITECTURES.get(str(config.get("model")), str(config.get("model"))),
        framework_version=str(manifest.get("torch_version", "")),
        latents=int(config.get("latents", 1)),
        parameters=sum(_product(shape) for shape in shapes),
        size=(folder / WEIGHTS).stat().st_size,
        pretrained=bool(named),
        sensors=tuple(
            SensorInput(
                name=str(sensor["name"]),
                bands=tuple(sensor["bands"]),
                unit=str(sensor["units"]),
                centre=tuple(sensor["centre"]),
                spread=tuple(sensor["spread"]),
            )
            for sensor in config["sensors"]
        ),
        hyperparameters={key: config[key] for key in KEPT if config.get(key) is not None},
        files=files,
        licence="MIT" if ours else "",
    )


def _candidates(store: Store, lineage: Lineage) -> Iterator[Path]:
    """Folders in which the model may be."""
    root, place = lineage.root, store
    for _ in range(2):  # a map names its latents, which name their model
        noted = resolve_beside(place, str(root.attrs.get(MODEL_FOLDER, "")))
        if noted is not None and "://" not in noted:
            yield Path(noted)
        if place.path is not None:
            yield place.path.with_name(f"{place.path.name}.model")
        before = resolve_beside(place, str(root.attrs.get(MADE_FROM, "")))
        if before is None or not Store.of(before).exists():
            break
        place = Store.of(before)
        root = place.group()
    for name in shipped_names():
        yield model_folder(name)


def _product(shape: list[int]) -> int:
    count = 1
    for size in shape:
        count *= size
    return count
