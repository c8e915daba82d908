"""One region: the truth of its polygons beside what was predicted from few of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.downstream.parcels.polygons import Polygons
from benchmarks.downstream.parcels.regions import Region
from benchmarks.downstream.rows import Row, read_row
from terralatent.pipeline.pictures.heading import where_and_what
from terralatent.pipeline.pictures.landcover import coloured, draw_legend
from terralatent.pipeline.pictures.mosaic import Strip, draw
from terralatent.pipeline.probes.legend import Legend

__all__ = ["draw_predictions"]

BELOW = 0.9
"""Inches for the legend."""


def draw_predictions(region: Region, polygons: Polygons, rows: Sequence[Row], file: Path) -> bool:
    """Draw every polygon in its class, and in what the fold that hid it predicted. Computes.

    Args:
        region: Where.
        polygons: Its own.
        rows: Whose predictions are drawn, beside one another.
        file: Of the picture; its ending says the format.

    Returns:
        False, and nothing is drawn, where a row was not computed.
    """
    results = [read_row(region.work, row) for row in rows]
    legend = Legend.of(polygons.classes)
    values = np.array(legend.values)[legend.places(polygons.classes)]
    truth = _painted(polygons, values[polygons.target])
    strips = [Strip(f"the truth, {len(polygons.target)} polygons", [coloured(truth, legend)], [""])]
    for row, result in zip(rows, results, strict=True):
        if result is None:
            return False
        right = float((result.predicted == polygons.target).mean())
        image = coloured(_painted(polygons, values[result.predicted]), legend)
        strips.append(Strip(f"{row.features}: {right:.0%} right", [image], [""]))
    words = f"{rows[0].labels} polygons a class, {rows[0].missing} of acquisitions removed"
    figure, foot = draw(strips, where_and_what(region.grid(), words), below=BELOW)
    draw_legend(foot, legend, truth)
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file)
    return True


def _painted(polygons: Polygons, values: NDArray[np.integer]) -> NDArray[np.uint8]:
    """The value of each polygon at its pixels, 0 elsewhere, (y, x)."""
    return np.append(values, 0).astype(np.uint8)[polygons.places]
