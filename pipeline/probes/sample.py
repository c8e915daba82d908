"""Labelled pixels with their features: what a probe learns from and is scored on."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from terralatent.catalogs.errors import InputError
from terralatent.pipeline.probes.labels import Labels

__all__ = ["PixelFeatures", "Sample", "read_sample"]

log = logging.getLogger(__name__)


class PixelFeatures(Protocol):
    """What pixels are described by."""

    @property
    def place(self) -> str:
        """Where it lies, for messages."""

    def at(self, rows: NDArray[np.intp], columns: NDArray[np.intp]) -> NDArray[np.float32]:
        """Read the features of single pixels, (pixel, feature); NaN outside every scene."""


@dataclass(frozen=True, eq=False)
class Sample:
    """Labelled pixels, and what is known of them."""

    features: NDArray[np.float32]
    """(pixel, feature), finite."""

    targets: NDArray[np.generic]
    """Of each label the place of its class (integers), or its number (floats), (label,)."""

    labels: Labels
    """Which label a pixel belongs to, and what labels belong together."""

    @property
    def target(self) -> NDArray[np.generic]:
        """Of each pixel, (pixel,)."""
        return self.targets[self.labels.of]

    def classes(self) -> NDArray[np.intp] | None:
        """Of each label, for folds; None where targets are numbers."""
        return self.targets.astype(np.intp) if self.targets.dtype.kind == "i" else None

    def where(self, pixels: NDArray[np.bool_]) -> Sample:
        """The part of some pixels, (pixel,), and the labels that have one."""
        there = np.unique(self.labels.of[pixels])
        return Sample(self.features[pixels], self.targets[there], self.labels.kept(pixels))


def read_sample(
    features: PixelFeatures, labels: Labels, targets: Callable[[NDArray[Any]], NDArray[Any]]
) -> Sample:
    """Read the features of the labels' pixels. Computes, chunk by chunk of those that hold one.

    Pixels outside every scene are left out, and labels that have no other, which is logged.

    Args:
        features: Of the latents.
        labels: On their grid.
        targets: What is learnt of the values of labels, (label,) to (label,).

    Raises:
        InputError: If no pixel is left.
    """
    values = features.at(labels.rows, labels.columns)
    seen: NDArray[np.bool_] = np.asarray(np.isfinite(values).all(axis=1))
    if not seen.any():
        raise InputError(
            f"All pixels of the {len(labels)} labels lie where {features.place} has no latents: "
            "outside every scene, or in blocks that are not done."
        )
    kept = labels.kept(seen)
    if len(kept) < len(labels):
        log.warning(
            "%d of %d labels lie where there are no latents and are left out.",
            len(labels) - len(kept), len(labels),
        )  # fmt: skip
    return Sample(values[seen], targets(kept.values), kept)
