"""``train --extend``: a model learns further sensors of a cube, and keeps what it was."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from distributed import Client

from terralatent.catalogs.errors import InputError
from terralatent.catalogs.sources.clear import ClearRule
from terralatent.models.checkpoint import CheckpointError, load_model, model_hash, read_manifest
from terralatent.models.observations import Observations
from terralatent.pipeline import embed, open_latents
from terralatent.pipeline.cube.masking import Masking
from terralatent.pipeline.training.holdout import Holdout
from terralatent.pipeline.training.state import TrainingFolder
from terralatent.pipeline.training.train import TrainReport, train
from terralatent.pipeline.training.validation import TOLERANCE, Guard, Validation
from tests.made.rough import make_rough
from tests.made.tiny import tiny_cube, tiny_pixels

OPTICAL, RADAR = "sentinel-2-l2a", "sentinel-1-asc"
STEPS = {"steps": 4, "batch": 16, "validate_every": 2, "device": "cpu"}


@pytest.fixture(scope="module", autouse=True)
def _rough() -> Iterator[None]:
    """Neither kernels nor widths need be fitted well here."""
    with pytest.MonkeyPatch.context() as patch:
        make_rough(patch.setattr)
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("extending")


@pytest.fixture(scope="module")
def cube(folder: Path) -> Path:
    """A cube of both sensors; not to be changed."""
    return tiny_cube(folder / "cube", side=16, block=8)


@pytest.fixture(scope="module")
def base(cube: Path, folder: Path) -> Path:
    """A model of the optical sensor; not to be changed."""
    train(cube, folder / "base", sensors=[OPTICAL], latents=3, kernel="constant+matern12", **STEPS)
    return folder / "base"


@pytest.fixture(scope="module")
def extended(cube: Path, base: Path, folder: Path) -> tuple[Path, TrainReport]:
    """The same model with the radar; not to be changed."""
    out = folder / "extended"
    return out, train(cube, out, extend=base, **STEPS)


class Interrupt:
    """A progress that presses Ctrl-C after two steps, which the third one hears."""

    done = 0

    def start(self, total: int, title: str) -> None: ...

    def close(self) -> None: ...

    def advance(self, n: int = 1, **fields: float | str) -> None:
        self.done += bool(fields)
        if self.done == 2:
            os.kill(os.getpid(), signal.SIGINT)


def contents(out: Path) -> dict[str, object]:
    """What a training leaves, but for the times of its making."""
    lines = (out / "training" / "log.jsonl").read_text().splitlines()
    return {
        "weights": (out / "weights.safetensors").read_bytes(),
        "state": (out / "training" / "state.safetensors").read_bytes(),
        "record": read_manifest(out)["training"],
        "log": [{**json.loads(line), "seconds": 0} for line in lines],
    }


def test_what_the_model_had_stays_and_its_checkpoint_names_it(
    base: Path, extended: tuple[Path, TrainReport]
) -> None:
    out, report = extended
    before, after = load_model(base), load_model(out)
    weights = after.state_dict()
    assert all(torch.equal(values, weights[name]) for name, values in before.state_dict().items())
    # Calibration as well: the old sensor's is that of the base, the new one has its own.
    assert not any((after.sensor(name).noise_factor == 1.0).all() for name in (OPTICAL, RADAR))
    assert [sensor.name for sensor in after.config.sensors] == [RADAR, OPTICAL]
    assert after.config.kernel == "constant+matern12"
    assert after.config.sensor(RADAR).units == "dB"
    record = read_manifest(out)["training"]
    assert record["extends"] == {"model": str(base), "hash": model_hash(base), "added": [RADAR]}
    assert record["settings"]["extend"] == model_hash(base) != model_hash(out)
    assert record["settings"]["latents"] == 3
    assert report.score >= report.start_score


def test_training_moved_the_new_sensor_alone(extended: tuple[Path, TrainReport]) -> None:
    lines = [json.loads(line) for line in (extended[0] / "training" / "log.jsonl").open()]
    assert [line["step"] for line in lines] == [0, 1, 2, 3, 4]
    assert all(line["gradient"] > 0 for line in lines[1:])
    assert set(lines[0]["validation"]["by_sensor"]) == {OPTICAL, RADAR}
    state = TrainingFolder(extended[0]).load()
    assert state is not None
    moved = {
        name
        for name, values in load_model(extended[0]).named_parameters()
        if f"sensors.{RADAR}" in name
    }
    moments = [name for name in state.optimiser if name.endswith("exp_avg")]
    assert len(moments) == len(moved)


def test_latents_of_a_cube_without_the_new_sensor_are_bit_equal(
    base: Path, extended: tuple[Path, TrainReport], folder: Path, workers: Client
) -> None:
    optical = tiny_cube(folder / "optical", side=8, block=8, seed=4, sensors=[OPTICAL])
    found = []
    for name, model in (("one", base), ("two", extended[0])):
        embed(
            optical, model, folder / name, dates="2017-09-01,2018-03-01",
            precision="float32", client=workers,
        )  # fmt: skip
        found.append(open_latents(folder / name).compute())
    for variable in ("mean", "std"):
        one, two = (each[variable].values for each in found)
        assert np.isfinite(one).any()
        np.testing.assert_array_equal(one.view(np.uint32), two.view(np.uint32))


def test_interrupted_and_resumed_is_uninterrupted(
    cube: Path, base: Path, extended: tuple[Path, TrainReport], tmp_path: Path
) -> None:
    out = tmp_path / "again"
    with pytest.raises(KeyboardInterrupt):
        train(cube, out, extend=base, **STEPS, progress=Interrupt())
    assert not read_manifest(out)["training"]["finished"]
    train(cube, out, extend=base, **STEPS)
    assert contents(out) == contents(extended[0])
    assert train(cube, out, extend=base, **STEPS).repeated


def test_an_extension_is_no_training_of_its_own(
    cube: Path, base: Path, extended: tuple[Path, TrainReport]
) -> None:
    with pytest.raises(InputError, match=r"another training: .*extend is null there, \"[0-9a-f]+"):
        train(cube, base, extend=base, **STEPS)
    with pytest.raises(
        InputError, match=r"another training: .*extend is \"[0-9a-f]+\" there, null"
    ):
        train(cube, extended[0], latents=3, kernel="constant+matern12", **STEPS)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"latents": 4}, r"keeps what its model .* got latents 4 \(3\); leave that out"),
        ({"posterior": "exact", "likelihood": "gaussian"}, r"likelihood .*, posterior 'exact'"),
        ({"kernel": "matern32"}, r"kernel 'matern32' \('constant\+matern12'\)"),
        ({"sensors": [OPTICAL]}, f"has {OPTICAL} already"),
        (
            {"sensors": ["venus"]},
            f"no cube has acquisitions of venus; there are {RADAR}, {OPTICAL}",
        ),
    ],
)
def test_what_an_extension_cannot_do_is_refused(
    cube: Path, base: Path, tmp_path: Path, wrong: dict[str, object], words: str
) -> None:
    with pytest.raises(InputError, match=words):
        train(cube, tmp_path / "m", extend=base, **{**STEPS, **wrong})
    assert not (tmp_path / "m").exists()


def test_cubes_that_do_not_suit_the_model_are_refused(
    cube: Path, base: Path, extended: tuple[Path, TrainReport], tmp_path: Path
) -> None:
    def refused(words: str, *cubes: Path, model: Path = base) -> None:
        with pytest.raises(InputError, match=words):
            train(cubes, tmp_path / "m", extend=model, **STEPS)

    refused(
        "cube has no sensor for .* to learn: it has .*, the model knows", cube, model=extended[0]
    )
    optical = tiny_cube(tmp_path / "optical", side=8, block=8, sensors=[OPTICAL])
    refused(r"optical has no sensor for .* to learn: it has sentinel-2-l2a,", cube, optical)
    radar = tiny_cube(tmp_path / "radar", side=8, block=8, sensors=[RADAR])
    refused("radar cannot extend .*none is shared", radar)
    other = tiny_cube(tmp_path / "other", side=8, block=8, bands=slice(0, 2))
    (manifest := tmp_path / "narrow" / "model.json").parent.mkdir()
    shutil.copy(base / "weights.safetensors", manifest.parent)
    manifest.write_text((base / "model.json").read_text().replace('"B0', '"X0'))
    refused(f"other cannot extend .*{OPTICAL}: the model reads the bands .*none is shared", other,
            model=manifest.parent)  # fmt: skip
    with pytest.raises(CheckpointError, match="no such file"):
        train(cube, tmp_path / "m", extend=tmp_path, **STEPS)


def test_a_new_sensor_that_is_never_clear_is_named_and_no_other(base: Path, tmp_path: Path) -> None:
    train_on = tiny_cube(tmp_path / "cube", side=8, block=8)
    radar = tmp_path / "radar"
    train(train_on, radar, sensors=[RADAR], latents=3, kernel="constant+matern12", **STEPS)
    never = Masking(rule=ClearRule(codes=(255,)))
    words = f"holds too little: {OPTICAL} starts from a regression on {RADAR}, but only 0 of its"
    with pytest.raises(InputError, match=words):
        train(train_on, tmp_path / "m", extend=radar, masking={OPTICAL: never}, **STEPS)


def test_a_model_that_predicts_the_old_sensors_worse_is_marked(
    extended: tuple[Path, TrainReport],
) -> None:
    model = load_model(extended[0])
    series: list[dict[str, Observations]] = [tiny_pixels(20)]
    hidden = {name: torch.arange(len(own.days)) % 5 == 2 for name, own in series[0].items()}
    score = Validation(series, [Holdout(hidden)]).score(model)
    assert not score.worse
    assert score.rmse.keys() == score.by_sensor.keys() == {OPTICAL, RADAR}

    old = score.by_sensor[OPTICAL]
    for floor, worse in ((old, False), (old + 0.9 * TOLERANCE, False), (old + 2 * TOLERANCE, True)):
        guarded = Validation(series, [Holdout(hidden)], Guard({OPTICAL}, floor)).score(model)
        assert guarded.worse is worse
        assert guarded.log_density == score.log_density
