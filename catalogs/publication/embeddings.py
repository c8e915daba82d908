"""Latents in the words of the STAC embeddings extension, 0.0.1."""

from __future__ import annotations

from typing import Any

from terralatent.catalogs.publication.product import Product, Variable, Window

__all__ = ["SCHEMA", "collection_fields", "item_fields"]

SCHEMA = "https://stac-extensions.github.io/embeddings/v0.0.1/schema.json"

UNCERTAINTY = {
    "std": "posterior standard deviation of each dimension, in standard deviations of its prior, "
    "which is a Gaussian process of unit variance: near 1 where nothing was observed",
    "log_std": "natural logarithm of the posterior standard deviation of each dimension",
}
"""What is said of an array of uncertainty."""

FIT_FOR_USE = ("classification", "regression")
"""What latents were measured for: see the results of few labels."""


def collection_fields(product: Product) -> dict[str, Any]:
    """Fields of the collection: type, dimensions, data type, resolution in time and space.

    Raises:
        ValueError: If the product holds no embeddings.
    """
    embeddings = product.variable("embeddings")
    if embeddings is None:
        raise ValueError(f"{product.id}: no asset has the role embeddings.")
    axis = product.axis(embeddings.band_dim)
    return {
        "emb:type": "pixel",
        "emb:dimensions": len(axis.values) if axis else 1,
        "data_type": embeddings.dtype,
        "gsd": product.place.resolution,
        "emb:temporal_resolution": "annual" if product.kind == "annual" else "multi_temporal",
        "emb:fit_for_use": list(FIT_FOR_USE),
        **_uncertainty(product),
    }


def item_fields(product: Product, window: Window) -> dict[str, Any]:
    """Fields of an item: what the run was given, how values are packed, how unsure they are."""
    embeddings = product.variable("embeddings")
    fields: dict[str, Any] = {
        "emb:runtime_parameters": dict(window.parameters),
        "emb:fit_for_use": list(FIT_FOR_USE),
        **_uncertainty(product),
    }
    if embeddings is not None and embeddings.scale is not None:
        fields["emb:quantization"] = {
            "method": "linear",
            "original_dtype": "float32",
            "quantized_dtype": embeddings.dtype,
            "scale": [embeddings.scale],
            "offset": [embeddings.offset],
        }
    return fields


def _uncertainty(product: Product) -> dict[str, Any]:
    found: Variable | None = product.variable("uncertainty")
    if found is None:
        return {}
    about = UNCERTAINTY.get(found.name, found.title or "uncertainty of each dimension")
    return {
        "emb:uncertainty": {
            "method": "gaussian_process_posterior",
            "description": f"{found.name}: {about}",
        }
    }
