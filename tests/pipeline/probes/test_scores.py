"""Scores: worked out by hand, and what must not move them."""

from __future__ import annotations

import numpy as np
import pytest

from terralatent.pipeline.probes.labels import Labels
from terralatent.pipeline.probes.legend import Legend
from terralatent.pipeline.probes.scores import score_classes, score_numbers

LEGEND = Legend.of(["a", "b"])


def labels(of: list[int], groups: list[int] | None = None) -> Labels:
    """Labels of so many pixels each."""
    count = max(of) + 1
    return Labels(
        values=np.empty(count, object),
        groups=np.arange(count) if groups is None else np.array(groups),
        strata=None,
        rows=np.zeros(len(of), np.intp),
        columns=np.arange(len(of)),
        of=np.array(of),
        sizes=np.bincount(of),
    )


def probabilities(of_b: list[float]) -> np.ndarray:
    return np.column_stack([1.0 - np.array(of_b), of_b])


def test_each_label_counts_as_much_as_another() -> None:
    """Three labels: one pixel right; one of four half right; one of two wrong."""
    of = [0, 1, 1, 1, 1, 2, 2]
    target = np.array([0, 1, 1, 1, 1, 0, 0])
    guess = probabilities([0.1, 0.9, 0.9, 0.2, 0.2, 0.7, 0.7])

    scores = score_classes(guess, target, labels(of), LEGEND)

    assert scores.accuracy.value == pytest.approx((1.0 + 0.5 + 0.0) / 3)
    assert scores.pixel_accuracy == pytest.approx(3 / 7)
    assert np.array(scores.confusion) == pytest.approx(np.array([[1.0, 1.0], [0.5, 0.5]]))
    assert scores.f1 == pytest.approx((2 * 1.0 / (2 + 1.5), 2 * 0.5 / (1 + 1.5)))
    assert scores.macro_f1.value == pytest.approx(np.mean(scores.f1))
    assert scores.accuracy.low <= scores.accuracy.value <= scores.accuracy.high


def test_many_pixels_of_a_label_change_no_score_and_no_interval() -> None:
    random = np.random.default_rng(0)
    target, guess = random.integers(0, 2, 40), random.random(40)
    single = score_classes(probabilities(list(guess)), target, labels(list(range(40))), LEGEND)
    of = np.repeat(np.arange(40), 9)
    many = score_classes(probabilities(list(guess[of])), target[of], labels(list(of)), LEGEND)
    assert vars(many.accuracy) == pytest.approx(vars(single.accuracy))
    assert vars(many.macro_f1) == pytest.approx(vars(single.macro_f1))
    assert many.calibration_error == pytest.approx(single.calibration_error, abs=1e-6)


def test_an_interval_is_wider_where_labels_come_in_groups() -> None:
    random = np.random.default_rng(1)
    group = np.arange(60) // 6
    right = (random.random(10) < 0.6)[group]
    guess = probabilities(list(np.where(right, 0.2, 0.8)))
    target = np.zeros(60, np.intp)
    alone = score_classes(guess, target, labels(list(range(60))), LEGEND).accuracy
    together = score_classes(guess, target, labels(list(range(60)), list(group)), LEGEND).accuracy
    assert together.value == alone.value
    assert together.high - together.low > 1.5 * (alone.high - alone.low)


@pytest.mark.soak  # statistics of many draws
def test_probabilities_that_hold_are_called_calibrated_and_others_are_not() -> None:
    random = np.random.default_rng(2)
    of_b = random.random(20_000)
    target = (random.random(20_000) < of_b).astype(np.intp)
    each = labels(list(range(20_000)))
    good = score_classes(probabilities(list(of_b)), target, each, LEGEND)
    sure = score_classes(probabilities(list(of_b > 0.5)), target, each, LEGEND)
    assert good.bins == 15
    assert good.calibration_error < 0.02
    assert sure.calibration_error == pytest.approx(1.0 - sure.accuracy.value)
    accuracies = [accuracy for _, accuracy in good.kept]
    assert accuracies[0] == pytest.approx(good.accuracy.value)
    assert accuracies == sorted(accuracies)


def test_numbers_are_scored_by_the_mean_of_a_label() -> None:
    of = [0, 0, 1, 2, 2, 2]
    target = np.array([1.0, 1.0, 2.0, 4.0, 4.0, 4.0])
    predicted = np.array([0.0, 2.0, 3.0, 4.0, 5.0, 6.0])

    scores = score_numbers(predicted, target, labels(of))

    true, mean = np.array([1.0, 2.0, 4.0]), np.array([1.0, 3.0, 5.0])
    assert scores.rmse.value == pytest.approx(np.sqrt(2 / 3))
    assert scores.r2.value == pytest.approx(1 - 2 / ((true - true.mean()) ** 2).sum())
    assert scores.bias == pytest.approx((mean - true).mean())
    assert scores.pixel_std == pytest.approx(np.sqrt((1.0 + 1.0 + 5 / 3) / 3))
