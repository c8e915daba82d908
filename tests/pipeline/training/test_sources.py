"""Cubes with other bands and sensors train one model, and count as they are requested to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from terralatent.catalogs.errors import InputError
from terralatent.models.checkpoint import load_model, read_manifest
from terralatent.pipeline.training import sampler as sample
from terralatent.pipeline.training.cubes import TrainingCube, open_training_cubes
from terralatent.pipeline.training.sampler import PixelSampler
from terralatent.pipeline.training.sources import Bands, agree
from terralatent.pipeline.training.train import train
from tests.made.rough import make_rough
from tests.made.tiny import tiny_cube

S1, S2 = "sentinel-1-asc", "sentinel-2-l2a"
SETTINGS = {"latents": 2, "steps": 2, "batch": 8, "validate_every": 2, "device": "cpu"}
ROUGH = {**SETTINGS, "calibrated": False}


@pytest.fixture(scope="module", autouse=True)
def _rough_start() -> Iterator[None]:
    """The kernels need not be fitted well here, and few pixels do."""
    with pytest.MonkeyPatch.context() as patch:
        make_rough(patch.setattr)
        patch.setattr("terralatent.pipeline.training.train.POOL_PIXELS", 40)
        patch.setattr("terralatent.pipeline.training.train.VALIDATION_PIXELS", 16)
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sources")


@pytest.fixture(scope="module")
def whole(folder: Path) -> Path:
    return tiny_cube(folder / "whole", side=16, block=8)


@pytest.fixture(scope="module")
def narrow(folder: Path) -> Path:
    """The first two bands of Sentinel-2 alone, the other way round; smaller than the whole one."""
    return tiny_cube(
        folder / "narrow", side=8, block=8, seed=3, bands=slice(1, None, -1), sensors=[S2]
    )


@pytest.fixture(scope="module")
def last(folder: Path) -> Path:
    """The third band alone."""
    return tiny_cube(folder / "last", side=8, block=8, seed=4, bands=slice(2, 3), sensors=[S2])


def test_the_bands_of_a_model_are_those_of_all_cubes_in_the_sensors_order(
    whole: Path, narrow: Path, last: Path
) -> None:
    for cubes in ([narrow, last], [last, narrow], [whole, narrow]):
        opened = open_training_cubes(cubes, seed=0)
        assert {cube.sensors[S2] for cube in opened} == {Bands(("B02", "B03", "B04"), "1")}
    (alone,) = open_training_cubes(narrow, seed=0)
    assert alone.sensors[S2].names == ("B03", "B02")


def test_a_cube_is_laid_on_the_bands_of_all(narrow: Path, last: Path) -> None:
    (alone,), both = (
        open_training_cubes(narrow, seed=0),
        open_training_cubes([narrow, last], seed=0),
    )
    own, laid = alone.read(0).series()[S2], both[0].read(0).series()[S2]

    assert torch.equal(laid.values[..., [1, 0]], own.values)
    assert torch.equal(laid.valid[..., [1, 0]], own.valid)
    assert own.valid.any()
    assert not laid.valid[..., 2].any()


def test_two_cubes_of_other_bands_train_one_model(whole: Path, narrow: Path, folder: Path) -> None:
    train([narrow, whole], folder / "model", drop_bands=True, **ROUGH)
    model = load_model(folder / "model")

    assert model.config.sensor(S2).bands == ("B02", "B03", "B04")
    assert model.config.sensor(S1).bands == ("vv", "vh")
    assert read_manifest(folder / "model")["training"]["step"] >= 0
    assert "balance" not in read_manifest(folder / "model")["training"]["settings"]


def test_bands_that_no_cube_has_together_start_at_random_alone(
    narrow: Path, last: Path, tmp_path: Path
) -> None:
    words = f"no cube has clear observations in all bands of {S2}, .* start at random"
    with pytest.raises(InputError, match=words):
        train([narrow, last], tmp_path / "linear", **ROUGH)
    train([narrow, last], tmp_path / "random", start="random", **{**ROUGH, "steps": 0})
    assert load_model(tmp_path / "random").config.sensor(S2).bands == ("B02", "B03", "B04")


def test_units_must_be_the_same(narrow: Path) -> None:
    (cube,) = open_training_cubes(narrow, seed=0)
    other = cube.with_sensors({S2: Bands(cube.sensors[S2].names, "percent")})
    with pytest.raises(InputError, match=r"is in 'percent', .* has it in '1'; one model needs"):
        agree([cube, other])


@pytest.mark.parametrize(("balance", "share"), [("area", 64 / 256), ("cube", 0.5)])
def test_cubes_count_by_area_or_alike(
    whole: Path, narrow: Path, monkeypatch: pytest.MonkeyPatch, balance: str, share: float
) -> None:
    monkeypatch.setattr(sample, "BUFFER_BATCHES", 1)
    cubes = open_training_cubes([narrow, whole], seed=0)
    small, large = (
        sum(size for size, mark in zip(cube.sizes, cube.apart, strict=True) if not mark)
        for cube in cubes
    )
    share = small / (small + large) if balance == "area" else share
    sampler = PixelSampler(cubes, seed=0, batch=2, balance=balance)
    drawn = 400
    counts = Counter(sampler.batch(step).cube for step in range(drawn))

    # Four standard deviations of a binomial share.
    assert abs(counts[0] / drawn - share) < 4 * (share * (1 - share) / drawn) ** 0.5


def test_an_unknown_balance_is_refused(whole: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="balance 'class' is unknown; give area or cube"):
        train(whole, tmp_path / "m", balance="class", **SETTINGS)


def test_pixels_of_a_cube_with_labels_are_drawn_equally_by_class(whole: Path) -> None:
    labels = np.zeros((16, 16), np.uint8)
    labels[3, 2:5], labels[10:, :8] = 7, 2
    labels[:, -1] = 9  # never observed
    (cube,) = open_training_cubes(whole, seed=0, labels=[labels])
    assert isinstance(cube, TrainingCube)
    cube = TrainingCube(**{**vars(cube), "apart": (False,) * len(cube.patches)})
    classes = {}
    for part in range(len(cube.patches)):
        numbers, rows = cube.classes(part), cube.read(part).series()[S1].values
        assert numbers is not None
        classes |= {
            row.numpy().tobytes(): int(number) for row, number in zip(rows, numbers, strict=True)
        }
    sampler = PixelSampler([cube], seed=0, batch=30)
    drawn = [
        classes[row.numpy().tobytes()]
        for step in range(sample.BUFFER_BATCHES)
        for row in sampler.batch(step).observations[S1].values
    ]

    # None is of the class that nobody saw.
    assert Counter(drawn) == dict.fromkeys([0, 2, 7], len(drawn) // 3)
    again = PixelSampler([cube], seed=0, batch=30).batch(3).observations[S1]
    assert torch.equal(again.values, sampler.batch(3).observations[S1].values)


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        ([np.zeros((4, 4), int)], r"labels are int64 \(4, 4\); integers on its grid .* \(16, 16\)"),
        ([np.zeros((16, 16))], "labels are float64"),
        ([None, None], "labels for 2 cubes, but 1 cubes"),
    ],
)
def test_labels_that_do_not_fit_are_refused(whole: Path, labels: object, words: str) -> None:
    with pytest.raises(InputError, match=words):
        open_training_cubes(whole, seed=0, labels=labels)


def test_other_choices_of_sampling_are_another_training(
    whole: Path, narrow: Path, folder: Path
) -> None:
    cubes, out = [narrow, whole], folder / "chosen"
    request = {"model": "linear", "steps": 0}
    train(cubes, out, drop_bands=True, balance="cube", **request)
    settings = read_manifest(out)["training"]["settings"]
    assert settings["drop_bands"] is True
    assert train(cubes, out, drop_bands=True, balance="cube", **request).repeated
    with pytest.raises(InputError, match=r"balance is \"cube\" there, null here; drop_bands is"):
        train(cubes, out, **request)
