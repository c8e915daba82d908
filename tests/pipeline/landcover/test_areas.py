"""Areas: the published example, polygons beside points, and what a sample must have."""

from __future__ import annotations

import numpy as np
import pytest

from terralatent.catalogs.errors import InputError
from terralatent.pipeline.landcover.areas import stratified_ratios, stratified_shares

# Olofsson et al. (2014), table 8 and section 5: mapped class by reference class of a sample of
# points, and the mapped shares of the classes.
CLASSES = ("deforestation", "forest gain", "stable forest", "stable non-forest")
COUNTS = np.array([[66, 0, 5, 4], [0, 55, 8, 12], [1, 0, 153, 11], [2, 1, 9, 313]])
SHARES = dict(zip(CLASSES, (0.020, 0.015, 0.320, 0.645), strict=True))


def sample() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Indicators of the classes and of being right, strata, sizes of single pixels."""
    mapped, true = (
        np.repeat(places.ravel(), COUNTS.ravel()) for places in np.indices(COUNTS.shape)
    )
    indicators = np.column_stack([true[:, None] == np.arange(4), mapped == true]).astype(float)
    return indicators, np.array(CLASSES, object)[mapped], np.ones(len(mapped))


def test_the_published_example_comes_out() -> None:
    deforestation, gain, *_, accuracy = stratified_shares(*sample(), SHARES)
    assert 900_000 * deforestation.value == pytest.approx(21_158, abs=1)
    assert 1.96 * 900_000 * deforestation.standard_error == pytest.approx(6_158, abs=5)
    assert 900_000 * gain.value == pytest.approx(11_686, abs=1)
    assert accuracy.value == pytest.approx(0.947, abs=5e-4)
    assert 1.96 * accuracy.standard_error == pytest.approx(0.018, abs=5e-4)


def test_users_and_producers_accuracies_are_those_of_the_error_matrix() -> None:
    """By equations 2, 3, 6 and 7 of the publication, which know counts alone."""
    indicators, strata, sizes = sample()
    mapped = (strata[:, None] == np.array(CLASSES, object)).astype(float)
    reference = indicators[:, :4]
    users, producers = (
        stratified_ratios(mapped * reference, whole, strata, sizes, SHARES)
        for whole in (mapped, reference)
    )
    n, area = COUNTS.sum(axis=1), np.array(list(SHARES.values()))
    part = COUNTS / n[:, None]
    of_reference = area @ part
    right = np.diagonal(part)
    spread = part * (1.0 - part) / (n - 1)[:, None]
    p = area * right / of_reference
    others = (area**2) @ spread - area**2 * np.diagonal(spread)
    own = area**2 * (1.0 - p) ** 2 * np.diagonal(spread)
    assert [one.value for one in users] == pytest.approx(right)
    assert [one.standard_error**2 for one in users] == pytest.approx(np.diagonal(spread))
    assert [one.value for one in producers] == pytest.approx(p)
    assert [one.standard_error**2 for one in producers] == pytest.approx(
        (own + p**2 * others) / of_reference**2
    )


def test_a_class_that_is_nowhere_has_no_accuracy() -> None:
    _, strata, sizes = sample()
    none = np.zeros((len(strata), 1))
    (found,) = stratified_ratios(none, none, strata, sizes, SHARES)
    assert np.isnan(found.value)


def test_shares_sum_to_one_and_size_matters_only_where_it_differs() -> None:
    indicators, strata, sizes = sample()
    assert sum(p.value for p in stratified_shares(indicators, strata, sizes, SHARES)[:4]) == (
        pytest.approx(1.0)
    )
    assert stratified_shares(indicators, strata, 7.0 * sizes, SHARES)[0].standard_error == (
        pytest.approx(stratified_shares(indicators, strata, sizes, SHARES)[0].standard_error)
    )


def test_polygons_are_clusters_by_a_sample_drawn_often() -> None:
    """The mean of the estimates is the truth, and their spread the standard error that is said."""
    random = np.random.default_rng(0)
    sizes = random.integers(20, 60, 4000).astype(float)
    share = np.clip(random.normal(0.4, 0.2, 4000), 0.0, 1.0)
    truth = (sizes * share).sum() / sizes.sum()
    estimates = []
    for _ in range(400):
        some = random.integers(0, 4000, 60)
        strata = np.full(60, "all", object)
        estimates += stratified_shares(share[some, None], strata, sizes[some], {"all": 1.0})
    values = np.array([estimate.value for estimate in estimates])
    errors = np.array([estimate.standard_error for estimate in estimates])
    assert values.mean() == pytest.approx(truth, abs=4 * values.std() / 20)
    assert errors.mean() == pytest.approx(values.std(), rel=0.1)


@pytest.mark.parametrize(
    ("strata", "words"),
    [
        (["a", "a", "c", "b", "b"], "stratum 'c', which is no class of the map; its classes are a"),
        (["a", "a", "a", "a", "b"], "'b' has 40.0% of the mapped area and 1 of the labels"),
    ],
)
def test_strata_without_a_sample_are_refused(strata: list[str], words: str) -> None:
    with pytest.raises(InputError, match=words):
        stratified_shares(
            np.ones((5, 1)), np.array(strata, object), np.ones(5), {"a": 0.6, "b": 0.4}
        )
