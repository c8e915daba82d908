"""Arrays in the words of STAC: the datacube, raster and classification extensions."""

from __future__ import annotations

import re
from typing import Any

from terralatent.catalogs.publication.product import Arrays, Place, Product, Variable

__all__ = ["cube_fields", "raster_fields"]


def cube_fields(place: Place, arrays: Arrays | None) -> dict[str, Any]:
    """``cube:dimensions`` and ``cube:variables``; of a grid alone, its two dimensions."""
    left, bottom, right, top = place.bounds
    half = place.resolution / 2.0
    code = place.crs.partition(":")[2] if place.crs.startswith("EPSG:") else ""
    system: Any = int(code) if code else place.crs
    extents = {"y": [bottom + half, top - half], "x": [left + half, right - half]}
    dimensions: dict[str, Any] = {
        axis: {
            "type": "spatial",
            "axis": axis,
            "extent": extent,
            "step": place.resolution,
            "reference_system": system,
        }
        for axis, extent in extents.items()
    }
    if arrays is None:
        return {"cube:dimensions": dimensions}
    for own in arrays.axes:
        values = list(own.values)
        if own.temporal:
            extent: list[Any] = [values[0], values[-1]] if values else [None, None]
            dimensions[own.name] = {"type": "temporal", "extent": extent}
        else:
            dimensions[own.name] = {"type": "bands" if own.name == "band" else own.name}
        if values:
            dimensions[own.name]["values"] = values
        elif not own.temporal:
            dimensions[own.name]["extent"] = [None, None]
    return {
        "cube:dimensions": dimensions,
        "cube:variables": {one.name: _variable(one) for one in arrays.variables},
    }


def _variable(one: Variable) -> dict[str, Any]:
    about: dict[str, Any] = {"type": "data", "dimensions": list(one.dims)}
    if one.title:
        about["description"] = one.title
    if one.unit:
        about["unit"] = one.unit
    return about


def raster_fields(product: Product, variables: tuple[Variable, ...]) -> dict[str, Any]:
    """``raster:bands`` of an asset, and ``classification:classes`` where it holds classes."""
    bands = [band for one in variables for band in _bands(product, one)]
    fields: dict[str, Any] = {"raster:bands": bands} if bands else {}
    for one in variables:
        if one.classes:
            fields["classification:classes"] = [
                {
                    "value": value,
                    "name": re.sub(r"[^0-9A-Za-z_-]", "_", name) or str(value),
                    "title": name,
                    "color_hint": colour.lstrip("#").upper(),
                }
                for value, name, colour in one.classes
            ]
    return fields


def _bands(product: Product, one: Variable) -> list[dict[str, Any]]:
    band: dict[str, Any] = {
        "data_type": one.dtype,
        "sampling": "area",
        "spatial_resolution": product.place.resolution,
    }
    if one.unit:
        band["unit"] = one.unit
    if one.fill is not None:
        band["nodata"] = "nan" if one.fill != one.fill else one.fill
    if one.scale is not None:
        band |= {"scale": one.scale, "offset": one.offset}
    axis = product.axis(one.band_dim)
    if axis is None:
        return [{"name": one.name, **band}]
    return [
        {"name": f"{label}" if axis.name == "band" else f"{axis.name}-{label}", **band}
        for label in axis.values
    ]
