"""How a cube, latents or bands stand by the states, coordinates and attributes of their store."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import zarr

from terralatent.pipeline.cube.losses import (
    DONE,
    LOSSES_LISTED,
    PARTIAL,
    PENDING,
    losses_of,
)
from terralatent.pipeline.store.multiscales import MULTISCALES, OVERVIEWS

__all__ = [
    "CubeStatus",
    "Dates",
    "Items",
    "ResultStatus",
    "SensorStatus",
    "States",
    "cube_status",
    "result_status",
]

OF_THE_GRID = (
    *("proj:", "spatial:", "zarr_conventions", "Conventions", "coordinates", "terralatent"),
    *("multiscales", "overview_correlation"),
)
"""How attributes begin that say nothing of where results come from."""


@dataclass(frozen=True)
class Dates:
    """A time axis."""

    count: int
    """Dates."""

    first: str | None
    """The first, ISO 8601, UTC; None where there is none."""

    last: str | None
    """The last one."""


@dataclass(frozen=True)
class States:
    """How many read tasks, or blocks, are in which state."""

    done: int
    """Read, or computed."""

    partial: int
    """Done with something missing: a scene that failed, or a cube that is not whole there."""

    pending: int
    """Not done yet."""

    @property
    def total(self) -> int:
        """All of them."""
        return self.done + self.partial + self.pending


@dataclass(frozen=True)
class SensorStatus:
    """One sensor of a cube."""

    bands: tuple[str, ...]
    """Its bands in the cube's order."""

    dates: Dates
    """Its acquisitions."""

    units: States | None
    """Its read tasks, counted by block and time shard; None in the export of a single date."""

    losses: int
    """Files that could not be read, and whole read tasks that were lost."""

    first_losses: tuple[str, ...]
    """The first of them, a line each: sensor, item, band and reason."""


@dataclass(frozen=True)
class Items:
    """What became of the items of the search."""

    used: int
    """Items that were read."""

    merged: int
    """Items merged into another one of their pass."""

    dropped: int
    """Items that were left out."""

    reasons: Mapping[str, Mapping[str, int]]
    """Why, for ``merged`` and for ``dropped``: reason, with ids left out as ``...``, to items."""


@dataclass(frozen=True)
class CubeStatus:
    """A cube."""

    period: tuple[str, str] | None
    """First and last day."""

    sensors: Mapping[str, SensorStatus]
    """By name."""

    items: Items | None
    """Of the search; None in the export of a single sensor."""


@dataclass(frozen=True)
class ResultStatus:
    """Latents, bands or a map."""

    arrays: Mapping[str, Mapping[str, Any]]
    """For each array over the grid ``dims``, name to size, and ``dtype`` as stored."""

    dates: Dates
    """The dates of the result."""

    blocks: States | None
    """None in the export of a single date."""

    overviews: tuple[int, int] | None
    """Rows and columns of the coarsest level; None where there are none to be read."""

    clipped: int
    """Values that did not fit the packing."""

    provenance: Mapping[str, Any]
    """Attributes that say what it was made from: model, cube, sensors, kernels."""

    classes: Mapping[str, int]
    """Of a map of classes, their names and values; of anything else none."""


def cube_status(root: zarr.Group, identity: Mapping[str, Any]) -> CubeStatus:
    """Take stock of a cube; reads no pixels."""
    period = identity.get("period")
    return CubeStatus(
        period=(period[0], period[1]) if period else None,
        sensors={name: _sensor(group) for name, group in sorted(root.groups()) if "data" in group},
        items=_items(root["items"]) if "items" in root else None,
    )


def result_status(root: zarr.Group) -> ResultStatus:
    """Take stock of latents, bands or a map; reads no pixels."""
    arrays: dict[str, Any] = {name: array for name, array in sorted(root.arrays())}
    dims = {name: tuple(array.metadata.dimension_names or ()) for name, array in arrays.items()}
    attrs: dict[str, Any] = root.attrs.asdict()
    return ResultStatus(
        arrays={
            name: {
                "dims": dict(zip(dims[name], array.shape, strict=True)),
                "dtype": str(array.dtype),
            }
            for name, array in arrays.items()
            if {"y", "x"} <= set(dims[name])
        },
        dates=_dates(root),
        blocks=_states(root),
        overviews=_overviews(attrs),
        clipped=int(np.asarray(arrays["clipped"][...]).sum()) if "clipped" in arrays else 0,
        provenance={
            name: value for name, value in attrs.items() if not name.startswith(OF_THE_GRID)
        },
        classes=_classes(arrays["class"]) if "class" in arrays else {},
    )


def _overviews(attrs: Mapping[str, Any]) -> tuple[int, int] | None:
    levels = [
        entry["spatial:shape"]
        for entry in attrs.get(MULTISCALES, {}).get("layout", ())
        if str(entry["asset"]).startswith(f"{OVERVIEWS}/")
    ]
    return (int(levels[-1][0]), int(levels[-1][1])) if levels else None


def _classes(array: Any) -> dict[str, int]:
    attrs: dict[str, Any] = array.attrs.asdict()
    return dict(zip(attrs["class_names"], attrs["flag_values"], strict=True))


def _sensor(group: Any) -> SensorStatus:
    losses = tuple(str(loss) for loss in losses_of(group.attrs.get("losses", ())))
    return SensorStatus(
        bands=tuple(str(band) for band in np.asarray(group["band"][...])),
        dates=_dates(group),
        units=_states(group),
        losses=len(losses),
        first_losses=losses[:LOSSES_LISTED],
    )


def _dates(group: Any) -> Dates:
    if "time" not in group:
        return Dates(0, None, None)
    times = np.asarray(group["time"][...]).astype("datetime64[us]").astype("datetime64[s]")
    texts = [str(time) for time in np.datetime_as_string(times, timezone="UTC")]
    return Dates(len(texts), texts[0], texts[-1]) if texts else Dates(0, None, None)


def _states(group: Any) -> States | None:
    if "state" not in group:
        return None
    state = np.asarray(group["state"][...])
    counts = [int(np.count_nonzero(state == value)) for value in (DONE, PARTIAL, PENDING)]
    return States(*counts)


def _items(table: Any) -> Items:
    ids, fates, reasons = (
        [str(value) for value in np.asarray(table[name][...])] for name in ("id", "fate", "reason")
    )
    count = Counter(fates)
    known = set(ids)
    why: dict[str, Counter[str]] = {"merged": Counter(), "dropped": Counter()}
    for fate, reason in zip(fates, reasons, strict=True):
        if fate in why:
            why[fate][_without_ids(reason, known)] += 1
    return Items(
        count["used"],
        count["merged"],
        count["dropped"],
        {fate: dict(reasons.most_common()) for fate, reasons in why.items()},
    )


def _without_ids(reason: str, ids: set[str]) -> str:
    """The reason with the ids of other items left out, so that equal reasons are equal."""
    return " ".join(
        "..." + word[len(bare) :] if (bare := word.rstrip(",.;:")) in ids else word
        for word in reason.split()
    )
