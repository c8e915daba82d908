"""Reports that are a sentence, at a prompt and in a notebook too."""

from __future__ import annotations

__all__ = ["Sentence"]


class Sentence:
    """A report whose ``repr`` is what ``print`` writes; its dataclass has ``repr=False``."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}: {self}"
