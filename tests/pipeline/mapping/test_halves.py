r"""Disjoint scenes of one ground: latents differ by what theory allows, and by no less.

The ground is drawn from a model's own prior and decoder, and its scenes are handed out. The decoder
is linear, :math:`x = D z + \epsilon`, with :math:`D = R^{1/2} Q S`, orthonormal columns of Q and
noise of variance R, so that :math:`D^T R^{-1} D = S^2` is diagonal: the latents stay independent
given the observations, and the encoder :math:`y = S^{-1} Q^T R^{-1/2} x` with precision
:math:`w = S^2` is exact. Each latent of each pixel is then a Gaussian process f seen through
:math:`y = f + e`, with :math:`e \sim N(0, 1/w)`, at the days of the scenes.

Scenes A and scenes B give :math:`m_A = G_A y_A` with
:math:`G_A = k_{*A} (K_{AA} + I / w)^{-1}`, and the same of B. Their variances are
:math:`G_A k_{A*} = k_{**} - v_A`, what the prior loses. They share no noise, but the ground, so
that :math:`Cov(m_A, m_B) = G_A K_{AB} G_B^T`, and

.. math:: Var(m_A - m_B) = 2 k_{**} - v_A - v_B - 2 G_A K_{AB} G_B^T.

Digital numbers are rounded to 1e-4, which adds 1e-5 of the noise's variance or less.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
import xarray as xr
from distributed import Client

from terralatent.catalogs.scenes.search import search_scenes
from terralatent.models.checkpoint import save_model
from terralatent.models.config import ModelConfig, SensorConfig
from terralatent.models.gpvae import GPVAE
from terralatent.pipeline import embed, open_latents
from terralatent.pipeline.cube.series import read_series
from terralatent.pipeline.dates import days_since_1970
from terralatent.pipeline.ingest.build import build_cube
from terralatent.pipeline.mapping.latents.packing import STD_STEP
from terralatent.pipeline.store.repository import Store
from tests.made.catalogue import SIDE, add_sentinel_2, region
from tests.made.sites import prior

S2, BANDS = "sentinel-2-l2a", ("B02", "B03", "B04")
CENTRE, SPREAD = 0.3, 0.05
NOISE = np.array([0.2, 0.25, 0.3])
"""Standard deviations, in spreads."""
STRENGTH = np.array([4.0, 3.0])
"""S: of each latent, the root of the precision that an observation gives it."""
SCENES = 24
TIMES = np.datetime64("2018-01-04T10:50") + np.timedelta64(15, "D") * np.arange(SCENES)
DAYS = days_since_1970(TIMES.astype("datetime64[us]"))
YEAR = ("2018-01-01", "2018-12-31")
PARTS = ("even", "odd")
DAYS_OF = {
    "even": DAYS[::2],
    "odd": DAYS[1::2],
    "all": DAYS,
    "first": DAYS[:12],
    "second": DAYS[12:],
}
DATES = "2018-02-20,2018-06-01,2018-10-10"
QUERIES = days_since_1970(np.array(DATES.split(","), "datetime64[us]"))
WITHIN = 5.0
"""Standard deviations that an average over pixels may be off: one in two million is beyond."""


def exact_model() -> GPVAE:
    """A model whose encoder is the exact posterior of its linear decoder."""
    sensor = SensorConfig(
        name=S2, bands=BANDS, units="1", centre=3 * (CENTRE,), spread=3 * (SPREAD,)
    )
    config = ModelConfig(
        sensors=(sensor,), latents=2, hidden=8, kernel="constant+matern32", likelihood="gaussian"
    )
    made = GPVAE(config)
    made.kernel.set_weights(torch.tensor([[0.3, 0.7], [0.6, 0.4]]))  # type: ignore[operator]
    made.kernel.terms[1].set_lengthscale(torch.tensor([40.0, 90.0]))  # type: ignore
    across = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 2)))[0]
    decode, encode = NOISE[:, None] * across * STRENGTH, (across / STRENGTH).T / NOISE
    precision = torch.from_numpy(STRENGTH**2 / config.precision_cap).float()
    its, even = made.sensor(S2), torch.full((2, 3), 1.0 / 3.0)
    its.encoder.set_linear(torch.from_numpy(encode).float(), torch.logit(precision), even)
    noise = torch.from_numpy(2.0 * np.log(NOISE)).float()
    its.decoder.set_linear(
        torch.zeros(3), torch.from_numpy(decode).float(), noise, torch.zeros(3, 2)
    )
    return made


def covariance(model: GPVAE, latent: int, one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """The prior's, in the formulas of the textbook."""
    return np.asarray(sum(prior(model.kernel, latent, one[:, None] - other)))


def drawn_numbers(model: GPVAE) -> np.ndarray:
    """Digital numbers (scene, band, y, x) as after baseline 04.00 of ground from the prior."""
    rng = np.random.default_rng(17)
    pixels = SIDE * SIDE
    roots = [
        np.linalg.cholesky(covariance(model, latent, DAYS, DAYS) + 1e-9 * np.eye(SCENES))
        for latent in range(2)
    ]
    latents = np.stack([root @ rng.normal(size=(SCENES, pixels)) for root in roots], axis=-1)
    rows = torch.from_numpy(latents).float().flatten(0, 1)
    with torch.no_grad():
        location, _ = model.sensor(S2).decoder(rows, torch.zeros(len(rows), 2))
    seen = location.numpy() + NOISE * rng.normal(size=location.shape)
    numbers = np.rint((CENTRE + SPREAD * seen) * 1e4 + 1000)
    assert numbers.min() > 0
    numbers = numbers.reshape(SCENES, SIDE, SIDE, 3).transpose(0, 3, 1, 2)
    return np.asarray(numbers.astype(np.uint16))


class Ground(NamedTuple):
    """The model, and the cubes of parts of the scenes."""

    model: GPVAE
    cubes: dict[str, Path]
    latents: dict[str, xr.Dataset]


@pytest.fixture(scope="module")
def ground(workers: Client, tmp_path_factory: pytest.TempPathFactory) -> Ground:
    """Cubes of every second scene (``odd``, ``even``), and of all."""
    folder = tmp_path_factory.mktemp("halves")
    model = exact_model()
    save_model(model, folder / "model", {})
    clear = np.full((SIDE // 2, SIDE // 2), 4, np.uint8)
    for number, pixels in enumerate(drawn_numbers(model)):
        add_sentinel_2(
            folder / "scenes" / PARTS[number % 2],
            f"{TIMES[number]}:00Z",
            {**dict(zip(BANDS, pixels, strict=True)), "SCL": clear},
            name=f"S{number}",
            baseline="05.00",
            offset=-0.1,
        )
    cubes, latents = {}, {}
    for name, place, period in (
        *((part, folder / "scenes" / part, YEAR) for part in PARTS),
        ("all", folder / "scenes", YEAR),
    ):
        found = search_scenes(place, region(), *period)
        cubes[name] = folder / name
        assert build_cube(found, region(), cubes[name], block=64, client=workers).losses == ()
    for name in (*PARTS, "all"):
        out = folder / f"{name}-latents"
        assert embed(cubes[name], folder / "model", out, dates=DATES, client=workers).clipped == 0
        latents[name] = open_latents(out).load()
    return Ground(model, cubes, latents)


def assert_standard_normal(z: np.ndarray) -> None:
    """Check mean and mean square of z-scores, one of each pixel, which are independent."""
    assert abs(z.mean()) < WITHIN / np.sqrt(z.size)
    assert abs(np.mean(z**2) - 1.0) < WITHIN * np.sqrt(2.0 / z.size)


def gain(model: GPVAE, latent: int, days: np.ndarray, cross: np.ndarray) -> np.ndarray:
    """From pseudo-observations to means of what has the covariance ``cross`` (Q, T) with them."""
    seen = covariance(model, latent, days, days) + np.eye(len(days)) / STRENGTH[latent] ** 2
    return np.asarray(np.linalg.solve(seen, cross.T).T)


def variance_of_difference(
    model: GPVAE, latent: int, names: tuple[str, str], crosses: list[np.ndarray]
) -> np.ndarray:
    r"""Of two means of the same, (Q,): the variances that they have themselves, less twice their
    covariance, as the module says."""
    one, other = (
        gain(model, latent, DAYS_OF[name], cross)
        for name, cross in zip(names, crosses, strict=True)
    )
    between = covariance(model, latent, DAYS_OF[names[0]], DAYS_OF[names[1]])
    own = sum((g * cross).sum(1) for g, cross in zip((one, other), crosses, strict=True))
    return np.asarray(own - 2.0 * ((one @ between) * other).sum(1))


@pytest.mark.soak  # drawn ones are in every run
@pytest.mark.parametrize("latent", [0, 1])
def test_two_halves_of_the_scenes_differ_as_theory_says(ground: Ground, latent: int) -> None:
    even, odd = (ground.latents[part].isel(latent=latent) for part in PARTS)
    crosses = [covariance(ground.model, latent, QUERIES, DAYS_OF[part]) for part in PARTS]
    wanted = variance_of_difference(ground.model, latent, PARTS, crosses)
    difference = (even["mean"] - odd["mean"]).values
    for date, variance in enumerate(wanted):
        assert_standard_normal(difference[date] / np.sqrt(variance))


@pytest.mark.parametrize("latent", [0, 1])
@pytest.mark.parametrize("part", ["even", "odd", "all"])
def test_standard_deviations_are_those_of_the_theory(
    ground: Ground, part: str, latent: int
) -> None:
    cross = covariance(ground.model, latent, QUERIES, DAYS_OF[part])
    var = 1.0 - (gain(ground.model, latent, DAYS_OF[part], cross) * cross).sum(1)
    std = ground.latents[part]["std"].isel(latent=latent).values
    # Half a step of packing; as much is left to the filter, which computes in float32.
    np.testing.assert_allclose(
        std, np.broadcast_to(np.sqrt(var)[:, None, None], std.shape), rtol=0, atol=STD_STEP
    )


@pytest.mark.parametrize("latent", [0, 1])
@pytest.mark.parametrize("part", PARTS)
def test_the_other_half_moves_latents_as_far_as_standard_deviations_shrink(
    ground: Ground, part: str, latent: int
) -> None:
    """By what is stored alone: the mean given a half is the expectation, given it, of the mean
    given all. So the step between them is uncorrelated with the former, and its variance is what
    the latter has more, :math:`(k - v_{all}) - (k - v_{half})`."""
    half, whole = (ground.latents[name].isel(latent=latent) for name in (part, "all"))
    step = (whole["mean"] - half["mean"]).values
    variance = (half["std"] ** 2 - whole["std"] ** 2).values
    for date in range(len(QUERIES)):
        assert_standard_normal(step[date] / np.sqrt(variance[date]))


def test_two_half_years_agree_on_the_level(ground: Ground) -> None:
    r"""The level c of a pixel is the constant part of the kernel, of variance :math:`\pi`. Each
    observation has the covariance :math:`\pi` with it, which stands for :math:`k_{*A}` above."""
    names = ("first", "second")
    levels = []
    for name in names:
        window = slice(0, SIDE)
        dates = np.flatnonzero(np.isin(DAYS_OF["all"], DAYS_OF[name]))
        block = read_series(
            Store.of(ground.cubes["all"]).group(), [S2], window, window, dates={S2: dates}
        )
        series = block.series()
        with torch.no_grad():
            sites = ground.model.sites(series)
            found, _ = ground.model.inference.components(
                ground.model.kernel, sites.days, sites.w, sites.eta, torch.from_numpy(QUERIES[:1])
            )
        np.testing.assert_array_equal(sites.days.numpy(), DAYS_OF[name])
        assert [part.name for part in ground.model.kernel.parts] == ["constant", "matern32"]
        levels.append(found[:, 0, :, 0].numpy())
    for latent in range(2):
        share = float(prior(ground.model.kernel, latent, np.zeros(1))[0][0])
        crosses = [np.full((1, len(DAYS_OF[name])), share) for name in names]
        (variance,) = variance_of_difference(ground.model, latent, names, crosses)
        difference = levels[0][:, latent] - levels[1][:, latent]
        assert_standard_normal(difference / np.sqrt(variance))
