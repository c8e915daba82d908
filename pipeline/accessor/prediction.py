"""Any fitted estimator of scikit-learn's kind over all pixels: a map, computed when it is used."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from sklearn.base import is_regressor
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted

from terralatent.catalogs.errors import InputError
from terralatent.pipeline.accessor.sources import opened
from terralatent.pipeline.kinds import provenance
from terralatent.pipeline.probes.dataset import features_of
from terralatent.pipeline.probes.estimators import Estimator
from terralatent.pipeline.probes.legend import NONE, Legend

__all__ = ["predict"]


def predict(
    estimator: Estimator, latents: str | Path | xr.Dataset, *, with_std: bool = False
) -> xr.Dataset:
    """Predict every pixel by an estimator that was fitted to :func:`samples`; lazy, reads nothing.

    Args:
        estimator: A fitted classifier or regressor of scikit-learn's kind, also a pipeline.
        latents: What the samples were of: a path or URL, or what was opened, with the same dates.
        with_std: As for the samples.

    Returns:
        Of a classifier what :func:`~terralatent.pipeline.open_landcover` gives: ``class (y, x)``,
        uint8, 0 where there is none, with the CF attributes of its classes; and, where it has
        probabilities, ``probability (category, y, x)`` and ``entropy (y, x)`` in bits, float32, NaN
        where there is none. Of a regressor ``mean (y, x)``, float32. The CRS is kept. A dask chunk
        is predicted at once, and all features of it are in memory.

    Raises:
        InputError: If the estimator is not fitted, or was fitted to another number of features.

    Examples:
        >>> from sklearn.linear_model import LogisticRegression
        >>> import terralatent as tl
        >>> X, y, groups = tl.samples("latents", "labels.geojson", "crop")
        >>> land = tl.predict(LogisticRegression().fit(X, y), "latents")
        >>> dict(land.sizes), land["class"].attrs["class_names"], land.rio.crs.to_epsg()
        ({'y': 18, 'x': 18, 'category': 2}, ['grass', 'maize'], 32631)
    """
    data = opened(latents)
    features = features_of(data, "predict", with_std=with_std)
    _require_fit(estimator, len(features))
    if is_regressor(estimator):
        mean = _over(features, _predicted, {}, estimator=estimator, classes=None)
        made = {"mean": mean.assign_attrs(long_name="prediction", units="1")}
    else:
        made = _classes(features, estimator)
    found = xr.Dataset(made)
    for array in found.data_vars.values():
        array.encoding["grid_mapping"] = "spatial_ref"
    about = {"title": f"prediction by {type(estimator).__name__}"}
    return found.assign_attrs(provenance(data) | about)


def _classes(features: xr.DataArray, estimator: Estimator) -> dict[str, xr.DataArray]:
    names = [str(name) for name in estimator.classes_]
    legend = Legend.of(names)
    values = np.array([legend.values[legend.names.index(name)] for name in names], np.uint8)
    order = {"estimator": estimator, "classes": (estimator.classes_, values)}
    chosen = _over(features, _predicted, {}, **order)
    made = {"class": chosen.assign_attrs(long_name="class", **legend.attrs())}
    if not hasattr(estimator, "predict_proba"):
        return made
    # In the order of the legend, which sorts numbers by their size.
    places = np.argsort(values)
    probability = _over(
        features, _probabilities, {"category": len(names)}, estimator=estimator, places=places
    ).assign_coords(category=list(legend.names))
    bits = -(probability * np.log2(probability.where(probability > 0, 1.0)))
    entropy = bits.sum("category", skipna=False).astype(np.float32)
    return made | {
        "probability": probability.assign_attrs(long_name="probability of each class", units="1"),
        "entropy": entropy.assign_attrs(long_name="entropy of the classes", units="bit"),
    }


def _over(
    features: xr.DataArray, function: Any, dims: dict[str, int], **arguments: Any
) -> xr.DataArray:
    """What a function makes of the features of each pixel, (*dims, y, x); lazy."""
    dtype = np.uint8 if arguments.get("classes") is not None else np.float32
    found = xr.apply_ufunc(
        function, features, input_core_dims=[["feature"]], output_core_dims=[list(dims)],
        output_dtypes=[dtype], dask="parallelized", kwargs=arguments,
        dask_gufunc_kwargs={"output_sizes": dims}, keep_attrs=True,
    )  # fmt: skip
    return found.transpose(*dims, "y", "x")


def _predicted(
    features: NDArray[np.float32],
    *,
    estimator: Estimator,
    classes: tuple[NDArray[Any], NDArray[np.uint8]] | None,
) -> NDArray[Any]:
    """Numbers (NaN for none), or values of classes (0 for none), (...)."""
    flat, there = _flat(features)
    if classes is None:
        found: NDArray[Any] = np.full(len(flat), np.nan, np.float32)
    else:
        found = np.full(len(flat), NONE, np.uint8)
    if there.any():
        own = np.asarray(estimator.predict(flat[there]))
        if classes is not None:
            order = np.argsort(classes[0])
            own = classes[1][order[np.searchsorted(classes[0], own, sorter=order)]]
        found[there] = own
    return found.reshape(features.shape[:-1])


def _probabilities(
    features: NDArray[np.float32], *, estimator: Estimator, places: NDArray[np.intp]
) -> NDArray[np.float32]:
    """Of each class, NaN where there is none, (..., category)."""
    flat, there = _flat(features)
    found = np.full((len(flat), len(places)), np.nan, np.float32)
    if there.any():
        found[there] = np.asarray(estimator.predict_proba(flat[there]))[:, places]
    return found.reshape(*features.shape[:-1], -1)


def _flat(features: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    flat = features.reshape(-1, features.shape[-1])
    return flat, np.asarray(np.isfinite(flat).all(axis=1))


def _require_fit(estimator: Estimator, count: int) -> None:
    name = type(estimator).__name__
    try:
        check_is_fitted(estimator)
    except (NotFittedError, TypeError) as error:
        raise InputError(
            f"{name} is no fitted estimator; fit it to X, y of samples(...) first."
        ) from error
    if (wanted := getattr(estimator, "n_features_in_", count)) != count:
        raise InputError(
            f"{name} was fitted to {wanted} features, but there are {count} here; give what the "
            "samples were of: the same dates, and with_std= as then."
        )
