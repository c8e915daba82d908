"""Estimators by name: ours, scikit-learn's, or anybody's as ``module:attribute``."""

from __future__ import annotations

import importlib
import inspect
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.svm import SVC, SVR

from terralatent.catalogs.errors import InputError
from terralatent.pipeline.probes.discriminant import ShrunkDiscriminant

__all__ = ["CLASSIFIERS", "REGRESSORS", "Estimator", "find_estimators", "name_of", "scores_of"]

Estimator: TypeAlias = Any
"""Anything with scikit-learn's ``fit``, ``predict`` and ``get_params``."""

TREES = 200

LEAST = 1e-4
"""Probability whose logarithm stands for none: a forest of finite size calls things impossible."""

CLASSIFIERS: Mapping[str, Callable[[], Sequence[Estimator]]] = {
    "lda": lambda: [ShrunkDiscriminant(shrinkage) for shrinkage in (0.01, 0.03, 0.1, 0.3, 0.7)],
    "logit": lambda: [LogisticRegression(C=c, max_iter=2000) for c in (0.003, 0.03, 0.3)],
    "rf": lambda: [RandomForestClassifier(TREES, min_samples_leaf=2, n_jobs=-1)],
    "svm": lambda: [SVC(C=c) for c in (1.0, 10.0)],
    "knn": lambda: [KNeighborsClassifier(k, weights="distance") for k in (3, 15)],
}
"""Candidates of each kind, of which one is chosen by folds of the labels that are learnt from."""

REGRESSORS: Mapping[str, Callable[[], Sequence[Estimator]]] = {
    "ridge": lambda: [Ridge(alpha) for alpha in (1.0, 10.0, 100.0, 1000.0)],
    "rf": lambda: [RandomForestRegressor(TREES, min_samples_leaf=2, n_jobs=-1)],
    "svm": lambda: [SVR(C=c) for c in (1.0, 10.0)],
    "knn": lambda: [KNeighborsRegressor(k, weights="distance") for k in (3, 15)],
}


def find_estimators(
    named: str | Estimator, known: Mapping[str, Callable[[], Sequence[Estimator]]], seed: int
) -> list[Estimator]:
    """Find candidates by a name, or take an estimator as it is; not fitted, with a seed.

    ``module:attribute`` is an estimator, its class, or a function that returns one; the module is
    also looked for in the folder of this process. Runs the module's code.

    Raises:
        InputError: If there is none of that name, or it has no ``fit`` and ``predict``.
    """
    if not isinstance(named, str):
        candidates = [named]
    elif named in known:
        candidates = list(known[named]())
    elif ":" in named:
        candidates = [_load(named)]
    else:
        raise InputError(
            f"There is no estimator {named!r}; give {', '.join(known)}, or any of scikit-learn's "
            "kind as module:attribute."
        )
    return [_seeded(candidate, named, seed) for candidate in candidates]


def scores_of(estimator: Estimator, features: NDArray[np.floating]) -> NDArray[np.float64]:
    """What a fitted classifier gives each class, whose softmax are probabilities; (n, classes)."""
    if hasattr(estimator, "decision_function"):
        scores = np.asarray(estimator.decision_function(features), dtype=np.float64)
        if scores.ndim == 1:  # of two classes the second, beside none
            scores = np.stack([-0.5 * scores, 0.5 * scores], axis=1)
        return scores
    return np.asarray(np.log(np.clip(estimator.predict_proba(features), LEAST, 1.0)))


def _load(name: str) -> Estimator:
    module, _, attribute = name.partition(":")
    if os.getcwd() not in sys.path:  # where worker processes of this machine find it too
        sys.path.append(os.getcwd())
    try:
        found: Any = reduce(getattr, attribute.split("."), importlib.import_module(module))
        made = isinstance(found, type) or inspect.isfunction(found)
        return found() if made else found
    except Exception as error:  # a module may fail in any way while it is run
        raise InputError(
            f"The estimator {name} cannot be loaded ({type(error).__name__}: {error}); its module "
            "must be installed, or lie in the folder where the command is run, here and on every "
            "worker."
        ) from error


def name_of(estimator: str | Estimator) -> str:
    """An estimator in a store's identity: its name, or its class and its choices."""
    if isinstance(estimator, str):
        return estimator
    own = type(estimator)
    choices = ", ".join(f"{name}={value!r}" for name, value in estimator.get_params().items())
    return f"{own.__module__}:{own.__qualname__}({choices})"


def _seeded(estimator: Estimator, named: object, seed: int) -> Estimator:
    if not all(hasattr(estimator, part) for part in ("fit", "predict", "get_params")):
        raise InputError(
            f"{named} is a {type(estimator).__name__}, which has no fit, predict and get_params as "
            "scikit-learn's estimators have."
        )
    own = clone(estimator)
    seeds = {
        name: seed
        for name, value in own.get_params().items()
        if name.rpartition("__")[2] == "random_state" and value is None
    }
    return own.set_params(**seeds)
