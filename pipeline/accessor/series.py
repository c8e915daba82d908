"""One pixel through time: what was observed of it, and what was inferred, on their own dates."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import xarray as xr

from terralatent.catalogs.errors import InputError
from terralatent.pipeline.accessor.measures import NINETY
from terralatent.pipeline.accessor.places import find_pixel
from terralatent.pipeline.attributes import nested
from terralatent.pipeline.kinds import provenance, require

__all__ = ["series"]

log = logging.getLogger(__name__)

KEPT = {
    "sensor": ("data", "clear"),
    "latents": ("mean", "std", "observations"),
    "annual": ("mean", "std", "observations"),
}


def series(
    data: xr.Dataset,
    x: float,
    y: float,
    *,
    crs: Any = None,
    cube: str | Path | xr.DataTree | None = None,
) -> xr.Dataset:
    """See :meth:`terralatent.pipeline.accessor.opened.Opened.series`."""
    kind = require(data, "series", *KEPT, "bands")
    if cube is not None and kind != "bands":
        raise InputError("series takes cube= of decoded bands alone; leave it out.")
    row, column = find_pixel(data, x, y, crs)
    pixel = data.isel(y=row, x=column)
    if kind != "bands":
        return pixel[[name for name in KEPT[kind] if name in pixel]].compute()
    found = _surface(pixel)
    tree = _cube_under(data) if cube is None else cube
    if tree is not None:
        found = found.assign(_observed(data, tree, float(pixel["x"]), float(pixel["y"])))
    return found.compute()


def _surface(pixel: xr.Dataset) -> xr.Dataset:
    """The surface with its credible interval, and the predictive one of a new observation."""
    mean, half = pixel["mean"], NINETY * pixel["std_signal"]
    parts = {
        "surface": (mean, "surface"),
        "surface_q05": (mean - half, "5 % quantile of the surface"),
        "surface_q95": (mean + half, "95 % quantile of the surface"),
        "q05": (pixel["q05"], "5 % quantile of a new observation"),
        "q95": (pixel["q95"], "95 % quantile of a new observation"),
    }
    units = {"units": mean.attrs.get("units", "1")}
    variables = {
        name: array.assign_attrs({"long_name": title, **units})
        for name, (array, title) in parts.items()
    }
    return xr.Dataset(variables, attrs=provenance(pixel))


def _observed(data: xr.Dataset, cube: str | Path | xr.DataTree, x: float, y: float) -> xr.Dataset:
    """What the sensor of decoded bands saw of a pixel, clear or masked, on its own dates."""
    sensor = str(data.attrs.get("sensor", ""))
    tree = cube if isinstance(cube, xr.DataTree) else _open(cube, data.attrs, sensor)
    if sensor not in tree.children:
        raise InputError(
            f"The cube has no sensor {sensor!r}; it has {', '.join(map(str, tree.children))}."
        )
    own = tree[sensor].to_dataset()
    row, column = find_pixel(own, x, y)
    seen = own[["data", "clear"]].isel(y=row, x=column, drop=True)
    bands = [band for band in data["band"].values if band in own["band"].values] \
        if data["band"].ndim else data["band"].item()  # fmt: skip
    seen = seen.sel(band=bands).drop_vars([name for name in seen.coords if name not in
                                           ("time", "band")])  # fmt: skip
    return seen.rename(time="acquisition", data="observed")


def _open(cube: str | Path, attrs: Mapping[str, Any], sensor: str) -> xr.DataTree:
    """The cube as the bands' maker saw it: at its snapshot, masked as then; clouds are there."""
    from terralatent.pipeline.cube.masking import Masking
    from terralatent.pipeline.cube.opened import open_cube

    masking = nested(attrs, "masking")
    masks = {sensor: Masking.from_json(masking[sensor])} if sensor in masking else None
    snapshot = attrs.get("cube_snapshot") or None
    try:
        return open_cube(cube, clear=False, masking=masks, snapshot=snapshot)
    except InputError as error:
        if snapshot is None:
            raise
        log.warning("the cube is read as it is now: %s", error)
        return open_cube(cube, clear=False, masking=masks)


def _cube_under(data: xr.Dataset) -> str | None:
    """Where the cube lies that a result was made from; None, which is logged, where that is not
    known or nothing is there any more."""
    from terralatent.pipeline.store.repository import Store
    from terralatent.pipeline.store.whereabouts import MADE_FROM, resolve_beside

    source = data.encoding.get("source")
    place = data.attrs.get(MADE_FROM, "")
    cube = resolve_beside(Store.of(source), place) if source else None
    if cube is not None and Store.of(cube).exists():
        return cube
    where = f"{place} beside {source}" if source else "a place that is not known"
    log.warning("the cube (%s) is not there, so observations are left out; give it as cube=", where)
    return None
