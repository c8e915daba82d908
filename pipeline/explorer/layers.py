"""What a map can show of each kind of store: colours, one latent or band, counts, classes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from terralatent.catalogs.errors import InputError
from terralatent.pipeline.explorer.image import Ends, classes_image, rgb_image, scale_image
from terralatent.pipeline.explorer.levels import Levels, Part, Wanted
from terralatent.pipeline.indices import INDICES, bands_of, index_of
from terralatent.pipeline.overviews.opened import kept_order
from terralatent.pipeline.overviews.thinned import thinned
from terralatent.pipeline.pictures.composites import Composite, units_of
from terralatent.pipeline.pictures.informative import information, share_left
from terralatent.pipeline.pictures.latents import most_seasonal
from terralatent.pipeline.pictures.mosaic import CUT
from terralatent.pipeline.probes.legend import Legend

__all__ = ["Layer", "layers_of"]

Values = NDArray[Any]

AXES = {"latents": "latent", "annual": "component", "bands": "band", "sensor": "band"}
"""Besides time and place."""


@dataclass(frozen=True, eq=False)
class Layer:
    """One way to draw what lies under the map."""

    title: str
    """In the list of layers."""

    levels: Levels
    """Of what."""

    wanted: Wanted
    """What it takes of a level."""

    values: Callable[[xr.Dataset], Values]
    """Of a part, at one date: (y, x), or (y, x, 3) of colours. Computes."""

    colours: str | Legend | None = "viridis"
    """A scale of matplotlib, the legend of classes, or none: values are colours."""

    units: str = ""
    """Beside the scale."""

    given: Ends | None = None
    """Ends of the scale; of a bounded part of the map by default."""

    about: str = ""
    """A sentence below the map."""

    symmetric: bool = False
    """Whether the scale has 0 in its middle."""

    shared: bool = False
    """Whether three channels share their ends, as bands of one unit do."""

    every_date: bool = False
    """Whether it is made of all dates together."""

    @cached_property
    def ends(self) -> Ends:
        """What is drawn as the first colour and as the last. Computes, once, unless given."""
        if self.given is not None or isinstance(self.colours, Legend):
            return self.given or (0, 0)
        some = thinned(self.wanted.of(self.levels.coarsest))
        if self.levels.kind == "sensor" and "data" in some:  # clouds would leave the land black
            some = some.where(thinned(self.levels.coarsest["clear"]))
        some = some.compute()
        dates = range(some.sizes["time"]) if "time" in some.dims else [None]
        parts = [self.values(some if date is None else some.isel(time=[date])) for date in dates]
        values = np.concatenate([part.reshape(-1, *part.shape[2:]) for part in parts])
        values = values[np.isfinite(values).reshape(len(values), -1).all(axis=1)]
        if not len(values):
            return 0.0, 1.0
        own = values.ndim == 2 and not self.shared
        low, high = np.percentile(values, CUT, axis=0 if own else None)
        if self.symmetric:
            low, high = -max(-low, high), max(-low, high)
        return low, high

    def image(self, part: Part) -> NDArray[np.uint32]:
        """Draw a part, as pixels of the screen, the lowest row first. Computes."""
        values = self.values(part.data)
        if isinstance(self.colours, Legend):
            return classes_image(values, self.colours.values, self.colours.colours)
        if self.colours is None:
            return rgb_image(values, self.ends)
        return scale_image(values, self.ends, self.colours)


def layers_of(levels: Levels, name: str = "") -> list[Layer]:
    """The layers of a store or a sensor, the one to begin with first.

    Computes for latents without overviews: which of them vary most.

    Args:
        levels: Of any kind.
        name: Before each title, such as that of a sensor.
    """
    makers: Mapping[str, Callable[[Levels, str], Iterator[Layer]]] = {
        "latents": _latents,
        "annual": _annual,
        "bands": _bands,
        "sensor": _sensor,
        "classes": _classes,
        "numbers": _numbers,
    }
    return list(makers[levels.kind](levels, f"{name}: " if name else ""))


def _latents(levels: Levels, name: str) -> Iterator[Layer]:
    names = _names(levels)
    kept = kept_order(levels.source.group()) if levels.source is not None else None
    some = thinned(levels.coarsest[["mean", "std"]])
    order = kept or [int(place) for place in most_seasonal(some.compute())]
    yield _channels(levels, f"{name}three latents as colours", order[:3])
    yield _doubt_of_latents(levels, name)
    if "observations" in levels.finest:
        yield from _counts(levels, name)
    for place, own in enumerate(names):
        yield Layer(
            f"{name}latent {own}", levels, _one("mean", "latent", place), _values("mean"),
            "RdBu_r", "mean (prior: 0 ± 1)", symmetric=True,
        )  # fmt: skip
        yield Layer(
            f"{name}latent {own}, standard deviation", levels, _one("std", "latent", place),
            _values("std"), "magma", "std (prior: 1)",
        )  # fmt: skip


def _doubt_of_latents(levels: Levels, name: str) -> Layer:
    """The share of the prior's variance that is left; which latents count, three dates say."""
    coarsest = levels.coarsest
    every = np.unique(np.linspace(0, coarsest.sizes["time"] - 1, 3).round().astype(int))

    def nats() -> NDArray[np.float64]:
        if not kept:
            kept.append(information(thinned(coarsest).isel(time=every)).values)
        return kept[0]

    kept: list[NDArray[np.float64]] = []

    def left(part: xr.Dataset) -> Values:
        return share_left(part, nats())[0][0]

    return Layer(
        f"{name}uncertainty", levels, Wanted(("std", "std_rms")), left, "magma",
        "share of the prior's variance",
        about="What observations left of the prior's variance, mean over latents they inform.",
    )  # fmt: skip


def _counts(levels: Levels, name: str) -> Iterator[Layer]:
    for place, sensor in enumerate(levels.finest["sensor"].values):
        yield Layer(
            f"{name}clear observations of {sensor}", levels,
            _one("observations", "sensor", place), _values("observations"), "viridis",
            "observations",
        )  # fmt: skip


def _annual(levels: Levels, name: str) -> Iterator[Layer]:
    names = _names(levels)
    yield _channels(levels, f"{name}three components as colours", list(range(min(3, len(names)))))
    yield Layer(
        f"{name}uncertainty", levels, Wanted(("std",)), partial(_rms, "std", "component"), "magma",
        "std", about="Root mean square of the standard deviations of all components.",
    )  # fmt: skip
    if "observations" in levels.finest:
        yield from _counts(levels, name)
    for place, own in enumerate(names):
        yield Layer(
            f"{name}component {own}", levels, _one("mean", "component", place), _values("mean"),
            "RdBu_r", "mean", symmetric=True,
        )  # fmt: skip


def _bands(levels: Levels, name: str) -> Iterator[Layer]:
    yield _composite(levels, name, "mean")
    units = units_of(levels.finest["mean"])
    yield Layer(
        f"{name}uncertainty", levels, Wanted(("std_signal",)), partial(_rms, "std_signal", "band"),
        "magma", f"std, {units}", about="Standard deviation of the surface, over all bands.",
    )  # fmt: skip
    yield from _each_band(levels, name, "mean")


def _sensor(levels: Levels, name: str) -> Iterator[Layer]:
    yield _composite(levels, name, "data")
    yield Layer(
        f"{name}clear", levels, Wanted(("clear",)), _values("clear"), "Greys_r", "clear",
        given=(0.0, 1.0),
    )  # fmt: skip
    yield from _each_band(levels, name, "data")


def _each_band(levels: Levels, name: str, variable: str) -> Iterator[Layer]:
    units, names = units_of(levels.finest[variable]), _names(levels)
    sensor = str(levels.finest.attrs.get("sensor", ""))
    for index in INDICES:
        try:
            bands = bands_of(levels.finest[variable], index, sensor).values()
        except InputError:
            continue  # it lacks one
        wanted = Wanted((variable,), (("band", tuple(names.index(band) for band in bands)),))
        values = partial(_index, variable, index, sensor)
        yield Layer(f"{name}{index.upper()}", levels, wanted, values, "RdYlGn", index.upper())
    for place, band in enumerate(names):
        wanted = _one(variable, "band", place)
        yield Layer(f"{name}{band}", levels, wanted, _values(variable), "viridis", units)


def _classes(levels: Levels, name: str) -> Iterator[Layer]:
    legend = Legend.from_attrs(levels.finest["class"].attrs)
    yield Layer(f"{name}classes", levels, Wanted(("class",)), _values("class"), legend)
    if "entropy" in levels.finest:
        yield Layer(
            f"{name}entropy", levels, Wanted(("entropy",)), _values("entropy"), "magma", "bit"
        )
    for place, own in enumerate(levels.finest["category"].values):
        yield Layer(
            f"{name}probability of {own}", levels, _one("probability", "category", place),
            _values("probability"), "viridis", "probability", given=(0.0, 1.0),
        )  # fmt: skip


def _numbers(levels: Levels, name: str) -> Iterator[Layer]:
    for variable in ("mean", "std"):
        array = levels.finest[variable]
        title = str(array.attrs.get("long_name", variable))
        colours = "viridis" if variable == "mean" else "magma"
        units = str(array.attrs.get("units", ""))
        yield Layer(
            f"{name}{title}", levels, Wanted((variable,)), _values(variable), colours, units
        )


def _channels(levels: Levels, title: str, places: list[int]) -> Layer:
    """The means of three latents or components as red, green and blue."""
    dim, names = AXES[levels.kind], _names(levels)
    places = (places * 3)[:3]
    wanted = Wanted(("mean",), ((dim, tuple(dict.fromkeys(places))),))
    at = [list(dict.fromkeys(places)).index(place) for place in places]
    shades = zip(("red", "green", "blue"), places, strict=True)
    key = ", ".join(f"{colour} {dim} {names[place]}" for colour, place in shades)

    def values(part: xr.Dataset) -> Values:
        return _stacked(part["mean"], dim)[..., at]

    return Layer(title, levels, wanted, values, None, about=f"Posterior means: {key}.")


def _composite(levels: Levels, name: str, variable: str) -> Layer:
    """True colour, radar, or the first bands."""
    names = _names(levels)
    made = Composite(names)
    places = [names.index(band) for band in made.bands]
    unique = tuple(dict.fromkeys(places))
    at = [unique.index(place) for place in places]

    def values(part: xr.Dataset) -> Values:
        channels = _stacked(part[variable], "band")
        if made.is_radar:
            return np.concatenate([channels, channels[..., :1] - channels[..., 1:]], axis=-1)
        return channels[..., at]

    return Layer(
        f"{name}{made.kind}", levels, Wanted((variable,), (("band", unique),)), values, None,
        about=f"{made.title}.", shared=not made.is_radar,
    )  # fmt: skip


def _names(levels: Levels) -> list[str]:
    return [str(name) for name in np.atleast_1d(levels.finest[AXES[levels.kind]].values)]


def _one(variable: str, dim: str, place: int) -> Wanted:
    return Wanted((variable,), ((dim, (place,)),))


def _values(variable: str) -> Callable[[xr.Dataset], Values]:
    return partial(_plain, variable)


def _plain(variable: str, part: xr.Dataset) -> Values:
    array = part[variable]
    array = array.isel({dim: 0 for dim in array.dims if dim not in ("y", "x")})
    values = array.transpose("y", "x").values
    return values if values.dtype == np.uint8 else values.astype(np.float32)


def _stacked(array: xr.DataArray, dim: str) -> Values:
    if "time" in array.dims:
        array = array.isel(time=0)
    if dim not in array.dims:
        array = array.expand_dims(dim)
    return np.asarray(array.transpose("y", "x", dim).values, np.float32)


def _rms(variable: str, dim: str, part: xr.Dataset) -> Values:
    return np.asarray(np.sqrt((_stacked(part[variable], dim) ** 2).mean(axis=-1)))


def _index(variable: str, index: str, sensor: str, part: xr.Dataset) -> Values:
    array = index_of(part[variable], index, sensor)
    return _plain("value", array.to_dataset(name="value"))
