"""The clear-sky rule: which values of a mask band mean that the ground was seen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["ClearRule"]


@dataclass(frozen=True)
class ClearRule:
    """Either a list of classes or conditions on bits, never both.

    The rule is kept with the mask band in the cube, as JSON, and applied at reading: it can be
    changed without a download.
    """

    codes: tuple[int, ...] = ()
    """Values of the mask band that are clear; empty where it is a field of bits."""

    any_bits: tuple[int, ...] = ()
    """At least one of these bits must be set; empty: none is asked for."""

    no_bits: tuple[int, ...] = ()
    """None of these bits may be set."""

    not_together: tuple[tuple[int, ...], ...] = ()
    """Bits that may not all be set at once: a confidence of two bits is high at binary 11."""

    def __post_init__(self) -> None:
        by_bits = bool(self.any_bits or self.no_bits or self.not_together)
        if bool(self.codes) == by_bits:
            raise ValueError(f"A clear-sky rule needs either codes or bits, got {asdict(self)}.")
        together = (bit for group in self.not_together for bit in group)
        bits = (*self.any_bits, *self.no_bits, *together)
        if any(not 0 <= bit < 32 for bit in bits):
            raise ValueError(f"Bits of a mask band lie between 0 and 31, got {sorted(bits)}.")

    def __call__(self, quality: npt.NDArray[np.integer[Any]]) -> npt.NDArray[np.bool_]:
        """Tell where ``quality``, the mask band as stored, integers of any shape, is clear.

        Returns:
            Boolean, the shape of ``quality``; True where the ground was seen.
        """
        if self.codes:
            return np.isin(quality, self.codes)
        flags = np.asarray(quality).astype(np.uint32)
        clear = (flags & _mask(self.no_bits)) == 0
        if self.any_bits:
            clear &= (flags & _mask(self.any_bits)) != 0
        for group in self.not_together:
            clear &= (flags & _mask(group)) != _mask(group)
        return np.asarray(clear, dtype=np.bool_)

    def to_json(self) -> dict[str, list[Any]]:
        """Describe the rule by its own field names; fields that ask for nothing are left out."""
        fields = {name: _listed(value) for name, value in asdict(self).items()}
        return {name: value for name, value in fields.items() if value}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> ClearRule:
        """Read what :meth:`to_json` wrote.

        Raises:
            ValueError: If a field is unknown or is not a list of integers.
        """
        known = sorted(cls.__dataclass_fields__)
        unknown = sorted(set(content) - set(known))
        if unknown:
            raise ValueError(f"A clear-sky rule has no fields {unknown}; it has {known}.")
        try:
            fields: dict[str, Any] = {
                name: tuple(tuple(map(int, v)) for v in value)
                if name == "not_together"
                else tuple(map(int, value))
                for name, value in content.items()
            }
        except TypeError as error:
            raise ValueError(f"A clear-sky rule holds lists of integers: {error}.") from error
        return cls(**fields)


def _mask(bits: tuple[int, ...]) -> np.uint32:
    return np.uint32(sum(1 << bit for bit in set(bits)))


def _listed(value: tuple[Any, ...]) -> list[Any]:
    return [list(entry) if isinstance(entry, tuple) else entry for entry in value]
