"""Masks beyond the classification band: what is asked of a sensor's mask, what is clear."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from terralatent.catalogs.errors import InputError
from terralatent.catalogs.sources.clear import ClearRule
from terralatent.pipeline.cube.named_functions import find_function, name_of

__all__ = ["STORED", "Masking", "Rule", "clear_sky"]

STORED = "stored"
"""The rule's name that stands for the one kept in the cube."""

MOST_DILATION = 100
"""Pixels; so many more are read around every block."""

Rule: TypeAlias = ClearRule | str | Callable[[NDArray[np.integer]], NDArray[np.bool_]]


@dataclass(frozen=True)
class Masking:
    """What is asked of the mask of a sensor.

    None leaves a thing as the model was trained with; where there is no model, or it says nothing,
    that is the cube's own rule, no dilation and no search for outliers.
    """

    rule: Rule | None = None
    """Which values of the mask band are clear: a rule; a function of the band as stored, integers
    (T, y, x), that tells of each value by itself, bool (T, y, x); its name ``module:function``, by
    which workers find it and stores remember it; or ``stored``, the cube's own rule."""

    dilate: int | None = None
    """Pixels of the cube by which what the rule masks is widened to all sides, as a disc. Where
    there is no data nothing is masked: the edge of a swath stays where it is."""

    outliers: bool | None = None
    """Whether looks that no neighbour in time supports are masked as well, see
    :mod:`terralatent.pipeline.cube.outliers`."""

    def __post_init__(self) -> None:
        if self.dilate is not None and not 0 <= self.dilate <= MOST_DILATION:
            raise InputError(f"dilate is {self.dilate} pixels; give 0 to {MOST_DILATION}.")
        if callable(self.rule) and not isinstance(self.rule, ClearRule):
            object.__setattr__(self, "rule", name_of(self.rule) or self.rule)

    def over(self, other: Masking) -> Masking:
        """Take from ``other`` what this one leaves open."""
        pairs = [(getattr(self, each.name), getattr(other, each.name)) for each in fields(self)]
        return Masking(*(theirs if ours is None else ours for ours, theirs in pairs))

    def plain(self) -> Masking:
        """Leave open what is as without any masking, so that equal masks are equal."""
        rule = None if self.rule == STORED else self.rule
        return Masking(rule, self.dilate or None, self.outliers or None)

    def clear(self, quality: NDArray[np.integer], stored: ClearRule) -> NDArray[np.bool_]:
        """Apply the rule to a mask band, (T, y, x); ``stored`` is the cube's own.

        Raises:
            InputError: If it is a function that cannot be found or does not do what it must.
        """
        if self.rule is None or self.rule == STORED:
            return stored(quality)
        rule = find_function(self.rule) if isinstance(self.rule, str) else self.rule
        found = np.asarray(rule(quality))
        if found.dtype != np.bool_ or found.shape != quality.shape:
            raise InputError(
                f"The clear-sky rule {self.rule} makes {found.dtype} {found.shape} of a mask band "
                f"{quality.shape}; it must tell of each value by a bool whether it is clear."
            )
        return found

    def to_json(self) -> dict[str, Any]:
        """Describe it for a store; what is left open is left out.

        Raises:
            InputError: If the rule is a function that has no name.
        """
        rule = self.rule.to_json() if isinstance(self.rule, ClearRule) else self.rule
        if callable(rule):
            raise InputError(
                f"The clear-sky rule {rule} cannot be found again by a name, as workers and later "
                "runs must; put it into a module of its own, outside of other functions."
            )
        told = {"rule": rule, "dilate": self.dilate, "outliers": self.outliers}
        return {name: value for name, value in told.items() if value is not None}

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> Masking:
        """Read what :meth:`to_json` wrote."""
        rule = told.get("rule")
        rule = ClearRule.from_json(rule) if isinstance(rule, Mapping) else rule
        return cls(rule, told.get("dilate"), told.get("outliers"))


def clear_sky(
    quality: NDArray[np.integer], masking: Masking, stored: ClearRule, nodata: int
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Apply rule and dilation to a mask band. Computes.

    A pixel without data masks nothing, neither its neighbours nor, for the distance to it, itself.

    Args:
        quality: As stored, (T, y, x), with so many pixels around as the dilation reaches.
        masking: Its rule and dilation.
        stored: The cube's own rule.
        nodata: What the sensor calls no data in this band.

    Returns:
        What is clear, and what is masked though there is data, both (T, y, x).
    """
    clear, data = masking.clear(quality, stored), quality != nodata
    masked = ~clear & data
    if masking.dilate:
        masked = _widened(masked, masking.dilate) & data
        clear = clear & ~masked
    return clear, masked


def _widened(masked: NDArray[np.bool_], pixels: int) -> NDArray[np.bool_]:
    """What lies within so many pixels of a masked one, date by date."""
    wide = masked.copy()
    for date in np.flatnonzero(masked.any(axis=(1, 2))):
        wide[date] = distance_transform_edt(~masked[date]) <= pixels
    return wide
