"""A publication that is killed leaves none, or one whose links all lead somewhere; then it ends."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from terralatent.pipeline.publication.publish import publish
from tests.pipeline.publication.conftest import lay_out_annual
from tests.waiting import WITHIN_S

KILLED = """
import os, signal, sys
left, real = int(sys.argv.pop(1)), os.replace

def replace(source, target, **how):
    global left
    if str(source).endswith(".part"):
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        left -= 1
    real(source, target, **how)

os.replace = replace
from terralatent.pipeline.cli.app import main
sys.argv[0] = "terralatent"
main()
"""


def run_killed(after: int, *words: Any) -> int:
    """Run the program in a process that kills itself before it puts document ``after`` in place."""
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(after), *map(str, words)],
        capture_output=True,
        text=True,
        timeout=WITHIN_S,
    )
    assert done.returncode in (0, -9), done.stderr
    return done.returncode


def content(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def broken_links(folder: Path) -> list[str]:
    """Relative links of documents that lead nowhere."""
    found = []
    for path in folder.rglob("*.json"):
        for link in json.loads(path.read_text()).get("links", ()):
            href = link["href"]
            if not href.startswith("https://") and not (path.parent / href).exists():
                found.append(f"{path.name}: {href}")
    return found


@pytest.mark.parametrize(
    "after", [5, *(pytest.param(n, marks=pytest.mark.soak) for n in (0, 1, 2, 3, 4, 6, 7))]
)
def test_a_first_publication_is_there_whole_or_not_at_all(
    after: int, latents: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    words = ("publish", latents, "--out", out, "--licence", "CC-BY-4.0", "-q")
    assert run_killed(after, *words) == -9
    assert not out.exists()
    publish(latents, out, licence="CC-BY-4.0")
    assert not list(tmp_path.glob(".out.new"))
    assert not broken_links(out)
    whole = tmp_path / "whole"
    publish(latents, whole, licence="CC-BY-4.0")
    assert content(out) == content(whole)


@pytest.mark.soak  # the first publication is killed in every run
@pytest.mark.parametrize("after", [1, *(pytest.param(n, marks=pytest.mark.soak) for n in (0, 2))])
def test_a_publication_that_grows_is_whole_at_any_moment(
    after: int, latents: Path, cube: Path, model: Path, tmp_path: Path
) -> None:
    how: dict[str, Any] = {"cube": cube, "model": model, "name": "annual", "licence": "CC0-1.0"}
    one = lay_out_annual(tmp_path / "one", latents, years=1)
    both = lay_out_annual(tmp_path / "both", latents, years=2)
    out, killed = tmp_path / "out", tmp_path / "killed"
    publish(one, out, **how)
    shutil.copytree(out, killed)
    words = ("publish", both, "--out", killed, "--cube", cube, "--model", model, "-q")
    assert run_killed(after, *words) == -9
    assert not broken_links(killed)
    publish(both, killed, cube=cube, model=model)
    publish(both, out, cube=cube, model=model)
    assert content(killed) == content(out)
