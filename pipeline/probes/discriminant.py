r"""Linear discriminant analysis with weights, whose covariance is shrunk towards the identity.

Classes are Gaussian with means of their own and one covariance. With weights that sum to W,

.. math:: \Sigma = (1 - \gamma) S + \gamma \, \frac{\operatorname{tr} S}{F} I, \qquad
    S = \frac{1}{W} \sum_i w_i (x_i - \mu_{c(i)}) (x_i - \mu_{c(i)})^T

scikit-learn's own takes no weights, and chooses :math:`\gamma` as if pixels were independent; here
it is an argument, chosen by folds that keep the pixels of a polygon together.

References:
    | Regularized discriminant analysis (Friedman, 1989)
"""

from __future__ import annotations

from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import cho_factor, cho_solve
from scipy.special import softmax
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_is_fitted

__all__ = ["ShrunkDiscriminant"]

FLOOR = 1e-9
"""Of the variance of a feature beside the mean variance, so that constant ones do no harm."""


class ShrunkDiscriminant(ClassifierMixin, BaseEstimator):
    """A linear classifier with probabilities; see the module.

    Args:
        shrinkage: From 0, the covariance as it is, to 1, none between features.
    """

    def __init__(self, shrinkage: float = 0.1) -> None:
        self.shrinkage = shrinkage

    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:  # noqa: N803
        """Fit means, covariance and priors.

        Args:
            X: Features, (n, F).
            y: Classes, (n,).
            sample_weight: Not negative, (n,); all 1 by default.
        """
        features = np.asarray(X, dtype=np.float64)
        weights = np.ones(len(features)) if sample_weight is None else np.asarray(sample_weight)
        self.classes_, own = np.unique(np.asarray(y), return_inverse=True)
        total = np.bincount(own, weights)
        sums = np.zeros((len(total), features.shape[1]))
        np.add.at(sums, own, features * weights[:, None])
        self.means_: NDArray[np.float64] = sums / total[:, None]
        self.priors_: NDArray[np.float64] = total / total.sum()
        within = features - self.means_[own]
        covariance = (within * weights[:, None]).T @ within / total.sum()
        mean_variance = np.trace(covariance) / len(covariance)
        shrunk = (1.0 - self.shrinkage) * covariance
        shrunk.flat[:: len(shrunk) + 1] += (self.shrinkage + FLOOR) * mean_variance or 1.0
        self.coef_ = cho_solve(cho_factor(shrunk), self.means_.T).T
        self.intercept_ = np.log(self.priors_) - 0.5 * (self.coef_ * self.means_).sum(axis=1)
        self.n_features_in_ = features.shape[1]
        return self

    def decision_function(self, X: ArrayLike) -> NDArray[np.float64]:  # noqa: N803
        """Log joint density of each class but for what all share, (n, classes)."""
        check_is_fitted(self)
        return np.asarray(np.asarray(X, dtype=np.float64) @ self.coef_.T + self.intercept_)

    def predict_proba(self, X: ArrayLike) -> NDArray[np.float64]:  # noqa: N803
        """Posterior probabilities, (n, classes)."""
        return np.asarray(softmax(self.decision_function(X), axis=1))

    def predict(self, X: ArrayLike) -> NDArray[np.generic]:  # noqa: N803
        """The most probable class, (n,)."""
        return np.asarray(self.classes_[self.decision_function(X).argmax(axis=1)])
