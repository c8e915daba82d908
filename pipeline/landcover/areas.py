r"""Areas of classes: as mapped, and as a probability sample of labels corrects them.

Mapped areas are counts of pixels and have no error that labels chosen at will could state. Where
labels are drawn at random within strata, the classes of a map, the stratified estimator of the
share of class j has the mapped shares :math:`W_h` of the strata as weights,

.. math:: \hat p_j = \sum_h W_h \, \bar y_{hj}, \qquad
    \bar y_{hj} = \frac{\sum_k a_k y_{kj}}{\sum_k a_k}, \qquad
    \widehat{\operatorname{var}}(\hat p_j) = \sum_h W_h^2 \frac{1}{m_h (m_h - 1)}
    \sum_k \Big(\frac{a_k}{\bar a_h}\Big)^2 (y_{kj} - \bar y_{hj})^2

over the :math:`m_h` labels k of stratum h with :math:`a_k` pixels each: a polygon is a cluster, and
its ratio estimator that of pixels where all are points. A user's or producer's accuracy is a ratio
:math:`\hat R = \hat y / \hat x` of two such shares, and its standard error, to first order, that of
the share of :math:`(y - \hat R x) / \hat x`.

References:
    | Good practices for estimating area and assessing accuracy of land change
    | (Olofsson et al., 2014), doi:10.1016/j.rse.2014.02.015
    | Sampling Techniques (Cochran, 1977), of ratio estimators
    | Estimating area and map accuracy for stratified random sampling when the strata are different
    | from the map classes (Stehman, 2014), doi:10.1080/01431161.2014.930207
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import zarr
from numpy.typing import NDArray

from terralatent.catalogs.errors import InputError
from terralatent.pipeline.probes.legend import NONE, Legend
from terralatent.pipeline.region import blocks, grid_of
from terralatent.pipeline.store.repository import ABOUT

__all__ = [
    "DesignEstimate",
    "MappedAreas",
    "mapped_areas",
    "stratified_ratios",
    "stratified_shares",
]

Array = NDArray[np.float64]

NINETY_FIVE_PERCENT = 1.96
"""Standard errors to either side that hold 95 % of a normal variable."""


@dataclass(frozen=True)
class MappedAreas:
    """Areas of a map by counting its pixels."""

    names: tuple[str, ...]
    """Classes."""

    pixels: tuple[int, ...]
    """Of each class."""

    none: int
    """Pixels without a class: outside every scene, or not computed."""

    pixel_area: float
    """Of one pixel, in m2 where the CRS is in metres."""

    def hectares(self) -> dict[str, float]:
        """Of each class."""
        area = self.pixel_area / 1e4
        return {name: n * area for name, n in zip(self.names, self.pixels, strict=True)}

    def shares(self) -> dict[str, float]:
        """Of each class among the pixels that have one."""
        total = max(1, sum(self.pixels))
        return {name: n / total for name, n in zip(self.names, self.pixels, strict=True)}


@dataclass(frozen=True)
class DesignEstimate:
    """A share, as a probability sample estimates it, and its standard error."""

    value: float
    standard_error: float

    def interval(self) -> tuple[float, float]:
        """95 %, within 0 and 1."""
        half = NINETY_FIVE_PERCENT * self.standard_error
        return max(0.0, self.value - half), min(1.0, self.value + half)


def mapped_areas(root: zarr.Group) -> MappedAreas:
    """Count the pixels of each class of a map. Computes, a block at a time.

    Args:
        root: Of a store of classes.
    """
    array = root["class"]
    legend, grid = Legend.from_attrs(array.attrs), grid_of(root)
    counts = np.zeros(256, np.int64)
    about: Mapping[str, Mapping[str, int]] = root.attrs[ABOUT]
    for block in blocks((grid.shape[0], grid.shape[1]), about["identity"]["block"]):
        counts += np.bincount(np.asarray(array[block.y, block.x]).ravel(), minlength=256)
    return MappedAreas(
        legend.names,
        tuple(int(counts[value]) for value in legend.values),
        int(counts[NONE]),
        float(abs(grid.resolution.x * grid.resolution.y)),
    )


def stratified_shares(
    indicators: Array, strata: NDArray[np.object_], sizes: Array, weights: Mapping[str, float]
) -> list[DesignEstimate]:
    """Estimate means over the region from labels that were drawn at random within strata.

    Args:
        indicators: Of each label, from 0 to 1, such as whether it is of a class, (label, k).
        strata: From which each was drawn, (label,).
        sizes: Pixels of each, (label,).
        weights: Share of the region that each stratum has; they sum to 1.

    Returns:
        One estimate for each of the k columns.

    Raises:
        InputError: If a stratum is none of ``weights``, or one of these has fewer than two labels.
    """
    unknown = sorted(set(strata) - set(weights))
    if unknown:
        raise InputError(
            f"Labels were drawn from the stratum {unknown[0]!r}, which is no class of the map; its"
            f" classes are {', '.join(weights)}. Strata are the classes of the map from which "
            "labels were drawn; name that map with drawn_from=."
        )
    value, variance = np.zeros(indicators.shape[1]), np.zeros(indicators.shape[1])
    for stratum, weight in weights.items():
        mine = strata == stratum
        count = int(mine.sum())
        if weight == 0.0:
            continue
        if count < 2:
            raise InputError(
                f"The stratum {stratum!r} has {weight:.1%} of the mapped area and {count} of the "
                "labels; a standard error wants two at least of each."
            )
        size, y = sizes[mine], indicators[mine]
        mean = (size[:, None] * y).sum(axis=0) / size.sum()
        deviation = (size / size.mean())[:, None] * (y - mean)
        value += weight * mean
        variance += weight**2 * (deviation**2).sum(axis=0) / (count * (count - 1))
    return [
        DesignEstimate(float(p), float(np.sqrt(v))) for p, v in zip(value, variance, strict=True)
    ]


def stratified_ratios(
    tops: Array,
    bottoms: Array,
    strata: NDArray[np.object_],
    sizes: Array,
    weights: Mapping[str, float],
) -> list[DesignEstimate]:
    """Estimate ratios of means over the region; arguments as of :func:`stratified_shares`.

    Args:
        tops: Of each label, such as the share of it that is of a class and mapped so, (label, k).
        bottoms: And the share that is of the class, or is mapped so, (label, k).
        strata: From which each was drawn, (label,).
        sizes: Pixels of each, (label,).
        weights: Share of the region that each stratum has; they sum to 1.

    Returns:
        One estimate for each of the k columns; NaN where the sample has none of the bottom.

    Raises:
        InputError: As of :func:`stratified_shares`.
    """
    over = np.array([own.value for own in stratified_shares(bottoms, strata, sizes, weights)])
    above = np.array([own.value for own in stratified_shares(tops, strata, sizes, weights)])
    with np.errstate(invalid="ignore", divide="ignore"):
        ratios = above / over
        residuals = (tops - ratios * bottoms) / over
    errors = stratified_shares(residuals, strata, sizes, weights)
    return [
        DesignEstimate(float(ratio), own.standard_error)
        for ratio, own in zip(ratios, errors, strict=True)
    ]
