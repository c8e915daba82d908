"""A command's workers are forks of one server that has imported what they need."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.waiting import WITHIN_S, until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="workers are spawned elsewhere")

NEEDED = "wave"
"""A module that nothing else imports."""

SCRIPT = f"""
import json, os, signal, sys, time

def process():
    blocked = signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, ())
    kept = ("LATER", "OMP_NUM_THREADS", "MALLOC_MMAP_THRESHOLD_")
    return os.getpid(), os.getppid(), {NEEDED!r} in sys.modules, blocked, [
        os.environ.get(name) for name in kept
    ]

def ask(client):
    return list(client.run(process, on_error="ignore").values())

if __name__ == "__main__":
    from terralatent.pipeline.cluster.fork_server import start_fork_server

    os.environ["OMP_NUM_THREADS"] = "7"
    start_fork_server({NEEDED!r})
    assert os.environ["OMP_NUM_THREADS"] == "7" and {NEEDED!r} not in sys.modules
    os.environ["LATER"] = "seen"
    from terralatent.pipeline.cluster.client import client_for

    with client_for(None, workers=2, memory="1GB") as client:
        first = ask(client)
        assert "pandas" not in sys.modules
        os.kill(first[0][0], signal.SIGKILL)
        while {{answer[0] for answer in ask(client)}} <= {{answer[0] for answer in first}} or (
            len(client.nthreads()) < 2
        ):
            time.sleep(0.05)
        print(json.dumps([os.getpid(), first, ask(client)]), flush=True)
        if "wait" in sys.argv:
            time.sleep(600)
"""


def run(tmp_path: Path, *arguments: str) -> subprocess.Popen[str]:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    return subprocess.Popen(
        [sys.executable, str(script), *arguments], stdout=subprocess.PIPE, text=True
    )


def answers(process: subprocess.Popen[str]) -> tuple[int, list[Any], list[Any]]:
    assert process.stdout is not None
    here, first, again = json.loads(process.stdout.readline())
    return here, first, again


def is_there(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def test_workers_are_forks_of_one_server_also_where_one_died(tmp_path: Path) -> None:
    with run(tmp_path) as process:
        here, first, again = answers(process)
        assert process.wait(WITHIN_S) == 0

    workers = {answer[0] for answer in (*first, *again)}
    servers = {answer[1] for answer in (*first, *again)}
    assert len(workers) == 3
    assert len(servers) == 1
    assert here not in servers
    for _, _, imported, deaf, variables in (*first, *again):
        assert imported
        assert deaf, "Ctrl-C is for the command"
        assert variables == ["seen", "1", str(2**25)]
    until(lambda: not any(map(is_there, workers | servers)), "the end of all processes")


def test_a_killed_command_leaves_no_process(tmp_path: Path) -> None:
    with run(tmp_path, "wait") as process:
        _, first, again = answers(process)
        with suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)
    started = {answer[at] for answer in (*first, *again) for at in (0, 1)}
    until(lambda: not any(map(is_there, started)), "the end of all processes")
