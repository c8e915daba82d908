"""A temporary folder is gone with its process, and no living one's is ever removed."""

from __future__ import annotations

import signal
import stat
import subprocess
import sys
from pathlib import Path

from terralatent.catalogs.temporary import temporary_folder

HOLD = """
import sys
from terralatent.catalogs.temporary import temporary_folder
with temporary_folder("ours-", sys.argv[1]) as folder:
    print(folder, flush=True)
    sys.stdin.read()
"""


def holding(base: Path) -> tuple[subprocess.Popen[str], Path]:
    """Start a process that keeps a folder; gives both."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(base)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    return process, Path(process.stdout.readline().strip())


def test_it_is_of_this_user_alone_and_gone_at_the_end(tmp_path: Path) -> None:
    with temporary_folder("ours-", tmp_path) as folder:
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        (folder / "file").write_text("something")
    assert list(tmp_path.iterdir()) == []


def test_the_next_removes_what_a_killed_one_left_and_nothing_of_the_living(tmp_path: Path) -> None:
    killed, left = holding(tmp_path)
    living, kept = holding(tmp_path)
    others = tmp_path / "ours-but-not-made-here"
    others.mkdir()
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    assert left.is_dir()

    with temporary_folder("ours-", tmp_path) as folder:
        assert not left.exists()
        assert folder.is_dir()
        assert kept.is_dir()
        assert others.is_dir()
    living.communicate("")
    assert list(tmp_path.iterdir()) == [others]
