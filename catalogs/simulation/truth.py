"""The truth beside a simulated region, as plain Zarr v3: what no satellite tells.

``truth.zarr`` holds on the region's grid of 10 m pixels

====================  ===================  ==================================================
``land_cover``        (year, y, x)         class; CF flags
``parcel``            (y, x)               number of the parcel
``leaf_area``         (time, y, x)         green leaf area of every day, m2/m2
``reflectance``       (time, band, y, x)   clear reflectance of every day, seen from nadir
``moisture``          (time)               of the soil, m3/m3
====================  ===================  ==================================================

and for each collection a group along the ``time`` of its acquisitions: for ``sentinel-2-l2a`` the
true ``sky (time, y20, x20)``, what atmospheric correction and geolocation left as ``offset (time,
band)``, ``gain (time)`` and ``shift (time, axis)``, and as attributes the noise of a pixel
(constant, and share of the reflectance); for ``sentinel-1-rtc`` the ``calibration (time)`` in dB
and as attribute the ``looks`` of the speckle.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import IntEnum
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from terralatent.catalogs.simulation.archive import Ground

__all__ = ["TRUTH", "Truth", "flags", "packed"]

TRUTH = "truth.zarr"
"""Name of the store within the region's folder."""

DAYS_A_CHUNK = 16
PIXELS_A_CHUNK = 128

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
        found: Any = zarr.open_group(folder / TRUTH, mode="r").attrs.get("simulation")
        return dict(found) if found is not None else None

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
        """Lay out an array of packed integers that is written day by day; see :func:`packed`."""
        return self._root.create_array(
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


def packed(name: str, values: NDArray[np.floating]) -> NDArray[np.uint16]:
    """Pack values of the daily array ``name``."""
    steps = np.rint(values / SCALES[name]).clip(0, 65535)
    return np.asarray(steps, dtype=np.uint16)


def flags(classes: type[IntEnum]) -> dict[str, Any]:
    """Attributes that tell the names of classes, by CF."""
    names = " ".join(one.name.lower() for one in classes)
    return {"flag_values": [int(one) for one in classes], "flag_meanings": names}
