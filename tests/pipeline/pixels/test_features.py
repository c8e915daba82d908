"""Features of a year are what they are called."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from terralatent.catalogs.errors import InputError
from terralatent.models.checkpoint import save_model
from terralatent.models.families import make_model
from terralatent.models.gpvae import GPVAE, ModelConfig, SensorConfig
from terralatent.models.sensor.networks import YEAR_DAYS
from terralatent.pipeline import Features, Series, features
from terralatent.pipeline.pixels.features import harmonics
from terralatent.pipeline.tables.calendars import axes_of, lay
from tests.made.tables import COLUMNS, OPTICAL, RADAR, S1, S2, made_up_rows

DATES = "monthly:2018"
SENSORS = (
    SensorConfig(name=S2, bands=OPTICAL, units="1", centre=(0.2,) * 3, spread=(0.15,) * 3),
    SensorConfig(name=S1, bands=RADAR, units="dB", centre=(-12.0,) * 2, spread=(4.0,) * 2),
)
LATENTS = 3


@pytest.fixture(scope="module")
def series() -> Series:
    return Series.from_table(made_up_rows(12), COLUMNS)


def made(**given: object) -> GPVAE:
    model = GPVAE(ModelConfig(sensors=SENSORS, latents=LATENTS, hidden=8, **given), seed=1)  # type: ignore[arg-type]
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "kernel" not in name:
                parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return model.eval()


@pytest.fixture(scope="module")
def found(series: Series) -> Features:
    return features(made(), series, DATES, joint=True)


def test_columns_have_names_and_pixels_what_is_known_of_them(
    found: Features, series: Series
) -> None:
    frame = found.to_frame()
    assert list(frame)[:5] == ["pixel", "lon", "lat", "group", "label"]
    assert tuple(list(frame)[5:]) == found.names
    assert found.names[:4] == (
        "mean_0_2018-01-15", "mean_1_2018-01-15", "mean_2_2018-01-15", "mean_0_2018-02-15"
    )  # fmt: skip
    assert frame["pixel"].tolist() == series.column("pixel").tolist()
    assert len(set(found.names)) == found.values.shape[1] == 2 * 12 * 3 + 2 * 3 + 2 * 3 + 2
    order = ["mean", "std", "static", "static_std", "cos", "sin", "count"]
    np.testing.assert_array_equal(np.concatenate([found.part(own) for own in order], axis=1),
                                  found.values)  # fmt: skip
    counts = series.observations()
    np.testing.assert_array_equal(frame[f"count_{S2}"], counts[S2])
    np.testing.assert_array_equal(frame[f"count_{S1}"], counts[S1])


def test_the_covariance_is_that_of_draws(found: Features, series: Series) -> None:
    """Of 3,000 draws a covariance is within 5 sqrt(2 / 3000) of prior variances."""
    model = made()
    one = series.select([0])
    sites = model.sites(lay(one, axes_of(one)).series())
    days = torch.from_numpy(found.dates.astype(np.int64) / 86_400e6)
    drawn = model.inference.sample(
        model.kernel, sites.days, sites.w, sites.eta, days, 3000, torch.Generator().manual_seed(2)
    )[:, 0]
    assert found.covariance is not None
    for latent in range(LATENTS):
        theirs = np.cov(drawn[..., latent].detach().numpy().T)
        np.testing.assert_allclose(theirs, found.covariance[0, latent], atol=5 * (2 / 3000) ** 0.5)


def test_of_a_wave_the_harmonics_are_the_wave() -> None:
    days = 17_532.0 + np.sort(np.random.default_rng(0).uniform(0, 365, 12))
    angle = 2 * np.pi * days / YEAR_DAYS
    wave = np.array([[0.3, 0.7, -0.4], [-1.0, 0.0, 2.0]])  # (L, level, cosine, sine)
    series = wave @ np.stack([np.ones_like(angle), np.cos(angle), np.sin(angle)])
    found = harmonics(series.T[None].astype(np.float32), days)
    np.testing.assert_allclose(found, [[0.7, 0.0, -0.4, 2.0]], atol=1e-5)


def test_what_was_never_seen_has_features_of_the_prior(series: Series) -> None:
    blind = series.where(series.pixel_of_row > 0)
    found = features(made(), blind, DATES)
    assert not found.part("mean")[0].any()
    np.testing.assert_allclose(found.part("std")[0], 1.0, atol=1e-5)
    assert not found.part("count")[0].any()
    rest = features(made(), series.select(range(1, len(series))), DATES)
    np.testing.assert_allclose(found.values[1:], rest.values, atol=2e-5)


def test_parts_are_chosen_by_name(series: Series) -> None:
    found = features(made(), series, ["2018-07-01"], parts=("counts", "mean"))
    assert found.names == (
        *(f"mean_{latent}_2018-07-01" for latent in range(LATENTS)), f"count_{S1}", f"count_{S2}"
    )  # fmt: skip
    two = features(made(), series, ["2018-07-01", "2018-08-01T12:30"])
    assert "mean_2_2018-08-01T12:30" in two.names
    assert not any(name.startswith("cos") for name in two.names)
    assert "static_0" in two.names
    for parts, dates, words in (
        (("median",), DATES, "no part median; give mean, std, static"),
        (("harmonics",), ["2018-07-01"], "they take 3 dates, not 1"),
    ):
        with pytest.raises(InputError, match=words):
            features(made(), series, dates, parts=parts)


def test_what_a_model_does_not_give_is_left_out_or_named(series: Series) -> None:
    plain = made(kernel="matern12")
    assert not any(name.startswith("static") for name in features(plain, series, DATES).names)
    with pytest.raises(InputError, match="cannot have the part static: a gpvae of this prior"):
        features(plain, series, DATES, parts=("static",))
    other = make_model(ModelConfig(model="vae", sensors=SENSORS, latents=LATENTS, hidden=8))
    assert features(other, series, DATES).part("mean").shape == (len(series), 12 * LATENTS)
    with pytest.raises(InputError, match="vae gives no covariance between dates; only a gpvae"):
        features(other, series, DATES, joint=True)


def test_a_model_may_be_a_folder_or_a_name(series: Series, tmp_path: Path) -> None:
    save_model(made(), tmp_path / "m", {})
    np.testing.assert_allclose(
        features(tmp_path / "m", series, DATES).values, features(made(), series, DATES).values,
        atol=1e-6,
    )  # fmt: skip
    assert features("s1s2l8", series, DATES).part("mean").shape == (len(series), 12 * 16)
