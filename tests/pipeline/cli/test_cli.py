"""The command line: its verbs, its exit codes, and one clear line for what goes wrong."""

from __future__ import annotations

import json
import logging
import re
import shlex
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import xarray as xr
from distributed import Client

from terralatent.catalogs.errors import InputError
from terralatent.models.checkpoint import CheckpointError
from terralatent.pipeline import open_latents, status
from terralatent.pipeline.cli import app as cli
from terralatent.pipeline.cli.app import main
from terralatent.pipeline.progress import Progress
from tests.made.catalogue import region
from tests.made.models import made_up_model

VERBS = (
    "demo", "map", "simulate", "serve", "search", "build", "train", "embed", "decode", "show",
    "export", "status", "sources",
)  # fmt: skip

EVERYWHERE = ("--debug", "--quiet", "-q", "--log-json")

Run = Callable[..., tuple[int, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Run]:
    """Run the command line here; gives its exit code and what it wrote."""
    root, ours = logging.getLogger(), logging.getLogger("terralatent")
    before = (list(root.handlers), root.level, ours.level)
    terminate = signal.getsignal(signal.SIGTERM)

    def command_line(*arguments: str | Path) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["terralatent", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        written = capsys.readouterr()
        return int(ended.value.code or 0), written.out + written.err

    yield command_line
    signal.signal(signal.SIGTERM, terminate)
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

    monkeypatch.setattr(sys.modules["terralatent.pipeline.mapping.embed"], "embed", fake)
    return run("embed", "cube", "model", "--out", "latents")


def test_help_names_every_verb(run: Run) -> None:
    for arguments in ((), ("--help",), ("-h",)):
        code, text = run(*arguments)
        assert code == 0
        assert all(re.search(rf"\b{verb}\b", text) for verb in VERBS)
        assert all(option in text for option in EVERYWHERE)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help(run: Run, verb: str) -> None:
    code, text = run(verb, "--help")
    assert code == 0
    assert f"terralatent {verb}" in text
    assert all(option in text for option in EVERYWHERE)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["bild"], "No such command"),
        (["embed"], "terralatent embed: Missing argument"),
        (["embed", "cube"], "terralatent embed: Missing option"),
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
    command = "terralatent embed cube model --out latents"
    assert text == f"interrupted: what is done is kept; go on with: {command}\n"


@pytest.mark.parametrize("verb", VERBS)
def test_an_interrupt_says_what_goes_on_where_something_was_kept(
    run: Run, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    arguments = ["--quiet", verb, "--out", "my cube"]
    monkeypatch.setattr(cli, "app", interrupted)
    code, text = run(*arguments)
    keeps = verb in ("map", "build", "train", "embed", "decode", "demo")
    again = (
        f"interrupted: what is done is kept; go on with: {shlex.join(['terralatent', *arguments])}"
    )
    assert (code, text) == (130, f"{again}\n" if keeps else "interrupted.\n")
    # It can be typed again as it stands.
    assert not keeps or shlex.split(text.partition("go on with: ")[2])[1:] == arguments


def test_success_and_losses_have_their_exit_codes(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert embedding(run, monkeypatch, Report()) == (0, "all well -> latents\n")
    code, text = embedding(run, monkeypatch, Report(tuple(f"block {n}" for n in range(30))))
    assert code == 3
    assert text.splitlines()[1] == "lost: block 0"
    assert text.splitlines()[-1] == "lost: 10 more"


@pytest.mark.parametrize("place", [0, 2, 4])
def test_debug_shows_the_traceback_before_the_line(run: Run, place: int) -> None:
    arguments = ["show", "/nowhere", "--out", "x.png"]
    plain = run(*arguments)
    arguments.insert(place, "--debug")
    code, text = run(*arguments)
    assert (code, text.splitlines()[-1]) == (plain[0], plain[1].strip()) == (2, plain[1].strip())
    assert text.startswith("Traceback (most recent call last):")
    assert text.count("InputError: /nowhere: there is no store here") == 1
    assert "Traceback" not in plain[1]


@pytest.mark.parametrize("place", [0, 3, 5])
@pytest.mark.parametrize("option", ["--quiet", "-q"])
def test_quiet_leaves_errors_warnings_and_losses(
    run: Run, monkeypatch: pytest.MonkeyPatch, place: int, option: str
) -> None:
    def fake(*_: Any, progress: Progress, **__: Any) -> Report:
        progress.start(2, "embed")
        progress.advance()
        logging.getLogger("terralatent.pipeline.mapping.embed").info("at work")
        logging.getLogger("terralatent.pipeline.mapping.embed").warning("beware")
        progress.close()
        return Report(("block 7",))

    monkeypatch.setattr(sys.modules["terralatent.pipeline.mapping.embed"], "embed", fake)
    arguments = ["embed", "cube", "model", "--out", "latents"]
    code, text = run(*arguments)
    assert (code, text.splitlines()) == (
        3,
        ["at work", "warning: beware", "embed 1/2", "all well -> latents", "lost: block 7"],
    )
    arguments.insert(place, option)
    assert run(*arguments) == (3, "warning: beware\nlost: block 7\n")
    code, text = run("bild", option)
    assert (code, text.partition(".")[0]) == (2, "error: terralatent: No such command 'bild'")


def test_what_follows_two_dashes_is_no_option(run: Run) -> None:
    code, text = run("status", "--", "--quiet")
    assert (code, text.partition(":")[0]) == (2, "error")
    assert "--quiet: there is nothing here" in text


def test_every_line_can_be_json(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def fake(*_: Any, progress: Progress, **__: Any) -> Report:
        progress.start(2, "embed")
        progress.advance(loss=0.5, best=float("nan"))
        logging.getLogger("terralatent.pipeline.mapping.embed").info("at\nwork %d", 1)
        logging.getLogger("terralatent.pipeline.mapping.embed").warning("beware")
        progress.close()
        return Report(("block 7",))

    def lines(*arguments: str) -> tuple[int, list[dict[str, Any]]]:
        code, text = run(*arguments)
        events = [json.loads(line) for line in text.splitlines()]
        assert all(datetime.fromisoformat(line.pop("time")).tzinfo for line in events)
        return code, events

    monkeypatch.setattr(sys.modules["terralatent.pipeline.mapping.embed"], "embed", fake)
    command = ("embed", "cube", "model", "--out", "latents", "--log-json")
    code, events = lines(*command)
    assert code == 3
    begin, work, beware, event, end, lost = events
    assert begin == {"level": "info", "stage": "embed", "done": 0, "total": 2, "fields": {}}
    assert work == {"level": "info", "message": "at work 1"}
    assert beware == {"level": "warning", "message": "beware"}
    assert event == {**begin, "done": 1, "fields": {"loss": 0.5, "best": None}}
    assert end == {"level": "info", "message": "all well -> latents"}
    assert lost == {"level": "warning", "message": "lost: block 7"}

    # Errors too, also those of the command line itself.
    for arguments, code, words in (
        (("show", "/nowhere", "--out", "x.png"), 2, "/nowhere: there is no store here"),
        (("bild",), 2, "No such command 'bild'"),
        (("embed", "cube"), 2, "Missing option"),
    ):
        got, events = lines("--log-json", *arguments)
        (line,) = events
        assert (got, line["level"], line["exit_code"]) == (code, "error", code)
        assert words in line["message"]
        assert "traceback" not in line
        got, events = lines("--log-json", "--debug", *arguments)
        assert (got, events[0].pop("traceback").count("Traceback")) == (code, 1)
        assert events == [line]

    monkeypatch.setattr(
        sys.modules["terralatent.pipeline.mapping.embed"],
        "embed",
        lambda *_, **__: signal.raise_signal(2),
    )
    assert lines(*command) == (130, [{
        "level": "error",
        "message": "interrupted: what is done is kept; go on with: "
        "terralatent embed cube model --out latents --log-json",
        "exit_code": 130,
    }])  # fmt: skip


def test_sigterm_ends_like_ctrl_c(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        sys.modules["terralatent.pipeline.mapping.embed"],
        "embed",
        lambda *_, **__: signal.raise_signal(signal.SIGTERM),
    )
    code, text = run("embed", "cube", "model", "--out", "latents")
    assert code == 130
    assert text.startswith("interrupted: what is done is kept")


def test_status_is_what_standard_output_holds(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], run: Run, cube: Path
) -> None:
    def written(*arguments: str | Path) -> tuple[str, str]:
        monkeypatch.setattr(sys, "argv", ["terralatent", *map(str, arguments)])
        with pytest.raises(SystemExit, match="0"):
            main()
        out, err = capsys.readouterr()
        return out, err

    out, err = written("status", cube)
    assert out.startswith(f"cube  {cube}"[:70])
    quiet, _ = written("status", cube, "-q")
    # A second may have passed since the last commit.
    first, second = (re.sub(r"\d+ s ago", "just now", each).split() for each in (out, quiet))
    assert (err, second) == ("", first)
    out, err = written("status", cube, "--json", "--log-json")
    assert json.loads(out) == json.loads(json.dumps(status(cube).to_json()))
    assert err == ""
    code, text = run("status", "/nowhere")
    assert (code, text.count("\n")) == (2, 1)


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


# -- the sources ----------------------------------------------------------------------------------


def test_sources_tells_what_each_needs_and_whether_it_is_there(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    for name in ("AWS_ACCESS_KEY_ID", "AWS_S3_ENDPOINT", "CDSE_ACCESS_KEY_ID"):
        monkeypatch.delenv(name, raising=False)
    code, output = run("sources", "--json")
    listing = json.loads(output)
    assert code == 0
    ready = {source["name"]: source["ready"] for source in listing["sources"]}
    assert ready == {"planetary-computer": True, "earth-search": False, "copernicus": False}
    (optical,) = (s for s in listing["sources"][2]["sensors"] if s["name"] == "sentinel-2-l2a")
    assert optical["missing"].startswith("set CDSE_ACCESS_KEY_ID and CDSE_SECRET_ACCESS_KEY, or")

    monkeypatch.setenv("CDSE_ACCESS_KEY_ID", "KEYOFMINE")
    monkeypatch.setenv("CDSE_SECRET_ACCESS_KEY", "not-to-be-shown")
    for arguments in (("sources",), ("sources", "--json")):
        code, output = run(*arguments)
        assert code == 0
        assert "copernicus" in output
        assert "KEYOFMINE" not in output
        assert "not-to-be-shown" not in output
    assert json.loads(output)["sources"][2]["ready"]


def test_a_source_of_ones_own_is_listed_with_its_file(run: Run, tmp_path: Path) -> None:
    own = tmp_path / "own.toml"
    own.write_text('[sources.mine]\nwhere = "https://me:secret@stac.example.org/v1?key=secret"\n')
    code, output = run("sources", "--json", "--sources", own)
    (mine,) = (s for s in json.loads(output)["sources"] if s["name"] == "mine")
    assert (code, mine["where"]) == (0, "https://stac.example.org/v1")
    assert mine["described_in"] == str(own)
    assert "secret" not in output


def test_a_wrong_description_ends_with_2_and_one_line(run: Run, tmp_path: Path) -> None:
    own = tmp_path / "own.toml"
    own.write_text("[sources.mine]\nwhere = 5\n")
    code, output = run("sources", "--sources", own)
    assert code == 2
    assert output.strip() == f"error: {own}: sources.mine.where is 5; wanted a string."


def test_search_and_build_end_with_what_they_left_out(
    run: Run, catalogue: Path, tmp_path: Path
) -> None:
    where = (
        "--region", ",".join(map(str, region().bounds)), "--sensor", "sentinel-2-l2a",
        "--source", catalogue, "--start", "2018-05-01", "--end", "2018-05-31",
    )  # fmt: skip
    words = "left out: 2 items, such as S1_3: it belongs to none of sentinel-2-l2a"
    code, written = run("search", *where, "--out", tmp_path / "scenes.parquet")
    assert code == 0, written
    assert written.splitlines()[-2].strip() == words
    code, written = run("build", *where, "--out", tmp_path / "cube", "--dry-run")
    assert (code, words in written) == (0, True)
