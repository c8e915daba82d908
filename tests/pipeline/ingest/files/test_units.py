"""Values that contradict the unit of their item are named; odd values stay as they are."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from distributed import Client

from terralatent.catalogs.items.scaling import Scaling
from terralatent.catalogs.scenes.search import search_scenes
from terralatent.catalogs.sources.sensors import SENSORS
from terralatent.pipeline.cube.opened import open_cube
from terralatent.pipeline.ingest.build import BuildReport, build_cube
from terralatent.pipeline.ingest.harmonise import contradiction
from tests.made.catalogue import COARSE, FINE, SIDE, add_sentinel_1, add_sentinel_2, optical, region

S1, S2 = SENSORS["sentinel-1-asc"], SENSORS["sentinel-2-l2a"]
MAY = ("2018-05-01", "2018-05-31")
RNG = np.random.default_rng(5)
PLAIN = Scaling(1.0, 0.0, None)
LAKES = {
    "power": np.abs(RNG.normal(0.0, 1e-3, (64, 64))),
    "power below its noise": RNG.normal(-0.01, 0.02, (64, 64)),
    "power with a number for no data": np.where(RNG.random((64, 64)) < 0.9, -9999.0, 0.1),
    "bright power": RNG.gamma(2.0, 20.0, (64, 64)),
}
REFLECTANCES = {
    "saturated": np.full((64, 64), 65535, np.uint16),
    "of dark water": RNG.integers(1, 3, (64, 64)).astype(np.uint16),
    "of one pixel": np.full((1, 1), 65535, np.uint16),
    "all missing": np.zeros((64, 64), np.uint16),
}


@pytest.mark.parametrize("name", LAKES)
def test_power_may_be_odd(name: str) -> None:
    assert contradiction(LAKES[name].astype(np.float32), PLAIN, S1) is None


@pytest.mark.parametrize("name", REFLECTANCES)
@pytest.mark.parametrize("offset", [0.0, -0.1])
def test_reflectance_may_be_odd(name: str, offset: float) -> None:
    assert contradiction(REFLECTANCES[name], Scaling(1e-4, offset, 0), S2) is None


@pytest.mark.parametrize("quantity", ["power", "amplitude"])
@pytest.mark.parametrize("side", [1, 64, 3000])
def test_decibels_are_neither_power_nor_amplitude(quantity: str, side: int) -> None:
    pixels = np.random.default_rng(6).normal(-12.0, 4.0, (side, side)).astype(np.float32)
    pixels[:1, 1:] = 2.0
    sensor = replace(S1, quantity=quantity)  # type: ignore[arg-type]
    assert "which no " + quantity in str(contradiction(pixels, PLAIN, sensor))
    assert contradiction(pixels, replace(PLAIN, quantity="decibel"), sensor) is None


@pytest.mark.parametrize(
    ("most", "scaling", "words"),
    [
        (5000.0, Scaling(1.0, 0.0, 0), "no reflectance"),
        (5000.0, Scaling(1.0, -1000.0, None), "no reflectance"),
        (60.0, Scaling(1.0, 0.0, 0), "no reflectance"),
        (0.5, Scaling(1e-4, -0.1, 0), "are fractions"),
        (0.5, Scaling(1.0, 0.0, 0), ""),
        (5000.0, Scaling(1e-4, 0.0, 0), ""),
    ],
)
def test_a_scale_that_the_numbers_contradict_is_named(
    most: float, scaling: Scaling, words: str
) -> None:
    pixels = RNG.uniform(0.4 * most, most, (64, 64)).astype(np.float32)
    assert words in str(contradiction(pixels, scaling, S2) or "")
    assert bool(words) == bool(contradiction(pixels, scaling, S2))


def build(folder: Path, out: Path, workers: Client, *described: Path) -> BuildReport:
    searched = search_scenes(folder, region(), *MAY, described=described)
    return build_cube(searched, region(), out, block=64, client=workers)


def test_decibels_that_nobody_stated_are_named_and_read_once_they_are(
    workers: Client, tmp_path: Path
) -> None:
    decibel = np.full((SIDE, SIDE), -10.0, np.float32)
    decibel[:4] = 2.0  # bright roofs
    bands = {"vv": decibel, "vh": decibel - 6.0}
    add_sentinel_1(tmp_path / "files", "2018-05-03T17:30:00Z", bands, name="one")
    report = build(tmp_path / "files", tmp_path / "cube", workers)
    assert {(loss.item, loss.band) for loss in report.losses} == {("one", "vv"), ("one", "vh")}
    assert all('state quantity = "decibel"' in loss.reason for loss in report.losses)
    assert np.isnan(open_cube(tmp_path / "cube")["sentinel-1-asc"]["data"].values).all()

    stated = tmp_path / "stated.toml"
    stated.write_text('[sensors.sentinel-1-asc]\nlike = "sentinel-1-asc"\nquantity = "decibel"\n')
    assert build(tmp_path / "files", tmp_path / "cube", workers, stated).losses == ()
    data = open_cube(tmp_path / "cube")["sentinel-1-asc"]["data"].values[0]
    np.testing.assert_allclose(data, np.stack([bands["vv"], bands["vh"]]), atol=0.005)


def test_negative_and_saturated_reflectance_survives_beside_a_scene_that_is_refused(
    workers: Client, tmp_path: Path
) -> None:
    dark = optical(np.random.default_rng(1))
    for band in (*FINE, *COARSE):
        dark[band][:] = 1
        dark[band][:2] = 65535
    add_sentinel_2(tmp_path / "files", "2018-05-01T10:50:00Z", dark, name="dark",
                   baseline="05.00", offset=-0.1)  # fmt: skip
    thousands = optical(np.random.default_rng(2))
    add_sentinel_2(tmp_path / "files", "2018-05-06T10:50:00Z", thousands, name="thousands")
    path = tmp_path / "files/sentinel-2-l2a/thousands/thousands.json"
    path.write_text(path.read_text().replace('"scale": 0.0001', '"scale": 1.0'))
    report = build(tmp_path / "files", tmp_path / "cube", workers)
    assert {loss.item for loss in report.losses} == {"thousands"}
    assert all("no reflectance" in loss.reason for loss in report.losses)
    data = open_cube(tmp_path / "cube", clear=False)["sentinel-2-l2a"]["data"].values
    np.testing.assert_allclose(data[0, 0, 4:], -0.0999, atol=1e-6)
    np.testing.assert_allclose(data[0, 0, 0], 6.4535, atol=1e-4)
    assert np.isnan(data[1]).all()
