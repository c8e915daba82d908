"""The truth beside a simulated region, as plain Zarr v3: what no satellite observes.

``truth.zarr`` is a tree, on the region's grid of 10 m pixels:

==========================  ====================  ==============================================
``land_cover``              (year, y, x)          class, named by CF flags
``parcel``                  (y, x)                number of the parcel
``daily/leaf_area``         (time, y, x)          green leaf area of every day, m2/m2
``daily/reflectance``       (time, band, y, x)    clear reflectance of every day, seen from nadir
``daily/moisture``          (time)                of the soil, m3/m3
==========================  ====================  ==============================================

with ``daily/temperature``, ``daily/rain``, ``daily/snow`` (share of open ground, all ``time``) and
``daily/flooded (time, parcel)`` where the world is not the default one; and for each collection a
group along the ``time`` of its acquisitions. ``sentinel-2-l2a`` (and ``landsat-c2-l2``): the true
``sky (time, y20, x20)``, what atmospheric correction and geolocation left as ``offset (time,
band)``, ``gain (time)`` and ``shift (time, axis)``, and as attribute the noise of the other kinds
(of a pixel a constant, and a share of the reflectance; of fields and of patches, shares).
``sentinel-1-rtc``: the ``calibration (time)`` in dB and as attribute the ``looks`` of the speckle.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor
from enum import IntEnum
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from terralatent.catalogs.simulation.canopy import BANDS
from terralatent.catalogs.simulation.climates.ground import Ground
from terralatent.catalogs.simulation.climates.spectra import Instrument
from terralatent.catalogs.simulation.orbits import Pass
from terralatent.catalogs.simulation.radar import LOOKS
from terralatent.catalogs.simulation.sky import (
    FIELD_NOISE,
    PATCH_NOISE,
    Residual,
    Sky,
    SkyClass,
)
from terralatent.catalogs.simulation.surface import Surface

__all__ = ["TRUTH", "Truth", "write_days", "write_optical_dates", "write_radar_dates"]

TRUTH = "truth.zarr"
"""Name of the store within the region's folder."""

DAYS_A_CHUNK = 16
PIXELS_A_CHUNK = 128

BAND_NAMES = np.array(list(BANDS), dtype=object)

SCALES = {"reflectance": 1e-4, "leaf_area": 1e-3}
"""What one step of the stored integers means."""


class Truth:
    """Writes ``truth.zarr``.

    Args:
        folder: Of the region.
        ground: Its grid.
        attributes: Of the root.
    """

    def __init__(self, folder: Path, ground: Ground, attributes: Mapping[str, Any]) -> None:
        self._root = zarr.open_group(folder / TRUTH, mode="w-", zarr_format=3)
        self._root.update_attributes({"proj:code": ground.crs, **attributes})
        middle = 10.0 * np.arange(ground.size) + 5.0
        self.add("x", ("x",), ground.left + middle)
        self.add("y", ("y",), ground.top - middle)

    @staticmethod
    def settings(folder: Path) -> dict[str, Any] | None:
        """What the region in ``folder`` was simulated with; None where there is none."""
        if not (folder / TRUTH / "zarr.json").is_file():
            return None
        settings: Any = zarr.open_group(folder / TRUTH, mode="r").attrs.get("simulation")
        return dict(settings) if settings is not None else None

    def add(
        self,
        name: str,
        dims: Sequence[str],
        values: NDArray[Any],
        attributes: Mapping[str, Any] | None = None,
    ) -> None:
        """Write a whole array; times as datetime64 are written by CF."""
        attrs = dict(attributes or {})
        if values.dtype.kind == "M":
            values = values.astype("datetime64[us]").astype(np.int64)
            attrs |= {"units": "microseconds since 1970-01-01", "calendar": "proleptic_gregorian"}
        group, _, own = name.rpartition("/")
        parent = self._root.require_group(group) if group else self._root
        text = values.dtype.kind == "O"
        array: Any = parent.create_array(
            own,
            shape=values.shape,
            dtype="string" if text else values.dtype,
            chunks=tuple(max(1, min(n, 512)) for n in values.shape),
            dimension_names=list(dims),
            attributes=attrs,
        )
        array[...] = values

    def daily(self, name: str, dims: Sequence[str], shape: Sequence[int], about: str) -> zarr.Array:
        """Lay out an array of packed integers in the group ``daily``."""
        return self._root.require_group("daily").create_array(
            name,
            shape=tuple(shape),
            dtype="uint16",
            chunks=tuple(
                min(n, {"time": DAYS_A_CHUNK, "y": PIXELS_A_CHUNK, "x": PIXELS_A_CHUNK}.get(dim, n))
                for n, dim in zip(shape, dims, strict=True)
            ),
            dimension_names=list(dims),
            attributes={"scale_factor": SCALES[name], "long_name": about},
            compressors=zarr.codecs.BloscCodec(cname="zstd", clevel=1, shuffle="bitshuffle"),
        )

    def describe(self, group: str, attributes: Mapping[str, Any]) -> None:
        """Add attributes to a group."""
        self._root.require_group(group).update_attributes(dict(attributes))


def write_days(
    truth: Truth, surface: Surface, years: int, pool: Executor, count: Callable[[int], None]
) -> None:
    """Write land cover, and leaf area and clear reflectance of every day.

    Args:
        truth: Where.
        surface: What.
        years: Calendar years.
        pool: Computes the days.
        count: Called with the number of days that were just written.
    """
    land, days, size = surface.land, surface.days, len(surface.land.parcel)
    cover = np.stack([land.land_cover(n) for n in range(years)])
    first = surface.world.first_year
    truth.add("year", ("year",), np.arange(first, first + years))
    truth.add("land_cover", ("year", "y", "x"), cover, _flags(surface.world.climate.covers))
    truth.add("parcel", ("y", "x"), land.parcel, {"long_name": "number of the parcel"})
    truth.add("daily/time", ("time",), days)
    truth.add("daily/band", ("band",), BAND_NAMES)
    weather = surface.weather
    truth.add("daily/moisture", ("time",), weather.moisture, {"units": "m3/m3"})
    if not surface.world.default:
        truth.add("daily/temperature", ("time",), weather.temperature, {"units": "degC"})
        truth.add("daily/rain", ("time",), weather.rain, {"units": "mm"})
        truth.add("daily/snow", ("time",), weather.snow, {"units": "1"})
        truth.add("daily/flooded", ("time", "parcel"), surface.canopies.flooded, {"units": "1"})
    shape = (len(days), size, size)
    area = truth.daily("leaf_area", ("time", "y", "x"), shape, "green leaf area, m2/m2")
    shape_of_bands = (len(days), len(BANDS), size, size)
    about = "clear reflectance seen from nadir"
    reflectance = truth.daily("reflectance", ("time", "band", "y", "x"), shape_of_bands, about)
    for start in range(0, len(days), DAYS_A_CHUNK):
        some = range(start, min(start + DAYS_A_CHUNK, len(days)))
        for array, compute in ((area, surface.green_area), (reflectance, surface.reflectance)):
            values = np.stack(list(pool.map(compute, some)))
            array[start : some.stop] = _packed(array.basename, values)
        count(len(some))


def write_optical_dates(
    truth: Truth,
    group: str,
    instrument: Instrument,
    noise: tuple[float, float],
    taken: Sequence[Pass],
    skies: Sequence[Sky],
    residuals: Sequence[Residual],
) -> None:
    """Write what truly was above and wrong on each date of a collection, ``group``."""
    truth.add(f"{group}/time", ("time",), np.array([passage.time for passage in taken]))
    truth.add(f"{group}/band", ("band",), np.array(list(instrument.bands), dtype=object))
    classes = np.stack([sky.classes for sky in skies])
    truth.add(f"{group}/sky", ("time", "y20", "x20"), classes, _flags(SkyClass))
    offset = np.stack([left.over(instrument) for left in residuals])
    truth.add(f"{group}/offset", ("time", "band"), offset, {"units": "1"})
    truth.add(f"{group}/gain", ("time",), np.array([left.gain for left in residuals]))
    shift = np.stack([left.shift for left in residuals])
    truth.add(f"{group}/shift", ("time", "axis"), shift, {"units": "pixels of 10 m"})
    constant, share = noise
    of_pixels = {"constant": constant, "share": share}
    truth.describe(group, {"noise": {**of_pixels, "fields": FIELD_NOISE, "patches": PATCH_NOISE}})


def write_radar_dates(truth: Truth, taken: Sequence[Pass], calibration: Sequence[float]) -> None:
    """Write what each date of Sentinel-1 is off in dB."""
    group = "sentinel-1-rtc"
    truth.add(f"{group}/time", ("time",), np.array([passage.time for passage in taken]))
    truth.add(f"{group}/calibration", ("time",), np.array(calibration), {"units": "dB"})
    truth.describe(group, {"looks": LOOKS})


def _packed(name: str, values: NDArray[np.floating]) -> NDArray[np.uint16]:
    steps = np.rint(values / SCALES[name]).clip(0, 65535)
    return np.asarray(steps, dtype=np.uint16)


def _flags(classes: Iterable[IntEnum]) -> dict[str, Any]:
    """Attributes with the names of classes, by CF."""
    kinds = list(classes)
    names = " ".join(kind.name.lower() for kind in kinds)
    return {"flag_values": [int(kind) for kind in kinds], "flag_meanings": names}
