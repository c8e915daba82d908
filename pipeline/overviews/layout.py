"""The groups of the levels of a store: laid out once, beside what it holds, and found again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import zarr
import zarr_cm
from odc.geo.geobox import GeoBox

from terralatent.catalogs.errors import InputError
from terralatent.pipeline.cube.layout import grid_attrs
from terralatent.pipeline.cube.losses import PENDING, STATE_FLAGS
from terralatent.pipeline.overviews.correlation import correlation_of
from terralatent.pipeline.overviews.pyramid import Pyramid, level_grid
from terralatent.pipeline.overviews.summaries import Mean, Mode, Packing, Spread, Summary
from terralatent.pipeline.region import grid_of
from terralatent.pipeline.store.arrays import ArrayLayout, GroupLayout, coordinate, grid_arrays
from terralatent.pipeline.store.multiscales import MULTISCALES, OVERVIEWS, STATE, withdrawn
from terralatent.pipeline.store.repository import ABOUT, Store

__all__ = [
    "KINDS",
    "Plan",
    "is_laid_out",
    "lay_out_levels",
    "level_path",
    "plan_levels",
    "shown",
]

KINDS = ("latents", "bands", "annual", "landcover", "changes")
"""Of the stores that have overviews."""


@dataclass(frozen=True)
class Plan:
    """The levels of a store, and how each of its arrays is summarised. Small and picklable."""

    pyramid: Pyramid
    """The levels."""

    summaries: tuple[Summary, ...]
    """One for each array over the grid, by name."""

    @property
    def names(self) -> tuple[str, ...]:
        """Of the arrays."""
        return tuple(next(iter(summary.outputs)) for summary in self.summaries)


def level_path(level: int) -> str:
    """The path of the group of a level, from 1 on."""
    return f"{OVERVIEWS}/{level}"


def plan_levels(root: zarr.Group) -> Plan:
    """Plan the levels of a store of results, by its root. Reads no pixels."""
    kind = str(root.attrs[ABOUT]["kind"])
    arrays: dict[str, Any] = dict(sorted(root.arrays()))
    over_grid = {name: array for name, array in arrays.items() if _dims(array)[-2:] == ("y", "x")}
    summaries = tuple(_summary(root, kind, name, array) for name, array in over_grid.items())
    rows, columns = grid_of(root).shape
    return Plan(Pyramid.of((rows, columns)), summaries)


def _summary(root: zarr.Group, kind: str, name: str, array: Any) -> Summary:
    dims, packing = _dims(array), Packing.of(array)
    if "flag_values" in array.attrs:
        return Mode(name, packing, tuple(sorted(int(v) for v in array.attrs["flag_values"])))
    if name.removeprefix("log_").startswith("std"):
        rho = correlation_of(root.attrs, kind, name, dims, array.shape)
        over = "latent" if name == "std" and dims[-3:-2] == ("latent",) else None
        return Spread(name, packing, rho, name.startswith("log_"), over)
    if kind == "bands" and name.startswith("q"):
        return Mean(name, packing, "mean of the valid pixels, as if their errors were all the same")
    return Mean(name, packing)


def is_laid_out(root: zarr.Group, plan: Plan, store: Store) -> bool:
    """Whether a store has all levels of a plan, written or not.

    Raises:
        InputError: If it has levels of another grid, or a group or attribute of another maker.
    """
    named = root.attrs.asdict().get(MULTISCALES)
    if named is not None and OVERVIEWS not in root:
        paths = ", ".join(str(entry.get("asset")) for entry in named["layout"])
        raise InputError(
            f"{store} has the attribute `multiscales` of another maker, which names {paths}; what "
            "is there stays. Take the attribute away to have others made."
        )
    if OVERVIEWS not in root:
        return False
    if STATE not in root:
        raise InputError(
            f"{store} has a group `{OVERVIEWS}` of another maker, without the array `{STATE}`; "
            "what is there stays. Take the group away to have others made."
        )
    grid = grid_of(root)
    for level in range(1, plan.pyramid.levels + 1):
        path = level_path(level)
        if path not in root:
            return False
        _require_grid(root[path], level_grid(grid, level), f"{store}: {path}")
    wanted = {
        f"{level_path(level)}/{array.name}": array.shape
        for level in range(1, plan.pyramid.levels + 1)
        for array in _arrays(root, plan, level)
    }
    wanted[STATE] = _states(plan).shape
    return all(path in root and root[path].shape == shape for path, shape in wanted.items())


def _require_grid(group: Any, wanted: GeoBox, what: str) -> None:
    attrs, own = group.attrs.asdict(), grid_attrs(wanted)
    there = {name: attrs.get(name) for name in ("spatial:shape", "spatial:transform")}
    here = {name: list(own[name]) for name in there}
    if {name: list(value or ()) for name, value in there.items()} != here:
        raise InputError(
            f"{what} has another grid: "
            + ", ".join(f"{name} is {there[name]}, not {here[name]}" for name in there)
            + ". What is there stays; delete the group to have it made anew."
        )


def lay_out_levels(root: zarr.Group, plan: Plan) -> None:
    """Make the groups and arrays of all levels, empty, and the states of their tasks.

    What was there of them before goes: it was of other dates.
    """
    withdrawn(root)
    group = root.create_group(OVERVIEWS, overwrite=True)
    states = _states(plan)
    coordinate("state", states.dims, np.zeros(states.shape, np.uint8), states.attrs).create(group)
    coordinate("array", ("array",), np.array(plan.names, dtype=object)).create(group)
    for level in range(1, plan.pyramid.levels + 1):
        layout = _level(root, plan, level)
        own = root.create_group(layout.path, attributes=dict(layout.attrs))
        for array in layout.arrays:
            array.create(own)


def shown(root: zarr.Group, plan: Plan) -> None:
    """Name the levels in the root, by ``multiscales`` 0.1, for whoever reads the store."""
    grid = grid_of(root)
    layout: list[Any] = [_entry(grid, 0)]
    layout += [_entry(grid, level) for level in range(1, plan.pyramid.levels + 1)]
    attrs: Any = zarr_cm.multiscales.create(layout=tuple(layout), resampling_method="average")
    root.update_attributes(zarr_cm.multiscales.insert(root.attrs.asdict(), attrs, overwrite=True))


def _entry(grid: GeoBox, level: int) -> dict[str, Any]:
    """A level as the convention lists it. Level 0 is the root itself, all others come from it."""
    own = grid_attrs(level_grid(grid, level))
    place = {name: list(own[name]) for name in ("spatial:shape", "spatial:transform")}
    if level == 0:
        return {"asset": ".", "transform": {"scale": [1.0, 1.0]}, **place}
    scale = [float(2**level)] * 2
    # The centre of a pixel lies half of its width from the corner that all levels share.
    shift = [(2**level - 1) / 2.0] * 2
    return {
        "asset": level_path(level),
        "derived_from": ".",
        "transform": {"scale": scale, "translation": shift},
        **place,
    }


def _level(root: zarr.Group, plan: Plan, level: int) -> GroupLayout:
    grid = level_grid(grid_of(root), level)
    attrs = {**grid_attrs(grid), "coordinates": "spatial_ref"}
    arrays = (*_arrays(root, plan, level), *_coordinates(root), *grid_arrays(grid))
    return GroupLayout(level_path(level), arrays, attrs)


def _arrays(root: zarr.Group, plan: Plan, level: int) -> list[ArrayLayout]:
    """Lay out what the summaries of a level leave: a shard a date, a chunk a date and latent."""
    pyramid, found = plan.pyramid, []
    chunk, shard = pyramid.chunk(level), pyramid.shard(level)
    for summary, name in zip(plan.summaries, plan.names, strict=True):
        source: Any = root[name]
        for output, lacking in summary.outputs.items():
            leading = {
                dim: size
                for dim, size in zip(_dims(source)[:-2], source.shape[:-2], strict=True)
                if dim != lacking
            }
            sizes = tuple(1 if dim == "time" else size for dim, size in leading.items())
            found.append(
                ArrayLayout(
                    output,
                    (*leading, "y", "x"),
                    (*leading.values(), *pyramid.level_shape(level)),
                    source.dtype.name,
                    chunks=(*(1 for _ in leading), chunk, chunk),
                    shards=(*sizes, shard, shard),
                    fill_value=source.fill_value,
                    attrs=_attrs(source, summary, output, level),
                )
            )
    return found


def _attrs(source: Any, summary: Summary, output: str, level: int) -> Mapping[str, Any]:
    attrs = {**source.attrs.asdict(), "overview": summary.method}
    if output != next(iter(summary.outputs)):
        attrs["long_name"] = f"{attrs.get('long_name', output)}, root mean square over all"
    if isinstance(summary, Spread):
        attrs["rho"] = [round(float(rho), 6) for rho in summary.rho_at(level).ravel()]
    return attrs


def _coordinates(root: zarr.Group) -> list[ArrayLayout]:
    """What else labels the dimensions of a store, as it is there."""
    found = []
    for name, array in sorted(root.arrays()):
        is_bounds = _dims(array)[1:] == ("bnds",)
        if (_dims(array) == (name,) and name not in ("y", "x")) or is_bounds:
            own: Any = array
            found.append(coordinate(name, _dims(own), np.asarray(own[...]), own.attrs.asdict()))
    return found


def _states(plan: Plan) -> ArrayLayout:
    tasks = plan.pyramid.tasks()[-1].index
    shape = (len(plan.summaries), tasks[0] + 1, tasks[1] + 1)
    attrs = {"long_name": "state of each task of each array", **STATE_FLAGS}
    return ArrayLayout(
        "state", ("array", "unit_y", "unit_x"), shape, "uint8", shape, None, PENDING, attrs
    )


def _dims(array: Any) -> tuple[str, ...]:
    return tuple(array.metadata.dimension_names or ())
