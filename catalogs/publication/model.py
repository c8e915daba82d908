"""A model as a STAC item of its own, by the machine learning model (MLM) extension, 1.5.0.

Its fields are written as plain properties: pystac writes an earlier version of the extension.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pystac

from terralatent.catalogs.publication.items import RASTER

__all__ = ["SCHEMA", "ModelRecord", "SensorInput", "model_item"]

SCHEMA = "https://stac-extensions.github.io/mlm/v1.5.0/schema.json"

EARTH = (-180.0, -90.0, 180.0, 90.0)


@dataclass(frozen=True)
class SensorInput:
    """What a model reads of one sensor."""

    name: str
    """Of the sensor."""

    bands: tuple[str, ...]
    """In the model's order."""

    unit: str
    """Of their values."""

    centre: tuple[float, ...]
    """Of each band, taken off."""

    spread: tuple[float, ...]
    """Of each band, divided by."""


@dataclass(frozen=True)
class ModelRecord:
    """A model, as its folder describes it."""

    id: str
    """Of the item, and of its folder in the catalogue."""

    name: str
    """What it is called."""

    digest: str
    """Its hash, of configuration and weights."""

    created: str
    """When it was saved, ISO 8601."""

    architecture: str
    """In words."""

    framework_version: str
    """Of PyTorch."""

    latents: int
    parameters: int
    """Number of its weights."""

    size: int
    """Bytes of its weights."""

    pretrained: bool
    """Whether it is one that comes with the package, or was trained from it."""

    sensors: tuple[SensorInput, ...]
    hyperparameters: Mapping[str, Any]
    files: Mapping[str, Path]
    """Where its files lie, by asset key: ``model``, ``manifest``, ``card``, ``annual``."""

    licence: str
    """SPDX identifier of the weights; empty where that is not known."""


def model_item(record: ModelRecord) -> pystac.Item:
    """The item; its assets lie beside it."""
    created = datetime.fromisoformat(record.created).astimezone(UTC)
    west, south, east, north = EARTH
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    item = pystac.Item(
        record.id,
        geometry={"type": "Polygon", "coordinates": [ring]},
        bbox=list(EARTH),
        datetime=created,
        properties={"title": record.name, **_fields(record)},
    )
    item.stac_extensions = [SCHEMA, RASTER]
    if record.licence:
        item.properties["license"] = record.licence
    bands = {
        f"{sensor.name}/{band}": {"name": f"{sensor.name}/{band}", "unit": sensor.unit}
        for sensor in record.sensors
        for band in sensor.bands
    }
    kinds = {
        "model": ("weights", "application/octet-stream", ["mlm:model", "mlm:weights", "data"]),
        "manifest": ("configuration", pystac.MediaType.JSON, ["metadata", "mlm:model-config"]),
        "card": ("model card", "text/markdown", ["metadata", "overview"]),
        "annual": ("map of years to components", "application/octet-stream", ["data"]),
    }
    for key, file in record.files.items():
        title, media_type, roles = kinds[key]
        fields: dict[str, Any] = {}
        if key == "model":
            fields = {
                "mlm:artifact_type": "safetensors.torch.save_file",
                "raster:bands": list(bands.values()),
            }
        item.add_asset(
            key, pystac.Asset(f"./{file.name}", title, None, media_type, roles, extra_fields=fields)
        )
    return item


def _fields(record: ModelRecord) -> dict[str, Any]:
    name = re.sub(r"[^\w.\- ]", "-", record.name, flags=re.ASCII)
    fields: dict[str, Any] = {
        "mlm:name": name if re.match(r"[A-Za-z].+[A-Za-z0-9]$", name) else f"model-{name}-0",
        "mlm:architecture": record.architecture,
        "mlm:tasks": ["generative", "regression"],
        "mlm:framework": "PyTorch",
        "mlm:total_parameters": record.parameters,
        "mlm:memory_size": record.size,
        "mlm:pretrained": record.pretrained,
        "mlm:accelerator": "amd64",
        "mlm:accelerator_constrained": False,
        "mlm:input": [_input(sensor) for sensor in record.sensors],
        "mlm:output": [_output(name, record.latents) for name in ("mean", "std")],
        "mlm:hyperparameters": dict(record.hyperparameters),
        "terralatent:model_hash": record.digest,
    }
    if release := re.match(r"\d+\.\d+\.\d+", record.framework_version):
        fields["mlm:framework_version"] = release[0]
    if not record.pretrained:
        fields["mlm:pretrained_source"] = None
    return fields


def _input(sensor: SensorInput) -> dict[str, Any]:
    """Series of pixels of any length, on dates of their own; -1 is any number."""
    scaling = zip(sensor.centre, sensor.spread, strict=True)
    return {
        "name": sensor.name,
        "description": "pixels on the sensor's own dates, with a validity flag for each value",
        "bands": [f"{sensor.name}/{band}" for band in sensor.bands],
        "input": {
            "shape": [-1, -1, len(sensor.bands)],
            "dim_order": ["batch", "time", "bands"],
            "data_type": "float32",
        },
        "value_scaling": [
            {"type": "z-score", "mean": mean, "stddev": stddev} for mean, stddev in scaling
        ],
    }


def _output(name: str, latents: int) -> dict[str, Any]:
    return {
        "name": name,
        "description": {
            "mean": "posterior mean of each latent at each date asked for",
            "std": "its posterior standard deviation, in standard deviations of the prior",
        }[name],
        "tasks": ["generative", "regression"],
        "result": {
            "shape": [-1, -1, latents],
            "dim_order": ["batch", "time", "embedding"],
            "data_type": "float32",
        },
    }
