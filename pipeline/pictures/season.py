"""A season in motion: one map whose date walks through the period, as GIF or MP4."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.animation import FFMpegWriter, PillowWriter
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter, date2num
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from terralatent.catalogs.errors import InputError
from terralatent.pipeline.pictures.heading import Heading
from terralatent.pipeline.pictures.mosaic import Strip, draw, limits_of, paint
from terralatent.pipeline.pictures.picture import GREY, VERMILION

__all__ = ["MOVING", "Season", "animate", "require_writer"]

MOVING = (".gif", ".mp4")
"""Endings of animations."""

SECONDS = 12.0
"""That a season takes, where its dates come neither slower nor faster than these a second."""

SLOWEST, FASTEST = 1.5, 6.0

DPI = 100
"""Pixels an inch of a frame: a GIF keeps each of them as it is."""

BAR = 0.62
"""Inches of the line of time below the map."""


@dataclass(frozen=True)
class Season:
    """Maps of one place at dates in order."""

    strip: Strip
    """A frame is one of its images, with its caption."""

    times: NDArray[Any]
    """Of the frames, ascending."""

    heading: Heading

    seen: NDArray[Any] | None = None
    """Acquisitions, which the line of time marks; none where they are not known."""


def require_writer(out: Path) -> None:
    """See that an animation can be written as ``out`` ends.

    Raises:
        InputError: If it is an MP4 and there is no ffmpeg.
    """
    if out.suffix.lower() == ".mp4" and not FFMpegWriter.isAvailable():
        raise InputError(
            f"Cannot write {out.name!r}: MP4 needs the program ffmpeg, which is not found on PATH; "
            "install it, or end the name in .gif."
        )


def animate(season: Season, out: Path) -> None:
    """Write ``season`` to ``out``, .gif or .mp4. Computes nothing of a store.

    The colours mean the same in every frame. Below the map a line of time runs through the period.

    Raises:
        InputError: As :func:`require_writer`.
    """
    require_writer(out)
    strip = season.strip
    limits = strip.limits or (limits_of(strip.images) if strip.barred else None)
    figure, foot = draw([strip.first(limits)], season.heading, below=BAR)
    panel = next(axes for axes in figure.axes if axes.images)
    done = _line_of_time(foot, season)
    start = date2num(season.times[0])
    moving: Any = PillowWriter if out.suffix.lower() == ".gif" else FFMpegWriter
    writer = moving(fps=float(np.clip(len(strip.images) / SECONDS, SLOWEST, FASTEST)))
    with writer.saving(figure, out, DPI):
        for time, map_, caption in zip(season.times, strip.images, strip.captions, strict=True):
            panel.images[0].set_data(paint(map_))
            panel.set_title(caption, fontsize=8, pad=3)
            done.set_xdata([start, date2num(time)])
            writer.grab_frame()


def _line_of_time(foot: Any, season: Season) -> Line2D:
    """Draw the period with its acquisitions; return the line that says how much of it is over."""
    axes = foot.add_axes((0.04, 0.5, 0.92, 0.4))
    if season.seen is not None:
        axes.vlines(season.seen, -0.8, 0.8, color=GREY, linewidth=0.7)
        foot.text(0.96, 0.94, "grey: acquisitions", fontsize=6.5, ha="right", va="bottom")
    first, last = date2num(season.times[[0, -1]])
    axes.plot([first, last], [0, 0], color=GREY, linewidth=1.0)
    (done,) = axes.plot([first, first], [0, 0], color=VERMILION, linewidth=3.5, marker="o",
                        markersize=5, markevery=[-1], clip_on=False)  # fmt: skip
    axes.set_ylim(-1, 1)
    axes.margins(x=0.01)
    axes.set_yticks([])
    axes.xaxis.set_major_locator(locator := AutoDateLocator(minticks=3, maxticks=12))
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))
    axes.tick_params(axis="x", labelsize=7)
    for side in ("top", "right", "left", "bottom"):
        axes.spines[side].set_visible(False)
    return done
