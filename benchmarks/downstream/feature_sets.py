"""The feature sets that are compared, by name: arrays of one row a pixel."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmarks.downstream import raw
from benchmarks.downstream.canada import Crops, Fold
from benchmarks.downstream.encoders import ENCODERS, LABELS, embedded
from benchmarks.downstream.missing import IN_SEASON, hide

__all__ = ["RAW", "SETS", "FeatureSet", "Setting", "of_file"]

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Setting:
    """For which features are made."""

    crops: Crops
    fold: Fold
    kind: str
    """What is missing."""

    work: Path
    seed: int
    """Of what is missing."""

    steps: int | None = None
    """Of training at most, for a quick run."""

    @property
    def known(self) -> int:
        """Months from the first that features are made of."""
        return IN_SEASON.get(self.kind, len(self.crops.dates))

    def bands(self) -> tuple[Array, Array]:
        """Logarithms with NaN where missing, and the mean of each band over training cells."""
        values = raw.logarithms(self.crops.values)
        middle = np.nanmean(values[self.fold.training], axis=(0, 1))
        hidden = hide(self.kind, len(values), values.shape[1], seed=self.seed)
        optical = raw.OPTICAL_BANDS
        by_band = np.repeat(hidden, [optical, values.shape[2] - optical], axis=2)
        return np.where(by_band, np.nan, values), middle


FeatureSet = Callable[[Setting], Array]


def _plain(setting: Setting) -> Array:
    values, middle = setting.bands()
    return raw.interpolated(values, setting.known, middle)


def _raw(setting: Setting) -> Array:
    return _flat(_plain(setting))


def _with_indices(setting: Setting) -> Array:
    values = _plain(setting)
    return np.concatenate([_flat(values), _flat(raw.indices(values))], axis=1)


def _whitened(setting: Setting) -> Array:
    return _flat(raw.whitened(_plain(setting), setting.fold.training))


def _whitened_with_indices(setting: Setting) -> Array:
    values = _plain(setting)
    white = raw.whitened(values, setting.fold.training)
    return np.concatenate([_flat(white), _flat(raw.indices(values))], axis=1)


def _whitened_with_counts(setting: Setting) -> Array:
    values, _ = setting.bands()
    optical = raw.OPTICAL_BANDS
    seen = np.isfinite(values[:, : setting.known])
    by_sensor = np.stack([seen[..., :optical].any(-1), seen[..., optical:].any(-1)], axis=-1)
    return np.concatenate([_whitened(setting), raw.counts(by_sensor)], axis=1)


def _harmonics(setting: Setting) -> Array:
    values, middle = setting.bands()
    return raw.harmonics(values, middle)


def _latents(name: str, label: str) -> FeatureSet:
    def make(setting: Setting) -> Array:
        found = embedded(
            ENCODERS[name], setting.crops, setting.fold, setting.kind, setting.work,
            seed=setting.seed, steps=setting.steps,
        )  # fmt: skip
        return found.features(label, setting.fold.training, setting.known)

    return make


def _flat(values: NDArray[np.floating]) -> Array:
    return np.asarray(values, dtype=np.float64).reshape(len(values), -1)


RAW: Mapping[str, FeatureSet] = {
    "raw": _raw,
    "raw, indices": _with_indices,
    "raw, whitened": _whitened,
    "raw, whitened, indices": _whitened_with_indices,
    "raw, whitened, counts": _whitened_with_counts,
    "harmonics": _harmonics,
}
"""Without a model of latents."""

SETS: Mapping[str, FeatureSet] = {
    **RAW,
    **{f"{name}, {label}": _latents(name, label) for name in ENCODERS for label in LABELS},
}


def of_file(path: Path) -> FeatureSet:
    """Anybody's embedding: a Parquet file with a column ``pixel`` and one for each feature.

    Pixels are those of the table's column ``sample``; further ones are left out. A column ``fold``
    says for which fold a row was made, where an encoder was trained on the other cells.

    Raises:
        ValueError: If a pixel or number is missing.
    """
    frame = pd.read_parquet(path)

    def make(setting: Setting) -> Array:
        own = frame if "fold" not in frame else frame[frame["fold"] == setting.fold.number]
        pixels = setting.crops.series.column("pixel")
        rows = own.set_index("pixel").drop(columns="fold", errors="ignore").reindex(pixels)
        values = rows.select_dtypes("number").to_numpy(np.float64)
        if not values.size or not np.isfinite(values).all():
            lacking = int((~np.isfinite(values)).any(axis=1).sum()) if values.size else len(pixels)
            raise ValueError(
                f"{path} has no finite numbers for {lacking} of {len(pixels)} pixels of fold "
                f"{setting.fold.number}; it needs a row for each pixel, with a column `pixel`."
            )
        return values

    return make
