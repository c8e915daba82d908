"""Attributes as xarray writes them into every file: text, numbers and lists of one of these."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from terralatent.pipeline.json_value import json_value

__all__ = ["CF", "nested", "writable_attrs"]

CF = "CF-1.11"
"""By which conventions what is opened and exported names its coordinates, units and grid."""


def writable_attrs(attrs: Mapping[str, Any]) -> dict[str, Any]:
    """Return attributes of a store as what is opened has them, whose files can hold less.

    What is nested, empty or nothing becomes its JSON, as text; True and False become 1 and 0.

    >>> writable_attrs({"shape": [2, 3], "rule": {"codes": [4]}, "days": [None, 2.5], "done": True})
    {'shape': [2, 3], 'rule': '{"codes": [4]}', 'days': '[null, 2.5]', 'done': 1}
    """
    return {name: _writable(value) for name, value in attrs.items()}


def nested(attrs: Mapping[str, Any], name: str) -> Any:
    """An attribute as a store has it, of a store or of what was opened; {} where there is none.

    >>> nested({"days": '{"matern12": [12.5]}'}, "days"), nested({}, "days")
    ({'matern12': [12.5]}, {})
    """
    value = attrs.get(name, {})
    return json.loads(value) if isinstance(value, str) else value


def _writable(value: Any) -> Any:
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, str | int | float):
        return value
    if isinstance(value, list | tuple) and value:
        kinds = {str if isinstance(item, str) else type(item) for item in value}
        if kinds == {str} or kinds <= {int, float}:
            return list(value)
    return json.dumps(json_value(value))
