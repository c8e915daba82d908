"""Gap filling without learning: each method against an oracle, and what holds for all of them."""

from __future__ import annotations

import logging
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import Matern
from torch import Tensor

from terralatent.models.baselines.unlearned import evidence
from terralatent.models.baselines.unlearned.band_series import BandSeries
from terralatent.models.baselines.unlearned.coregionalisation import (
    project_observations,
    smooth_observations,
)
from terralatent.models.baselines.unlearned.evidence import Covariance, Sample
from terralatent.models.baselines.unlearned.gap_variance import GAPS, gap_to_variance
from terralatent.models.baselines.unlearned.gp import band_process
from terralatent.models.baselines.unlearned.harmonics import LEVEL, design, penalties, regress
from terralatent.models.baselines.unlearned.hidden import hide_acquisitions
from terralatent.models.baselines.unlearned.linear import interpolate
from terralatent.models.baselines.unlearned.model import FilledBands
from terralatent.models.baselines.unlearned.robust import DOF, weigh_observations
from terralatent.models.baselines.unlearned.whittaker import smooth
from terralatent.models.checkpoint import load_model, save_model
from terralatent.models.config import ModelConfig, SensorConfig
from terralatent.models.families import find_family, make_model
from terralatent.models.start.covariances import TooFewObservationsError
from terralatent.pipeline.cli.app import main
from terralatent.pipeline.mapping.decode import decode
from terralatent.pipeline.mapping.opened import open_bands
from tests.made.tiny import FIRST_DAY, SENSORS, tiny_cube, tiny_pixels

UNLEARNED = ("linear", "whittaker", "harmonics", "gp", "mogpr")
S1, S2 = "sentinel-1-asc", "sentinel-2-l2a"
QUERIES = FIRST_DAY + torch.tensor([40.3, 250.0, -30.0, 12.0, 12.0, 400.0], dtype=torch.float64)


def made_series(pixels: int = 4, dates: int = 25, bands: int = 3, seed: int = 0) -> BandSeries:
    """Random series with gaps of each band's own, on days that are no round numbers."""
    draw = np.random.default_rng(seed)
    days = torch.from_numpy(np.sort(draw.uniform(17_400.0, 17_800.0, dates)))
    values = torch.from_numpy(draw.normal(size=(pixels, dates, bands)))
    valid = torch.from_numpy(draw.uniform(size=(pixels, dates, bands)) < 0.6)
    return BandSeries(days, torch.where(valid, values, 0.0), valid)


def each_band(series: BandSeries) -> Iterator[tuple[int, int, np.ndarray, np.ndarray]]:
    """Pixel, band, and days and values of its valid observations."""
    for pixel in range(len(series)):
        for band in range(series.values.shape[-1]):
            seen = series.valid[pixel, :, band].numpy()
            yield (
                pixel,
                band,
                series.days.numpy()[seen],
                series.values[pixel, :, band].numpy()[seen],
            )


def days_asked(series: BandSeries) -> Tensor:
    """In no order: between observations, beyond them, on one, and one of them twice."""
    more = torch.tensor([17_350.0, 17_900.0, 17_512.3, 17_512.3, 17_777.7])
    return torch.cat([more.double(), series.days[[3, 0]]])


def test_linear_is_the_line_between_observations() -> None:
    series = made_series()
    query = days_asked(series)
    got = interpolate(series, query)
    for pixel, band, days, values in each_band(series):
        wanted = np.interp(query.numpy(), days, values)
        np.testing.assert_allclose(got[pixel, :, band], wanted, atol=1e-9)


def test_whittaker_solves_the_normal_equations_of_a_daily_grid() -> None:
    series, penalty = made_series(), torch.tensor([30.0, 2000.0, 30.0], dtype=torch.float64)
    query = days_asked(series)
    got = smooth(series, query, penalty)
    start, length = 17_340, 600
    differences = np.diff(np.eye(length), 2, axis=0)
    for pixel, band, days, values in each_band(series):
        # Days never observed beyond the ends change nothing between them: their cost can be 0.
        rows = np.zeros((len(days), length))
        rows[np.arange(len(days)), np.floor(days).astype(int) - start] = 1.0
        system = rows.T @ rows + float(penalty[band]) * differences.T @ differences
        smoothed = np.linalg.solve(system, rows.T @ values)
        inside = np.clip(query.numpy(), days[0], days[-1])
        wanted = smoothed[np.floor(inside).astype(int) - start]
        np.testing.assert_allclose(got[pixel, :, band], wanted, atol=1e-6)


def test_harmonics_are_the_ridge_regression_on_their_columns() -> None:
    series, epoch = made_series(), 17_600.0
    query = days_asked(series)
    settings = [(1, 0.3, False), (3, 1.0, True), (2, 10.0, True)]
    got = regress(series, query, torch.stack([penalties(setting) for setting in settings]), epoch)
    for pixel, band, days, values in each_band(series):
        waves, ridge, trend = settings[band]
        year = 2.0 * np.pi / 365.2425

        def columns(at: np.ndarray, waves: int = waves, trend: bool = trend) -> np.ndarray:
            parts = [np.ones_like(at)] + ([(at - epoch) / 365.2425] if trend else [])
            parts += [f(k * year * at) for k in range(1, waves + 1) for f in (np.sin, np.cos)]  # noqa: B023
            return np.stack(parts, 1)

        order = [k * k for k in range(1, waves + 1) for _ in range(2)]
        weights = np.sqrt(ridge * np.array([LEVEL] + [1.0] * trend + order))
        rows = np.vstack([columns(days), np.diag(weights)])
        slopes = np.linalg.lstsq(rows, np.concatenate([values, 0.0 * weights]), rcond=None)[0]
        wanted = columns(query.numpy()) @ slopes
        np.testing.assert_allclose(got[pixel, :, band], wanted, atol=1e-3)
    assert design(query, epoch).shape == (len(query), 10)


def test_the_band_process_is_exact_regression() -> None:
    series = made_series()
    query = days_asked(series)
    lengthscale, noise = torch.tensor([12.0, 40.0, 90.0]), torch.tensor([0.1, 0.4, 3.2])
    mean, share = band_process(
        series.values, series.valid, series.days, query, lengthscale, noise.double()
    )
    for pixel, band, days, values in each_band(series):
        kernel = Matern(float(lengthscale[band]), nu=1.5)
        oracle = GaussianProcessRegressor(kernel, alpha=float(noise[band]), optimizer=None)
        oracle.fit(days[:, None], values)
        wanted, std = oracle.predict(query.numpy()[:, None], return_std=True)
        np.testing.assert_allclose(mean[pixel, :, band], wanted, atol=1e-6)
        np.testing.assert_allclose(share[pixel, :, band], std**2, atol=1e-6)


# The multi-output process, against all bands of all observations in one dense system.

LENGTHSCALES = torch.tensor([15.0, 60.0, 300.0], dtype=torch.float64)


def coregionalised(seed: int = 1) -> tuple[dict[str, BandSeries], dict[str, Tensor], dict]:
    """Two sensors of four and two bands, that see three processes; some bands are missing."""
    generator = torch.Generator().manual_seed(seed)
    pool = {"a": made_series(3, 12, 4, seed=1), "b": made_series(3, 9, 2, seed=2)}
    mixing, noise = {}, {}
    for name, bands in (("a", 4), ("b", 2)):
        mixing[name] = torch.randn(bands, 3, generator=generator, dtype=torch.float64)
        root = torch.randn(bands, bands, generator=generator, dtype=torch.float64)
        noise[name] = 0.3 * root @ root.T + 0.2 * torch.eye(bands)
    return pool, mixing, noise


def dense(
    pool: dict[str, BandSeries],
    mixing: dict[str, Tensor],
    noise: dict[str, Tensor],
    pixel: int,
    weight: Callable[[str, int], float] = lambda name, date: 1.0,
    without: tuple[str, int] | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Days, mixing, values and noise covariance of all valid bands of one pixel."""
    days, rows, values, blocks = [], [], [], []
    for name, series in pool.items():
        for date, day in enumerate(series.days.tolist()):
            seen = series.valid[pixel, date]
            if (name, date) == without or not bool(seen.any()):
                continue
            days += [day] * int(seen.sum())
            rows.append(mixing[name][seen])
            values.append(series.values[pixel, date, seen])
            blocks.append(noise[name][seen][:, seen] / weight(name, date))
    return (
        np.array(days),
        torch.cat(rows).numpy(),
        torch.cat(values).numpy(),
        torch.block_diag(*blocks).numpy(),
    )


def processes(one: np.ndarray, other: np.ndarray, d: np.ndarray, e: np.ndarray) -> np.ndarray:
    """Covariance of mixed processes at two lists of days."""
    return sum(
        Matern(float(length), nu=1.5)(one[:, None], other[:, None]) * np.outer(d[:, q], e[:, q])
        for q, length in enumerate(LENGTHSCALES)
    )


def test_many_outputs_are_exact_regression_on_all_observations() -> None:
    pool, mixing, noise = coregionalised()
    query = days_asked(pool["a"])
    sites = {name: project_observations(pool[name], mixing[name], noise[name]) for name in pool}
    got = smooth_observations(sites, LENGTHSCALES, {"query": query})["query"]
    whole = torch.cat([mixing["a"], mixing["b"]])
    mean = torch.einsum("lp,pqn->nql", whole, got.mean)
    var = torch.einsum("lp,prqn,lr->nql", whole, got.covariance, whole)
    for pixel in range(3):
        days, d, values, errors = dense(pool, mixing, noise, pixel)
        system = processes(days, days, d, d) + errors
        for output, row in enumerate(whole.numpy()):
            rows = np.tile(row, (len(query), 1))
            cross = processes(query.numpy(), days, rows, d)
            wanted = cross @ np.linalg.solve(system, values)
            less = np.einsum("qm,mq->q", cross, np.linalg.solve(system, cross.T))
            np.testing.assert_allclose(mean[pixel, :, output], wanted, atol=1e-6)
            np.testing.assert_allclose(var[pixel, :, output], row @ row - less, atol=1e-6)


def test_looks_are_weighed_by_what_the_others_predict() -> None:
    pool, mixing, noise = coregionalised()
    sites = {name: project_observations(pool[name], mixing[name], noise[name]) for name in pool}
    first = weigh_observations(sites, LENGTHSCALES, rounds=1)
    second = weigh_observations(sites, LENGTHSCALES, rounds=2)

    def wanted(pixel: int, name: str, date: int, weight: Callable[[str, int], float]) -> float:
        seen = pool[name].valid[pixel, date]
        days, d, values, errors = dense(pool, mixing, noise, pixel, weight, (name, date))
        rows = mixing[name][seen].numpy()
        own = np.full(len(rows), float(pool[name].days[date]))
        cross = processes(own, days, rows, d)
        system = processes(days, days, d, d) + errors
        missed = pool[name].values[pixel, date, seen].numpy() - cross @ np.linalg.solve(
            system, values
        )
        spread = (
            rows @ rows.T
            - cross @ np.linalg.solve(system, cross.T)
            + noise[name][seen][:, seen].numpy()
        )
        return (DOF + len(rows)) / (DOF + missed @ np.linalg.solve(spread, missed))

    for pixel in range(2):
        for name in pool:
            for date in (0, 4, 8):
                if not bool(pool[name].valid[pixel, date].any()):
                    assert float(second[name].w[date, pixel]) == 0.0
                    continue
                once = wanted(pixel, name, date, lambda *_: 1.0)
                twice = wanted(
                    pixel,
                    name,
                    date,
                    lambda n, t: float(first[n].w[t, pixel]),  # noqa: B023
                )
                assert float(first[name].w[date, pixel]) == pytest.approx(once, rel=1e-5)
                assert float(second[name].w[date, pixel]) == pytest.approx(twice, rel=1e-5)


def test_the_evidence_has_the_covariance_that_inference_has() -> None:
    pool, mixing, _ = coregionalised()
    whole = {name: replace(series, valid=series.valid | True) for name, series in pool.items()}
    made = Covariance(torch.cat([mixing["a"], mixing["b"]]), LENGTHSCALES, torch.ones(6))
    days = torch.cat([series.days for series in pool.values()])
    sample = Sample(
        values=torch.zeros(1, 12 * 4 + 9 * 2, dtype=torch.float64),
        days=days[None],
        output=torch.cat([torch.arange(4).repeat(12), 4 + torch.arange(2).repeat(9)]),
        observation=torch.cat(
            [torch.arange(12).repeat_interleave(4), 12 + torch.arange(9).repeat_interleave(2)]
        ),
        weight=torch.where(torch.arange(21) == 2, 0.5, 1.0).double()[None],
    )
    shared = made.noise.covar_matrix.to_dense().detach()
    errors = {"a": shared[:4, :4], "b": shared[4:, 4:]}
    at, d, _, block = dense(
        whole, mixing, errors, 0, lambda name, date: 0.5 if (name, date) == ("a", 2) else 1.0
    )
    wanted = processes(at, at, d, d) + block
    np.testing.assert_allclose(made(sample)[0].detach(), wanted, atol=1e-4)


# What holds for all of them.


def described(name: str) -> ModelConfig:
    sensors = tuple(
        SensorConfig(
            name=sensor,
            bands=tuple(f"B{band}" for band in range(SENSORS[sensor][0])),
            units="1" if sensor == S2 else "dB",
            centre=(0.25,) * SENSORS[sensor][0],
            spread=(0.05,) * SENSORS[sensor][0],
        )
        for sensor in (S2, S1)
    )
    return find_family(name).sized(ModelConfig(model=name, sensors=sensors))


@pytest.fixture(scope="module")
def models() -> dict[str, FilledBands]:
    """A started model of each kind; not to be changed."""
    made = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evidence, "STEPS", (12, 3))
        for name in UNLEARNED:
            model = make_model(described(name))
            model.start([tiny_pixels(128)])
            assert isinstance(model, FilledBands)
            made[name] = model.eval()
    return made


@pytest.fixture(params=UNLEARNED)
def model(request: pytest.FixtureRequest, models: dict[str, FilledBands]) -> FilledBands:
    return models[request.param]


def same(got: tuple[Tensor, Tensor], wanted: tuple[Tensor, Tensor]) -> None:
    for one, other in zip(got, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


def test_a_masked_date_changes_nothing(model: FilledBands) -> None:
    pixels = tiny_pixels(6, seed=1)
    hidden = torch.zeros(len(pixels[S2].days), dtype=torch.bool)
    hidden[[0, 5, 23]] = True
    masked = pixels[S2].hide(hidden)
    rubbish = replace(masked, values=torch.where(hidden[:, None], torch.nan, masked.values))
    gone = {S2: masked.at(~hidden), S1: pixels[S1]}
    same(model.infer({**pixels, S2: rubbish}, QUERIES), model.infer(gone, QUERIES))


def test_days_may_be_asked_in_any_order(model: FilledBands) -> None:
    pixels, order = tiny_pixels(6, seed=1), torch.tensor([5, 2, 0, 4, 1, 3])
    mean, var = model.infer(pixels, QUERIES)
    same(model.infer(pixels, QUERIES[order]), (mean[:, order], var[:, order]))


def test_a_sensor_that_is_absent_is_as_if_masked(model: FilledBands) -> None:
    pixels = tiny_pixels(6, seed=1)
    blank = pixels[S1].hide(torch.ones(len(pixels[S1].days), dtype=torch.bool))
    same(model.infer({**pixels, S1: blank}, QUERIES), model.infer({S2: pixels[S2]}, QUERIES))


def test_a_series_with_nothing_seen_has_the_mean_of_the_region(model: FilledBands) -> None:
    pixels = tiny_pixels(3, seed=1)
    blank = {
        name: series.hide(torch.ones(len(series.days)).bool()) for name, series in pixels.items()
    }
    mean, var = model.infer(blank, QUERIES)
    decoded = model.decode(S2, mean, var, QUERIES)
    pool = tiny_pixels(128)[S2]
    wanted = pool.values[pool.valid.all(-1)].mean(0)
    torch.testing.assert_close(decoded.mean, wanted.expand_as(decoded.mean), rtol=1e-3, atol=1e-3)
    assert bool((decoded.std.isfinite() & (decoded.std > decoded.std_signal)).all())
    seen_mean, seen_var = model.infer(pixels, QUERIES[:2])
    del seen_mean
    assert bool((seen_var < var[:, :2] + 1e-6).all())


def test_bands_may_be_missing_from_an_observation(model: FilledBands) -> None:
    pixels = tiny_pixels(6, seed=1)
    valid = pixels[S2].valid.clone()
    valid[:, ::2, 1] = False
    holed = replace(pixels[S2], valid=valid)
    rubbish = replace(holed, values=torch.where(valid, holed.values, torch.inf))
    got = model.infer({**pixels, S2: holed}, QUERIES)
    same(got, model.infer({**pixels, S2: rubbish}, QUERIES))
    assert all(bool(part.isfinite().all()) for part in got)


def test_nine_of_ten_hidden_looks_lie_in_the_interval(model: FilledBands) -> None:
    pixels = tiny_pixels(400, seed=2)
    dates = torch.arange(len(pixels[S2].days))
    hidden = (dates % 6 == 2) | ((dates > 12) & (dates < 16))
    held = pixels[S2].at(hidden)
    mean, var = model.infer({**pixels, S2: pixels[S2].hide(hidden)}, held.days)
    decoded = model.decode(S2, mean, var, held.days)
    inside = (held.values >= decoded.q05) & (held.values <= decoded.q95)
    assert 0.84 < float(inside[held.valid].float().mean()) < 0.96


def test_a_checkpoint_holds_all_that_was_fitted(model: FilledBands, tmp_path: Path) -> None:
    pixels = tiny_pixels(5, seed=1)
    save_model(model, tmp_path, {})
    again = load_model(tmp_path).infer(pixels, QUERIES)
    assert all(map(torch.equal, again, model.infer(pixels, QUERIES)))


def test_the_bound_of_what_is_not_trained_is_finite_and_has_no_divergence(
    model: FilledBands,
) -> None:
    pixels = tiny_pixels(5, seed=1)
    bound = model.elbo(pixels, pixels, torch.Generator().manual_seed(0))
    assert bool((bound.kl == 0.0).all())
    assert bool(bound.elbo.isfinite().all())
    assert not any(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize("name", UNLEARNED)
def test_too_little_to_start_from_is_refused(name: str) -> None:
    model = make_model(described(name))
    blank = {
        sensor: series.hide(torch.ones(len(series.days)).bool())
        for sensor, series in tiny_pixels(5).items()
    }
    with pytest.raises(TooFewObservationsError, match="train on a longer period"):
        model.start([blank])


def test_the_latents_are_the_bands() -> None:
    config = described("gp")
    assert config.latents == 5
    with pytest.raises(ValueError, match="one latent for each of the 5 bands"):
        make_model(config.model_copy(update={"latents": 4}))


def test_the_variance_of_a_gap_is_read_between_the_tabulated_ones() -> None:
    table = torch.arange(float(len(GAPS)))[:, None]
    gap = torch.tensor([[0.0], [3.0], [16.0], [500.0], [torch.inf]])
    got = gap_to_variance(gap, table)[:, 0].tolist()
    assert got == pytest.approx([0.0, 0.5, 3.0, len(GAPS) - 1.0, 1.0])


def test_hidden_and_seen_looks_are_all_there_were() -> None:
    pool = {"a": made_series(6, 40, 2)}
    for fold in hide_acquisitions(pool):
        hidden, seen = fold.hidden["a"], fold.seen["a"]
        assert int(hidden.valid.sum() + seen.valid.sum()) == int(pool["a"].valid.sum())
        assert 0 < len(hidden.days) < 20
        at = torch.isin(seen.days, hidden.days)
        assert not bool(seen.valid[:, at].any())


@pytest.fixture
def restored() -> Iterator[None]:
    """The command line sets up logging and signals of its process."""
    root, ours = logging.getLogger(), logging.getLogger("terralatent")
    before = (list(root.handlers), root.level, ours.level)
    terminate = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, terminate)
    root.handlers[:], root.level, ours.level = before
    logging.captureWarnings(False)


@pytest.mark.usefixtures("restored")
def test_the_command_line_trains_one_and_decodes_it(
    workers: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cube = tiny_cube(tmp_path / "cube", side=16, block=16)
    train = ("train", cube, "--model", "whittaker", "--out", tmp_path / "model")

    def run(*arguments: str | Path) -> int:
        monkeypatch.setattr(sys, "argv", ["terralatent", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        return int(ended.value.code or 0)

    assert run(*train, "--latents", "3") == 2
    assert run(*train) == 0
    decode(
        cube, tmp_path / "model", S2, "2017-10-01,2018-02-01", tmp_path / "bands", client=workers
    )
    bands = open_bands(tmp_path / "bands")
    width = (bands["q95"] - bands["q05"]).values[..., :-1]
    assert np.isfinite(width).all()
    assert (width > 0.0).all()
