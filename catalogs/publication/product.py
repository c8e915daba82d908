"""What a publication is made of: frozen descriptions of a store, its arrays, windows and model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pystac

__all__ = ["Arrays", "Axis", "Data", "Input", "Place", "Product", "Variable", "Window"]


@dataclass(frozen=True)
class Place:
    """The grid of a product."""

    crs: str
    """``EPSG:N``, or WKT2 of a CRS that has no such number."""

    transform: tuple[float, ...]
    """Six numbers from pixel to CRS, the outer corner of the first pixel third and last."""

    shape: tuple[int, int]
    """Rows and columns."""

    bounds: tuple[float, float, float, float]
    """Left, bottom, right, top in the CRS."""

    geometry: Mapping[str, Any]
    """Its outline in longitude and latitude, GeoJSON."""

    bbox: tuple[float, float, float, float]
    """West, south, east, north in degrees."""

    @property
    def resolution(self) -> float:
        """Pixel size in units of the CRS."""
        return abs(self.transform[0])


@dataclass(frozen=True)
class Axis:
    """A dimension other than y and x."""

    name: str
    """Of the dimension."""

    values: tuple[str | int | float, ...]
    """Its labels; times in ISO form."""

    temporal: bool = False
    """Whether it is time."""


@dataclass(frozen=True)
class Variable:
    """An array over the grid."""

    name: str
    """Its path in the store."""

    dims: tuple[str, ...]
    """Dimensions, y and x last."""

    dtype: str
    """NumPy name of what is stored."""

    title: str = ""
    """What it is, in words."""

    unit: str = ""
    """Of its values, unpacked; empty where it has none."""

    fill: float | None = None
    """What is stored where there is no data; None where there is such a thing nowhere."""

    scale: float | None = None
    """value = scale * stored + offset; None where it is stored as it is."""

    offset: float = 0.0
    """See :attr:`scale`."""

    classes: tuple[tuple[int, str, str], ...] = ()
    """Of a map of classes: value, name, and colour as #rrggbb."""

    @property
    def band_dim(self) -> str | None:
        """The dimension whose labels are bands; None of an array that is one band."""
        return next((dim for dim in self.dims if dim not in ("time", "y", "x")), None)


@dataclass(frozen=True)
class Arrays:
    """Arrays that share their axes: a group of the store."""

    path: str
    """Of the group; empty for the root."""

    axes: tuple[Axis, ...]
    """All but y and x."""

    variables: tuple[Variable, ...]
    """The arrays over the grid."""


@dataclass(frozen=True)
class Data:
    """A file or store to be found: an asset of every item of the product."""

    key: str
    """Of the asset."""

    title: str
    """Of the asset."""

    href: str
    """A URL, or a path relative to the folder of the collection."""

    media_type: str
    """Of the asset."""

    roles: tuple[str, ...]
    """Such as ``data``, ``embeddings``, ``uncertainty``."""

    group: str = ""
    """Path of the group that it holds."""

    variables: tuple[str, ...] = ()
    """Names of the arrays of this group that it is there for."""


@dataclass(frozen=True)
class Input:
    """A scene that went into a product."""

    id: str
    """Of its STAC item."""

    sensor: str
    """By which name the cube holds it."""

    time: str
    """When it was sensed, ISO 8601 in UTC."""

    href: str = ""
    """URL of its STAC item; empty where the cube does not hold it."""


@dataclass(frozen=True)
class Window:
    """The time that one item stands for."""

    id: str
    """Of the item."""

    start: str
    """First instant, ISO 8601 in UTC."""

    end: str
    """Last instant."""

    inputs: tuple[Input, ...]
    """Scenes that it is made of, in order."""

    parameters: Mapping[str, Any]
    """What the run was given, JSON values."""


@dataclass(frozen=True)
class Product:
    """A store at one of its states, as it is published."""

    id: str
    """Of the collection."""

    kind: str
    """``cube``, ``latents``, ``bands``, ``annual`` or ``landcover``."""

    digest: str
    """Of the store's identity: another store has another one."""

    snapshot: str
    """Of the store; empty for plain Zarr."""

    written: str
    """When that was committed, ISO 8601 in UTC; empty where that is not known."""

    title: str
    description: str
    keywords: tuple[str, ...]

    licence: str
    """An SPDX identifier, or ``proprietary``."""

    providers: tuple[pystac.Provider, ...] = field(repr=False)
    """See :func:`terralatent.catalogs.publication.providers.providers_of`."""

    sources: Mapping[str, str]
    """By sensor, a URI of the data it delivers."""

    place: Place
    arrays: tuple[Arrays, ...]
    data: tuple[Data, ...]
    windows: tuple[Window, ...]
    software: Mapping[str, str]
    """Name and version of what made it."""

    model: str = ""
    """Href of the model's item, relative to the collection's folder; empty where there is none."""

    @property
    def is_embedding(self) -> bool:
        """Whether the embeddings extension is for it."""
        return any("embeddings" in data.roles for data in self.data)

    def variable(self, role: str) -> Variable | None:
        """The first array that an asset of this role is there for."""
        for data in self.data:
            if role in data.roles:
                found = {one.name: one for arrays in self.arrays for one in arrays.variables}
                return next((found[name] for name in data.variables if name in found), None)
        return None

    def axis(self, name: str | None) -> Axis | None:
        """An axis by name."""
        axes = (axis for arrays in self.arrays for axis in arrays.axes)
        return next((axis for axis in axes if axis.name == name), None)
