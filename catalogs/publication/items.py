"""A product's items, and stand-ins for scenes whose own items are not known."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any

import pystac

from terralatent.catalogs.publication.datacube import cube_fields, raster_fields
from terralatent.catalogs.publication.embeddings import SCHEMA as EMBEDDINGS
from terralatent.catalogs.publication.embeddings import item_fields
from terralatent.catalogs.publication.product import Input, Product, Window

__all__ = ["INPUTS", "input_href", "input_item", "item_of"]

DATACUBE = "https://stac-extensions.github.io/datacube/v2.0.0/schema.json"
PROJECTION = "https://stac-extensions.github.io/projection/v2.0.0/schema.json"
RASTER = "https://stac-extensions.github.io/raster/v1.1.0/schema.json"
PROCESSING = "https://stac-extensions.github.io/processing/v1.2.0/schema.json"
CLASSIFICATION = "https://stac-extensions.github.io/classification/v2.0.0/schema.json"

INPUTS = "inputs"
"""Folder, beside a collection's, of the stand-ins."""


def item_of(product: Product, window: Window) -> pystac.Item:
    """One item: where, when, which arrays, made of which scenes by which model."""
    whole = product.arrays[0] if len(product.arrays) == 1 else None
    properties: dict[str, Any] = {
        "title": f"{product.title}, {window.start[:10]} to {window.end[:10]}",
        "gsd": product.place.resolution,
        **_placement(product),
        **cube_fields(product.place, whole),
        "processing:software": dict(product.software),
        "terralatent:kind": product.kind,
        "terralatent:snapshot": product.snapshot,
    }
    if product.written:
        properties |= {"processing:datetime": product.written, "updated": product.written}
    extensions = [PROJECTION, DATACUBE, RASTER, PROCESSING]
    if product.is_embedding:
        properties |= item_fields(product, window)
        extensions.append(EMBEDDINGS)
    else:
        properties["terralatent:parameters"] = dict(window.parameters)
    item = pystac.Item(
        window.id,
        geometry=dict(product.place.geometry),
        bbox=list(product.place.bbox),
        datetime=None,
        start_datetime=_instant(window.start),
        end_datetime=_instant(window.end),
        properties=properties,
    )
    item.properties |= {"start_datetime": window.start, "end_datetime": window.end}
    for key, asset in _assets(product, whole is None).items():
        item.add_asset(key, asset)
        if "classification:classes" in asset.extra_fields:
            extensions.append(CLASSIFICATION)
    item.stac_extensions = list(dict.fromkeys(extensions))
    if product.model:
        item.add_link(_link("emb:model", product.model, "the model"))
    for scene in window.inputs:
        item.add_link(_link("derived_from", scene.href or input_href(scene), scene.id))
    return item


def input_href(scene: Input) -> str:
    """Where the stand-in of a scene lies, relative to the collection's folder."""
    name = re.sub(r"[^\w.-]", "_", f"{scene.sensor}-{scene.id}")
    return f"../{INPUTS}/{name}.json"


def input_item(scene: Input) -> pystac.Item:
    """A stand-in: id, sensor and time of a scene, which is all that a cube holds of it."""
    return pystac.Item(
        scene.id,
        geometry=None,
        bbox=None,
        datetime=_instant(scene.time),
        properties={
            "title": f"{scene.id}, {scene.sensor}",
            "description": "A scene that went into what is published here. Its own STAC item lies "
            "in a catalogue that is not known here: this holds its id, sensor and time alone.",
            "terralatent:sensor": scene.sensor,
        },
    )


def _placement(product: Product) -> dict[str, Any]:
    place = product.place
    name = "proj:code" if place.crs.startswith("EPSG:") else "proj:wkt2"
    return {
        name: place.crs,
        "proj:shape": list(place.shape),
        "proj:transform": list(place.transform),
        "proj:bbox": list(place.bounds),
    }


def _assets(product: Product, apart: bool) -> dict[str, pystac.Asset]:
    """The assets; with the dimensions of its own group each, where groups are ``apart``."""
    assets = {}
    for data in product.data:
        arrays = next((own for own in product.arrays if own.path == data.group), None)
        variables = tuple(
            one for one in (arrays.variables if arrays else ()) if one.name in data.variables
        )
        fields = raster_fields(product, variables)
        if apart and arrays is not None:
            fields |= cube_fields(product.place, arrays)
        if data.group:
            fields["terralatent:group"] = data.group
        if data.variables:
            fields["terralatent:arrays"] = list(data.variables)
        assets[data.key] = pystac.Asset(
            data.href,
            title=data.title,
            media_type=data.media_type,
            roles=list(data.roles),
            extra_fields=fields,
        )
    return assets


def _link(rel: str, href: str, title: str) -> pystac.Link:
    return pystac.Link(rel, href, media_type=pystac.MediaType.GEOJSON, title=title)


def _instant(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00"))
