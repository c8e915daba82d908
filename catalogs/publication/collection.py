"""The collection of a product's items, and the catalogue around it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import pystac

from terralatent.catalogs.publication.embeddings import SCHEMA as EMBEDDINGS
from terralatent.catalogs.publication.embeddings import collection_fields
from terralatent.catalogs.publication.product import Product

__all__ = ["STORE", "catalogue_of", "collection_of"]

STORE = "terralatent:store"
"""Field of the collection that says of which store it is: ``{"kind", "digest"}``."""


def collection_of(product: Product, spans: Sequence[tuple[str, str]]) -> pystac.Collection:
    """The collection, without links to its items.

    Args:
        product: What is published.
        spans: First and last instant of each of its items, those published before among them.
    """
    start, end = min(first for first, _ in spans), max(last for _, last in spans)
    collection = pystac.Collection(
        product.id,
        product.description,
        pystac.Extent(
            pystac.SpatialExtent([list(product.place.bbox)]),
            pystac.TemporalExtent([[_instant(start), _instant(end)]]),
        ),
        title=product.title,
        license=product.licence,
        keywords=list(product.keywords) or None,
        providers=list(product.providers),
        extra_fields={STORE: {"kind": product.kind, "digest": product.digest}},
    )
    if product.is_embedding:
        collection.extra_fields |= collection_fields(product)
        collection.stac_extensions = [EMBEDDINGS]
        collection.extra_fields["item_assets"] = {
            data.key: {"title": data.title, "type": data.media_type, "roles": list(data.roles)}
            for data in product.data
        }
    if product.model:
        collection.add_link(
            pystac.Link("emb:model", product.model, pystac.MediaType.GEOJSON, "the model")
        )
    for sensor, source in product.sources.items():
        rel: Any = "emb:source-data" if product.is_embedding else "via"
        collection.add_link(pystac.Link(rel, source, title=sensor))
    return collection


def catalogue_of(product: Product) -> pystac.Catalog:
    """The catalogue that holds the collection and the model's item, without links to them."""
    return pystac.Catalog(f"{product.id}-catalogue", product.description, title=product.title)


def _instant(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00"))
