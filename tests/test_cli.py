"""The command line: its verbs, its exit codes, and one clear line for what goes wrong."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import xarray as xr
from distributed import Client

from terralatent.catalogs.errors import InputError
from terralatent.models.checkpoint import CheckpointError
from terralatent.pipeline import open_latents
from terralatent.pipeline.cli import main
from tests.catalogue import region
from tests.made_up_models import made_up_model

VERBS = ("serve", "search", "build", "train", "embed", "decode", "show", "export")

Run = Callable[..., tuple[int, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Run]:
    """Run the command line here; gives its exit code and what it wrote."""
    root, ours = logging.getLogger(), logging.getLogger("terralatent")
    before = (list(root.handlers), root.level, ours.level)

    def command_line(*arguments: str | Path) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["terralatent", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        written = capsys.readouterr()
        return int(ended.value.code or 0), written.out + written.err

    yield command_line
    root.handlers[:], root.level, ours.level = before
    logging.captureWarnings(False)


@dataclass(frozen=True)
class Report:
    """What a verb gives back."""

    losses: tuple[str, ...] = ()

    def __str__(self) -> str:
        return "all well"


def embedding(run: Run, monkeypatch: pytest.MonkeyPatch, outcome: Any) -> tuple[int, str]:
    """Run ``embed`` with ``outcome`` in the place of its work."""

    def fake(*_: Any, **__: Any) -> Any:
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    monkeypatch.setattr(sys.modules["terralatent.pipeline.embed"], "embed", fake)
    return run("embed", "cube", "model", "--out", "latents")


def test_help_names_every_verb(run: Run) -> None:
    for arguments in ((), ("--help",), ("-h",)):
        code, text = run(*arguments)
        assert code == 0
        assert all(re.search(rf"\b{verb}\b", text) for verb in VERBS)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help(run: Run, verb: str) -> None:
    code, text = run(verb, "--help")
    assert code == 0
    assert f"terralatent {verb}" in text


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["bild"], "No such command"),
        (["embed", "cube"], "terralatent embed: Missing argument"),
        (["embed", "cube", "model"], "terralatent embed: Missing option"),
        (["embed", "cube", "model", "--out", "x", "--fast"], "No such option"),
        (["serve", ".", "--port", "99999"], "65535"),
        (["train", "cube", "--out", "x", "--latents", "many"], "latents"),
        (["build", "--region", "0,0,1,1", "--out", "x"], "either --scenes, or all of --source"),
        (
            ["build", "--scenes", "s", "--start", "2018-01-01", "--region", "r", "--out", "x"],
            "either --scenes, or all of --source",
        ),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(
    run: Run, arguments: list[str], words: str
) -> None:
    code, text = run(*arguments)
    assert code == 2
    assert words in text
    assert text.startswith("error: ")
    assert text.count("\n") == 1


@pytest.mark.parametrize("error", [InputError("no such\nthing"), CheckpointError("no such thing")])
def test_a_mistake_is_one_line_and_exit_code_2(
    run: Run, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    assert embedding(run, monkeypatch, error) == (2, "error: no such thing\n")


def test_a_bug_is_one_line_and_exit_code_1(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    code, text = embedding(run, monkeypatch, ZeroDivisionError("a\nb"))
    assert (code, text) == (1, "error: ZeroDivisionError: a b (unexpected; --debug shows where)\n")


def test_an_interrupt_is_one_line_and_exit_code_130(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, text = embedding(run, monkeypatch, KeyboardInterrupt())
    assert code == 130
    assert text == "interrupted: the same command again goes on from what is stored.\n"


def test_success_and_losses_have_their_exit_codes(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert embedding(run, monkeypatch, Report()) == (0, "all well -> latents\n")
    code, text = embedding(run, monkeypatch, Report(tuple(f"block {n}" for n in range(30))))
    assert code == 3
    assert text.splitlines()[1] == "lost: block 0"
    assert text.splitlines()[-1] == "lost: 10 more"


def test_debug_shows_the_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    for place in (1, 5):
        arguments = ["terralatent", "show", "/nowhere", "--out", "x.png"]
        arguments.insert(place, "--debug")
        monkeypatch.setattr(sys, "argv", arguments)
        with pytest.raises(InputError, match="no store here"):
            main()


def test_the_whole_chain(run: Run, catalogue: Path, workers: Client, tmp_path: Path) -> None:
    client = ("--client", workers.scheduler.address)
    where = ("--region", ",".join(str(edge) for edge in region().bounds))
    days = ("--start", "2018-05-01", "--end", "2018-05-31")
    cube, latents, bands, scenes = (tmp_path / name for name in ("c", "l", "b", "s.parquet"))

    def fine(*arguments: str | Path) -> str:
        code, text = run(*arguments)
        assert code == 0, text
        return text

    assert "4 sentinel-2-l2a" in fine(
        "search", "--source", catalogue, *where, *days, "--out", scenes
    )
    fine("build", "--scenes", scenes, *where, "--block", "16", "--out", cube, *client)
    model = made_up_model(cube, tmp_path / "m")
    text = fine("embed", cube, model, "--out", latents, *client)
    assert "9 of 9 blocks, 1,600 pixels" in text
    assert "embed 9/9" in text
    assert "0 of 9 blocks (the others were done)" in fine(
        "embed", cube, model, "--out", latents, *client
    )
    sensor = ("--sensor", "sentinel-1-asc")
    fine("decode", cube, model, *sensor, "--dates", "2018-05-20", "--out", bands, *client)
    fine("show", bands, "--out", tmp_path / "bands.png", "--date", "2018-05-20")
    fine("export", latents, "--out", tmp_path / "latents.zarr", "--variable", "mean")

    exported = xr.open_zarr(tmp_path / "latents.zarr", chunks=None)
    assert "spatial_ref" in exported.coords
    one, other = exported["mean"], open_latents(latents)["mean"].compute()
    xr.testing.assert_allclose(*(each.drop_vars("spatial_ref") for each in (one, other)))

    code, text = run("embed", cube, model, "--out", latents, "--dates", "10D", *client)
    assert code == 2
    assert "exists and holds something else: dates" in text
    code, text = run(
        "build", "--scenes", scenes, *where, "--sensor", "sentinel-1-asc", "--block", "16",
        "--out", cube, *client,
    )  # fmt: skip
    assert code == 2
    assert "exists and holds something else: sensors.sentinel-2-l2a" in text
