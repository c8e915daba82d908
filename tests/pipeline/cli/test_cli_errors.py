"""What a user sees when something is wrong: one line that says what, exit code 2, nothing changed.

The commands and the words are those of ``tests.made.mistakes``.
"""

from __future__ import annotations

import logging
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from distributed import Client

from terralatent.catalogs.scenes.scenes import Scenes
from terralatent.pipeline import decode, embed
from terralatent.pipeline.cli.app import main
from terralatent.pipeline.cluster import client as clusters
from terralatent.pipeline.store.lock.writer import writer_lock
from tests.made.catalogue import region
from tests.made.mistakes import AGAIN, BUILD, DECODE, EMBED, EXPORT, MISTAKES, SEARCH, SHOW, TRAIN
from tests.made.models import made_up_model
from tests.made.wrong_inputs import damage, lose, write_files, write_models
from tests.waiting import WITHIN_S

Run = Callable[[str], tuple[int, list[str]]]

DAMAGES = {
    "no-manifest-of-cube": "its file manifests/[0-9A-Z]+ is missing",
    "cut-manifest-of-cube": "its file manifests/[0-9A-Z]+ was changed",
    "no-snapshot-of-cube": "its file snapshots/[0-9A-Z]+ is missing",
    "cut-snapshot-of-cube": "its file snapshots/[0-9A-Z]+ was (cut short or )?changed",
    "cut-branch-of-cube": "one of its files was cut short or changed",
    "no-chunk-of-cube": "its chunk [0-9/]+ of [a-z0-9/-]+ is missing or changed",
    "cut-chunk-of-cube": "its chunk [0-9/]+ of [a-z0-9/-]+ is missing or changed",
}


@pytest.fixture(scope="module")
def world(
    catalogue: Path,
    made_up: Scenes,
    cube: Path,
    workers: Client,
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, str]:
    """What a command may name, whole and broken; not to be changed, which the tests check."""
    folder, damaged = tmp_path_factory.mktemp("world"), tmp_path_factory.mktemp("damaged")
    made_up.to_parquet(folder / "scenes")
    model = made_up_model(cube, folder / "model")
    made_up_model(cube, folder / "model-2", seed=1)
    embed(cube, model, folder / "latents", dates="2018-05-11", client=workers)
    decode(cube, model, "sentinel-2-l2a", "2018-05-11", folder / "bands", client=workers)
    write_files(folder)
    write_models(folder)
    damage(cube, damaged)
    bounds = ",".join(str(edge) for edge in region().bounds)
    return {
        **{path.name: str(path) for path in (*folder.iterdir(), *damaged.iterdir())},
        "cube": str(cube),
        "catalogue": str(catalogue),
        "where": f"--region {bounds}",
        "days": "--start 2018-05-01 --end 2018-05-31",
        "client": f"--client {workers.scheduler.address}",
    }


@pytest.fixture
def run(
    world: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Iterator[Run]:
    """Run a command in an empty folder; gives its exit code and the lines on standard error.

    Nothing must come on standard output.
    """
    root, ours = logging.getLogger(), logging.getLogger("terralatent")
    before, terminate = (
        (list(root.handlers), root.level, ours.level),
        signal.getsignal(signal.SIGTERM),
    )
    monkeypatch.chdir(tmp_path)

    def command_line(text: str) -> tuple[int, list[str]]:
        for name, place in {**world, "out": str(tmp_path / "out")}.items():
            text = text.replace(f"{{{name}}}", place)
        monkeypatch.setattr(sys, "argv", ["terralatent", *shlex.split(text)])
        with pytest.raises(SystemExit) as ended:
            main()
        written = capsys.readouterr()
        assert written.out == ""
        return int(ended.value.code or 0), written.err.splitlines()

    yield command_line
    signal.signal(signal.SIGTERM, terminate)
    root.handlers[:], root.level, ours.level = before
    logging.captureWarnings(False)


@contextmanager
def unchanged(*places: str | Path) -> Iterator[None]:
    """Check that no file below ``places`` comes, goes or is written."""
    before = [files(place) for place in places]
    yield
    assert [files(place) for place in places] == before


def files(place: str | Path) -> dict[str, tuple[int, int]]:
    """Size and time of every file, and of every folder, below a place."""
    found = {}
    with os.scandir(place) as entries:
        for entry in entries:
            facts = entry.stat()
            folder = entry.is_dir()
            found[entry.path] = (0 if folder else facts.st_size, facts.st_mtime_ns)
            found |= files(entry.path) if folder else {}
    return found


@pytest.mark.parametrize(("command", "words"), MISTAKES, ids=[m[0] for m in MISTAKES])
def test_a_mistake_is_one_line_and_changes_nothing(
    run: Run, world: dict[str, str], tmp_path: Path, command: str, words: str
) -> None:
    made = Path(world["model"]).parent
    with unchanged(made, world["cube"], world["catalogue"], tmp_path):
        code, lines = run(command)
    assert code == 2, lines
    assert len(lines) == 1, lines
    assert lines[0].startswith("error: ")
    assert re.search(words, lines[0]), lines[0]


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_store_is_told_in_one_line(
    run: Run, world: dict[str, str], tmp_path: Path, name: str
) -> None:
    with unchanged(world[name], tmp_path):
        for command in (SHOW, EXPORT, EMBED, TRAIN):
            if "chunk" in name and command == EMBED:
                continue  # goes on with the other blocks: see below
            code, lines = run(command.replace("{cube}", f"{{{name}}}"))
            assert code == 2, lines
            assert len(lines) == 1, lines
            assert re.search(
                f"^error: .*{name} is damaged: {DAMAGES[name]}.*Take the store from a copy",
                lines[0],
            ), lines[0]
            shutil.rmtree(tmp_path / "out", ignore_errors=True)  # a training's empty folder


def test_blocks_whose_chunks_are_gone_are_named_as_lost(run: Run) -> None:
    code, lines = run(f"--quiet {EMBED}".replace("{cube}", "{no-chunk-of-cube}"))

    assert code == 3
    assert len(lines) == 9
    for line in lines:
        assert re.search(r"^lost: block \(\d, \d\): .*-of-cube is damaged: its chunk ", line)


def test_a_scene_that_is_missing_or_cut_short_is_named_as_lost(
    run: Run, world: dict[str, str], tmp_path: Path
) -> None:
    scenes = shutil.copytree(world["catalogue"], tmp_path / "scenes")
    lose(scenes / "sentinel-1-rtc" / "S1_9" / "vh.tif", 0.0)
    lose(scenes / "sentinel-2-l2a" / "S2_C" / "B03.tif", 0.3)

    code, lines = run(
        f"--quiet build --source {scenes} {{where}} {{days}} --out {{out}} {{client}}"
    )

    assert code == 3
    assert [line.split(":")[0] for line in lines] == ["lost", "lost"], lines
    assert re.search("sentinel-2-l2a S2_C B03: ", lines[0])
    assert re.search("sentinel-1-asc S1_9 vh: ", lines[1])

    code, lines = run(
        f"--quiet {EMBED}".replace("{cube}", "{out}").replace("--out {out}", "--out l")
    )

    assert code == 3
    assert lines == ["lost: the cube is not whole in 1 blocks: (0, 0)"]


def test_dates_far_outside_the_cube_are_told_and_done(run: Run) -> None:
    code, lines = run(f"--quiet {EMBED} --dates 2030-01-01")

    assert code == 0
    (line,) = lines
    assert re.search(
        "^warning: 1 of 1 dates lie more than 60 days outside the period .*: the posterior is the "
        "prior there", line,
    )  # fmt: skip


def test_a_second_writer_is_refused(run: Run, world: dict[str, str], tmp_path: Path) -> None:
    shutil.copytree(world["cube"], tmp_path / "cube")
    with writer_lock(tmp_path / "cube"), unchanged(tmp_path / "cube"):
        code, (line,) = run(AGAIN.replace("--out {cube}", "--out cube"))
    assert code == 2
    assert re.search("^error: .*cube is being written by process ", line)


def test_a_scheduler_that_does_not_answer_is_named(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clusters, "ANSWER_WITHIN_S", 0.1)
    for verb in (BUILD, EMBED, DECODE):
        code, (line,) = run(f"{verb} --client tcp://127.0.0.1:9")
        assert code == 2
        assert "No Dask scheduler answers at tcp://127.0.0.1:9" in line
        assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (500, "<html>down</html>", "answers with the error 500 .*; try again later or check the a"),
        (404, "nothing", "answers with the error 404"),
        (200, "<html>hello</html>", "answers with '<html>hello</html>', which is no JSON"),
        (200, '{"a": 1}', "answers with something other than STAC"),
    ],
)
def test_a_url_that_is_no_stac_api_is_named(run: Run, status: int, body: str, words: str) -> None:
    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}"
        code, lines = run(SEARCH.replace("{catalogue}", url))
        server.shutdown()
        thread.join()
    assert code == 2
    assert len(lines) == 1
    assert re.search(f"^error: The source {url} {words}", lines[0]), lines[0]


FULL = """
import resource, sys
from distributed import Client, LocalCluster
from terralatent.pipeline.cli.app import main

commands = [line.split("\\t") for line in sys.stdin.read().splitlines()]
with LocalCluster(1, processes=False, dashboard_address=None) as cluster, Client(cluster) as client:
    import terralatent.pipeline.export.zarr, terralatent.pipeline.ingest.build
    import terralatent.pipeline.pictures.show
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    for command in commands:
        sys.argv = ["terralatent", "--quiet", *command]
        if command[0] == "build":
            sys.argv += ["--client", client.scheduler.address]
        try:
            main()
        except SystemExit as ended:
            print(ended.code, flush=True)
"""
"""Runs commands in a process that may write 100 bytes a file, as on a disk that is full."""


def test_a_full_disk_is_one_line_and_the_same_command_goes_on(
    run: Run, world: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "old.png").write_text("old")
    build = f"build --scenes {{scenes}} {{where}} --out {tmp_path / 'cube'}"
    commands = [
        build,
        "search --source {catalogue} {where} {days} --out scenes.parquet",
        "show {cube} --out old.png",
        "export {cube} --out cube.zarr",
    ]
    for name, place in world.items():
        commands = [command.replace(f"{{{name}}}", place) for command in commands]
    with unchanged(world["cube"]):
        ended = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", FULL],
            input="\n".join("\t".join(shlex.split(command)) for command in commands),
            capture_output=True,
            text=True,
            cwd=tmp_path,
            timeout=WITHIN_S,
        )
    assert ended.stdout.split() == ["2"] * 4, ended.stderr
    lines = ended.stderr.splitlines()
    assert len(lines) == 4, ended.stderr
    assert re.search("^error: .*cube cannot be written: the file would be larger", lines[0])
    assert "and the same command goes on from it" in lines[0]
    assert re.search("^error: The scenes cannot be written as .*File too large", lines[1])
    assert re.search("^error: Cannot write old.png: File too large", lines[2])
    assert re.search("^error: Cannot write .*cube.zarr: File too large", lines[3])
    assert (tmp_path / "old.png").read_text() == "old"
    (tmp_path / "old.png").unlink()
    left = [path.name for path in tmp_path.iterdir()]
    assert all(name.lstrip(".").split(".")[0] == "cube" for name in left), left
    assert "cube.zarr" not in left

    code, lines = run(f"--quiet {build} {{client}}")

    assert (code, lines) == (0, [])
