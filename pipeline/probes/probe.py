"""A probe: what is fitted to the features of labelled pixels, and cross-validated label by label.

One of some candidates is chosen, and for classes a temperature of their probabilities fitted, by
folds within the labels that are learnt from. Cross-validation does all of that anew in each of its
folds: what is scored has seen nothing of the labels that it is scored on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax
from sklearn.base import clone
from sklearn.preprocessing import StandardScaler
from sklearn.utils.validation import has_fit_parameter

from terralatent.catalogs.errors import InputError
from terralatent.pipeline.probes.estimators import Estimator, scores_of
from terralatent.pipeline.probes.folds import deal_folds
from terralatent.pipeline.probes.sample import Sample

__all__ = ["ClassProbe", "Fitted", "NumberProbe", "Probe", "cross_validate", "fit_probe"]

Array = NDArray[np.float64]

WITHOUT_WEIGHTS = 8
"""Pixels of a label at most for an estimator that takes no weights."""

TEMPERATURES = (-3.0, 5.0)
"""Natural logarithms of the lowest and the highest."""


@dataclass(frozen=True, eq=False)
class Fitted:
    """A scaler and an estimator, fitted to a sample."""

    scaler: StandardScaler
    """Brings features to mean 0 and variance 1."""

    estimator: Estimator
    """Fitted to what the scaler makes of them."""

    @classmethod
    def of(cls, estimator: Estimator, sample: Sample) -> Fitted:
        """Fit a clone of ``estimator``.

        Raises:
            InputError: If it cannot be fitted.
        """
        weighted = has_fit_parameter(estimator, "sample_weight")
        if not weighted:  # then labels count alike by having as many pixels
            sample = sample.where(sample.labels.spread(WITHOUT_WEIGHTS))
        weights = sample.labels.weights()
        weights = weights * (len(weights) / weights.sum())
        features = sample.features.astype(np.float64)
        scaler = StandardScaler().fit(features, sample_weight=weights)
        own = clone(estimator)
        if "n_neighbors" in own.get_params():
            own.set_params(n_neighbors=min(own.n_neighbors, len(features)))
        try:
            more = {"sample_weight": weights} if weighted else {}
            return cls(scaler, own.fit(scaler.transform(features), sample.target, **more))
        except (ValueError, TypeError) as error:
            raise InputError(
                f"The estimator {type(estimator).__name__} cannot be fitted to {len(features)} "
                f"pixels of {len(sample.labels)} labels: {error}"
            ) from error

    def scaled(self, features: NDArray[np.floating]) -> Array:
        """Features as the estimator saw them, (pixel, feature)."""
        return np.asarray(self.scaler.transform(features.astype(np.float64)))


class Probe(Protocol):
    """Something fitted, and what it predicts."""

    @property
    def fitted(self) -> Fitted:
        """What it predicts by."""

    @classmethod
    def fit(cls, estimator: Estimator, sample: Sample, count: int) -> Self:
        """Fit a clone of ``estimator``; ``count`` is the number of all classes."""

    @staticmethod
    def tune(outcome: Array, sample: Sample) -> tuple[float, float]:
        """By the scores of pixels that were not learnt from: its scale, and how far off it is."""

    def scaled_by(self, scale: float) -> Self:
        """The same with another scale."""

    def scores(self, features: NDArray[np.floating]) -> Array:
        """What it gives pixels, (pixel, ...), before any scale."""

    def predict(self, features: NDArray[np.floating]) -> Array:
        """What it predicts of pixels, (pixel, ...)."""


@dataclass(frozen=True, eq=False)
class ClassProbe:
    """Probabilities of classes."""

    fitted: Fitted
    """A classifier of the places of classes."""

    count: int
    """All classes, whether it saw them or not."""

    temperature: float = 1.0
    """By which scores are divided before they become probabilities."""

    @classmethod
    def fit(cls, estimator: Estimator, sample: Sample, count: int) -> Self:
        """Fit a clone of ``estimator``."""
        return cls(Fitted.of(estimator, sample), count)

    @staticmethod
    def tune(outcome: Array, sample: Sample) -> tuple[float, float]:
        """The temperature of the least log loss, and that loss in nats.

        A class that was not there to learn is no matter of temperature and left out.
        """
        target, shares = sample.target.astype(np.intp), sample.labels.shares()
        known = np.isfinite(outcome[np.arange(len(target)), target])
        if not known.any():
            return 1.0, np.inf
        rows = np.arange(int(known.sum()))
        scores, wanted, shares = outcome[known], target[known], shares[known]

        def loss(log_temperature: float) -> float:
            log_p = log_softmax(scores / np.exp(log_temperature), axis=1)[rows, wanted]
            return float(-(shares * log_p).sum() / shares.sum())

        best = minimize_scalar(loss, bounds=TEMPERATURES, method="bounded")
        return float(np.exp(best.x)), float(best.fun)

    def scaled_by(self, scale: float) -> Self:
        """The same at another temperature."""
        return replace(self, temperature=scale)

    def scores(self, features: NDArray[np.floating]) -> Array:
        """A score for each class, (pixel, class); -inf for those that were not there to learn."""
        estimator = self.fitted.estimator
        scores = np.full((len(features), self.count), -np.inf)
        own = np.asarray(estimator.classes_, dtype=np.intp)
        scores[:, own] = scores_of(estimator, self.fitted.scaled(features))
        return scores

    def predict(self, features: NDArray[np.floating]) -> Array:
        """Probabilities, (pixel, class)."""
        return np.asarray(softmax(self.scores(features) / self.temperature, axis=1))


@dataclass(frozen=True, eq=False)
class NumberProbe:
    """Numbers."""

    fitted: Fitted
    """A regressor."""

    std: float = np.nan
    """Root mean square of the residuals of pixels that were not learnt from."""

    @classmethod
    def fit(cls, estimator: Estimator, sample: Sample, count: int) -> Self:
        """Fit a clone of ``estimator``."""
        return cls(Fitted.of(estimator, sample))

    @staticmethod
    def tune(outcome: Array, sample: Sample) -> tuple[float, float]:
        """The residuals' standard deviation, and their mean square."""
        shares = sample.labels.shares()
        error = np.square(outcome - sample.target.astype(np.float64))
        loss = float((shares * error).sum() / shares.sum())
        return float(np.sqrt(loss)), loss

    def scaled_by(self, scale: float) -> Self:
        """The same with another standard deviation."""
        return replace(self, std=scale)

    def scores(self, features: NDArray[np.floating]) -> Array:
        """Numbers, (pixel,)."""
        return np.asarray(
            self.fitted.estimator.predict(self.fitted.scaled(features)), dtype=np.float64
        )

    def predict(self, features: NDArray[np.floating]) -> Array:
        """Numbers, (pixel,)."""
        return self.scores(features)


def fit_probe(
    kind: type[Probe], candidates: Sequence[Estimator], sample: Sample, count: int, seed: int
) -> Probe:
    """Fit the candidate that does best on labels unseen, and its scale. Computes.

    Args:
        kind: :class:`ClassProbe` or :class:`NumberProbe`.
        candidates: Not fitted; the first is taken where labels cannot be parted.
        sample: What is learnt from.
        count: All classes; of numbers of no meaning.
        seed: Of the folds.

    Raises:
        InputError: If a candidate cannot be fitted.
    """
    classes = sample.classes()
    folds = deal_folds(sample.labels.groups, classes, seed=seed)
    if folds.max() == 0:
        return kind.fit(candidates[0], sample, count)
    tuned = [
        kind.tune(_unseen(kind, candidate, sample, count, folds), sample)
        for candidate in candidates
    ]
    best = int(np.argmin([loss for _, loss in tuned]))
    return kind.fit(candidates[best], sample, count).scaled_by(tuned[best][0])


def cross_validate(
    kind: type[Probe], candidates: Sequence[Estimator], sample: Sample, count: int, seed: int
) -> Array:
    """Predict the pixels of each label by a probe that was fitted without it and its group.

    Args:
        kind: As for :func:`fit_probe`.
        candidates: As for :func:`fit_probe`, which chooses anew in each fold.
        sample: What is learnt from, and predicted.
        count: As for :func:`fit_probe`.
        seed: Of the folds.

    Returns:
        What :meth:`Probe.predict` gives, (pixel, ...).
    """
    folds = deal_folds(sample.labels.groups, sample.classes(), seed=seed)
    parts: list[tuple[NDArray[np.bool_], Array]] = []
    for fold in range(int(folds.max()) + 1):
        hidden = (folds == fold)[sample.labels.of]
        probe = fit_probe(kind, candidates, sample.where(~hidden), count, seed)
        parts.append((hidden, probe.predict(sample.features[hidden])))
    out = np.empty((len(sample.features), *parts[0][1].shape[1:]))
    for hidden, predicted in parts:
        out[hidden] = predicted
    return out


def _unseen(
    kind: type[Probe], candidate: Estimator, sample: Sample, count: int, folds: NDArray[np.intp]
) -> Array:
    """Scores of the pixels of each fold by what was fitted to the others."""
    classes = sample.classes()
    shape = (len(sample.features),) if classes is None else (len(sample.features), count)
    out = np.full(shape, np.nan if classes is None else -np.inf)
    for fold in range(int(folds.max()) + 1):
        if classes is not None and len(np.unique(classes[folds != fold])) < 2:
            continue  # one class is no choice
        hidden = (folds == fold)[sample.labels.of]
        probe = kind.fit(candidate, sample.where(~hidden), count)
        out[hidden] = probe.scores(sample.features[hidden])
    return out
