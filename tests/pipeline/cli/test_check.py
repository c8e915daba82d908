"""``terralatent check`` names what is damaged, and lets it be made again as it was."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import zarr
from distributed import Client

from terralatent.catalogs.errors import InputError
from terralatent.catalogs.scenes.scenes import Scenes
from terralatent.pipeline import embed
from terralatent.pipeline.cli.app import main
from terralatent.pipeline.cube.reopening import reopen
from terralatent.pipeline.export.formats import export
from terralatent.pipeline.info.status import status
from terralatent.pipeline.ingest.build import build_cube
from terralatent.pipeline.store.integrity import Damage, check_store
from terralatent.pipeline.store.repository import Store
from tests.made.catalogue import region
from tests.made.models import made_up_model

WRITTEN_BEFORE = Path(__file__).resolve().parents[2] / "data" / "written-before"
DATES = ["2018-05-15", "2018-06-01"]


@pytest.fixture
def damaged(cube: Path, tmp_path: Path) -> Path:
    """A copy of the cube of which every third chunk file has a flipped bit."""
    copy = shutil.copytree(cube, tmp_path / "cube")
    flip_chunks(copy)
    return copy


def flip_chunks(store: Path) -> int:
    """Flip a bit of every third chunk file; gives how many."""
    files = sorted((store / "chunks").iterdir())[::3]
    for file in files:
        raw = bytearray(file.read_bytes())
        raw[len(raw) // 3] ^= 1 << 4
        file.write_bytes(raw)
    return len(files)


def pixels(store: Path) -> dict[str, np.ndarray]:
    """The values of all arrays of a store."""
    members = Store.of(store).group().members(max_depth=None)
    return {name: np.asarray(node[...]) for name, node in members if isinstance(node, zarr.Array)}


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    """Run a command in this process; gives its exit code."""
    monkeypatch.setattr("sys.argv", ["terralatent", *map(str, arguments)])
    with pytest.raises(SystemExit) as left:
        main()
    assert isinstance(left.value.code, int)
    return left.value.code


def assert_equal(store: Path, other: Path) -> None:
    """Check that two stores hold the same values."""
    there, here = pixels(store), pixels(other)
    assert there.keys() == here.keys()
    for name, values in there.items():
        np.testing.assert_array_equal(values, here[name], err_msg=name)


def test_a_whole_store_is_as_it_was_written(cube: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check = check_store(cube)

    assert run(monkeypatch, "--quiet", "check", cube) == 0
    assert check.chunks > 20
    assert check.files > 5
    assert (check.damaged, check.without_checksum) == ((), 0)


def test_damaged_chunks_of_a_cube_are_named_and_read_again(
    cube: Path,
    damaged: Path,
    made_up: Scenes,
    workers: Client,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    code = run(monkeypatch, "--quiet", "check", damaged, "--json")
    found = json.loads(capsys.readouterr().out)

    assert code == 3
    assert {damage["array"].rpartition("/")[2] for damage in found["damaged"]} <= {
        "data",
        "quality",
        "observations",
    }
    assert run(monkeypatch, "--quiet", "check", damaged, "--reopen") == 3
    assert f"  {found['command']}\n" in capsys.readouterr().out
    assert status(damaged).cube.sensors["sentinel-2-l2a"].units.pending > 0  # type: ignore[union-attr]
    assert not check_store(damaged).damaged

    build_cube(made_up, region(), damaged, block=16, client=workers)

    assert_equal(damaged, cube)


def test_damaged_chunks_of_latents_are_computed_again(
    cube: Path, workers: Client, tmp_path: Path
) -> None:
    model = made_up_model(cube, tmp_path / "model")
    for name in ("latents", "whole"):
        embed(cube, model, tmp_path / name, client=workers)
    count = flip_chunks(tmp_path / "latents")

    opened = reopen(tmp_path / "latents", check_store(tmp_path / "latents").damaged)
    embed(cube, model, tmp_path / "latents", client=workers)

    assert len(opened) == count
    assert_equal(tmp_path / "latents", tmp_path / "whole")


def test_what_no_run_makes_again_stays_named(cube: Path, tmp_path: Path) -> None:
    folder = tmp_path / "cube.zarr"
    export(cube, folder)
    (folder / "sentinel-2-l2a/time/c/0").unlink()

    (damage,) = check_store(folder).damaged

    assert damage.file == "sentinel-2-l2a/time/c/0"
    with pytest.raises(InputError, match="plain Zarr, which is only read"):
        reopen(folder, [damage])


def test_a_store_of_before_gets_checksums_as_it_is_written(tmp_path: Path, workers: Client) -> None:
    before = shutil.copytree(WRITTEN_BEFORE, tmp_path / "before")
    latents = before / "latents"
    old, check = pixels(latents), check_store(latents)
    assert check.without_checksum == check.chunks == status(latents).chunks_without_checksum
    block = next(name for name, values in old.items() if values.ndim == 4)

    reopen(latents, [Damage(block, (0, 0, 0, 0), None, "to be written again")])
    embed(before / "cube", before / "model", latents, dates=DATES, client=workers)

    after = check_store(latents)
    assert 0 < after.without_checksum < check.without_checksum == check.chunks == after.chunks
    assert status(latents).chunks_without_checksum == check.chunks - 1  # at most: one was deleted
    np.testing.assert_array_equal(pixels(latents)["observations"], old["observations"])
