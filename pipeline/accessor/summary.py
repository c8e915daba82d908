"""What was opened, in a few lines: its kind, model, cube, sensors, period, grid and CRS."""

from __future__ import annotations

from html import escape

import numpy as np
import xarray as xr

from terralatent.catalogs.errors import InputError
from terralatent.pipeline.kinds import KINDS, known_kind, listed

__all__ = ["as_html", "as_text", "summary", "tree_summary"]

Lines = list[tuple[str, str]]


def summary(data: xr.Dataset) -> Lines:
    """What is known of a Dataset, each with its name. Reads states of blocks, no pixels."""
    kind = known_kind(data)
    if kind is None:
        return [("kind", f"nothing of ours, with {listed(data.data_vars)}")]
    attrs = data.attrs
    model = [str(attrs.get(name, "")) for name in ("model_name", "model_version")]
    named = " ".join(part for part in model if part) or str(attrs.get("model_hash", ""))[:12]
    sensors = attrs.get("sensors", attrs.get("sensor", ""))
    sensors = ", ".join(map(str, sensors)) if isinstance(sensors, (list, tuple)) else str(sensors)
    lines = [
        ("kind", KINDS[kind]),
        ("store", str(data.encoding.get("source", ""))),
        ("model", named),
        ("cube snapshot", str(attrs.get("cube_snapshot", ""))),
        ("sensors", sensors),
        *_inside(data),
        ("dates", _dates(data)),
        *_grid(data),
        ("blocks done", _done(data)),
    ]
    return [(name, text) for name, text in lines if text]


def tree_summary(tree: xr.DataTree) -> Lines:
    """What is known of a cube, each sensor with its dates. Reads no pixels."""
    sensors = {
        str(name): node.to_dataset() for name, node in tree.children.items() if "data" in node
    }
    if not sensors:
        return [("kind", f"no cube, a tree with {listed(tree.children)}")]
    lines = [("kind", "a cube"), ("store", str(tree.attrs.get("store", "")))]
    for name, own in sensors.items():
        lines.append((name, ", ".join(filter(None, [_dates(own), *dict(_inside(own)).values()]))))
    lines += _grid(next(iter(sensors.values())))
    return [(name, text) for name, text in lines if text]


def as_text(lines: Lines) -> str:
    """One line each, names aligned."""
    wide = max(len(name) for name, _ in lines)
    return "\n".join(f"{name:<{wide}}  {text}" for name, text in lines)


def as_html(lines: Lines) -> str:
    """A table, for notebooks."""
    rows = "".join(
        f"<tr><th style='text-align:left'>{escape(name)}</th>"
        f"<td style='text-align:left'>{escape(text)}</td></tr>"
        for name, text in lines
    )
    return f"<table>{rows}</table>"


def _inside(data: xr.Dataset) -> Lines:
    """The series or bands of each pixel."""
    found = []
    for name, plural in (("band", "bands"), ("latent", "latents"), ("component", "components")):
        if name in data.coords:
            values = [str(value) for value in np.atleast_1d(data[name].values)]
            text = ", ".join(values) if name == "band" else str(len(values))
            found.append((plural, text))
    if "class" in data:
        found.append(("classes", ", ".join(map(str, data["class"].attrs.get("class_names", [])))))
    return found


def _dates(data: xr.Dataset) -> str:
    if "time" not in data.coords or not data["time"].size:
        return ""
    times = np.atleast_1d(data["time"].values)
    first, last = str(times[0])[:10], str(times[-1])[:10]
    return first if len(times) == 1 else f"{len(times)}, {first} to {last}"


def _grid(data: xr.Dataset) -> Lines:
    if not {"y", "x"} <= set(data.dims):
        return []
    size = f"{data.sizes['y']} x {data.sizes['x']} pixels"
    if "spatial_ref" not in data.coords:
        return [("grid", size)]
    crs = data.rio.crs
    code = crs.to_epsg() if crs is not None else None
    side, level = abs(data.rio.resolution()[0]), data.attrs.get("level", 0)
    size += f" of {side:g}" + (f", level {level} of the overviews" if level else "")
    return [("grid", size), ("CRS", f"EPSG:{code}" if code else str(crs or ""))]


def _done(data: xr.Dataset) -> str:
    """The share of blocks that are done, or of a sensor's read tasks; nothing where not known."""
    from terralatent.pipeline.cube.losses import DONE
    from terralatent.pipeline.store.repository import Store

    state = data["state"].values if "state" in data else None
    if state is None and (source := data.encoding.get("source")):
        try:
            group = Store.of(source).group(snapshot=data.encoding.get("snapshot"))
        except InputError:  # it was moved, or removed
            return ""
        state = np.asarray(group["state"][...]) if "state" in group else None
    return "" if state is None else f"{(state == DONE).mean():.0%} of {state.size}"
