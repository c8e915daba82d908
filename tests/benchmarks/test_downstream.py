"""The protocol keeps what it hides, and its figures are those of plain definitions."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score

from benchmarks.downstream import ucr_crop
from benchmarks.downstream.canada import FOLDS, MONTHS, Crops, read_canada
from benchmarks.downstream.feature_sets import RAW, Setting, of_file
from benchmarks.downstream.missing import IN_SEASON, MISSING, hide
from benchmarks.downstream.probes import PROBES, class_shares, map_temperature, probe, tune
from benchmarks.downstream.rows import ALL, Row, RowResult, draw_labels, read_row, run_rows
from benchmarks.downstream.scores import calibration_error, paired, score
from benchmarks.downstream.whitening import discriminant_scores, rotate
from terralatent.pipeline.probes.discriminant import ShrunkDiscriminant
from terralatent.pipeline.probes.labels import Labels
from terralatent.pipeline.probes.probe import ClassProbe
from terralatent.pipeline.probes.sample import Sample

CELLS, EACH = 20, 12
CODES = (1110, 1120)


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two crops whose near infrared peaks in other months, some months missing."""
    draw = np.random.default_rng(0)
    parts = []
    for pixel in range(CELLS * EACH):
        crop = CODES[pixel % 2]
        dates = pd.date_range("2017-01-01", periods=15, freq="MS")
        rows = pd.DataFrame({"sample": pixel, "date": dates, "lon": 0.0, "lat": 0.0})
        rows["cell"], rows["crop"] = pixel // EACH, crop
        peak = 5 + 3 * (pixel % 2)
        green = np.exp(-0.5 * ((np.arange(15) - peak) / 1.5) ** 2)
        for band in ("B02", "B03", "B04", "B05", "B06", "B07", "B08", "B11", "B12"):
            level = 0.1 + 0.3 * green * (band in ("B06", "B07", "B08"))
            rows[band] = (level * np.exp(0.2 * draw.standard_normal(15))).astype(np.float32)
        rows.loc[draw.random(15) < 0.1, rows.columns[6:15]] = np.nan
        for band, at in (("VV", -10.0), ("VH", -16.0)):
            rows[band] = (at + draw.standard_normal(15)).astype(np.float32)
        parts.append(rows)
    path = tmp_path_factory.mktemp("table") / "canada-2017.parquet"
    pd.concat(parts).to_parquet(path, index=False)
    return path


@pytest.fixture(scope="module")
def crops(table: Path) -> Crops:
    return read_canada(table)


def setting(crops: Crops, kind: str = "none", fold: int = 0) -> Setting:
    return Setting(crops, crops.folds[fold], kind, Path(), 0)


def test_folds_part_cells_and_hide_every_pixel_once(crops: Crops, table: Path) -> None:
    assert crops.values.shape == (CELLS * EACH, MONTHS, 11)
    assert len(crops.folds) == FOLDS
    tested = np.concatenate([fold.test for fold in crops.folds])
    assert sorted(tested) == list(range(CELLS * EACH))
    for fold in crops.folds:
        assert not set(crops.cells[fold.training]) & set(crops.cells[fold.test])
    other = read_canada(table, seed=1)
    assert [set(fold.test) for fold in other.folds] != [set(fold.test) for fold in crops.folds]


def test_labels_are_of_training_cells_and_fewer_are_among_more(crops: Crops) -> None:
    for fold in crops.folds:
        few, more = (draw_labels(crops, fold, count, 3) for count in (5, 20))
        assert set(few) <= set(more) <= set(fold.training)
        assert np.bincount(crops.target[few]).tolist() == [5, 5]
        assert set(draw_labels(crops, fold, ALL, 0)) == set(fold.training)


@pytest.mark.parametrize("name", RAW)
def test_a_hidden_value_moves_no_feature(crops: Crops, name: str) -> None:
    """Whatever stood where something is missing of the test cells: all features are the same."""
    fold = crops.folds[0]
    hidden = hide("50 %", len(crops.target), MONTHS, seed=0)
    hidden[fold.training] = False
    found = RAW[name](setting(crops, "50 %"))
    sensors = {
        sensor: replace(
            own, values=np.where(hidden[..., place].reshape(-1, 1), np.float32(0.9), own.values)
        )
        for place, (sensor, own) in enumerate(crops.series.sensors.items())
    }
    changed = replace(crops, series=replace(crops.series, sensors=sensors))
    assert np.isfinite(found).all()
    np.testing.assert_array_equal(RAW[name](setting(changed, "50 %")), found)


@pytest.mark.parametrize("kind", [*MISSING, *IN_SEASON])
def test_what_is_missing_is_as_much_as_its_name_says(kind: str) -> None:
    hidden = hide(kind, 50, MONTHS, seed=0)
    months = hidden.all(axis=2).sum(axis=1)
    wanted = {"none": 0, "30 %": 4, "50 %": 6, "70 %": 8, "3 months": 3}
    if kind in wanted:
        assert (months == wanted[kind]).all()
    elif kind in IN_SEASON:
        assert (hidden[:, IN_SEASON[kind] :]).all()
        assert not hidden[:, : IN_SEASON[kind]].any()
    else:
        assert hidden.all(axis=1).sum(axis=1).tolist() == [1] * 50
    if kind == "3 months":
        assert all(np.ptp(np.flatnonzero(own)) == 2 for own in hidden.all(axis=2))


@pytest.mark.parametrize("count", [40, 200])
def test_discriminants_are_those_of_the_package(count: int) -> None:
    draw = np.random.default_rng(1)
    features = draw.normal(size=(count, 60)) * np.linspace(0.2, 3.0, 60)
    target, others = draw.integers(0, 4, count), draw.normal(size=(30, 60))
    for shrinkage in (0.03, 0.3, 1.0):
        (own,) = discriminant_scores(features, target, others, (shrinkage,))
        wanted = ShrunkDiscriminant(shrinkage).fit(features, target).decision_function(others)
        shared = [each - each.mean(axis=1, keepdims=True) for each in (own, wanted)]
        np.testing.assert_allclose(*shared, atol=1e-5)


def test_whitened_features_are_white_over_training_pixels() -> None:
    draw = np.random.default_rng(2)
    features = draw.normal(size=(300, 8)) @ draw.normal(size=(8, 8))
    features[:, 3] = 7.0  # says nothing
    training = np.arange(200)
    rotated = rotate(features, training)
    white = rotated.white(0.0)[training]
    np.testing.assert_allclose(white.T @ white / 200, np.eye(7), atol=1e-9)
    plain = rotated.white(1.0)
    scaled = (features - features[training].mean(0)) / features[training].std(0).clip(1e-9)
    between = [np.linalg.norm(own[0] - own[1]) for own in (plain, np.delete(scaled, 3, axis=1))]
    assert between[0] == pytest.approx(between[1])


@pytest.mark.parametrize("name", PROBES)
def test_a_probe_reads_no_label_but_those_it_was_given(crops: Crops, name: str) -> None:
    fold = crops.folds[0]
    features = rotate(RAW["raw, whitened"](setting(crops)), fold.training)
    labelled = draw_labels(crops, fold, 5, 0)
    others = np.setdiff1d(np.arange(len(crops.target)), labelled)
    shuffled = crops.target.copy()
    shuffled[others] = 1 - shuffled[others]
    unlabelled = np.setdiff1d(fold.training, labelled)
    found = [
        probe(name, features, target, crops.cells, labelled, unlabelled, fold.test, 2)
        for target in (crops.target, shuffled)
    ]
    np.testing.assert_array_equal(found[0].probabilities, found[1].probabilities)
    np.testing.assert_allclose(found[0].probabilities.sum(axis=1), 1.0)
    assert (found[0].probabilities.argmax(axis=1) == crops.target[fold.test]).mean() > 0.7


def test_a_temperature_is_that_of_the_package_and_weights_repeat_labels() -> None:
    draw = np.random.default_rng(6)
    own, scores = draw.integers(0, 3, 80), draw.normal(size=(80, 3))
    scores[np.arange(80), own] += 1.0
    scores[:5, 2] = -np.inf
    times = draw.integers(1, 4, 80)
    labels = Labels(own, own, None, *3 * [np.arange(80)], np.ones(80, np.int64))
    wanted = ClassProbe.tune(scores, Sample(np.empty((80, 0), np.float32), own, labels))
    np.testing.assert_allclose(tune(scores, own, np.ones(80)), wanted, rtol=2e-3)
    repeated = tune(np.repeat(scores, times, axis=0), np.repeat(own, times), np.ones(times.sum()))
    np.testing.assert_allclose(tune(scores, own, times.astype(float)), repeated, rtol=2e-3)


def test_a_temperature_of_fewer_labels_is_drawn_on_to_all() -> None:
    """Scores twice as large have twice the temperature, so that any learning curve can be made."""
    draw = np.random.default_rng(7)
    own, scores = draw.integers(0, 2, 60), draw.normal(size=(60, 2))
    scores[np.arange(60), own] += 1.0
    curve = [(scores * np.exp(0.4 * k / (k - 1)), k) for k in (3, 10)]
    whole, _ = tune(scores * np.exp(0.4), own, np.ones(60))
    assert map_temperature(curve, own, np.empty((0, 2))) == pytest.approx(whole, rel=5e-3)


def test_shares_of_classes_are_found_where_labels_are_even() -> None:
    """Two Gaussians, whose posterior under even classes is known; nine in ten are of the first."""
    draw = np.random.default_rng(8)
    own = (draw.random(20_000) < 0.1).astype(float)
    first = 1.0 / (1.0 + np.exp(2.0 * (2.0 * own - 1.0 + draw.normal(size=len(own)))))
    found = class_shares(np.stack([first, 1.0 - first], axis=1), np.array([0.5, 0.5]))
    np.testing.assert_allclose(found, [0.9, 0.1], atol=0.02)
    certain = class_shares(np.eye(3)[[0, 0, 2]], np.array([0.4, 0.4, 0.2]))
    np.testing.assert_allclose(certain, [2 / 3, 0.0, 1 / 3])


def test_rows_are_kept_and_read_back(crops: Crops, tmp_path: Path) -> None:
    made: list[str] = []

    def make(row: Row, fold: object) -> np.ndarray:
        made.append(row.features)
        return RAW[row.features](setting(crops))

    row = Row("raw", labels=5, draw=2)
    run_rows([row], crops, make, tmp_path)
    first = read_row(tmp_path, row)
    assert first is not None
    assert len(made) == FOLDS
    run_rows([row], crops, make, tmp_path)
    assert len(made) == FOLDS
    assert first.predicted.shape == crops.target.shape
    assert ((first.sure >= 0.5 - 1 / 255) & (first.sure <= 1.0)).all()
    assert read_row(tmp_path, replace(row, draw=3)) is None


def test_scores_are_those_of_their_definitions() -> None:
    draw = np.random.default_rng(3)
    target, cells = draw.integers(0, 3, 200), draw.integers(0, 10, 200)
    results = [
        RowResult(np.where(draw.random(200) < good, target, 0), draw.random(200), True)
        for good in (0.8, 0.6)
    ]
    own = score(results, target, 3)
    for name, metric in (
        ("overall", accuracy_score),
        ("balanced", balanced_accuracy_score),
        ("macro_f1", lambda y, p: f1_score(y, p, average="macro")),
    ):
        wanted = np.mean([metric(target, result.predicted) for result in results])
        assert getattr(own, name) == pytest.approx(wanted)
    same, _ = paired(results, results, target, cells, 3)
    assert (same.value, same.low, same.high) == (0.0, 0.0, 0.0)
    worse = [RowResult(np.zeros(200, np.intp), own.sure, True) for own in results]
    less, _ = paired(results, worse, target, cells, 3)
    assert less.value == pytest.approx(own.overall - (target == 0).mean())
    assert less.low > 0.0


def test_the_calibration_error_of_right_confidences_is_what_debiasing_leaves_of_noise() -> None:
    """A gap of a bin is noise n of deviation s alone: E|n| = s sqrt(2 / pi). What the correction
    draws once more has 2 s^2 as variance, so that 2 E|n| - sqrt(2) E|n| is left, a bit over half.
    """
    draw = np.random.default_rng(4)
    found, noise = [], []
    for _ in range(200):
        sure = draw.uniform(0.3, 1.0, 600)
        found.append(calibration_error(sure, draw.random(600) < sure))
        noise.append(np.sqrt(sure * (1.0 - sure) / 40).mean() * np.sqrt(2.0 / np.pi))
    wanted = (2.0 - np.sqrt(2.0)) * np.mean(noise)
    # Of 200 draws; a tenth for bins near 1, whose few misses are not Gaussian.
    sampling = 4.0 * np.std(found) / np.sqrt(len(found))
    assert np.mean(found) == pytest.approx(wanted, abs=sampling + 0.1 * wanted)
    sure = draw.uniform(0.3, 1.0, 60_000)
    assert calibration_error(sure, draw.random(60_000) < sure) < 0.006
    sure = draw.uniform(0.3, 0.8, 60_000)
    assert calibration_error(sure + 0.2, draw.random(60_000) < sure) == pytest.approx(0.2, abs=0.01)


def test_anybodys_embedding_is_compared_by_pixel(crops: Crops, tmp_path: Path) -> None:
    pixels = crops.series.column("pixel")[::-1]
    frame = pd.DataFrame({"pixel": pixels, "a": pixels * 2.0, "b": 1.0})
    frame.to_parquet(tmp_path / "mine.parquet", index=False)
    found = of_file(tmp_path / "mine.parquet")(setting(crops))
    np.testing.assert_array_equal(found[:, 0], 2.0 * crops.series.column("pixel"))
    folds = [frame.assign(fold=number, a=float(number)) for number in range(FOLDS)]
    pd.concat(folds).to_parquet(tmp_path / "each.parquet", index=False)
    assert (of_file(tmp_path / "each.parquet")(setting(crops, fold=3))[:, 0] == 3.0).all()
    frame.iloc[5:].to_parquet(tmp_path / "fewer.parquet", index=False)
    with pytest.raises(ValueError, match="no finite numbers for 5 of 240 pixels"):
        of_file(tmp_path / "fewer.parquet")(setting(crops))


@pytest.mark.parametrize("kind", ucr_crop.DROPPED)
@pytest.mark.parametrize("name", ["raw", "raw, z-normalised"])
def test_a_dropped_date_moves_no_feature_of_its_series(
    kind: str, name: str, tmp_path: Path
) -> None:
    draw = np.random.default_rng(5)
    values = draw.normal(size=(30, len(ucr_crop.DATES))).astype(np.float32)
    crop = ucr_crop.Crop(values, draw.integers(0, 3, 30), 20)
    dropped, setting = crop.dropped(kind), ucr_crop.Setting(tmp_path, 4, 1)
    assert (dropped.sum(axis=1) == round(ucr_crop.DROPPED[kind] * values.shape[1])).all()
    changed = replace(crop, values=np.where(dropped, np.float32(9.0), values))
    found = setting.features(crop, name, kind)
    np.testing.assert_array_equal(setting.features(changed, name, kind), found)
    if name == "raw":
        np.testing.assert_allclose(found[~dropped], values[~dropped])
    else:
        np.testing.assert_allclose(found.std(axis=1), 1.0)
