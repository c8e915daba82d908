"""A store's metadata -> the product that is published. Reads coordinates, no pixels."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import zarr
from odc.geo.geobox import GeoBox
from shapely.geometry import mapping

from terralatent.catalogs.antimeridian import boxes, on_globe
from terralatent.catalogs.errors import InputError
from terralatent.catalogs.publication.model import ModelRecord
from terralatent.catalogs.publication.producers import source_data
from terralatent.catalogs.publication.product import (
    Arrays,
    Axis,
    Data,
    Place,
    Product,
    Variable,
    Window,
)
from terralatent.catalogs.publication.providers import providers_of
from terralatent.pipeline.cube.losses import PENDING
from terralatent.pipeline.publication.lineage import Lineage, instant
from terralatent.pipeline.publication.wording import Wording
from terralatent.pipeline.region import grid_of

__all__ = ["describe", "place_on_earth"]

EMBEDDINGS = {"latents": ("mean", "std"), "annual": ("mean", "log_std")}
"""Kinds of stores that hold embeddings: their array of them, and that of their uncertainty."""

UNSURE = ("std", "std_signal", "q05", "q95", "log_std", "probability", "entropy")
"""Arrays that say how sure another one is."""

PARAMETERS = (
    "sensors", "bands", "masking", "outliers", "until", "delays", "latents_hash", "model_hash",
    "cube_snapshot", "cube_items_hash", "latents_snapshot", "latents_dates", "column", "estimator",
    "sensor",
)  # fmt: skip
"""Attributes of a store that say how it was made."""


def describe(lineage: Lineage, said: Wording, model: ModelRecord | None) -> Product:
    """Describe a store at its snapshot.

    Raises:
        InputError: If some of it is not computed yet.
    """
    root, kind = lineage.root, lineage.kind
    arrays = _groups(lineage)
    grid = grid_of(root if arrays[0].path == "" else root[arrays[0].path])
    return Product(
        id=said.name,
        kind=kind,
        digest=lineage.digest,
        snapshot=lineage.snapshot,
        written=_written(lineage),
        title=said.title,
        description=said.description,
        keywords=said.keywords,
        licence=said.licence,
        providers=providers_of(lineage.sensors, said.providers),
        sources=source_data(lineage.sensors),
        place=place_on_earth(grid),
        arrays=arrays,
        data=_data(kind, arrays),
        windows=_windows(lineage, said.name, arrays),
        software={"terralatent": str(lineage.about.get("code_version", "unknown"))},
        model="" if model is None else f"../models/{model.id}/{model.id}.json",
    )


def place_on_earth(grid: GeoBox) -> Place:
    """A grid, with its outline in degrees, bent as its edges are there."""
    box, crs = grid.boundingbox, grid.crs
    assert crs is not None
    outline = on_globe(grid.footprint("EPSG:4326", buffer=0.0).geom)
    parts = boxes(outline)
    west, east = parts[0][0], parts[-1][2]
    if len(parts) > 1:  # over the 180th meridian a box begins east of its end
        west = max(part[0] for part in parts)
        east = min(part[2] for part in parts)
    south, north = min(part[1] for part in parts), max(part[3] for part in parts)
    code = crs.to_epsg()
    return Place(
        crs=f"EPSG:{code}" if code else crs.to_wkt(),
        transform=tuple(float(number) for number in list(grid.transform)[:6]),
        shape=(int(grid.shape[0]), int(grid.shape[1])),
        bounds=(box.left, box.bottom, box.right, box.top),
        geometry=json.loads(json.dumps(mapping(outline))),
        bbox=(west, south, east, north),
    )


def _groups(lineage: Lineage) -> tuple[Arrays, ...]:
    """The root of a result; of a cube its sensors, each on its own dates."""
    root = lineage.root
    if lineage.kind != "cube":
        return (_arrays(root, ""),)
    groups = {name: root[name] for name in lineage.sensors}
    return tuple(_arrays(group, name) for name, group in groups.items())


def _arrays(group: zarr.Group, path: str) -> Arrays:
    arrays = {name: array for name, array in sorted(group.arrays())}
    dims = {name: tuple(array.metadata.dimension_names or ()) for name, array in arrays.items()}
    over = [name for name in arrays if {"y", "x"} <= set(dims[name])]
    named = dict.fromkeys(dim for name in over for dim in dims[name] if dim not in ("y", "x"))
    axes = tuple(_axis(dim, arrays[dim]) for dim in named if dim in arrays)
    return Arrays(path, axes, tuple(_variable(name, arrays[name], dims[name]) for name in over))


def _axis(name: str, array: Any) -> Axis:
    values = np.asarray(array[...])
    if name == "time":
        times = values.astype(np.int64).astype("datetime64[us]")
        return Axis(name, tuple(instant(time) for time in times), temporal=True)
    if values.dtype.kind in "iu":
        return Axis(name, tuple(int(value) for value in values))
    return Axis(name, tuple(str(value) for value in values))


def _variable(name: str, array: Any, dims: tuple[str, ...]) -> Variable:
    attrs = array.attrs.asdict()
    dtype = array.dtype.name
    fill = attrs.get("_FillValue", attrs.get("nodata"))
    if fill is None and dtype.startswith("float"):
        fill = float("nan")
    scale = attrs.get("scale_factor")
    classes = zip(
        attrs.get("flag_values", ()),
        attrs.get("class_names", ()),
        str(attrs.get("flag_colors", "")).split(),
        strict=False,
    )
    return Variable(
        name=name,
        dims=dims,
        dtype=dtype,
        title=str(attrs.get("long_name", "")),
        unit=str(attrs.get("units", "")),
        fill=fill,
        scale=None if scale is None else float(scale),
        offset=float(attrs.get("add_offset", 0.0)),
        classes=tuple((int(value), str(text), colour) for value, text, colour in classes),
    )


def _data(kind: str, arrays: tuple[Arrays, ...]) -> tuple[Data, ...]:
    """The assets; where they lie is said later."""
    if kind == "cube":
        return tuple(
            Data(
                own.path, f"{own.path} on its own dates", "", "", ("data",), own.path,
                tuple(one.name for one in own.variables),
            )
            for own in arrays
        )  # fmt: skip
    found = []
    for one in arrays[0].variables:
        key, roles = one.name, ("data", *(("uncertainty",) if one.name in UNSURE else ()))
        if kind in EMBEDDINGS and one.name in EMBEDDINGS[kind]:
            key = ("embeddings", "uncertainty")[EMBEDDINGS[kind].index(one.name)]
            roles = ("data", key)
        elif one.name == "observations":
            roles = ("metadata",)
        found.append(Data(key, one.title or one.name, "", "", roles, "", (one.name,)))
    return tuple(sorted(found, key=lambda data: data.key))


def _windows(lineage: Lineage, name: str, arrays: tuple[Arrays, ...]) -> tuple[Window, ...]:
    attrs = lineage.attrs
    parameters = {key: attrs[key] for key in PARAMETERS if key in attrs}
    if lineage.kind == "annual":
        return _annual_windows(lineage, name, parameters)
    _require_whole(lineage)
    times = [time for own in arrays for axis in own.axes if axis.temporal for time in axis.values]
    if not times:
        times = [instant(np.datetime64(date)) for date in attrs.get("latents_dates", ())]
    if not times:
        raise InputError(f"{lineage.store} has no dates; nothing in it can be published.")
    inputs = lineage.inputs()
    return (Window(name, str(min(times)), str(max(times)), inputs, parameters),)


def _annual_windows(
    lineage: Lineage, name: str, parameters: Mapping[str, Any]
) -> tuple[Window, ...]:
    """An item for each year that is whole."""
    root: Any = lineage.root
    days = np.asarray(root["time_bnds"][...]).astype(np.int64).astype("datetime64[us]")
    whole = (np.asarray(root["state"][...]) != PENDING).all(axis=(1, 2))
    snapshots = [str(text) for text in np.asarray(root["cube_snapshot"][...])]
    found = []
    for place in np.flatnonzero(whole):
        first, last = (bound.astype("datetime64[D]") for bound in days[place])
        inputs = lineage.inputs(snapshots[place])
        own = {**parameters, "cube_snapshot": snapshots[place]}
        end = f"{last}T23:59:59Z"
        found.append(Window(f"{name}-{first}-{last}", f"{first}T00:00:00Z", end, inputs, own))
    if not found:
        raise InputError(f"{lineage.store} holds no whole year yet; run `annual` to its end first.")
    return tuple(found)


def _require_whole(lineage: Lineage) -> None:
    root = lineage.root
    paths = [f"{name}/state" for name in lineage.sensors] if lineage.kind == "cube" else ["state"]
    states = [np.asarray(root[path][...]) for path in paths if path in root]
    left = sum(int((state == PENDING).sum()) for state in states)
    if left:
        every = sum(state.size for state in states)
        raise InputError(
            f"{lineage.store} is not whole: {left} of {every} of its parts are not computed yet. "
            "Run the command that made it to its end first."
        )


def _written(lineage: Lineage) -> str:
    """When the snapshot was committed."""
    if not lineage.snapshot:
        return ""
    state = lineage.store.repository().lookup_snapshot(lineage.snapshot)
    return state.written_at.strftime("%Y-%m-%dT%H:%M:%SZ")
