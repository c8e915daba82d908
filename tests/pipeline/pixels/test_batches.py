"""Pixels go through a model in batches, and in smaller ones where the device is full."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from terralatent.models.checkpoint import load_model
from terralatent.models.gpvae import GPVAE
from terralatent.pipeline.cube.series import SeriesBlock, read_series
from terralatent.pipeline.pixels import batches
from terralatent.pipeline.pixels.batches import infer_batches
from terralatent.pipeline.store.repository import Store
from tests.made.models import made_up_model

DAYS = torch.tensor([17_660.0, 17_680.5], dtype=torch.float64)
SENSORS = ("sentinel-1-asc", "sentinel-2-l2a")


@pytest.fixture(scope="module")
def model(cube: Path, tmp_path_factory: pytest.TempPathFactory) -> GPVAE:
    model = load_model(made_up_model(cube, tmp_path_factory.mktemp("model")))
    assert isinstance(model, GPVAE)
    return model


@pytest.fixture(scope="module")
def series(cube: Path) -> SeriesBlock:
    return read_series(Store.of(cube).group(), SENSORS, slice(0, 16), slice(0, 16))


@pytest.fixture(autouse=True)
def forgetful(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "_held", {})


class Small:
    """Lets a model run out of memory beyond so many pixels; notes what it was given."""

    def __init__(self, model: GPVAE, room: int, error: Exception) -> None:
        self.given: list[int] = []
        self._infer, self._room, self._error = model.infer, room, error

    def __call__(self, seen: dict, days: Tensor) -> tuple[Tensor, Tensor]:
        self.given.append(len(next(iter(seen.values()))))
        if self.given[-1] > self._room:
            raise self._error
        return self._infer(seen, days)


def infer(model: GPVAE, series: SeriesBlock, **how: int) -> tuple[Tensor, Tensor]:
    """Every third pixel, in their order."""
    pixels = np.arange(0, len(series), 3)
    places, means, variances = zip(*infer_batches(model, series, pixels, DAYS, **how), strict=True)
    assert np.concatenate(places).tolist() == pixels.tolist()
    return torch.cat(means), torch.cat(variances)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory."),
        MemoryError(),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried ..."),
    ],
    ids=["device", "numpy", "torch"],
)
def test_a_full_device_gets_half_and_goes_on(
    model: GPVAE, series: SeriesBlock, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = infer(model, series)
    small = Small(model, 11, error)
    monkeypatch.setattr(model, "infer", small)

    halved = infer(model, series)
    first = len(small.given)
    infer(model, series)

    for values, expected in zip(halved, wanted, strict=True):
        torch.testing.assert_close(values, expected, rtol=0, atol=1e-5)
    assert max(small.given[:first]) > 11
    assert max(small.given[first:]) <= 11, "what a device holds is known from then on"


def test_what_has_no_room_for_one_pixel_is_an_error(
    model: GPVAE, series: SeriesBlock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model, "infer", Small(model, 0, torch.OutOfMemoryError("full")))

    with pytest.raises(torch.OutOfMemoryError, match="full"):
        infer(model, series)


def test_other_errors_are_not_taken_for_a_full_device(
    model: GPVAE, series: SeriesBlock, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = Small(model, 0, RuntimeError("shapes disagree"))
    monkeypatch.setattr(model, "infer", small)

    with pytest.raises(RuntimeError, match="shapes disagree"):
        infer(model, series)
    assert len(small.given) == 1


def test_a_batch_has_no_more_than_was_requested(
    model: GPVAE, series: SeriesBlock, monkeypatch: pytest.MonkeyPatch
) -> None:
    dates = len(DAYS) + sum(len(sensor.days) for sensor in series.by_sensor.values())
    small = Small(model, 1000, MemoryError())
    monkeypatch.setattr(model, "infer", small)

    infer(model, series, most=7 * dates + 1)

    assert set(small.given[:-1]) == {7}
