"""The arrays of a map of changes: laid out, blank, and filled with what is found of pixels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from terralatent.pipeline.changes.significance import minus_log10_p
from terralatent.pipeline.store.arrays import ArrayLayout, coordinate, inner_chunk

__all__ = [
    "CHANGED",
    "EXPECTED",
    "FLAGS",
    "KIND",
    "NOT_KNOWN",
    "OUTSIDE",
    "SIGNIFICANCE",
    "UNCHANGED",
    "ChangeArrays",
    "Moved",
]

KIND = "changes"
"""Of the store."""

SIGNIFICANCE = "minus_log10_p"

EXPECTED = "expected_distance"
"""Array of changes between dates; those between runs have none."""

UNCHANGED, CHANGED, NOT_KNOWN, OUTSIDE = 0, 1, 2, 255
"""Values of the array ``changed``."""

FLAGS: Mapping[str, Any] = {
    "flag_values": [UNCHANGED, CHANGED, NOT_KNOWN],
    "flag_meanings": "no_change_found changed not_enough_known",
    "flag_colors": "#d9d9d9 #d62728 #ffffff",
}
"""By CF."""

STEP, END, FILL = 4e-3, 32767, -32768
"""Of standardised differences: up to 131 standard deviations."""

DEGREES_FILL = 65535


@dataclass(frozen=True)
class Moved:
    """What is found of n pixels."""

    squared: NDArray[np.float64]
    """Squared Mahalanobis distances, (n,)."""

    degrees: NDArray[np.int64]
    """Their degrees of freedom; 0 where nothing can be said, (n,)."""

    parts: Mapping[str, NDArray[np.float64]]
    """``standardised`` (n, L), 0 of a latent that could not move, or ``difference`` and
    ``difference_std``, (n,); and :data:`EXPECTED`, (n,), where that is kept."""


@dataclass(frozen=True)
class ChangeArrays:
    """What is kept of latents that moved, or of an index that did. Small and picklable."""

    latents: int = 0
    """L; 0 of an index."""

    index: str = ""
    """Its name; empty of latents."""

    expects: bool = False
    """Whether it is kept which distance the prior lets expect."""

    @property
    def bytes(self) -> int:
        """What a pixel and date have in the store."""
        return 15 + (8 if self.index else 2 * self.latents)

    @property
    def _floats(self) -> tuple[str, ...]:
        """Parts that are kept as they are."""
        own = ("difference", "difference_std") if self.index else ()
        return (*own, EXPECTED) if self.expects else own

    def layout(self, grid: GeoBox, block: int, dates: int) -> tuple[ArrayLayout, ...]:
        """Lay the arrays out, a shard for each date and block."""
        inner, (rows, columns) = inner_chunk(block), grid.shape

        def over(name: str, dtype: str, fill: float, about: Mapping[str, Any], latents: int = 0
                 ) -> ArrayLayout:  # fmt: skip
            dims, sizes = (("latent",), (latents,)) if latents else ((), ())
            return ArrayLayout(
                name, ("time", *dims, "y", "x"), (dates, *sizes, rows, columns), dtype,
                chunks=(1, *sizes, inner, inner), shards=(1, *sizes, block, block),
                fill_value=fill, attrs={"units": "1", **about, "grid_mapping": "spatial_ref"},
            )  # fmt: skip

        what = self.index.upper() or "the latents"
        found: tuple[ArrayLayout, ...] = (
            over("distance", "float32", np.nan, {
                "long_name": f"Mahalanobis distance by which {what} moved",
            }),
            over(SIGNIFICANCE, "float32", np.nan, {
                "long_name": f"-log10 of the p-value of no change of {what}",
            }),
            over("degrees", "uint16", DEGREES_FILL, {
                "long_name": "degrees of freedom of the squared distance",
                "scale_factor": 1.0, "_FillValue": DEGREES_FILL,
            }),
            over("changed", "uint8", OUTSIDE, {
                "long_name": f"whether {what} moved beyond chance", "_FillValue": OUTSIDE, **FLAGS,
            }),
        )  # fmt: skip
        if self.expects:
            about = (
                f"distance of a change of {what} as large as the prior expects (root mean square)"
            )
            found = (*found, over(EXPECTED, "float32", np.nan, {"long_name": about}))
        if self.index:
            return (
                *found,
                over("difference", "float32", np.nan, {"long_name": f"change of {what}"}),
                over("difference_std", "float32", np.nan, {
                    "long_name": f"standard deviation of the change of {what}",
                }),
            )  # fmt: skip
        return (
            *found,
            over("standardised", "int16", FILL, {
                "long_name": "change of each latent over the standard deviation of that change",
                "scale_factor": STEP, "_FillValue": FILL,
            }, self.latents),
            coordinate("latent", ("latent",), np.arange(self.latents, dtype=np.int64)),
        )  # fmt: skip

    def blank(self, pixels: int) -> dict[str, NDArray[Any]]:
        """The arrays of so many pixels outside every scene, (..., pixel)."""
        nothing = np.full(pixels, np.nan, np.float32)
        found: dict[str, NDArray[Any]] = {
            "distance": nothing,
            SIGNIFICANCE: nothing.copy(),
            "degrees": np.full(pixels, DEGREES_FILL, np.uint16),
            **{name: nothing.copy() for name in self._floats},
        }
        if self.index:
            return found
        return {**found, "standardised": np.full((self.latents, pixels), FILL, np.int16)}

    def put(
        self, arrays: Mapping[str, NDArray[Any]], pixels: NDArray[np.intp], moved: Moved
    ) -> int:
        """Write what is found of some pixels into :meth:`blank` ones.

        Returns:
            How many values did not fit the packing.
        """
        arrays["distance"][pixels] = np.sqrt(moved.squared)
        arrays[SIGNIFICANCE][pixels] = minus_log10_p(moved.squared, moved.degrees)
        arrays["degrees"][pixels] = moved.degrees
        for name in self._floats:
            arrays[name][pixels] = moved.parts[name]
        if self.index:
            return 0
        steps = np.rint(moved.parts["standardised"].T / STEP)
        arrays["standardised"][:, pixels] = np.clip(steps, -END, END).astype(np.int16)
        return int((np.abs(steps) > END).sum())

    def write(
        self, group: Any, date: int, y: slice, x: slice, arrays: Mapping[str, NDArray[Any]]
    ) -> None:
        """Write the arrays of a whole block, (..., pixel), row by row."""
        shape = (y.stop - y.start, x.stop - x.start)
        for name, values in arrays.items():
            group[name][(date, ..., y, x)] = values.reshape(*values.shape[:-1], *shape)
