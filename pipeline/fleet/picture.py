"""A fleet on a map: each tile in the colour of how far it is."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path

import numpy as np
import shapely
from matplotlib.collections import PolyCollection
from matplotlib.patches import Patch

from terralatent.catalogs.antimeridian import unbroken
from terralatent.catalogs.enclosing_store import refuse_inside_store
from terralatent.catalogs.errors import InputError
from terralatent.pipeline.fleet.notes import DONE, FAILED, PARTIAL
from terralatent.pipeline.fleet.status import BEGUN, NONE, OUTDATED, FleetStatus, TileStatus
from terralatent.pipeline.fleet.tiles import KINDS
from terralatent.pipeline.pictures.picture import BLUE, GREY, ORANGE, SKY, VERMILION, Picture

__all__ = ["draw_fleet", "save_picture"]

PLANNED, GREEN = "#ececec", "#009E73"

STAGES = {
    "failed": VERMILION,
    "planned": PLANNED,
    "being built": "#cfe6f5",
    "cube": SKY,
    "latents": BLUE,
    "annual vectors": "#8a6bbf",
    "map of classes": GREEN,
    "not whole or outdated": ORANGE,
}
"""How far a tile can be, and its colour."""

REACHED = {"latents": "latents", "annual": "annual vectors", "landcover": "map of classes"}

MOST_NAMED = 60
"""Tiles that are written into with their names."""

LETTER = 0.065
"""Inches that a letter of a name takes, and a little room."""

LONGEST = 7.0
"""Inches of the longer side of the map."""


def stage_of(status: TileStatus) -> str:
    """How far a tile is, one of :data:`STAGES`."""
    states = {kind: status.stores[kind].state for kind in KINDS}
    if FAILED in states.values():
        return "failed"
    if states["cube"] == NONE:
        return "planned"
    if states["cube"] == BEGUN:
        return "being built"
    if {PARTIAL, OUTDATED} & set(states.values()):
        return "not whole or outdated"
    reached = [kind for kind in REACHED if states[kind] == DONE]
    return REACHED[reached[-1]] if reached else "cube"


def save_picture(status: FleetStatus, out: str | Path) -> None:
    """Draw the tiles into a file.

    Raises:
        InputError: If it cannot be written, or its ending is none of a picture.
    """
    refuse_inside_store(out)
    try:
        draw_fleet(status).savefig(out)
    except (OSError, ValueError) as error:
        raise InputError(f"{out} cannot be drawn: {error}.") from error


def draw_fleet(status: FleetStatus) -> Picture:
    """Draw the tiles in degrees, each in the colour of its stage, with their numbers."""
    stages = [stage_of(own) for own in status.tiles]
    parts = [unbroken(own.tile.area) for own in status.tiles]
    west, south, east, north = shapely.total_bounds(np.array(parts)).tolist()
    squeeze = math.cos(math.radians((south + north) / 2.0))
    wide, tall = max((east - west) * squeeze, 1e-9), max(north - south, 1e-9)
    scale = LONGEST / max(wide, tall)
    size = (max(4.5, wide * scale + 1.0), max(2.5, tall * scale) + 1.4)
    figure = Picture(figsize=size, dpi=110, layout="constrained")
    axes = figure.add_subplot()
    rings, colours = [], []
    for part, stage in zip(parts, stages, strict=True):
        for face in shapely.get_parts(part):
            rings.append(np.asarray(face.exterior.coords))
            colours.append(STAGES[stage])
    thin = 0.6 if len(parts) <= 4 * MOST_NAMED else 0.2
    axes.add_collection(
        PolyCollection(rings, facecolors=colours, edgecolors="#666666", linewidths=thin)
    )
    if len(parts) <= MOST_NAMED:
        for own, part in zip(status.tiles, parts, strict=True):
            point, (left, _, right, _) = part.representative_point(), part.bounds
            if (right - left) * squeeze * scale < LETTER * len(own.tile.name):
                continue  # it would be written over its neighbours
            axes.text(
                point.x, point.y, own.tile.name, ha="center", va="center", fontsize=6.5,
                color="#222222",
            )  # fmt: skip
    margin = 0.02 * max(wide, tall)
    axes.set_xlim(west - margin / squeeze, east + margin / squeeze)
    axes.set_ylim(south - margin, north + margin)
    axes.set_aspect(1.0 / squeeze)
    axes.tick_params(labelsize=7, colors=GREY)
    axes.set_xlabel("degrees east", fontsize=8)
    axes.set_ylabel("degrees north", fontsize=8)
    for side in axes.spines.values():
        side.set_visible(False)
    count = Counter(stages)
    handles = [
        Patch(facecolor=colour, edgecolor="#666666", linewidth=0.5, label=f"{stage}: {n:,}")
        for stage, colour in STAGES.items()
        if (n := count[stage])
    ]
    figure.legend(
        handles=handles, loc="outside lower center", ncols=min(4, len(handles)), fontsize=8,
        frameon=False,
    )  # fmt: skip
    figure.suptitle(f"{len(parts):,} tiles", fontsize=9)
    return figure
