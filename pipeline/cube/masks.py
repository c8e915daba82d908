"""How each sensor of a cube is masked, made out once and told in one place.

A :class:`Masking` says what is asked for, and :func:`settle` makes it out for each sensor. The
:class:`Masks` that come of it are what every reader of pixels takes, what a model notes of its
training, and part of the identity of what is made from them.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import zarr

from terralatent.catalogs.errors import InputError
from terralatent.catalogs.sources.clear import ClearRule
from terralatent.pipeline.cube.masking import STORED, Masking

__all__ = ["AS_STORED", "Asked", "Masks", "mask_bands", "parse_masking", "settle"]

REST = "*"
"""In a mapping by sensor: every other sensor that has a mask band."""

Asked: TypeAlias = Masking | Mapping[str, Masking] | None
"""Asked of all sensors that have a mask band, or by sensor, where ``*`` stands for the rest."""


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
        return {name: one.to_json() for name, one in self.by_sensor}

    @classmethod
    def of_model(cls, manifest: Mapping[str, Any]) -> Masks:
        """Read what a model notes of its training; one that notes nothing saw the cube as it is."""
        settings = (manifest.get("training") or {}).get("settings") or {}
        told = settings.get("masking") or {}
        return cls(tuple((name, Masking.from_json(told[name])) for name in sorted(told)))


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
    asked: Asked,
    before: Masks = AS_STORED,
    fixed: Collection[str] = (),
) -> Masks:
    """Make out how each sensor is masked, and try each rule. Reads no pixels.

    Args:
        bands: See :func:`mask_bands`.
        asked: What a caller asks for.
        before: What holds where that leaves something open: how a model was trained.
        fixed: Sensors for which it holds whatever is asked of the rest.

    Raises:
        InputError: If it names a sensor that is not there, asks one that has no mask band for a
            rule or dilation, gives one rule to several mask bands, or changes a fixed one; if a
            rule is a function that cannot be found or does not do what it must, or one that only
            ``before`` names.
    """
    given = {REST: asked} if isinstance(asked, Masking) else dict(asked or {})
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
    known = {one.rule for one in (rest, *given.values())}
    found = {}
    for name, dtype in bands.items():
        own = given.get(name, Masking())
        wide = own.over(rest) if dtype and name not in fixed else own
        one = wide.over(before.of(name)).plain()
        if name in fixed and one != before.of(name):
            raise InputError(
                f"The model was trained with {name} masked by {before.of(name).to_json()}, which "
                f"an extension keeps; {one.to_json()} cannot be."
            )
        if dtype is None and (one.rule or one.dilate):
            raise InputError(f"{name} has no mask band; no rule and no dilation is for it.")
        if isinstance(one.rule, str) and one.rule not in known:
            raise InputError(
                f"The model was trained with the clear-sky rule {one.rule} for {name}. A model "
                "does not run code by itself: give that rule as well, or `stored` for the cube's."
            )
        if dtype is not None and one.rule is not None:
            one.clear(np.zeros((1, 1, 1), dtype), ClearRule(codes=(0,)))
        if one != Masking():
            found[name] = one
    return Masks(tuple(sorted(found.items())))


def parse_masking(dilate: int | None, outliers: bool | None, rules: Sequence[str] | None) -> Asked:
    """Read what is typed: pixels, yes or no, and rules as ``[SENSOR=]RULE``.

    A rule is ``module:function``, ``stored``, or a :class:`ClearRule` as JSON. A module is also
    looked for in the folder of this process.

    Raises:
        InputError: If the pixels are too few or too many, or a rule is none of these.
    """
    asked = {REST: Masking(dilate=dilate, outliers=outliers)}
    if rules:
        sys.path.insert(0, os.getcwd())
    for told in rules or ():
        sensor, equals, rule = told.partition("=")
        if not equals:
            sensor, rule = REST, told
        asked[sensor] = Masking(_read_rule(rule)).over(asked.get(sensor, Masking()))
    return asked


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
