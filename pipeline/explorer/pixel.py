"""What a click gives: one pixel's series of a band, a latent or a component, and what was seen."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from terralatent.pipeline.attributes import nested
from terralatent.pipeline.explorer.layers import AXES
from terralatent.pipeline.explorer.levels import Levels
from terralatent.pipeline.pictures.band_series import NINETY
from terralatent.pipeline.pictures.composites import plotted_bands, units_of

__all__ = ["Interval", "Observations", "PixelSeries", "Series", "warm"]

Times = NDArray[np.datetime64]
Values = NDArray[np.floating]


@dataclass(frozen=True)
class Interval:
    """Ends of an interval of 90 %, (time,) each."""

    title: str
    low: Values
    high: Values


@dataclass(frozen=True)
class Observations:
    """What the sensor saw of the pixel."""

    times: Times
    values: Values
    """NaN where there is none."""

    clear: NDArray[np.bool_]


@dataclass(frozen=True)
class Series:
    """One line through time."""

    title: str
    units: str
    times: Times
    mean: Values
    intervals: tuple[Interval, ...]
    """The wider one first."""

    observed: Observations | None = None


class PixelSeries:
    """The series of single pixels of what lies under a map; each computes when it is asked for.

    Args:
        levels: Of a store or a sensor.
        cube: That it was made from, opened with ``clear=False``; None where it is not known.
        model: Of latents, what names the one that made them; without, bands are not decoded.
    """

    def __init__(self, levels: Levels, cube: xr.DataTree | None, model: str | None) -> None:
        self.levels = levels
        self.cube = cube
        self.model = model
        self._sensor = str(levels.finest.attrs.get("sensor", ""))
        self._decoded = lru_cache(maxsize=4)(self._decode)
        self._seen = lru_cache(maxsize=8)(self._read_cube)
        self._latents = lru_cache(maxsize=2)(self._read)

    def choices(self) -> list[str]:
        """What may be drawn of a pixel, the first one to begin with."""
        return list(self._choices())

    def _choices(self) -> Iterator[str]:
        kind = self.levels.kind
        if kind in ("classes", "numbers"):
            return
        if kind == "latents" and self.model is not None:
            yield from (f"{sensor} {band}" for sensor, band in self._model_bands())
        dim = AXES[kind]
        names = [str(name) for name in np.atleast_1d(self.levels.finest[dim].values)]
        if dim == "band":
            first = plotted_bands(names)[2:3] or names[:1]
            names = [*first, *(name for name in names if name not in first)]
            yield from (f"{self._sensor} {name}".strip() for name in names)
        else:
            yield from (f"{dim} {name}" for name in names)

    def _model_bands(self) -> Iterator[tuple[str, str]]:
        """Sensors that the latents were made of and their bands, near infrared first."""
        sensors = nested(self.levels.finest.attrs, "bands")
        for sensor in sorted(sensors, key=lambda name: not name.startswith("sentinel-2")):
            bands = list(sensors[sensor])
            first = plotted_bands(bands)[2:3] or bands[:1]
            yield from ((sensor, band) for band in [*first, *(b for b in bands if b not in first)])

    def of(self, x: float, y: float, choice: str) -> Series | None:
        """The series of the pixel at a place of the map. Computes: reads one pixel.

        Args:
            x: In map coordinates.
            y: The same.
            choice: One of :meth:`choices`.

        Returns:
            None outside of the map, or where there are no values.
        """
        at = self.levels.pixel(x, y)
        if at is None:
            return None
        group, _, name = choice.rpartition(" ")
        kind = self.levels.kind
        if group in ("latent", "component"):
            found = self._plain(at, group, name)
        elif kind == "sensor":
            found = self._observed_alone(at, name)
        else:
            found = self._bands(at, group, name)
        return found if found is not None and np.isfinite(found.mean).any() else None

    def _plain(self, at: tuple[int, int], dim: str, name: str) -> Series:
        pixel = self._latents(at).isel(y=0, x=0)
        place = [str(own) for own in np.atleast_1d(pixel[dim].values)].index(name)
        if dim in pixel.dims:
            pixel = pixel.isel({dim: place})
        mean, half = np.atleast_1d(pixel["mean"].values), NINETY * np.atleast_1d(pixel["std"])
        interval = Interval("90 % credible interval", mean - half, mean + half)
        units = "prior standard deviations" if dim == "latent" else "standard deviations"
        return Series(f"{dim} {name}", units, _times(pixel), mean, (interval,))

    def _bands(self, at: tuple[int, int], sensor: str, band: str) -> Series:
        stored = self.levels.kind == "bands"
        data = self._latents(at) if stored else self._decoded(at, sensor)
        pixel = data.isel(y=0, x=0)
        if "band" in pixel.dims:
            pixel = pixel.sel(band=band)
        mean, half = (np.atleast_1d(pixel[name].values) for name in ("mean", "std_signal"))
        half = NINETY * half
        intervals = (
            Interval(
                "new observation, 90 %", *(np.atleast_1d(pixel[q].values) for q in ("q05", "q95"))
            ),
            Interval("surface, 90 %", mean - half, mean + half),
        )
        units = units_of(data["mean"])
        seen = self._observations(at, sensor, band)
        return Series(f"{sensor} {band}".strip(), units, _times(pixel), mean, intervals, seen)

    def _observed_alone(self, at: tuple[int, int], band: str) -> Series:
        pixel = self._latents(at).isel(y=0, x=0)
        values = pixel["data"].sel(band=band).values
        seen = Observations(_times(pixel), values, pixel["clear"].values)
        mean = np.where(seen.clear, values, np.nan)
        units = units_of(self.levels.finest["data"])
        return Series(f"{self._sensor} {band}".strip(), units, seen.times, mean, (), seen)

    def _observations(self, at: tuple[int, int], sensor: str, band: str) -> Observations | None:
        if self.cube is None or sensor not in self.cube.children:
            return None
        pixel = self._seen(at, sensor)
        if pixel is None or band not in pixel["band"].values:
            return None
        values = pixel["data"].sel(band=band).values
        return Observations(_times(pixel), values, pixel["clear"].values)

    def _read(self, at: tuple[int, int]) -> xr.Dataset:
        """One pixel of level 0, in memory, y and x of length 1."""
        row, column = at
        data = self.levels.finest
        kept = [name for name in data if {"y", "x"} <= set(data[name].dims)]
        if self.levels.kind == "sensor":
            kept = ["data", "clear"]
        return data[kept].isel(y=[row], x=[column]).compute()

    def _decode(self, at: tuple[int, int], sensor: str) -> xr.Dataset:
        from terralatent.pipeline.model.decoding import decode_latents

        assert self.model is not None
        return decode_latents(self.model, self._latents(at), sensor).compute()

    def _read_cube(self, at: tuple[int, int], sensor: str) -> xr.Dataset | None:
        assert self.cube is not None
        own = self.cube[sensor].to_dataset()
        finest = self.levels.finest
        places = {
            dim: own[dim].to_index().get_indexer(
                [float(finest[dim][place])], method="nearest",
                tolerance=abs(own.rio.resolution()[dim == "y"]) / 2,
            )[0]
            for dim, place in zip(("y", "x"), at, strict=True)
        }  # fmt: skip
        if min(places.values()) < 0:
            return None
        return own[["data", "clear"]].isel(places, drop=True).compute()


def _times(pixel: xr.Dataset) -> Times:
    return np.atleast_1d(pixel["time"].values).astype("datetime64[ms]")


def warm(model: str) -> None:
    """Import what decoding takes and load the model, so that the first click need not wait."""
    from terralatent.models.checkpoint import model_hash
    from terralatent.models.shipped import model_folder
    from terralatent.pipeline.mapping.inference import loaded_once

    loaded_once(model, model_hash(model_folder(model)))
