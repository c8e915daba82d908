"""How each sensor of a cube is masked: what is requested of its mask, and what is clear by it.

A :class:`Masking` is a request, which :func:`settle` works out for each sensor. The :class:`Masks`
that come of it are what every reader of pixels takes, what a model records of its training, and
part of the identity of what is made from them.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import reduce
from typing import Any, TypeAlias

import numpy as np
import zarr
from numpy.typing import NDArray

from terralatent.catalogs.errors import InputError
from terralatent.catalogs.sources.clear import ClearRule

__all__ = [
    "AS_STORED",
    "STORED",
    "Masking",
    "MaskingRequest",
    "Masks",
    "Rule",
    "clear_sky",
    "leaves_open",
    "mask_bands",
    "parse_masking",
    "settle",
]

STORED = "stored"
"""The rule's name that stands for the one kept in the cube."""

MOST_DILATION = 100
"""Pixels; so many more are read around every block."""

REST = "*"
"""In a mapping by sensor: every other sensor that has a mask band."""

Rule: TypeAlias = ClearRule | str | Callable[[NDArray[np.integer]], NDArray[np.bool_]]


@dataclass(frozen=True)
class Masking:
    """What is requested of the mask of a sensor.

    None leaves a thing as the model was trained with; where there is no model, or it says nothing,
    that is the cube's own rule, no dilation and no search for outliers.

    Examples:
        >>> import terralatent as tl
        >>> strict = tl.Masking(dilate=2, outliers=True)
        >>> "outlier" in tl.open_cube("cube", masking=strict)["sentinel-2-l2a"]
        True
        >>> latents = tl.embed("cube", masking={"sentinel-2-l2a": strict})
    """

    rule: Rule | None = None
    """Which values of the mask band are clear: a rule; a function of the band as stored, integers
    (T, y, x), that judges each value by itself, bool (T, y, x); its name ``module:function``, by
    which workers find it and stores remember it; or ``stored``, the cube's own rule."""

    dilate: int | None = None
    """Pixels of the cube by which what the rule masks is widened to all sides, as a disc. Where
    there is no data nothing is masked: the edge of a swath stays where it is."""

    outliers: bool | None = None
    """Whether observations that no neighbour in time supports are masked as well, see
    :mod:`terralatent.pipeline.cube.outliers`."""

    def __post_init__(self) -> None:
        if self.dilate is not None and not 0 <= self.dilate <= MOST_DILATION:
            raise InputError(f"dilate is {self.dilate} pixels; give 0 to {MOST_DILATION}.")
        if callable(self.rule) and not isinstance(self.rule, ClearRule):
            object.__setattr__(self, "rule", _name_of(self.rule) or self.rule)

    def over(self, other: Masking) -> Masking:
        """Take from ``other`` what this one leaves open."""
        names = [field.name for field in fields(self)]
        pairs = [(getattr(self, name), getattr(other, name)) for name in names]
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
        rule = _find_function(self.rule) if isinstance(self.rule, str) else self.rule
        clear = np.asarray(rule(quality))
        if clear.dtype != np.bool_ or clear.shape != quality.shape:
            raise InputError(
                f"The clear-sky rule {self.rule} makes {clear.dtype} {clear.shape} of a mask band "
                f"{quality.shape}; it must give a bool for each value, whether it is clear."
            )
        return clear

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
        values = {"rule": rule, "dilate": self.dilate, "outliers": self.outliers}
        return {name: value for name, value in values.items() if value is not None}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Masking:
        """Read what :meth:`to_json` wrote."""
        rule = stored.get("rule")
        rule = ClearRule.from_json(rule) if isinstance(rule, Mapping) else rule
        return cls(rule, stored.get("dilate"), stored.get("outliers"))


MaskingRequest: TypeAlias = Masking | Mapping[str, Masking] | None
"""Of all sensors that have a mask band, or by sensor, where ``*`` stands for the rest."""


def leaves_open(request: MaskingRequest) -> bool:
    """Whether a request says nothing at all."""
    given = request.values() if isinstance(request, Mapping) else (request or Masking(),)
    return all(masking == Masking() for masking in given)


@dataclass(frozen=True)
class Masks:
    """How each sensor of a cube is masked; those that are as the cube says are left out."""

    by_sensor: tuple[tuple[str, Masking], ...] = ()
    """Sorted by name; nothing in them is stated that is as without them."""

    def of(self, sensor: str) -> Masking:
        """How ``sensor`` is masked."""
        return dict(self.by_sensor).get(sensor, Masking())

    def to_json(self) -> dict[str, Any]:
        """Describe them for a store, by sensor; empty where nothing is beyond the cube's own."""
        return {name: masking.to_json() for name, masking in self.by_sensor}

    @classmethod
    def of_model(cls, manifest: Mapping[str, Any]) -> Masks:
        """Read what a model records of its training; by default it saw the cube as it is."""
        settings = (manifest.get("training") or {}).get("settings") or {}
        stored = settings.get("masking") or {}
        return cls(tuple((name, Masking.from_json(stored[name])) for name in sorted(stored)))


AS_STORED = Masks()
"""Every sensor by the cube's own rule."""


def mask_bands(cube: zarr.Group, sensors: Sequence[str]) -> dict[str, str | None]:
    """The dtype of each sensor's mask band, None where it has none. Reads no pixels."""
    return {
        name: str(cube[f"{name}/quality"].dtype) if f"{name}/quality" in cube else None
        for name in sensors
    }


def settle(
    bands: Mapping[str, str | None],
    request: MaskingRequest,
    before: Masks = AS_STORED,
    fixed: Collection[str] = (),
) -> Masks:
    """Work out how each sensor is masked, and try each rule. Reads no pixels.

    Args:
        bands: See :func:`mask_bands`.
        request: What a caller wants.
        before: What holds where that leaves something open: how a model was trained.
        fixed: Sensors for which it holds whatever is requested of the rest.

    Raises:
        InputError: If it names a sensor that is not there, requests a rule or dilation of one that
            has no mask band, gives one rule to several mask bands, or changes a fixed one; if a
            rule is a function that cannot be found or does not do what it must, or one that only
            ``before`` names.
    """
    given = {REST: request} if isinstance(request, Masking) else dict(request or {})
    rest = given.pop(REST, Masking())
    if unknown := sorted(given.keys() - bands.keys()):
        raise InputError(
            f"A masking is given for {', '.join(unknown)}; there are {', '.join(sorted(bands))}."
        )
    others = [name for name in bands if bands[name] and name not in {*given, *fixed}]
    if rest.rule not in (None, STORED) and len(others) > 1:
        raise InputError(
            f"One clear-sky rule cannot read the mask bands of {' and '.join(others)}; name the "
            "sensor that it is for."
        )
    known = {masking.rule for masking in (rest, *given.values())}
    masks = {}
    for name, dtype in bands.items():
        own = given.get(name, Masking())
        wide = own.over(rest) if dtype and name not in fixed else own
        masking = wide.over(before.of(name)).plain()
        if name in fixed and masking != before.of(name):
            raise InputError(
                f"The model was trained with {name} masked by {before.of(name).to_json()}, which "
                f"an extension keeps; {masking.to_json()} cannot be."
            )
        if dtype is None and (masking.rule or masking.dilate):
            raise InputError(f"{name} has no mask band; no rule and no dilation is for it.")
        if isinstance(masking.rule, str) and masking.rule not in known:
            raise InputError(
                f"The model was trained with the clear-sky rule {masking.rule} for {name}. A model "
                "does not run code by itself: give that rule as well, or `stored` for the cube's."
            )
        if dtype is not None and masking.rule is not None:
            masking.clear(np.zeros((1, 1, 1), dtype), ClearRule(codes=(0,)))
        if masking != Masking():
            masks[name] = masking
    return Masks(tuple(sorted(masks.items())))


def parse_masking(
    dilate: int | None, outliers: bool | None, rules: Sequence[str] | None
) -> MaskingRequest:
    """Read what is typed: pixels, yes or no, and rules as ``[SENSOR=]RULE``.

    A rule is ``module:function``, ``stored``, or a :class:`ClearRule` as JSON. A module is also
    looked for in the folder of this process.

    Raises:
        InputError: If the pixels are too few or too many, or a rule is none of these.
    """
    request = {REST: Masking(dilate=dilate, outliers=outliers)}
    if rules:
        sys.path.insert(0, os.getcwd())
    for typed in rules or ():
        sensor, equals, rule = typed.partition("=")
        if not equals:
            sensor, rule = REST, typed
        request[sensor] = Masking(_read_rule(rule)).over(request.get(sensor, Masking()))
    return request


def _read_rule(text: str) -> ClearRule | str:
    if not text.startswith("{"):
        if text != STORED and ":" not in text:
            raise InputError(
                f"{text!r} is no clear-sky rule; give module:function, `stored`, or a rule as JSON "
                'such as {"codes": [4, 5]}.'
            )
        return text
    try:
        return ClearRule.from_json(json.loads(text))
    except ValueError as error:
        raise InputError(f"The clear-sky rule {text} cannot be used: {error}") from error


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
    from scipy.ndimage import distance_transform_edt

    wide = masked.copy()
    for date in np.flatnonzero(masked.any(axis=(1, 2))):
        wide[date] = distance_transform_edt(~masked[date]) <= pixels
    return wide


def _find_function(name: str) -> Callable[..., Any]:
    """Import the function that is called ``module:function``. Runs the module's code.

    Raises:
        InputError: If it is not of that form, or there is no such module or function.
    """
    module, colon, function = name.partition(":")
    if not (module and colon and function):
        raise InputError(f"{name!r} is no name of a function; give it as module:function.")
    try:
        loaded = reduce(getattr, function.split("."), importlib.import_module(module))
    except Exception as error:  # a module may fail in any way while it is run
        reason = f"{type(error).__name__}: {error}"
        raise InputError(
            f"The function {name} cannot be loaded ({reason}); its module must be installed, or "
            "lie in the folder where the command is run, here and on every worker."
        ) from error
    if not callable(loaded):
        raise InputError(f"{name} is a {type(loaded).__name__}, not a function.")
    return loaded


def _name_of(function: Callable[..., Any]) -> str | None:
    """The name by which :func:`_find_function` finds ``function``; None where it does not."""
    module, own = (getattr(function, part, "") for part in ("__module__", "__qualname__"))
    if not module or not own or module == "__main__" or "<" in own:
        return None
    name = f"{module}:{own}"
    try:
        return name if _find_function(name) is function else None
    except InputError:
        return None
