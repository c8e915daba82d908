"""The page: layers and dates of a map, the series of what is clicked, classes of what is drawn."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from html import escape
from typing import Any

import geopandas
import numpy as np
from bokeh.layouts import column, row
from bokeh.models import (
    Button,
    ColumnDataSource,
    CustomJS,
    Div,
    Model,
    Select,
    Slider,
    TextInput,
    Toggle,
)

from terralatent.catalogs.errors import InputError
from terralatent.pipeline.explorer.drawn import Learnt, frame_of, geojson_of, learn
from terralatent.pipeline.explorer.layers import Layer, layers_of
from terralatent.pipeline.explorer.levels import SIDE, Levels
from terralatent.pipeline.explorer.pixel import PixelSeries
from terralatent.pipeline.explorer.plots import MapPlot, SeriesPlot
from terralatent.pipeline.explorer.similar import similar_layer
from terralatent.pipeline.kinds import KINDS
from terralatent.pipeline.probes.legend import Legend

__all__ = ["Page"]

log = logging.getLogger(__name__)

SIMILAR, CLASSES = "similar pixels", "classes from polygons"

WIDE = 620
"""Pixels of the screen that the column beside the map takes."""

SAVE = """
const text = button.tags[0]
if (text) {
  const link = document.createElement("a")
  link.href = URL.createObjectURL(new Blob([text], {type: "application/geo+json"}))
  link.download = "labels.geojson"
  link.click()
}
"""

DAY = "shown.text = `Date: <b>${days.data.day[cb_obj.value]}</b>`"

NAMED = "tool.default_overrides = {name: cb_obj.value.trim()}"

HOW_TO_DRAW = (
    "With <i>Draw</i> on, drag the pointer around a field. Polygons of two classes make a map. "
    "One that was clicked goes with Backspace."
)


def _reported(method: Callable[..., None]) -> Callable[..., None]:
    """Say on the page what cannot be done, and go on."""

    def call(self: Page, attr: str, old: Any, new: Any) -> None:
        try:
            self.status.text = ""
            method(self)
        except (InputError, OSError) as error:
            self.status.text = f"<b>{escape(str(error))}</b>"

    return call


class Page:
    """Models of Bokeh and what they do; ``root`` is the one to be shown.

    Args:
        shown: What lies under the map by name, the first to begin with; a store and the sensors of
            its cube.
        series: Of its pixels.
        title: Above the map.
    """

    def __init__(
        self, shown: Mapping[str, Levels], series: Mapping[str, PixelSeries], title: str
    ) -> None:
        self._series = series
        self._names = {id(levels): name for name, levels in shown.items()}
        self._base = next(iter(shown.values()))
        every = {name: layers_of(levels, name) for name, levels in shown.items()}
        self._layers = {layer.title: layer for own in every.values() for layer in own}
        self._learnt: Learnt | None = None
        self._learnt_of: Any = None
        first = next(iter(self._layers.values()))
        self.map = MapPlot(self._base.seen_first(first.wanted))
        self.series_plot = SeriesPlot()
        more = [SIMILAR] if self._base.kind in ("latents", "annual") else []
        self._learns = self._base.kind in ("latents", "annual", "bands")
        more += [CLASSES] if self._learns else []
        groups = {name or KINDS[self._base.kind]: own for name, own in every.items()}
        options = {name: [layer.title for layer in own] for name, own in groups.items()}
        options = {**({"of what was clicked or drawn": more} if more else {}), **options}
        self.layer = Select(title="Layer", value=first.title, options=options, width=WIDE // 2)
        self.day = Div(name="day")
        self.days = ColumnDataSource(data={"day": []})
        self.date = Slider(
            start=0, end=1, value=0, title=None, show_value=False, width=WIDE // 2 - 20
        )
        self.date.js_on_change(
            "value", CustomJS(args={"shown": self.day, "days": self.days}, code=DAY)
        )
        self.band = Select(title="Series of", value="", options=[], width=WIDE // 2)
        self.legend, self.status = Div(width=WIDE, name="legend"), Div(width=WIDE, name="status")
        self._dates: list[str] = []
        self._settle_dates(first)
        self._settle_bands(first)
        self.root = self._laid_out(title)
        self._listen()
        self._draw()

    @property
    def labels(self) -> geopandas.GeoDataFrame:
        """The polygons that were drawn, with their class in the column ``class``, as ``classify``
        takes them."""
        drawn = self.map.polygons.data
        return frame_of(drawn["xs"], drawn["ys"], drawn["name"], str(self._base.crs))

    def _laid_out(self, title: str) -> Model:
        self.draw = Toggle(label="Draw", width=90, name="draw")
        self.draw.js_on_change(
            "active", CustomJS(args={"tool": self.map.draw}, code="tool.active = cb_obj.active")
        )
        self.name = TextInput(title="Class of the next polygon", value="class 1", width=190)
        self.name.js_on_change(
            "value",
            CustomJS(args={"tool": self.map.draw}, code=NAMED),
        )
        self.map.draw.default_overrides = {"name": self.name.value}
        self.save = Button(label="Save labels", width=110, tags=[""], name="save")
        self.save.js_on_click(CustomJS(args={"button": self.save}, code=SAVE))
        self.clear = Button(label="Remove all", width=110, name="remove")
        beside = [row(self.layer, column(self.day, self.date)), self.legend, self.status, self.band]
        beside.append(self.series_plot.plot)
        if self._learns:
            buttons = row(self.draw, self.save, self.clear, align="end")
            beside += [row(self.name, buttons), Div(text=HOW_TO_DRAW, width=WIDE)]
        heading = Div(text=f"<b>{escape(title)}</b>")
        return column(heading, row(self.map.plot, column(*beside)), name="page")

    def _listen(self) -> None:
        self.layer.on_change("value", self._on_layer)
        self.date.on_change("value_throttled", self._on_move)
        self.band.on_change("value", self._on_click)
        self.map.seen.on_change("data", self._on_move)
        self.map.clicked.on_change("data", self._on_click)
        if self._learns:
            self.map.polygons.on_change("data", self._on_drawn)
            self.clear.on_click(self._remove_all)

    @_reported
    def _on_layer(self) -> None:
        layer = self._layer()
        self._settle_dates(layer)
        self._settle_bands(layer)
        self._draw()

    @_reported
    def _on_move(self) -> None:
        self._draw()

    @_reported
    def _on_click(self) -> None:
        place = self.map.place
        if place is None:
            return
        if self.band.value:
            self.series_plot.show(self._own_series(self._layer()).of(*place, self.band.value))
        if self.layer.value == SIMILAR:
            self._draw()

    @_reported
    def _on_drawn(self) -> None:
        labels = self.labels
        self.save.tags = [geojson_of(labels) if len(labels) else ""]
        names = sorted(set(labels["class"]))
        legend = Legend.of(names) if names else None
        if legend is not None:
            self.map.name_classes(legend.names, legend.colours)
        if len(names) < 2:
            self._learnt = None
            self.status.text = f"{len(labels)} polygons of {len(names)} classes."
            return
        self._learnt = learn(self._base, labels, self.map.window)
        if self.layer.value == CLASSES:
            self._draw()
        else:
            self.layer.value = CLASSES  # which draws
        self.status.text = escape(self._learnt.score)

    def _remove_all(self) -> None:
        self.map.polygons.data = {"xs": [], "ys": [], "name": []}
        self._learnt = None
        if self.layer.value == CLASSES:
            self.layer.value = next(iter(self._layers))

    def _layer(self) -> Layer:
        """The one that is chosen.

        Raises:
            InputError: If it takes a click or polygons first.
        """
        chosen = self.layer.value
        if chosen == SIMILAR:
            place = self.map.place
            if place is None:
                raise InputError("Click a pixel of the map, to see which others are like it.")
            return similar_layer(self._base, *place)
        if chosen == CLASSES:
            if self._learnt is None:
                raise InputError("Draw polygons of two classes at least, to see a map of them.")
            return self._learnt.layer
        return self._layers[chosen]

    def _own_series(self, layer: Layer) -> PixelSeries:
        return self._series[self._names[id(layer.levels)]]

    def _settle_dates(self, layer: Layer) -> None:
        """The slider's dates are those of what is shown; it stays near where it was."""
        dates = [] if layer.every_date else layer.levels.dates
        timed = bool(dates) and any("time" in layer.levels.finest[name].dims
                                    for name in layer.wanted.variables
                                    if name in layer.levels.finest)  # fmt: skip
        self.date.visible = self.day.visible = len(dates) > 1 and timed
        if not dates or dates == self._dates:
            return
        before = self._dates[self.date.value] if self._dates else dates[len(dates) // 2]
        self._dates = dates
        away = np.array(dates, "datetime64[D]") - np.datetime64(before)
        place = int(np.abs(away).argmin())
        self.days.data = {"day": dates}
        self.date.update(end=max(1, len(dates) - 1), value=place)
        self.day.text = f"Date: <b>{dates[place]}</b>"

    def _settle_bands(self, layer: Layer) -> None:
        options = self._own_series(layer).choices()
        self.band.visible = self.series_plot.plot.visible = bool(options)
        if options != self.band.options:
            self.band.options = options
            if self.band.value not in options:
                self.band.value = options[0] if options else ""

    def _draw(self) -> None:
        """Draw what is seen. Computes."""
        layer, window = self._layer(), self.map.window
        date = None if layer.every_date else min(self.date.value, max(0, len(self._dates) - 1))
        part = layer.levels.part(window, SIDE, layer.wanted, date)
        if part is None:
            self.map.show(None, window, layer.title)
            together = layer.every_date
            if layer.levels.choose(window, SIDE, layer.wanted, every_date=together) is None:
                raise InputError(
                    "Zoom in: so large a part is read of overviews alone, and there are none."
                )
            return
        image = layer.image(part)
        wide = (part.window.east - part.window.west) / max(1, image.shape[1])
        words = [layer.title]
        if date is not None and self.date.visible:
            words.append(self._dates[date])
        words.append(f"level {part.level}, pixels of {wide:g}")
        self.map.show(image, part.window, "  ·  ".join(words))
        colours = layer.colours if isinstance(layer.colours, str) else None
        self.map.scale(colours, layer.ends, layer.units)
        self.legend.text = _legend(layer)


def _legend(layer: Layer) -> str:
    if not isinstance(layer.colours, Legend):
        return escape(layer.about)
    squares = [
        f'<span style="display:inline-block;width:12px;height:12px;background:{colour}"></span> '
        f"{escape(name)}"
        for name, colour in zip(layer.colours.names, layer.colours.colours, strict=True)
    ]
    return " &nbsp; ".join(squares)
