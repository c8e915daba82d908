"""Pixels for estimators of one's own: those of labels, or some of all."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from terralatent.catalogs.errors import InputError
from terralatent.pipeline.accessor.sources import opened
from terralatent.pipeline.probes.dataset import at_pixels, features_of, grid_under
from terralatent.pipeline.probes.labels import LabelColumns, LabelSource, read_labels

__all__ = ["sample", "samples"]


def samples(
    latents: str | Path | xr.Dataset,
    labels: LabelSource,
    column: str,
    *,
    group: str | None = None,
    square: float | None = None,
    ignore: Sequence[str] = (),
    with_std: bool = False,
    numbers: bool = False,
) -> tuple[NDArray[np.float32], NDArray[Any], NDArray[np.intp]]:
    """Read the pixels of labels as an estimator takes them; computes: reads chunks that hold one.

    A pixel belongs to a polygon that holds its centre, or to a point within it. Of a label at most
    64 pixels are taken, evenly spread, since they are much alike.

    Args:
        latents: Latents, annual vectors or decoded bands: their path or URL, or what was opened,
            of which a part may be selected.
        labels: A file of polygons or points in any CRS, or a geopandas frame.
        column: Of the labels: their class, or their number.
        group: Column of labels that belong together, such as a farm; each is by itself by default.
        square: The same for labels in one square of this side, in metres.
        ignore: Values of the column that are no class.
        with_std: Whether standard deviations follow the means; of annual vectors, their logarithms.
        numbers: Whether values are numbers, else names.

    Returns:
        ``X`` (pixel, feature), float32, finite, dates outside, latents inside; ``y`` (pixel,), text
        (float64 with ``numbers``); ``groups`` (pixel,), for scikit-learn's ``GroupKFold``: pixels
        of one label have one number. Pixels outside every scene are left out.

    Raises:
        InputError: If there are no such labels or latents, or none of their pixels has values.

    Examples:
        >>> import terralatent as tl
        >>> X, y, groups = tl.samples("latents", "labels.geojson", "crop")
        >>> X.shape, set(y.tolist()) == {"grass", "maize"}, len(set(groups))
        ((144, 12), True, 4)
        >>> spring = tl.open_latents("latents").sel(time=slice(None, "2017-12"))
        >>> tl.samples(spring, "labels.geojson", "crop")[0].shape
        (144, 8)
    """
    data = opened(latents)
    features = features_of(data, "samples", with_std=with_std)
    columns = LabelColumns(column, group, square, None, tuple(ignore))
    found = read_labels(labels, columns, grid_under(data), numbers=numbers)
    values = at_pixels(features, found.rows, found.columns)
    seen = np.isfinite(values).all(axis=1)
    if not seen.any():
        raise InputError(
            f"All pixels of the {len(found)} labels lie where there are no values: outside every "
            "scene, or in blocks that are not done."
        )
    known = found.values if numbers else found.values.astype(str)
    return values[seen], known[found.of[seen]], found.groups[found.of[seen]]


def sample(data: xr.Dataset, n: int, *, seed: int = 0, with_std: bool = False) -> pd.DataFrame:
    """See :meth:`terralatent.pipeline.accessor.opened.Opened.sample`."""
    if n < 1:
        raise InputError(f"n is {n}; give the number of pixels, 1 or more.")
    features = features_of(data, "sample", with_std=with_std)
    height, width = features.sizes["y"], features.sizes["x"]
    drawn = 0
    while True:  # as many again as it takes to find n inside of the scenes
        drawn = min(height * width, max(2 * n, 4 * drawn))
        chosen = np.random.default_rng(seed).choice(height * width, drawn, replace=False)
        rows, columns = np.divmod(chosen, width)
        values = at_pixels(features, rows, columns)
        kept = np.flatnonzero(np.isfinite(values).all(axis=1))[:n]
        if len(kept) == n or drawn == height * width:
            break
    if not len(kept):
        raise InputError("No pixel has values here: all lie outside every scene, or are not done.")
    frame = pd.DataFrame(values[kept], columns=features["feature"].values)
    frame.insert(0, "x", features["x"].values[columns[kept]])
    frame.insert(1, "y", features["y"].values[rows[kept]])
    return frame
