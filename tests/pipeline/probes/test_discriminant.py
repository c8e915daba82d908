"""The discriminant with weights, beside scikit-learn's without."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from terralatent.pipeline.probes.discriminant import ShrunkDiscriminant


def made_up(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    y = random.integers(0, 3, 90)
    mixing = random.normal(size=(6, 6))
    return random.normal(size=(90, 6)) @ mixing + 2.0 * random.normal(size=(3, 6))[y], y


@pytest.mark.parametrize("shrinkage", [0.0, 0.2, 1.0])
def test_without_weights_it_is_that_of_scikit_learn(shrinkage: float) -> None:
    x, y = made_up()
    ours = ShrunkDiscriminant(shrinkage).fit(x, y)
    theirs = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=shrinkage).fit(x, y)

    np.testing.assert_allclose(ours.predict_proba(x), theirs.predict_proba(x), atol=1e-6)
    np.testing.assert_array_equal(ours.predict(x), theirs.predict(x))


def test_a_whole_weight_is_so_many_rows() -> None:
    x, y = made_up(1)
    weights = np.random.default_rng(2).integers(0, 4, len(y))

    weighted = ShrunkDiscriminant(0.1).fit(x, y, sample_weight=weights)
    repeated = ShrunkDiscriminant(0.1).fit(np.repeat(x, weights, axis=0), np.repeat(y, weights))

    np.testing.assert_allclose(
        weighted.decision_function(x), repeated.decision_function(x), rtol=1e-8, atol=1e-8
    )


def test_a_feature_that_never_changes_does_no_harm() -> None:
    x, y = made_up(3)
    constant = np.column_stack([x, np.full(len(x), 7.0)])

    with_it = ShrunkDiscriminant(0.0).fit(constant, y).predict(constant)

    np.testing.assert_array_equal(with_it, ShrunkDiscriminant(0.0).fit(x, y).predict(x))
