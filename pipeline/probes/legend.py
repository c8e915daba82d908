"""The classes of a map: their values, names and colours, as CF attributes say them."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.colors import to_hex, to_rgb
from numpy.typing import NDArray

from terralatent.catalogs.errors import InputError

__all__ = ["NONE", "Legend"]

NONE = 0
"""Value of a pixel without a class: outside every scene, or not computed yet."""

MOST = 254
"""Classes that a byte has room for, beside none and the largest number, which is left free."""

PALETTE = "tab20"

KNOWN = {
    "water": "#3b7dbd", "forest": "#1b6b3a", "tree": "#1b6b3a", "grass": "#9ccc65",
    "meadow": "#9ccc65", "built": "#8c8c8c", "urban": "#8c8c8c", "bare": "#c8b59a",
    "snow": "#eef4fa", "maize": "#f4c20d", "corn": "#f4c20d",
}  # fmt: skip
"""Colours that a reader of maps expects, by a word in the name of a class."""


@dataclass(frozen=True)
class Legend:
    """The classes of a map, in the order of their values."""

    names: tuple[str, ...]
    """What they are called."""

    values: tuple[int, ...]
    """What stands for them in pixels, 1 to 254, ascending."""

    colours: tuple[str, ...]
    """``#rrggbb`` each."""

    def __len__(self) -> int:
        """The number of classes."""
        return len(self.names)

    @classmethod
    def of(cls, labels: Collection[str], colours: Mapping[str, str] | None = None) -> Legend:
        """Make a legend of the names of labels.

        Whole numbers from 1 to 254 keep their values; other names count from 1, in their order.

        Raises:
            InputError: If there are too many classes, a colour is none, or one is of no class.
        """
        names = sorted(set(labels))
        if len(names) > MOST:
            raise InputError(
                f"The labels have {len(names)} classes, such as {', '.join(names[:3])}; a map has "
                f"room for {MOST}. Numbers are mapped by `terralatent regress`."
            )
        if all(re.fullmatch(r"[1-9]\d{0,2}", name) and int(name) <= MOST for name in names):
            names.sort(key=int)
            values = tuple(int(name) for name in names)
        else:
            values = tuple(range(1, len(names) + 1))
        given = dict(colours or {})
        unknown = sorted(set(given) - set(names))
        if unknown:
            raise InputError(
                f"A colour is given for {unknown[0]!r}, which is no class; the classes are "
                f"{', '.join(names)}."
            )
        return cls(tuple(names), values, _colours(names, given))

    @classmethod
    def from_attrs(cls, attrs: Mapping[str, Any]) -> Legend:
        """Read what :meth:`attrs` made."""
        values = tuple(int(value) for value in attrs["flag_values"])
        return cls(tuple(attrs["class_names"]), values, tuple(attrs["flag_colors"].split()))

    def extended(self, values: Mapping[str, int]) -> Legend:
        """The legend of more classes, by name with their values, in which these keep theirs."""
        names = sorted(values, key=values.__getitem__)
        colours = _colours(names, dict(zip(self.names, self.colours, strict=True)))
        return Legend(tuple(names), tuple(values[name] for name in names), colours)

    def attrs(self) -> dict[str, Any]:
        """CF attributes of an array of classes; ``class_names`` has what CF's blanks forbid."""
        return {
            "flag_values": list(self.values),
            "flag_meanings": " ".join(re.sub(r"[^\w.+@-]", "_", name) for name in self.names),
            "flag_colors": " ".join(self.colours),
            "class_names": list(self.names),
        }

    def places(self, names: Sequence[str] | NDArray[Any]) -> NDArray[np.intp]:
        """Places of classes by their names, same shape."""
        number = {name: place for place, name in enumerate(self.names)}
        return np.array([number[name] for name in names], dtype=np.intp)


def _colours(names: Sequence[str], given: Mapping[str, str]) -> tuple[str, ...]:
    """Colours as given, then as known, then those of a palette that are least like all before."""
    chosen = {name: _hex(colour) for name, colour in given.items()}
    for name in names:
        known = next((colour for word, colour in KNOWN.items() if word in name.lower()), None)
        if name not in chosen and known not in (None, *chosen.values()):
            chosen[name] = str(known)
    shades = colormaps[PALETTE]
    palette = [str(to_hex(shades(place))) for place in range(shades.N)]
    for name in names:
        if name not in chosen:
            chosen[name] = max(palette, key=lambda colour: _distance(colour, chosen.values()))
    return tuple(chosen[name] for name in names)


def _distance(colour: str, others: Iterable[str]) -> float:
    """From the nearest of others, in red, green and blue."""
    own = np.array(to_rgb(colour))
    return min((float(np.abs(own - to_rgb(other)).sum()) for other in others), default=0.0)


def _hex(given: str) -> str:
    try:
        return str(to_hex(given))
    except ValueError as error:
        raise InputError(f"{given!r} is no colour; give one such as #2ca02c or green.") from error
