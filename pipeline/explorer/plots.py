"""The two plots of the page: a map, and the series of a pixel; what they draw lies in sources."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from bokeh.models import (
    CategoricalColorMapper,
    ColorBar,
    ColumnDataSource,
    CustomJS,
    FreehandDrawTool,
    LinearColorMapper,
    Range1d,
    ResetTool,
    WheelZoomTool,
)
from bokeh.plotting import figure

from terralatent.pipeline.explorer.image import palette_of
from terralatent.pipeline.explorer.levels import SIDE, Window
from terralatent.pipeline.explorer.pixel import Series

__all__ = ["MapPlot", "SeriesPlot"]

SETTLED_MS = 150
"""After the last movement of the map, until what is seen is drawn anew."""

PLACED = ("image", "x", "y", "dw", "dh")
"""Columns of an image: what it is, its lower left corner and its sides."""

BLUE, SKY, BLACK, GREY, ORANGE = "#0072b2", "#56b4e9", "#222222", "#999999", "#d55e00"

WAIT = """
clearTimeout(seen.terralatent_timer)
seen.terralatent_timer = setTimeout(() => {
  seen.data = {west: [x.start], east: [x.end], south: [y.start], north: [y.end]}
}, wait)
"""

CLICK = "if (!draw.active) clicked.data = {x: [cb_obj.x], y: [cb_obj.y]}"


class MapPlot:
    """The map.

    ``seen`` gets the window whenever it moved, ``clicked`` the place of a click, ``polygons`` what
    is drawn with the tool ``draw``.
    """

    def __init__(self, window: Window) -> None:
        self.seen = ColumnDataSource(data=_edges(window))
        self.clicked = ColumnDataSource(data={"x": [], "y": []})
        self.polygons = ColumnDataSource(data={"xs": [], "ys": [], "name": []}, name="polygons")
        self._image = ColumnDataSource(name="image", data={name: [] for name in PLACED})
        x_range = Range1d(window.west, window.east)
        y_range = Range1d(window.south, window.north)
        self.plot = figure(
            frame_width=SIDE, frame_height=SIDE, x_range=x_range, y_range=y_range,
            tools="pan,box_zoom", toolbar_location="right", output_backend="canvas",
            background_fill_color="#e4e4e4", name="map",
        )  # fmt: skip
        self.plot.grid.visible = False
        wheel = WheelZoomTool()
        self.plot.add_tools(wheel, ResetTool())
        self.plot.toolbar.active_scroll = wheel
        self.plot.toolbar.logo = None
        for axis in (self.plot.xaxis, self.plot.yaxis):
            axis.formatter.use_scientific = False
            axis.ticker.desired_num_ticks = 4
        self.plot.image_rgba("image", "x", "y", "dw", "dh", source=self._image)
        self._colours = CategoricalColorMapper(factors=[], palette=[], nan_color=ORANGE)
        shapes = self.plot.patches(
            "xs", "ys", source=self.polygons, fill_alpha=0.3, line_width=2,
            fill_color={"field": "name", "transform": self._colours},
            line_color=BLACK,
        )  # fmt: skip
        self.plot.scatter(
            "x", "y", source=self.clicked, marker="cross", size=18, line_width=2, color=ORANGE
        )
        self.draw = FreehandDrawTool(renderers=[shapes])
        self.plot.add_tools(self.draw)
        self._mapper = LinearColorMapper(palette=palette_of("viridis"), low=0, high=1)
        self._bar = ColorBar(
            name="bar", color_mapper=self._mapper, visible=False, orientation="horizontal",
            width=SIDE // 2, height=10,
        )  # fmt: skip
        self.plot.add_layout(self._bar, "below")
        self.plot.js_on_event(
            "rangesupdate",
            CustomJS(
                args={"seen": self.seen, "x": x_range, "y": y_range, "wait": SETTLED_MS}, code=WAIT
            ),
        )
        self.plot.js_on_event(
            "tap", CustomJS(args={"clicked": self.clicked, "draw": self.draw}, code=CLICK)
        )

    @property
    def window(self) -> Window:
        """What is seen."""
        edges = self.seen.data
        return Window(*(float(edges[name][0]) for name in ("west", "south", "east", "north")))

    @property
    def place(self) -> tuple[float, float] | None:
        """What was clicked last."""
        xs, ys = self.clicked.data["x"], self.clicked.data["y"]
        return (float(xs[0]), float(ys[0])) if len(xs) else None

    def show(self, image: Any, window: Window, title: str) -> None:
        """Draw an image where it lies; None for nothing."""
        self.plot.title.text = title
        placed: dict[str, list[Any]] = {name: [] for name in PLACED}
        if image is not None:
            size = window.east - window.west, window.north - window.south
            placed = {"image": [image], "x": [window.west], "y": [window.south]}
            placed |= {"dw": [size[0]], "dh": [size[1]]}
        self._image.data = placed

    def scale(self, colours: str | None, ends: Any, units: str) -> None:
        """The colour bar; none where ``colours`` is."""
        self._bar.visible = colours is not None
        if colours is not None:
            low, high = float(ends[0]), float(ends[1])
            self._mapper.update(palette=palette_of(colours), low=low, high=max(high, low + 1e-9))
            self._bar.title = units

    def name_classes(self, names: Sequence[str], colours: Sequence[str]) -> None:
        """The colours of drawn polygons, by their class."""
        self._colours.update(factors=list(names), palette=list(colours))


@dataclass
class SeriesPlot:
    """The series of a pixel: mean, intervals, clear observations, and masked ones at the foot."""

    sources: dict[str, ColumnDataSource] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.plot = figure(
            width=620, height=300, x_axis_type="datetime", tools="xpan,xwheel_zoom,reset",
            toolbar_location="above", title="Click a pixel of the map.", name="series",
        )  # fmt: skip
        self.plot.toolbar.logo = None
        columns: dict[str, tuple[str, ...]] = {}
        columns |= {name: ("time", "low", "high") for name in ("outer", "inner", "only")}
        columns |= {name: ("time", "value") for name in ("mean", "clear", "masked")}
        for name, kept in columns.items():
            self.sources[name] = ColumnDataSource(data={column: [] for column in kept}, name=name)
        own = self.sources
        for name, colour, words in (
            ("outer", SKY, "new observation, 90 %"), ("inner", BLUE, "credible interval, 90 %")
        ):  # fmt: skip
            self.plot.varea(
                "time", "low", "high", source=own[name], color=colour, alpha=0.3,
                legend_label=words,
            )  # fmt: skip
        self.plot.segment("time", "low", "time", "high", source=own["only"], color=BLUE, width=4)
        self.plot.line(
            "time", "value", source=own["mean"], color=BLUE, width=2, legend_label="mean"
        )
        self.plot.scatter("time", "value", source=own["mean"], color=BLUE, size=4)
        self.plot.scatter(
            "time", "value", source=own["clear"], color=BLACK, size=5,
            legend_label="clear observation",
        )  # fmt: skip
        self.plot.scatter(
            "time", "value", source=own["masked"], marker="dash", angle=np.pi / 2, color=GREY,
            size=8, legend_label="masked",
        )  # fmt: skip
        self.plot.add_layout(self.plot.legend[0], "below")
        self.plot.legend.update(orientation="horizontal", label_text_font_size="11px")

    def show(self, series: Series | None) -> None:
        """Draw a series; None where the pixel has none."""
        if series is None:
            self.plot.title.text = "There are no values at this place."
            for source in self.sources.values():
                source.data = {name: [] for name in source.data}
            return
        self.plot.title.text = series.title
        self.plot.yaxis.axis_label = series.units
        drawn = {"inner": series.intervals[-1:], "outer": series.intervals[:-1]}
        for name, intervals in drawn.items():
            low, high = (
                (intervals[0].low, intervals[0].high) if intervals else (np.empty(0), np.empty(0))
            )
            times = series.times if intervals else series.times[:0]
            self.sources[name].data = {"time": times, "low": low, "high": high}
        # Between dates there is nothing to fill where there is one.
        wide = self.sources["inner"].data
        one = len(series.times) == 1
        self.sources["only"].data = wide if one else {name: wide[name][:0] for name in wide}
        alone = series.observed is not None and not series.intervals
        times = series.times[:0] if alone else series.times
        self.sources["mean"].data = {"time": times, "value": series.mean[: len(times)]}
        seen = series.observed
        if seen is None:
            for name in ("clear", "masked"):
                self.sources[name].data = {"time": series.times[:0], "value": []}
            return
        there = seen.clear & np.isfinite(seen.values)
        foot = _foot(series, seen.values[there])
        self.sources["clear"].data = {"time": seen.times[there], "value": seen.values[there]}
        masked = seen.times[~there]
        self.sources["masked"].data = {"time": masked, "value": np.full(len(masked), foot)}


def _foot(series: Series, observed: Any) -> float:
    """Below all that is drawn."""
    parts = [
        series.mean,
        observed,
        *(end for own in series.intervals for end in (own.low, own.high)),
    ]
    values = np.concatenate([np.ravel(part) for part in parts])
    values = values[np.isfinite(values)]
    return float(values.min() - 0.05 * np.ptp(values)) if values.size else 0.0


def _edges(window: Window) -> dict[str, list[float]]:
    return {name: [getattr(window, name)] for name in ("west", "east", "south", "north")}
