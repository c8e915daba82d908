"""``calibrate`` and ``train --from``: a trained model at another place."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from distributed import Client

from terralatent.catalogs.errors import InputError
from terralatent.models.checkpoint import (
    latents_hash,
    load_model,
    model_hash,
    read_manifest,
    save_model,
)
from terralatent.models.start import components
from terralatent.pipeline import calibrate_model, decode, embed, open_latents, train
from terralatent.pipeline.cli.groups import Inference
from terralatent.pipeline.training.adapting import pretrained
from terralatent.pipeline.training.adapting.familiarity import familiarity
from terralatent.pipeline.training.state import TrainingFolder
from terralatent.pipeline.training.validation import GROUP_TOLERANCE
from tests.made.tiny import tiny_cube

OPTICAL, RADAR = "sentinel-2-l2a", "sentinel-1-asc"
STEPS: dict[str, Any] = {"steps": 4, "batch": 16, "validate_every": 2, "device": "cpu"}
DATES = "2017-10-01,2018-02-01"
FITTED = ("noise_factor", "signal_factor")


@pytest.fixture(scope="module", autouse=True)
def _rough_start() -> Iterator[None]:
    """The kernels need not be fitted well here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(components, "EVIDENCE_STEPS", 5)
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("adapting")


@pytest.fixture(scope="module")
def home(folder: Path) -> Path:
    """Where the model is trained; not to be changed."""
    return tiny_cube(folder / "home", side=16, block=8)


@pytest.fixture(scope="module")
def abroad(folder: Path) -> Path:
    """Another place, twice as bright; not to be changed."""
    return tiny_cube(folder / "abroad", side=16, block=8, seed=5, scale=2.0)


@pytest.fixture(scope="module")
def model(home: Path, folder: Path) -> Path:
    """Trained at home; not to be changed."""
    train(home, folder / "model", latents=3, **STEPS)
    return folder / "model"


@pytest.fixture(scope="module")
def calibrated(model: Path, abroad: Path, folder: Path) -> Path:
    """The same, calibrated abroad; not to be changed."""
    report = calibrate_model(abroad, model, folder / "calibrated")
    assert not report.repeated
    assert set(report.coverage) == {OPTICAL, RADAR}
    return folder / "calibrated"


def test_a_calibrated_model_infers_the_same_and_says_where_it_was_calibrated(
    model: Path, calibrated: Path, abroad: Path
) -> None:
    assert latents_hash(calibrated) == latents_hash(model)
    assert model_hash(calibrated) != model_hash(model)
    before, after = (load_model(one).state_dict() for one in (model, calibrated))
    assert all(torch.equal(values, after[name]) for name, values in before.items())
    record = read_manifest(calibrated)["training"]["calibration"]
    assert record["settings"]["model"] == model_hash(model)
    assert record["store"] == str(abroad)
    assert 0.0 < record["coverage"][OPTICAL]["before"] <= 1.0


def test_the_same_again_does_nothing_and_another_is_refused(
    model: Path, calibrated: Path, home: Path, abroad: Path, tmp_path: Path
) -> None:
    before = {file: file.read_bytes() for file in calibrated.iterdir()}
    again = calibrate_model(abroad, model, calibrated)
    assert again.repeated
    assert "already calibrated" in str(again)
    assert before == {file: file.read_bytes() for file in calibrated.iterdir()}
    with pytest.raises(InputError, match=r"holds another calibration: cube is .* there, .* here"):
        calibrate_model(home, model, calibrated)
    with pytest.raises(InputError, match="was not calibrated to a place; it stays as it is"):
        calibrate_model(abroad, model, model)
    (tmp_path / "photo.jpg").write_bytes(b"x")
    with pytest.raises(InputError, match="holds no model"):
        calibrate_model(abroad, model, tmp_path)
    with pytest.raises(InputError, match="local folder"):
        calibrate_model(abroad, model, "s3://bucket/model")


def test_a_calibration_that_was_killed_as_it_wrote_is_done_again(
    model: Path, calibrated: Path, abroad: Path, tmp_path: Path
) -> None:
    shutil.copy(model / "weights.safetensors", tmp_path)
    calibrate_model(abroad, model, tmp_path)
    assert model_hash(tmp_path) == model_hash(calibrated)


def test_results_go_on_with_what_they_depend_on_alone(
    model: Path, calibrated: Path, abroad: Path, workers: Client, tmp_path: Path
) -> None:
    how: dict[str, Any] = {"client": workers}
    embed(abroad, model, tmp_path / "before", dates=DATES, precision="float32", **how)
    with pytest.raises(InputError, match=r"std_factors is absent there, \[.*\] here"):
        embed(abroad, calibrated, tmp_path / "before", dates=DATES, precision="float32", **how)
    embed(abroad, calibrated, tmp_path / "after", dates=DATES, precision="float32", **how)
    one, two = (open_latents(tmp_path / name) for name in ("before", "after"))
    np.testing.assert_array_equal(one["mean"].values, two["mean"].values)
    assert not np.array_equal(one["std"].values, two["std"].values, equal_nan=True)
    assert one.attrs["latents_hash"] == two.attrs["latents_hash"] == latents_hash(model)

    decode(abroad, model, OPTICAL, DATES, tmp_path / "bands", **how)
    with pytest.raises(InputError, match=r"model is .* there, .* here"):
        decode(abroad, calibrated, OPTICAL, DATES, tmp_path / "bands", **how)


def test_latents_go_on_with_a_model_of_other_widths_of_bands(
    model: Path, abroad: Path, workers: Client, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    shutil.copytree(model, other)
    loaded = load_model(model)
    loaded.sensor(OPTICAL).noise_factor.mul_(2.0)
    save_model(loaded, other, read_manifest(model)["training"])
    embed(abroad, model, tmp_path / "latents", dates=DATES, client=workers)
    again = embed(abroad, other, tmp_path / "latents", dates=DATES, client=workers)
    assert again.computed == 0


def test_a_place_is_strange_where_it_is(model: Path, calibrated: Path, home: Path, abroad: Path,
                                        folder: Path) -> None:  # fmt: skip
    assert familiarity(home, model) is None
    assert familiarity(abroad, calibrated) is None
    found = familiarity(abroad, model)
    assert found is not None
    assert found.outside[OPTICAL] > 0.5
    assert found.residual[OPTICAL] > 1.5
    assert "outside the values that it learned from" in found.strange
    alike = familiarity(tiny_cube(folder / "alike", side=16, block=8, seed=7), model)
    assert alike is not None
    assert alike.strange == ""


def test_a_command_warns_of_a_strange_place_or_calibrates_to_it(
    model: Path,
    calibrated: Path,
    abroad: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    out, said = str(tmp_path / "latents"), list[str]()
    given = str(abroad), str(model), out, None, said.append
    assert Inference().choose_model(*given) == str(model)
    assert f"{abroad} is outside what {model} was trained on" in caplog.text
    caplog.clear()
    for _ in range(2):
        assert Inference(calibrate=True).choose_model(*given) == f"{out}.model"
    assert not caplog.records
    assert "already calibrated" not in said[0]
    assert "already calibrated" in said[1]
    assert model_hash(f"{out}.model") == model_hash(calibrated)
    Inference().choose_model(str(tmp_path / "no cube"), *given[1:])  # embed says what is wrong
    with pytest.raises(InputError, match="calibrate first"):
        Inference(calibrate=True).choose_model(*given[:2], "s3://bucket/latents", None, said.append)


class Stop:
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


@pytest.fixture(scope="module")
def adapted(calibrated: Path, abroad: Path, folder: Path) -> Path:
    """The model, trained further abroad; not to be changed."""
    train(abroad, folder / "adapted", pretrained=calibrated, **STEPS)
    return folder / "adapted"


def test_no_steps_are_the_start(model: Path, calibrated: Path, abroad: Path, folder: Path) -> None:
    out = folder / "none"
    train(abroad, out, pretrained=calibrated, **{**STEPS, "steps": 0})
    before, after = (load_model(one).state_dict() for one in (model, out))
    assert before.keys() == after.keys()
    moved = {name for name, values in before.items() if not torch.equal(values, after[name])}
    assert all(name.endswith(FITTED) for name in moved)
    assert latents_hash(out) == latents_hash(model)
    assert read_manifest(out)["training"]["from"]["moved"] == 0.0


def test_latents_that_learned_are_marked_as_their_own(
    adapted: Path, calibrated: Path, model: Path
) -> None:
    record = read_manifest(adapted)["training"]
    assert record["from"]["hash"] == record["settings"]["from"] == model_hash(calibrated)
    assert record["from"]["latents_hash"] == latents_hash(model)
    moves = record["step"] > 0
    assert (latents_hash(adapted) != latents_hash(model)) == moves
    assert (record["from"]["moved"] > 0.0) == moves
    state = TrainingFolder(adapted).load()
    assert state is not None
    kept = {
        line["step"]: line["validation"].get("kept", line["validation"])
        for line in map(json.loads, (adapted / "training" / "log.jsonl").open())
        if "validation" in line
    }
    groups = kept[state.best_step]["groups"]
    assert groups.keys() == state.start_groups.keys() == {"radar", "visible"}
    assert all(
        groups[name] <= (1.0 + GROUP_TOLERANCE) * error
        for name, error in state.start_groups.items()
    )


def test_interrupted_and_resumed_is_uninterrupted(
    adapted: Path, calibrated: Path, abroad: Path, tmp_path: Path
) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(abroad, tmp_path / "again", pretrained=calibrated, progress=Stop(), **STEPS)
    assert not read_manifest(tmp_path / "again")["training"]["finished"]
    train(abroad, tmp_path / "again", pretrained=calibrated, **STEPS)
    assert contents(tmp_path / "again") == contents(adapted)


def test_in_the_end_weights_go_halfway_back(
    adapted: Path,
    model: Path,
    calibrated: Path,
    abroad: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pretrained, "BACK", 0.0)
    train(abroad, tmp_path / "whole", pretrained=calibrated, **STEPS)
    begun, whole, half = (
        load_model(folder).state_dict() for folder in (model, tmp_path / "whole", adapted)
    )
    for name in {name for name in begun if not name.endswith(FITTED)}:
        torch.testing.assert_close(half[name], 0.5 * (begun[name] + whole[name]))
    moved = [
        read_manifest(one)["training"]["from"]["moved"] for one in (adapted, tmp_path / "whole")
    ]
    assert 0.0 < moved[0] < moved[1]


@pytest.mark.soak
def test_a_strong_prior_holds_the_weights(
    calibrated: Path, abroad: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = load_model(calibrated).state_dict()
    moved = []
    for prior in (0.0, 1e3):
        monkeypatch.setattr(pretrained, "PRIOR", prior)
        out = tmp_path / str(prior)
        train(abroad, out, pretrained=calibrated, **{**STEPS, "steps": 12, "validate_every": 12})
        state = TrainingFolder(out).load()
        assert state is not None
        away = [(state.weights[name] - start[name]).square().sum() for name in state.weights]
        moved.append(float(sum(away)))
    assert moved[1] < 0.5 * moved[0]


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"latents": 4}, "keeps what its model"),
        ({"extend": "model"}, "extends a model or begins from one, not both"),
        ({"sensors": ["venus"]}, "knows no venus"),
    ],
)
def test_what_a_model_settles_is_not_chosen_again(
    model: Path, abroad: Path, tmp_path: Path, wrong: dict[str, Any], words: str
) -> None:
    with pytest.raises(InputError, match=words):
        train(abroad, tmp_path / "m", pretrained=model, **STEPS, **wrong)
