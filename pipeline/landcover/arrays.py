"""The arrays of a map: of classes or of a number, how predictions are packed into them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from scipy.special import entr

from terralatent.pipeline.probes.legend import NONE, Legend
from terralatent.pipeline.store.arrays import ArrayLayout, coordinate, inner_chunk

__all__ = ["ClassArrays", "MapArrays", "NumberArrays", "pack_probabilities"]

STEPS, PROBABILITY_FILL = 250, 255
"""What a probability of 1 is stored as, and none."""

ENTROPY_STEP, ENTROPY_FILL = 2e-4, 65535
"""In bits: 254 classes have 7.99 at most."""


class MapArrays(Protocol):
    """What is kept of a prediction, over the grid. Small and picklable."""

    def layout(self, grid: GeoBox, block: int) -> tuple[ArrayLayout, ...]:
        """Lay the arrays out, in shards of a block."""

    def blank(self, shape: tuple[int, int]) -> dict[str, NDArray[Any]]:
        """The arrays of a block outside every scene, (..., y, x)."""

    def packed(self, predicted: NDArray[np.float64]) -> dict[str, NDArray[Any]]:
        """What is stored of pixels, (..., pixel); ``predicted`` is as a probe gives it."""


@dataclass(frozen=True)
class ClassArrays:
    """The most probable class, the probability of each, and their entropy."""

    legend: Legend
    """The classes."""

    def layout(self, grid: GeoBox, block: int) -> tuple[ArrayLayout, ...]:
        """Lay out ``class``, ``probability`` and ``entropy``."""
        legend, count = self.legend, len(self.legend)
        return (
            _array("class", (), (), "uint8", NONE, grid, block, {
                "long_name": "most probable class", "_FillValue": NONE, **legend.attrs(),
            }),
            _array("probability", ("category",), (count,), "uint8", PROBABILITY_FILL, grid, block, {
                "long_name": "probability of each class", "units": "1",
                "scale_factor": 1.0 / STEPS, "_FillValue": PROBABILITY_FILL,
            }),
            _array("entropy", (), (), "uint16", ENTROPY_FILL, grid, block, {
                "long_name": "entropy of the probabilities", "units": "bit",
                "scale_factor": ENTROPY_STEP, "_FillValue": ENTROPY_FILL,
            }),
            coordinate("category", ("category",), np.array(legend.names, dtype=object)),
        )  # fmt: skip

    def blank(self, shape: tuple[int, int]) -> dict[str, NDArray[Any]]:
        """The arrays of a block outside every scene."""
        return {
            "class": np.full(shape, NONE, np.uint8),
            "probability": np.full((len(self.legend), *shape), PROBABILITY_FILL, np.uint8),
            "entropy": np.full(shape, ENTROPY_FILL, np.uint16),
        }

    def packed(self, predicted: NDArray[np.float64]) -> dict[str, NDArray[Any]]:
        """What is stored of probabilities, (pixel, class)."""
        bits = entr(predicted).sum(axis=1) / np.log(2.0)
        return {
            "class": np.array(self.legend.values, np.uint8)[predicted.argmax(axis=1)],
            "probability": pack_probabilities(predicted).T,
            "entropy": (bits / ENTROPY_STEP).round().astype(np.uint16),
        }


@dataclass(frozen=True)
class NumberArrays:
    """A number, and how far off it is where nothing was learnt."""

    name: str
    """What the number is, for the attributes."""

    std: float
    """Of the residuals of pixels that were not learnt from; the same everywhere."""

    def layout(self, grid: GeoBox, block: int) -> tuple[ArrayLayout, ...]:
        """Lay out ``mean`` and ``std``."""
        about = {
            "mean": f"predicted {self.name}",
            "std": f"standard deviation of {self.name} less its prediction, by cross-validation",
        }
        return tuple(
            _array(name, (), (), "float32", np.nan, grid, block, {"long_name": text})
            for name, text in about.items()
        )

    def blank(self, shape: tuple[int, int]) -> dict[str, NDArray[Any]]:
        """The arrays of a block outside every scene."""
        return {name: np.full(shape, np.nan, np.float32) for name in ("mean", "std")}

    def packed(self, predicted: NDArray[np.float64]) -> dict[str, NDArray[Any]]:
        """What is stored of numbers, (pixel,)."""
        mean = predicted.astype(np.float32)
        return {"mean": mean, "std": np.full_like(mean, self.std)}


def pack_probabilities(probabilities: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Probabilities (n, K) in 250ths that sum to 250: the largest remainders are rounded up.

    Each is less than a step from what it stands for, and none overtakes another.
    """
    exact = probabilities * STEPS
    packed = np.floor(exact)
    missing = (STEPS - packed.sum(axis=1)).round().astype(int)
    order = np.argsort(packed - exact, axis=1, kind="stable")  # the largest remainder first
    rank = np.empty_like(order)
    np.put_along_axis(rank, order, np.arange(order.shape[1])[None, :], axis=1)
    return np.asarray(packed + (rank < missing[:, None]), dtype=np.uint8)


def _array(
    name: str,
    dims: tuple[str, ...],
    sizes: tuple[int, ...],
    dtype: str,
    fill: float,
    grid: GeoBox,
    block: int,
    attrs: dict[str, Any],
) -> ArrayLayout:
    inner = inner_chunk(block)
    return ArrayLayout(
        name,
        (*dims, "y", "x"),
        (*sizes, grid.shape[0], grid.shape[1]),
        dtype,
        chunks=(*sizes, inner, inner),
        shards=(*sizes, block, block),
        fill_value=fill,
        attrs={**attrs, "grid_mapping": "spatial_ref"},
    )
