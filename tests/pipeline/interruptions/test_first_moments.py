"""Ctrl-C while the command line itself is still being imported."""

import signal
import subprocess
import sys

import pytest

INTERRUPTED_WITHIN = """
import builtins, os, signal, sys
from terralatent.pipeline.cli import main

count, place, original = 0, int(sys.argv.pop(1)), builtins.__import__

def counting(*arguments, **named):
    global count
    count += 1
    if count == place:
        os.kill(os.getpid(), signal.SIGINT)
    return original(*arguments, **named)

builtins.__import__ = counting
main()
"""


@pytest.mark.parametrize("place", [1, 2, 30, 300])
def test_ctrl_c_at_an_import_ends_without_a_word_about_it(place: int) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", INTERRUPTED_WITHIN, str(place), "simulate", "--help"],
        check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert ended.returncode in (-signal.SIGINT, 130), ended.stderr
    assert "Traceback" not in ended.stderr
    assert "unexpected" not in ended.stderr
