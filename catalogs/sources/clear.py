"""The clear-sky rule: which values of a mask band mean a clear observation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["ClearRule"]


@dataclass(frozen=True)
class ClearRule:
    """Either a list of classes, or conditions on bits, or a threshold: exactly one of the three.

    The rule is kept with the mask band in the cube, as JSON, and applied at reading: it can be
    changed without a download.
    """

    codes: tuple[int, ...] = ()
    """Values of the mask band that are clear; empty where it holds something else than classes."""

    any_bits: tuple[int, ...] = ()
    """At least one of these bits must be set; empty: none is required."""

    no_bits: tuple[int, ...] = ()
    """None of these bits may be set."""

    not_together: tuple[tuple[int, ...], ...] = ()
    """Bits that may not all be set at once: a confidence of two bits is high at binary 11."""

    at_most: int | None = None
    """The highest value that is clear, of a mask band that holds a probability of cloud."""

    def __post_init__(self) -> None:
        by_bits = bool(self.any_bits or self.no_bits or self.not_together)
        if [bool(self.codes), by_bits, self.at_most is not None].count(True) != 1:
            raise ValueError(
                f"A clear-sky rule needs either codes or bits or at_most, got {self.to_json()}."
            )
        together = (bit for group in self.not_together for bit in group)
        bits = (*self.any_bits, *self.no_bits, *together)
        if any(not 0 <= bit < 32 for bit in bits):
            raise ValueError(f"Bits of a mask band lie between 0 and 31, got {sorted(bits)}.")

    def __call__(self, quality: npt.NDArray[np.integer[Any]]) -> npt.NDArray[np.bool_]:
        """Return where ``quality``, the mask band as stored, integers of any shape, is clear.

        Returns:
            Boolean, the shape of ``quality``; True where the observation is clear.
        """
        if self.codes:
            return np.isin(quality, self.codes)
        if self.at_most is not None:
            return np.asarray(quality) <= self.at_most
        flags = np.asarray(quality).astype(np.uint32)
        clear = (flags & _mask(self.no_bits)) == 0
        if self.any_bits:
            clear &= (flags & _mask(self.any_bits)) != 0
        for group in self.not_together:
            clear &= (flags & _mask(group)) != _mask(group)
        return np.asarray(clear, dtype=np.bool_)

    def to_json(self) -> dict[str, Any]:
        """Describe the rule by its own field names; fields that require nothing are left out."""
        record = {name: _listed(value) for name, value in asdict(self).items()}
        return {name: value for name, value in record.items() if value not in ([], None)}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> ClearRule:
        """Read what :meth:`to_json` wrote.

        Raises:
            ValueError: If a field is unknown, or not integers as its kind is.
        """
        known = sorted(cls.__dataclass_fields__)
        unknown = sorted(set(content) - set(known))
        if unknown:
            raise ValueError(f"A clear-sky rule has no fields {unknown}; it has {known}.")
        try:
            fields = {name: _read(name, value) for name, value in content.items()}
        except TypeError as error:
            raise ValueError(
                f"A clear-sky rule holds lists of integers, and at_most one integer: {error}."
            ) from error
        return cls(**fields)


def _mask(bits: tuple[int, ...]) -> np.uint32:
    return np.uint32(sum(1 << bit for bit in set(bits)))


def _read(name: str, value: Any) -> Any:
    if name == "at_most":
        return int(value)
    if name == "not_together":
        return tuple(tuple(map(int, group)) for group in value)
    return tuple(map(int, value))


def _listed(value: Any) -> Any:
    return [_listed(entry) for entry in value] if isinstance(value, tuple) else value
