"""Attributes of stores of embeddings by the ``geoemb:`` convention of Zarr, and what it lacks yet.

The convention has no released version; this is the state 0655212 of its repository, whose schema
tests hold. Uncertainty and time stand under a prefix of ours, ``terralatent:``, in the form in
which ``docs/uncertainty-in-geoemb.md`` proposes them for the convention.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

from terralatent.catalogs.publication.producers import source_data
from terralatent.pipeline.store.arrays import ArrayLayout

__all__ = ["CONVENTIONS", "GEOEMB", "TEMPORAL", "UNCERTAINTY", "embedding_attrs", "model_uri"]

CONVENTIONS = "zarr_conventions"
"""Attribute of a group that lists the conventions it follows."""

_HOME = "geo-embeddings/embeddings-zarr-convention"

GEOEMB: Mapping[str, str] = {
    "uuid": "61c12cc5-0e28-4056-999a-480cf3fb7e4c",
    "schema_url": f"https://raw.githubusercontent.com/{_HOME}/refs/tags/v1/schema.json",
    "spec_url": f"https://github.com/{_HOME}/blob/v1/README.md",
    "name": "geoemb:",
    "description": "Geoembeddings convention for geospatial embedding arrays with model provenance",
}
"""How the convention names itself; the tag in its URLs is not there yet."""

UNCERTAINTY, TEMPORAL = "terralatent:uncertainty", "terralatent:temporal"
"""Attributes that follow the proposal."""


def embedding_attrs(
    attrs: Mapping[str, Any],
    embeddings: ArrayLayout,
    uncertainty: ArrayLayout | None = None,
    *,
    dimension: str,
    model: str,
    sensors: Sequence[str],
    resolution: float,
    kind: str = "standard_deviation",
    calibration: Mapping[str, Any] | None = None,
    temporal: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Add what a store of embeddings says of itself to the attributes of its root group.

    Packing is read from the arrays: their dtype, ``scale_factor`` and ``add_offset``.

    Args:
        attrs: What the root has so far, such as the grid; its conventions are kept.
        embeddings: The array of embeddings.
        uncertainty: The array that says how unsure each of them is.
        dimension: Of :attr:`embeddings`, the one whose length the embeddings have.
        model: URI of the model, see :func:`model_uri`.
        sensors: Whose data went in.
        resolution: Pixel size in metres.
        kind: What :attr:`uncertainty` holds once it is unpacked: ``standard_deviation`` or
            ``log_standard_deviation`` (natural logarithm).
        calibration: How the uncertainty was compared with the truth; ``{"method": "none"}`` where
            it was not.
        temporal: What an entry of the time axis stands for: ``{"kind": "instant"}`` or
            ``{"kind": "window", "bounds": NAME}``, with the name of the array of first and last
            days.

    Returns:
        All attributes, JSON values.
    """
    kept = [entry for entry in attrs.get(CONVENTIONS, ()) if entry.get("uuid") != GEOEMB["uuid"]]
    made: dict[str, Any] = {
        **attrs,
        CONVENTIONS: [*kept, dict(GEOEMB)],
        "geoemb:type": "pixel",
        "geoemb:dimensions": embeddings.shape[embeddings.dims.index(dimension)],
        "geoemb:model": model,
        "geoemb:source_data": list(dict.fromkeys(source_data(sensors).values())),
        "geoemb:data_type": embeddings.dtype,
        "geoemb:gsd": float(resolution),
        "geoemb:build_version": version("terralatent"),
        TEMPORAL: {"dimension": "time", **(temporal or {"kind": "instant"})},
    }
    if quantization := _quantization(embeddings):
        made["geoemb:quantization"] = quantization
    if uncertainty is not None:
        made[UNCERTAINTY] = {
            "array_name": uncertainty.name,
            "kind": kind,
            "calibration": dict(calibration or {"method": "none"}),
        }
        if quantization := _quantization(uncertainty):
            made[UNCERTAINTY]["quantization"] = quantization
    return made


def model_uri(digest: str, name: str = "", release: str = "") -> str:
    """A URN of a model by its hash, with the name under which it comes with the package.

    A URL says where a model is; this says which one it is, and leads nowhere.

    >>> model_uri("58c0", "s1s2l8", "1")
    'urn:terralatent:model:s1s2l8:1:58c0'
    """
    return ":".join(["urn:terralatent:model", *filter(None, (name, release)), digest])


def _quantization(array: ArrayLayout) -> dict[str, Any]:
    """How an array is packed, as the convention says it; nothing where it is not."""
    if "scale_factor" not in array.attrs:
        return {}
    return {
        "method": "linear",
        "original_dtype": "float32",
        "quantized_dtype": array.dtype,
        "scale": {
            "type": "scalar",
            "scale": float(array.attrs["scale_factor"]),
            "offset": float(array.attrs.get("add_offset", 0.0)),
        },
    }
