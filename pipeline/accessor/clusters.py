"""Pixels that are alike, in k clusters: fitted to a bounded part of the map, predicted lazily."""

from __future__ import annotations

import warnings

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from sklearn.cluster import MiniBatchKMeans
from sklearn.exceptions import ConvergenceWarning

from terralatent.catalogs.errors import InputError
from terralatent.pipeline.kinds import kind_of
from terralatent.pipeline.overviews.thinned import thinned
from terralatent.pipeline.probes.dataset import features_of

__all__ = ["cluster"]

NONE = 0
MOST = 254
"""Clusters that a byte has room for, beside none."""


def cluster(data: xr.Dataset, k: int, *, seed: int = 0) -> xr.DataArray:
    """See :meth:`terralatent.pipeline.accessor.opened.Opened.cluster`."""
    if not 2 <= k <= MOST:
        raise InputError(f"k is {k}; give 2 to {MOST} clusters.")
    features = features_of(data, "cluster")
    some = thinned(features).transpose("y", "x", "feature").values.reshape(-1, len(features))
    some = some[np.isfinite(some).all(axis=1)]
    if len(some) < k:
        raise InputError(f"{len(some)} pixels have values here; {k} clusters want as many or more.")
    # Means of latents and of annual vectors are in units that compare; those of bands are not.
    scale = some.std(axis=0) if kind_of(data) == "bands" else np.ones(some.shape[1], np.float32)
    scale = np.where(scale > 0, scale, 1.0).astype(np.float32)
    fitted = MiniBatchKMeans(k, random_state=seed, n_init=3)
    with warnings.catch_warnings():  # of fewer distinct pixels than clusters: some stay empty
        warnings.simplefilter("ignore", ConvergenceWarning)
        own = fitted.fit_predict(some / scale)
    # The largest is 1: numbers of a clustering have no meaning of their own.
    rank = np.empty(k, np.uint8)
    rank[np.argsort(-np.bincount(own, minlength=k), kind="stable")] = np.arange(1, k + 1)
    labels = xr.apply_ufunc(
        _nearest, features, input_core_dims=[["feature"]], output_dtypes=[np.uint8],
        dask="parallelized", kwargs={"fitted": fitted, "scale": scale, "rank": rank},
        keep_attrs=True,
    ).rename("cluster")  # fmt: skip
    labels.encoding["grid_mapping"] = "spatial_ref"
    return labels.transpose("y", "x").assign_attrs(
        long_name=f"one of {k} clusters; 0: none", flag_values=list(range(1, k + 1)),
        flag_meanings=" ".join(f"cluster_{n}" for n in range(1, k + 1)),
    )  # fmt: skip


def _nearest(
    features: NDArray[np.float32],
    *,
    fitted: MiniBatchKMeans,
    scale: NDArray[np.float32],
    rank: NDArray[np.uint8],
) -> NDArray[np.uint8]:
    """The cluster of each pixel, (..., feature) to (...), 0 for none."""
    flat = features.reshape(-1, features.shape[-1])
    there = np.isfinite(flat).all(axis=1)
    found = np.full(len(flat), NONE, np.uint8)
    if there.any():
        found[there] = rank[fitted.predict(flat[there] / scale)]
    return found.reshape(features.shape[:-1])
