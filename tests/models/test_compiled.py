"""Compiled code is kept between processes, in a folder of the user's own, and never in the way."""

import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numba import types

from terralatent.models import compiled
from terralatent.models.compiled import cache_folder, keep_text
from tests.waiting import WITHIN_S

# The smallest of the loops stands for all.
PROGRAM = """
import numpy as np
from terralatent.models.posteriors.kalman.cpu_compile import compiled_loop

loop = compiled_loop("begin_at", 1, "float32")
state = np.zeros(128, np.float32)
loop(np.arange(32, dtype=np.float32).reshape(2, 16), state)
assert state.sum() == 4 * sum(range(32))
print(sum(loop.stats.cache_hits.values()), loop.stats.cache_path)
"""


def start(cache: dict[str, str]) -> subprocess.Popen[str]:
    """Start a process that needs compiled code and knows these places only."""
    places = {"HOME": "/dev/null", "NUMBA_CACHE_DIR": "", "XDG_CACHE_HOME": "", **cache}
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        env=os.environ | places,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(cache: dict[str, str]) -> tuple[bool, Path, str]:
    """Return whether nothing was compiled, where the code is kept, and what was said of it."""
    process = start(cache)
    out, error = process.communicate(timeout=WITHIN_S)
    assert process.returncode == 0, error
    hits, _, path = out.strip().partition(" ")
    return hits == "1", Path(path), error


def add_one(row: np.ndarray) -> None:
    for k in range(len(row)):
        row[k] += 1.0


def hear(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """Log all, also what a cluster of this process was said to compile before."""
    monkeypatch.setattr(logging.getLogger(compiled.__name__), "filters", [])
    caplog.set_level(logging.INFO, compiled.__name__)


def compile_anew() -> compiled.Loop:
    """As another process does, but for what it imports."""
    signature = (types.float64[::1],)
    anew = compiled.compiled.__wrapped__
    return anew(compiled.source_of([add_one]), "add_one", signature, "test")


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache that one process has filled."""
    folder = tmp_path_factory.mktemp("kept")
    hit, where, said = run({"XDG_CACHE_HOME": str(folder)})
    assert not hit
    assert folder in where.parents
    assert said == ""
    return folder


@pytest.mark.soak  # as it is for what was mended, which is tried in every run
def test_the_second_process_compiles_nothing(kept: Path) -> None:
    assert run({"XDG_CACHE_HOME": str(kept)})[0]


def test_what_numba_keeps_is_trusted_only_where_nobody_else_may_write(tmp_path: Path) -> None:
    """It lies beside the folder of the text where NUMBA_CACHE_DIR says so."""
    places = {"NUMBA_CACHE_DIR": str(tmp_path)}
    _, where, _ = run(places)
    assert where.stat().st_mode & 0o022 == 0
    assert run(places)[0]

    where.chmod(0o777)

    assert not run(places)[0]


def test_where_nothing_else_can_be_written_temporary_files_serve(tmp_path: Path) -> None:
    _, where, _ = run({"NUMBA_CACHE_DIR": "/dev/null", "TMPDIR": str(tmp_path)})

    assert where == tmp_path / f"terralatent-{os.getuid()}" / "__pycache__"


@pytest.mark.soak
def test_many_processes_may_start_at_once(tmp_path: Path) -> None:
    cache = {"NUMBA_CACHE_DIR": str(tmp_path)}

    processes = [start(cache) for _ in range(3)]

    for process in processes:
        assert process.communicate(timeout=WITHIN_S)[1] == ""
        assert process.returncode == 0
    assert run(cache)[0]
    assert not list(tmp_path.rglob("*.partial"))


@pytest.mark.soak
@pytest.mark.parametrize("kind", ["nbi", "nbc"])
def test_garbage_is_compiled_over(kind: str, kept: Path, tmp_path: Path) -> None:
    cache = {"XDG_CACHE_HOME": str(tmp_path)}
    shutil.copytree(kept, tmp_path, dirs_exist_ok=True)
    (damaged,) = tmp_path.rglob(f"*.{kind}")
    damaged.write_bytes(damaged.read_bytes()[:40] + b"\0garbage")

    _, _, said = run(cache)
    again, _, nothing = run(cache)

    assert "cannot be used" in said
    assert str(tmp_path) in said
    assert again
    assert nothing == ""


def test_a_folder_that_others_may_write_to_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared, private = tmp_path / "shared", tmp_path / "private"
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(shared))
    monkeypatch.setenv("HOME", str(private))
    wanted = shared / "terralatent" / "compiled"
    assert cache_folder() == wanted
    assert wanted.stat().st_mode & 0o777 == 0o700

    wanted.chmod(0o777)
    instead = cache_folder()

    assert instead == private / ".cache" / "terralatent" / "compiled"


def test_a_link_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    (tmp_path / "terralatent").symlink_to(tmp_path / "elsewhere")

    assert cache_folder() != tmp_path / "terralatent"


def test_a_compiling_is_reported_and_that_it_happens_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    hear(monkeypatch, caplog)

    for _ in range(2):
        compile_anew()

    assert caplog.messages == [compiled.KEPT]


def test_without_any_folder_code_is_compiled_in_memory(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(compiled, "cache_folder", lambda: None)
    hear(monkeypatch, caplog)
    loop = compile_anew()
    assert caplog.messages == [compiled.NOT_KEPT]
    row = np.arange(80, dtype=np.float64)

    loop(row)

    np.testing.assert_array_equal(row, np.arange(1.0, 81.0))


def test_a_text_that_is_there_is_left_alone(tmp_path: Path) -> None:
    path = keep_text(tmp_path / "text.py", "a = 1\n")
    before = path.stat()

    assert keep_text(path, "a = 1\n").stat().st_ino == before.st_ino
    assert keep_text(path, "a = 2\n").read_text() == "a = 2\n"
    assert [path.name for path in tmp_path.iterdir()] == ["text.py"]
