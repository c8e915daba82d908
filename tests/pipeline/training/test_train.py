"""Training ends the same whether or not it was interrupted, and never harms what is there."""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from terralatent.catalogs.errors import InputError
from terralatent.models.checkpoint import load_model, read_manifest
from terralatent.models.gpvae import GPVAE
from terralatent.models.posteriors import POSTERIORS
from terralatent.models.start import linear as start
from terralatent.pipeline.training.cubes import open_training_cubes
from terralatent.pipeline.training.loop import LAST_STEPS, Schedule
from terralatent.pipeline.training.sampler import PixelSampler
from terralatent.pipeline.training.state import TrainingFolder
from terralatent.pipeline.training.train import TrainReport, train
from tests.made.rough import make_rough
from tests.made.tiny import FIRST_DAY, tiny_cube
from tests.waiting import WITHIN_S

SETTINGS = {
    "latents": 3,
    "kernel": "constant+matern32",
    "steps": 6,
    "batch": 16,
    "validate_every": 2,
    "device": "cpu",
}


class Stop:
    """A progress that breaks off after some steps, by Ctrl-C or an error; 0: before the first."""

    def __init__(self, after: int, error: BaseException | None = None) -> None:
        self.left = after
        self.error = error

    def start(self, total: int, title: str) -> None:
        assert total == 6
        if self.left == 0 and self.error is not None:
            raise self.error

    def advance(self, n: int = 1, **fields: float | str) -> None:
        if not fields:
            return
        self.left -= n
        if self.left == 0:
            if self.error is not None:
                raise self.error
            os.kill(os.getpid(), signal.SIGINT)

    def close(self) -> None:
        self.closed = True


@pytest.fixture(scope="module", autouse=True)
def _rough() -> Iterator[None]:
    """Neither the start nor the widths need be good here."""
    with pytest.MonkeyPatch.context() as patch:
        make_rough(patch.setattr)
        yield


@pytest.fixture(scope="module")
def cube(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_cube(tmp_path_factory.mktemp("cube") / "cube", side=16, block=8)


@pytest.fixture(scope="module")
def whole(cube: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, TrainReport]:
    """A training that was never interrupted."""
    out = tmp_path_factory.mktemp("whole") / "model"
    return out, train([cube], out, **SETTINGS)


@pytest.fixture(scope="module")
def started(cube: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training that was broken off before its first step."""
    out = tmp_path_factory.mktemp("started") / "model"
    with pytest.raises(RuntimeError, match="lost"):
        train([cube], out, **SETTINGS, progress=Stop(0, RuntimeError("lost")))
    return out


@pytest.fixture
def out(started: Path, tmp_path: Path) -> Path:
    """A copy of the one that was started."""
    return shutil.copytree(started, tmp_path / "model")


def state_bytes(out: Path) -> bytes:
    return (out / "training" / "state.safetensors").read_bytes()


def log_lines(out: Path) -> list[dict[str, object]]:
    lines = [json.loads(line) for line in (out / "training" / "log.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k != "seconds"} for line in lines]


def assert_equal(one: Path, other: Path) -> None:
    assert state_bytes(one) == state_bytes(other)
    assert log_lines(one) == log_lines(other)
    weights = "weights.safetensors"
    assert (one / weights).read_bytes() == (other / weights).read_bytes()
    assert read_manifest(one)["training"] == read_manifest(other)["training"]


def test_the_best_model_is_kept_and_the_start_is_a_candidate(
    cube: Path, whole: tuple[Path, TrainReport]
) -> None:
    out, report = whole
    lines = log_lines(out)
    judged = {line["step"]: line["validation"] for line in lines if "validation" in line}
    # Those that lose in a group of bands count as far as they do not, if at all.
    scores = {
        step: its.get("kept", its)["log_density"]
        for step, its in judged.items()
        if "kept" in its or "loses" not in its
    }

    assert [line["step"] for line in lines] == [0, 1, 2, 3, 4, 5, 6]
    assert sorted(judged) == [0, 2, 4, 6]
    assert report.best_step == max(scores, key=lambda step: (scores[step], -step))
    assert report.score == scores[report.best_step] >= report.start_score == scores[0]
    training = read_manifest(out)["training"]
    assert training["finished"]
    assert training["step"] == report.best_step
    assert all(training["cubes"][0]["held_out_days"].values())
    assert load_model(out).config.latents == 3


@pytest.mark.parametrize("after", [*(pytest.param(n, marks=pytest.mark.soak) for n in (1, 3)), 4])
def test_interrupted_by_ctrl_c_and_resumed_is_uninterrupted(
    cube: Path, whole: tuple[Path, TrainReport], out: Path, after: int
) -> None:
    with pytest.raises(KeyboardInterrupt):
        train([cube], out, **SETTINGS, progress=Stop(after))
    load_model(out)
    assert not read_manifest(out)["training"]["finished"]

    report = train([cube], out, **SETTINGS)
    assert not report.repeated
    assert_equal(out, whole[0])
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_broken_off_by_an_error_and_resumed_is_uninterrupted(
    cube: Path, whole: tuple[Path, TrainReport], out: Path
) -> None:
    with pytest.raises(RuntimeError, match="lost"):
        train([cube], out, **SETTINGS, progress=Stop(3, RuntimeError("lost")))
    train([cube], out, **SETTINGS)
    assert_equal(out, whole[0])


@pytest.mark.soak
def test_killed_and_resumed_is_uninterrupted(
    cube: Path, whole: tuple[Path, TrainReport], out: Path
) -> None:
    code = (
        "import os, signal\n"
        "from terralatent.pipeline.training.train import train\n"
        "class Kill:\n"
        "    done = 0\n"
        "    def start(self, total, title): pass\n"
        "    def close(self): pass\n"
        "    def advance(self, n=1, **fields):\n"
        "        self.done += bool(fields)\n"
        "        if self.done == 3: os.kill(os.getpid(), signal.SIGKILL)\n"
        f"train([{str(cube)!r}], {str(out)!r}, **{SETTINGS!r}, progress=Kill())\n"
    )
    killed = subprocess.run([sys.executable, "-c", code], check=False, timeout=WITHIN_S)
    assert killed.returncode == -signal.SIGKILL
    load_model(out)
    assert not read_manifest(out)["training"]["finished"]
    assert TrainingFolder(out).load().step == 2

    train([cube], out, **SETTINGS)
    assert_equal(out, whole[0])


def test_interrupted_in_its_last_steps_it_keeps_a_model_and_ends_with_the_same_bytes(
    whole: tuple[Path, TrainReport], cube: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = sys.modules["terralatent.pipeline.training.train"]

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module, "fit_all", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train([cube], out, **SETTINGS)
    load_model(out)
    assert read_manifest(out)["training"]["finished"] is False
    train([cube], out, **SETTINGS)
    assert_equal(out, whole[0])


def test_the_last_steps_learn_from_what_was_held_out(
    cube: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted: list[int] = []
    elbo = GPVAE.elbo

    def counting(self: GPVAE, seen: Any, what: Any, generator: torch.Generator) -> Any:
        counted.append(sum(int(own.observed.any(0).sum()) for own in what.values()))
        return elbo(self, seen, what, generator)

    monkeypatch.setattr(GPVAE, "elbo", counting)
    report = train([cube], out, **SETTINGS)
    last = min(report.best_step, LAST_STEPS)
    assert report.best_step > 0
    assert len(counted) == report.steps + last
    assert max(counted[: report.steps]) < min(counted[report.steps :])


def test_the_same_again_does_nothing(whole: tuple[Path, TrainReport], cube: Path) -> None:
    out, report = whole
    before = {file: file.stat().st_mtime_ns for file in out.rglob("*.*") if file.suffix != ".lock"}
    again = train([cube], out, **SETTINGS, progress=Stop(1, AssertionError("a step was done")))

    assert again.repeated
    assert again.score == report.score
    assert "already trained" in str(again)
    assert before == {file: file.stat().st_mtime_ns for file in before}


def test_a_lost_model_file_is_made_again_from_the_state(
    cube: Path, whole: tuple[Path, TrainReport], tmp_path: Path
) -> None:
    out = tmp_path / "model"
    shutil.copytree(whole[0], out)
    (out / "model.json").unlink()
    train([cube], out, **SETTINGS)
    assert_equal(out, whole[0])


def test_other_settings_are_refused_by_name(cube: Path, whole: tuple[Path, TrainReport]) -> None:
    before = state_bytes(whole[0])
    with pytest.raises(InputError, match=r"latents is 3 there, 4 here; seed is 0 there, 1 here"):
        train([cube], whole[0], **{**SETTINGS, "latents": 4, "seed": 1})
    assert state_bytes(whole[0]) == before


def test_a_folder_of_something_else_is_refused(cube: Path, tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes(b"x")
    with pytest.raises(InputError, match="holds no training"):
        train([cube], tmp_path, **SETTINGS)
    with pytest.raises(InputError, match="is a file"):
        train([cube], tmp_path / "photo.jpg", **SETTINGS)
    with pytest.raises(InputError, match="local folder"):
        train([cube], "s3://bucket/model", **SETTINGS)
    assert [item.name for item in tmp_path.iterdir()] == ["photo.jpg"]


def test_a_training_that_fails_before_its_start_leaves_nothing(
    cube: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise InputError("too little")

    monkeypatch.setattr(start, "linear_start", fail)
    with pytest.raises(InputError, match="too little"):
        train(cube, tmp_path / "model", latents=2, steps=1)
    assert [path.name for path in tmp_path.iterdir() if not path.name.endswith(".lock")] == []


def test_two_trainings_do_not_share_a_folder(cube: Path, tmp_path: Path) -> None:
    settings = {"latents": 1}
    with (
        TrainingFolder(tmp_path / "m").claim(settings),
        pytest.raises(InputError, match="is being written by"),
        TrainingFolder(tmp_path / "m").claim(settings),
    ):
        pass


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"latents": 0}, "latents is 0; it must be at least 1"),
        ({"seed": -1}, "seed is -1; it must be at least 0"),
        ({"device": "abacus"}, "device 'abacus' is unknown"),
        ({"device": "cuda:99"}, "is not here"),
        ({"likelihood": "cauchy"}, "likelihood 'cauchy' is unknown; give student or gaussian"),
        ({"posterior": "oracle"}, r"no posterior is called 'oracle'; there are \[.*'markov'"),
        ({"posterior_size": 8}, "'markov' approximates nothing and takes no size, got 8"),
        ({"kernel": "constant+matern99"}, "matern99.*matern32"),
        ({"sensors": ["venus"]}, "no cube has acquisitions of venus"),
    ],
)
def test_bad_arguments_are_refused(
    cube: Path, tmp_path: Path, wrong: dict[str, object], words: str
) -> None:
    with pytest.raises(InputError, match=words):
        train([cube], tmp_path / "m", **{**SETTINGS, **wrong})
    assert not (tmp_path / "m").exists()


def test_a_choice_of_the_model_is_refused_before_a_cube_is_read(tmp_path: Path) -> None:
    for wrong in ({"posterior": "oracle"}, {"kernel": "x"}, {"latents": 0}):
        with pytest.raises(InputError, match=r"oracle|'x'|latents is 0"):
            train(tmp_path / "no cube", tmp_path / "m", **wrong)


@pytest.mark.parametrize(
    "posterior",
    [
        form if form == "markov" else pytest.param(form, marks=pytest.mark.soak)
        for form in POSTERIORS
    ],
)
def test_every_posterior_trains_and_infers(cube: Path, tmp_path: Path, posterior: str) -> None:
    few = {**SETTINGS, "steps": 2, "posterior": posterior}
    report = train([cube], tmp_path / "m", **few)
    model = load_model(tmp_path / "m")
    assert model.config.posterior == posterior
    assert report.steps == 2
    assert math.isfinite(report.score)

    lines = log_lines(tmp_path / "m")[1:]
    assert all(line["gradient"] > 0 and not line["skipped"] for line in lines)
    (series,) = PixelSampler(open_training_cubes(cube, seed=0), seed=0).pool(7)
    mean, var = model.infer(series, FIRST_DAY + torch.tensor([-30.0, 5.0, 100.0]).double())
    assert mean.shape == var.shape == (7, 3, 3)
    assert bool(mean.isfinite().all())
    assert bool((var > 0).all())


@pytest.mark.parametrize(
    "kernel",
    ["matern12", pytest.param("constant+periodic*matern32+white", marks=pytest.mark.soak)],
)
def test_other_kernels_train(cube: Path, tmp_path: Path, kernel: str) -> None:
    settings = {**SETTINGS, "latents": 6, "steps": 1, "kernel": kernel}
    report = train([cube], tmp_path / "m", **settings)
    assert math.isfinite(report.score)
    assert load_model(tmp_path / "m").kernel.description == kernel
    with pytest.raises(InputError, match=f'kernel is "{re.escape(kernel)}" there, "matern32" here'):
        train([cube], tmp_path / "m", **{**settings, "kernel": "matern32"})


def test_a_training_from_before_kernel_and_posterior_were_settings_goes_on(
    cube: Path, whole: tuple[Path, TrainReport], out: Path
) -> None:
    file = out / "training" / "settings.json"
    settings = json.loads(file.read_text())
    for name in ("kernel", "posterior", "posterior_size", "extend"):
        del settings[name]
    file.write_text(json.dumps(settings))
    train([cube], out, **SETTINGS)
    assert_equal(out, whole[0])


def test_no_steps_keep_the_linear_start(cube: Path, tmp_path: Path) -> None:
    report = train([cube], tmp_path / "m", **{**SETTINGS, "steps": 0})
    assert (report.steps, report.best_step) == (0, 0)
    assert report.score == report.start_score
    assert read_manifest(tmp_path / "m")["training"]["finished"]


def test_training_works_beside_the_main_thread(
    cube: Path, whole: tuple[Path, TrainReport], out: Path
) -> None:
    threads = torch.get_num_threads()

    def beside() -> None:
        # Workers in threads of this process pin torch to one thread for threads that begin later;
        # sums of another number of threads are rounded otherwise.
        torch.set_num_threads(threads)
        train([cube], out, **SETTINGS)

    thread = threading.Thread(target=beside)
    thread.start()
    thread.join()
    assert_equal(out, whole[0])


def test_two_cubes_and_one_sensor(cube: Path, tmp_path: Path) -> None:
    other = tiny_cube(tmp_path / "other", side=6, block=6, seed=5)
    out = tmp_path / "m"
    train([cube, other], out, **{**SETTINGS, "steps": 2}, sensors=["sentinel-2-l2a"])
    assert [sensor.name for sensor in load_model(out).config.sensors] == ["sentinel-2-l2a"]
    assert len(read_manifest(out)["training"]["cubes"]) == 2


def test_the_rates_rise_and_fall() -> None:
    schedule = Schedule(steps=100, validate_every=10, patience=3, warm_up=10)
    shares = [schedule.share(step) for step in range(100)]
    assert shares[0] == pytest.approx(0.1)
    assert max(shares) > 0.95
    assert shares.index(max(shares)) in (9, 10)
    assert 0.05 <= shares[-1] < 0.06
    assert all(0 < share <= 1 for share in shares)
