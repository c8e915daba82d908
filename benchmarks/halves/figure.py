"""The picture: spread of z by clear observations, and by latent, of draws and of what was seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from benchmarks.halves.measure import DATED, NESTED
from benchmarks.halves.scores import BIN, DIMENSION, bins
from benchmarks.halves.splits import THINNED
from benchmarks.halves.tables import picked

__all__ = ["draw"]

# Okabe and Ito's colours, distinct in all kinds of colour vision.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
FONT = {"font.size": 12, "axes.spines.top": False, "axes.spines.right": False}
WANTED = (0.9, 1.1)


def draw(rows: Sequence[Mapping[str, Any]], file: Path) -> bool:
    """Draw both panels into a file, as PNG; False where there is nothing to draw."""
    regions = list(dict.fromkeys(row["region"] for row in picked(rows, stage="observed")))
    if not regions:
        return False
    with plt.rc_context(FONT):
        figure, panels = plt.subplots(1, 2, figsize=(11.0, 5.0), layout="constrained", sharey=True)
        for panel, by, split in zip(
            panels, (BIN, DIMENSION), (THINNED, "alternate dates"), strict=True
        ):
            chosen = picked(rows, functional=DATED, law=NESTED, by=by, split=split)
            names = bins() if by == BIN else sorted({row["of"] for row in chosen}, key=int)
            panel.axhspan(*WANTED, color="#dddddd", lw=0, zorder=0)
            panel.axhline(1.0, color="#777777", lw=0.8, zorder=0)
            drawn = picked(chosen, stage="draws")
            _line(panel, drawn, names, color="#777777", ls=":", label="draws from the model")
            for place, region in enumerate(regions):
                own = picked(chosen, stage="observed", region=region)
                style = {"color": COLOURS[place % 7], "marker": MARKERS[place % 7]}
                _line(panel, own, names, **style, ls="-" if by == BIN else "", label=region)
            panel.set_xticks(range(len(names)), names, fontsize=10)
        panels[0].set_ylabel("standard deviation of z (1: as said)")
        panels[0].set_xlabel("clear observations of the pixel in the year")
        panels[1].set_xlabel("latent")
        panels[0].set_ylim(0.0, None)
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False)
        figure.savefig(file, dpi=100)
        plt.close(figure)
    return True


def _line(
    panel: Axes, rows: Sequence[Mapping[str, Any]], names: Sequence[str], **style: Any
) -> None:
    """The mean of the rows of each name, where there are any."""
    found = {
        place: values
        for place, name in enumerate(names)
        if (values := [row["spread"] for row in picked(rows, of=name) if row["spread"]])
    }
    if found:
        means = [sum(values) / len(values) for values in found.values()]
        panel.plot(list(found), means, ms=6, **style)
