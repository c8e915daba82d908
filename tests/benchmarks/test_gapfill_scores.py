"""Laws of what the benchmarks measure: scores of predictions, and which acquisitions are hidden."""

from __future__ import annotations

import math
import shutil
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import integrate, stats

from benchmarks.gapfill import results
from benchmarks.gapfill.cubes import PixelObservations, nearest_observation, prepare
from benchmarks.gapfill.holdouts import KINDS, clear_development, development, reported, sort_out
from benchmarks.gapfill.scoring import (
    GAPS,
    GAUSSIAN,
    LEVELS,
    MEASURES,
    Predicted,
    cells,
    standard_scores,
    value_scores,
)
from terralatent.models.sensor.likelihoods import StudentT
from tests.made.catalogue import add_sentinel_2, optical, write_catalogue

Array = NDArray[np.floating]

DOF = 4.0
POINTS = np.array([-5.0, -1.3, -0.2, 0.0, 0.7, 2.5, 9.0])


def student(dof: float = DOF) -> tuple[Array, Array]:
    tau, log_weight = StudentT(dof).mixture()
    return tau.numpy(), log_weight.exp().numpy()


def of_both(share: float) -> stats.rv_continuous:
    """sqrt(1 - share) * Gaussian + sqrt(share) * Student-t, by numerical convolution."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(80)
    shift = math.sqrt(1 - share) * nodes
    weights = weights / weights.sum()

    class Both:
        def cdf(self, x: float) -> float:
            return float(weights @ stats.t.cdf((x - shift) / math.sqrt(share), DOF))

        def pdf(self, x: float) -> float:
            return float(weights @ stats.t.pdf((x - shift) / math.sqrt(share), DOF) / share**0.5)

    return Both()


def crps_by_integral(cdf: object, y: float) -> float:
    """The definition: the squared distance of the cdf from the step at y."""
    below, _ = integrate.quad(lambda x: cdf(x) ** 2, -200, y, limit=400)  # type: ignore[operator]
    above, _ = integrate.quad(lambda x: (1 - cdf(x)) ** 2, y, 200, limit=400)  # type: ignore[operator]
    return below + above


def test_a_gaussian_has_the_known_crps_density_and_level() -> None:
    for share in (0.0, 0.3, 1.0):
        density, crps, central = standard_scores(POINTS, np.full(7, share), GAUSSIAN)
        known = POINTS * (2 * stats.norm.cdf(POINTS) - 1) + 2 * stats.norm.pdf(POINTS)
        np.testing.assert_allclose(crps, known - 1 / math.sqrt(math.pi), atol=1e-12)
        np.testing.assert_allclose(density, stats.norm.logpdf(POINTS), atol=1e-12)
        np.testing.assert_allclose(central, np.abs(2 * stats.norm.cdf(POINTS) - 1), atol=1e-12)


@pytest.mark.parametrize("share", [0.2, 0.77, 1.0])
def test_heavy_tails_give_the_integrals_of_their_definition(share: float) -> None:
    both = of_both(share)
    density, crps, central = standard_scores(POINTS, np.full(7, share), student())
    for place, y in enumerate(POINTS):
        assert density[place] == pytest.approx(math.log(both.pdf(y)), abs=2e-5)
        assert central[place] == pytest.approx(abs(2 * both.cdf(y) - 1), abs=2e-5)
        assert crps[place] == pytest.approx(crps_by_integral(both.cdf, y), abs=2e-4)


def a_prediction(rng: np.random.Generator, shape: tuple[int, ...]) -> Predicted:
    mean, signal = rng.normal(0.2, 0.1, shape), rng.uniform(1e-4, 1e-3, shape)
    noise = rng.uniform(1e-4, 1e-3, shape)
    reach = stats.norm.ppf(0.95) * np.sqrt(signal + noise)
    return Predicted(mean, signal, noise, mean - reach, mean + reach)


def test_the_interval_score_is_the_pinball_loss_of_both_quantiles() -> None:
    rng = np.random.default_rng(0)
    predicted = a_prediction(rng, (5, 4, 3))
    truth = predicted.mean + rng.normal(0, 0.06, (5, 4, 3))
    pixel, time = np.nonzero(np.ones((5, 4), bool))
    scores = value_scores(predicted, truth, pixel, time)

    def pinball(quantile: Array, level: float) -> Array:
        return np.where(truth > quantile, level, level - 1) * (truth - quantile)

    both = pinball(predicted.low, 0.05) + pinball(predicted.high, 0.95)
    np.testing.assert_allclose(scores["interval"].ravel(), 2 / 0.1 * both.ravel())
    within = (truth >= predicted.low) & (truth <= predicted.high)
    np.testing.assert_array_equal(scores["in90"].ravel(), within.ravel())


def test_what_is_drawn_from_the_prediction_is_covered_as_stated() -> None:
    rng, count = np.random.default_rng(1), 40_000
    signal, noise = np.full((count, 1, 1), 0.7), np.full((count, 1, 1), 2.0)
    mean = np.zeros((count, 1, 1))
    truth = math.sqrt(0.7) * rng.normal(size=mean.shape)
    truth += math.sqrt(2.0) * rng.standard_t(DOF, mean.shape)
    means = {}
    for factor in (0.7, 1.0, 1.4):
        predicted = Predicted(mean, factor * signal, factor * noise, mean, mean, mixture=student())
        scores = value_scores(predicted, truth, *np.nonzero(np.ones((count, 1), bool)))
        means[factor] = scores["crps"].mean(), scores["nll"].mean()
        if factor == 1.0:
            assert scores["in50"].mean() == pytest.approx(0.5, abs=0.01)
            assert (scores["central"] < 0.9).mean() == pytest.approx(0.9, abs=0.01)
    # Both scores are proper: no other prediction does better than the truth.
    assert all(means[1.0][k] < min(means[0.7][k], means[1.4][k]) for k in (0, 1))


def test_cells_hold_the_sums_over_all_values() -> None:
    rng = np.random.default_rng(2)
    shape = (30, 6, 2)
    predicted = a_prediction(rng, shape)
    truth = predicted.mean + rng.normal(0, 0.04, shape)
    clear = rng.random(shape[:2]) < 0.7
    clean = clear & (rng.random(shape[:2]) < 0.6)
    kinds, gaps = rng.integers(0, 4, 6), rng.uniform(0, 30, shape[:2])
    gaps[0, 0] = np.inf
    summed = cells(predicted, truth, clear, clean, kinds, 4, gaps)
    expected = np.zeros((2, 4, len(GAPS), 2, 3))
    for pixel, time, band in np.ndindex(*shape):
        gap = sum(gaps[pixel, time] >= edge for edge in (2, 5, 10, 20))
        error = truth[pixel, time, band] - predicted.mean[pixel, time, band]
        for number, counts in enumerate((clear, clean)):
            if counts[pixel, time]:
                expected[number, kinds[time], gap, band] += (1, error**2, abs(error))
    sums = summed["sums"]
    assert isinstance(sums, dict)
    assert tuple(sums) == MEASURES
    for place, name in enumerate(("n", "square", "absolute")):
        np.testing.assert_allclose(sums[name], expected[..., place], atol=1e-12)
    central = np.array(summed["central"])
    assert central.shape == (2, len(GAPS), LEVELS)
    np.testing.assert_array_equal(central.sum(2), expected[..., 0].sum((1, 3)))
    np.testing.assert_allclose(central[0, :, : LEVELS // 2].sum(), np.sum(sums["in50"][0]))


def test_shares_of_the_reference_are_means_over_rotations() -> None:
    def record(square: float, count: int) -> dict[str, object]:
        sums = {name: np.zeros((2, 4, len(GAPS), 1)) for name in MEASURES}
        sums["n"][0, 1, 2] = count
        sums["square"][0, 1, 2] = square * count
        return {"sums": sums}

    # Two seeds on the first rotation, one on the second, none on the third.
    collected = results.Results(
        {"mine": {"a": [record(0.04, 10), record(0.16, 10)], "b": [record(0.01, 40)]}},
        {"a": record(0.25, 10), "b": record(0.04, 40), "c": record(9.0, 5)},
    )
    assert collected.ratio("mine") == pytest.approx((0.55, 0.5, 0.6))
    assert collected.mean("mine")["rmse"] == pytest.approx(0.2)
    pooled = results.figures(collected.pooled("mine"), np.s_[:, 2])["rmse"]
    assert pooled == pytest.approx(math.sqrt((0.4 + 1.6 + 0.4) / 60))
    against = results.figures(collected.against("mine"), np.s_[:, 2])["rmse"]
    assert against == pytest.approx(math.sqrt((2 * 2.5 + 1.6) / 60))
    assert math.isnan(results.figures(collected.pooled("mine"), np.s_[:, 0])["rmse"])


def calendar(seed: int) -> tuple[Array, Array]:
    """Days and clear shares much like those of a year and a quarter in Flanders."""
    rng = np.random.default_rng(seed)
    days = 17_000 + np.cumsum(rng.choice([2.0, 3.0, 5.0], 130))
    return days, rng.choice([0.0, 0.3, 0.95, 1.0], 130, p=[0.4, 0.14, 0.2, 0.26])


@pytest.mark.parametrize("seed", range(4))
def test_reported_rotations_keep_their_rules(seed: int) -> None:
    days, share = calendar(seed)
    sets = sort_out(share)
    plan = reported(days, share, seed)
    assert plan == reported(days, share, seed)
    assert [rotation.name for rotation in plan] == [f"reported-{r}" for r in range(4)]
    scattered: list[int] = []
    windows = []
    for number, rotation in enumerate(plan):
        lengths = [round(end - start) for start, end in rotation.windows]
        assert lengths == [15, (45, 90)[number % 2]]
        mine = [
            at for at, kind in zip(rotation.scored, rotation.kinds, strict=True) if kind == KINDS[0]
        ]
        assert len(mine) == 8
        assert (np.diff(np.searchsorted(sets.clear, mine)) > 1).all()
        scattered += mine
        within = {
            at for a, b in rotation.windows for at in np.flatnonzero((days >= a) & (days < b))
        }
        assert set(rotation.hidden) == within | set(mine)
        assert set(rotation.scored) == set(rotation.hidden) & set(sets.reported.tolist())
        for at, kind in zip(rotation.scored, rotation.kinds, strict=True):
            inside = [
                n for n, (a, b) in zip(lengths, rotation.windows, strict=True) if a <= days[at] < b
            ]
            assert kind == (f"{inside[0]} days" if inside else KINDS[0])
        windows += [(length, *span) for length, span in zip(lengths, rotation.windows, strict=True)]
        for length, (start, end) in zip(lengths, rotation.windows, strict=True):
            count = ((days[sets.clear] >= start) & (days[sets.clear] < end)).sum()
            assert count >= {15: 2, 45: 4, 90: 8}[length]
    assert len(set(scattered)) == len(scattered)
    for (length, start, end), (other, begin, stop) in combinations(windows, 2):
        assert length != other or stop <= start or end <= begin


def test_what_settings_are_chosen_on_is_never_reported() -> None:
    days, share = calendar(0)
    sets = sort_out(share)
    chosen_on = {at for rotation in development(days, share) for at in rotation.scored}
    scored = {at for rotation in reported(days, share) for at in rotation.scored}
    assert chosen_on == set(sets.development.tolist())
    of_clear = [at for rotation in clear_development(days, share) for at in rotation.scored]
    assert set(of_clear) == chosen_on & set(sets.clear.tolist())
    assert not set(of_clear) & set(sets.reported.tolist())
    assert not chosen_on & scored
    assert all(share[at] > 0.85 for at in scored)


def test_a_calendar_that_is_too_short_is_refused() -> None:
    days, share = calendar(0)
    with pytest.raises(ValueError, match="take a longer period"):
        reported(days[:30], share[:30])
    with pytest.raises(ValueError, match="take a longer period"):
        development(days[:20], share[:20])


def test_the_nearest_observation_is_of_any_sensor_and_never_hidden() -> None:
    days = np.array([0.0, 4.0, 10.0, 30.0])
    clear = np.array([[True, True, True, True], [False, True, True, False]])
    other = (np.array([13.0]), np.array([[False], [True]]))
    observations = PixelObservations(
        times=days.astype("datetime64[D]").astype("datetime64[us]"),
        days=days,
        bands=("B02",),
        values=np.zeros((2, 4, 1)),
        clear=clear,
        clean=clear,
        inside=np.ones(2, bool),
        shape=(1, 2),
        others=(other,),
    )
    nearest = nearest_observation(observations, days[[2]], hidden=(1, 2))
    np.testing.assert_array_equal(nearest, [[10.0], [3.0]])


@pytest.mark.soak
def test_another_catalogue_with_acquisitions_of_the_same_names_is_read_anew(
    tmp_path: Path,
) -> None:
    first, second = (write_catalogue(tmp_path / name) for name in ("first", "second"))
    shutil.rmtree(second / "sentinel-2-l2a" / "S2_A")
    changed = optical(np.random.default_rng(9))
    add_sentinel_2(second, "2018-05-01T10:50:00Z", changed, name="S2_A")
    work = tmp_path / "work"
    before, after = (prepare(catalogue, work).values for catalogue in (first, second))
    assert before.shape == after.shape
    assert not np.allclose(before[:, 0], after[:, 0])
    np.testing.assert_array_equal(before[:, 1:], after[:, 1:])
