"""The state of a training that was cut or changed is never gone on from."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest

from terralatent.catalogs.errors import InputError
from terralatent.pipeline.training.files import FOLDER, LOG, SETTINGS, STATE
from terralatent.pipeline.training.state import TrainingFolder
from terralatent.pipeline.training.train import train
from tests.made.rough import make_rough
from tests.made.tiny import tiny_cube

SETTING = {"latents": 2, "kernel": "constant+matern32", "batch": 16, "validate_every": 1}
FLIPS = 60


@pytest.fixture(scope="module")
def cube(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_cube(tmp_path_factory.mktemp("cube") / "cube", side=16, block=8)


@pytest.fixture(scope="module")
def begun(cube: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training with some steps to go; not to be changed."""
    out = tmp_path_factory.mktemp("begun") / "model"
    with pytest.MonkeyPatch.context() as patch:
        make_rough(patch.setattr)
        train(cube, out, steps=1, **SETTING)
    return out


@pytest.fixture
def out(begun: Path, tmp_path: Path) -> Path:
    return shutil.copytree(begun, tmp_path / "model")


@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.999])
@pytest.mark.parametrize("name", [STATE, SETTINGS])
def test_a_file_that_was_cut_is_named_and_nothing_changes(
    cube: Path, out: Path, name: str, share: float
) -> None:
    file = out / FOLDER / name
    file.write_bytes(file.read_bytes()[: int(share * file.stat().st_size)])
    there = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}

    with pytest.raises(InputError, match=rf"{file} is damaged .*; remove {out} and train") as error:
        train(cube, out, steps=1, **SETTING)

    assert "\n" not in str(error.value)
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == there


def test_every_bit_of_a_state_counts(out: Path) -> None:
    file, draw = out / FOLDER / STATE, random.Random(20)
    whole = file.read_bytes()
    header = int.from_bytes(whole[:8], "little") + 8
    places = [draw.randrange(header) for _ in range(FLIPS)]
    places += [draw.randrange(header, len(whole)) for _ in range(FLIPS)]
    for place in places:
        bit = 1 << draw.randrange(8)
        file.write_bytes(whole[:place] + bytes([whole[place] ^ bit]) + whole[place + 1 :])
        with pytest.raises(InputError, match="is damaged"):
            TrainingFolder(out).load()
    file.write_bytes(whole)
    assert TrainingFolder(out).load() is not None


def test_a_log_that_was_cut_does_no_harm(cube: Path, out: Path) -> None:
    file, state = out / FOLDER / LOG, (out / FOLDER / STATE).read_bytes()
    file.write_bytes(file.read_bytes()[:-20])
    assert train(cube, out, steps=1, **SETTING).repeated
    assert (out / FOLDER / STATE).read_bytes() == state
