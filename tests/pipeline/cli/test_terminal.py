"""Progress in a file and as events: seldom, never wrong, and the end always shown."""

from __future__ import annotations

import io
import re
import subprocess
import sys
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import pytest
from rich.console import Console

from terralatent.pipeline import bars
from terralatent.pipeline.bars import Bar
from terralatent.pipeline.cli.events import Events
from terralatent.pipeline.cli.terminal import Terminal
from terralatent.pipeline.mapping.results.report import LostBlock
from terralatent.pipeline.progress import Progress, Rate, Silent
from tests.waiting import WITHIN_S


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, to be moved."""
    now = [1000.0]
    monkeypatch.setattr(bars.time, "monotonic", lambda: now[0])
    return now


def work(progress: Progress, clock: list[float], seconds: float, steps: int) -> None:
    progress.start(steps, "train")
    for step in range(steps):
        clock[0] += seconds / steps
        progress.advance(loss=float(step))
    progress.close()
    progress.close()


@pytest.mark.parametrize(("seconds", "steps"), [(0.5, 100), (10.0, 1000), (30.0, 3), (0.0, 0)])
def test_events_begin_end_and_come_once_a_second(
    clock: list[float], seconds: float, steps: int
) -> None:
    events: list[tuple[float, Mapping[str, Any]]] = []
    work(Events(lambda event: events.append((clock[0], dict(event)))), clock, seconds, steps)

    counts = [event["done"] for _, event in events]
    assert (counts[0], counts[-1]) == (0, steps)
    assert sorted(set(counts)) == counts
    assert {(event["stage"], event["total"]) for _, event in events} == {("train", steps)}
    assert all(event["fields"] == {"loss": event["done"] - 1.0} for _, event in events[1:])
    times = [time for time, _ in events[:-1]]
    assert all(later - sooner >= 1.0 for sooner, later in pairwise(times))
    assert len(events) >= min(steps, int(seconds / 1.1)) + 1


@pytest.mark.parametrize("width", [80, 120])
def test_a_bar_stays_on_one_line(width: int) -> None:
    file = io.StringIO()
    bar = Bar(Console(file=file, width=width, force_terminal=True, color_system=None))
    bar.start(8000, "train")
    bar.advance(4321, loss=-1.234, best=-0.6039)
    bar.close()

    last = re.split(r"[\r\n]", re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", file.getvalue()).strip())[-1]
    assert last.startswith("train")
    assert "4321/8000" in last
    assert "loss -1.234  best -0.6039" in last
    assert len(last) <= width


@pytest.mark.parametrize("width", [80, 120])
def test_a_bar_of_blocks_shows_pixels_a_second_and_the_time_that_is_left(
    width: int, clock: list[float]
) -> None:
    file = io.StringIO()
    bar = Bar(Console(file=file, width=width, force_terminal=True, color_system=None))
    bar.start(1849, "decode")
    for _ in range(3):
        clock[0] += 60.0
        bar.advance(**{"pixels/s": 1234567.8})
    bar.close()

    last = re.split(r"[\r\n]", re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", file.getvalue()).strip())[-1]
    assert re.search("^decode .* 3/1849 pixels/s 1,234,568 .* left ", last)
    assert len(last) <= width


def test_the_rate_is_that_of_the_recent_past(clock: list[float]) -> None:
    rate = Rate()
    for _ in range(100):
        clock[0] += 10.0
        slow = rate.add(1_000)
    for _ in range(100):
        clock[0] += 10.0
        fast = rate.add(20_000)
    assert slow == pytest.approx(100.0)
    assert fast == pytest.approx(2_000.0)


def test_what_was_lost_is_a_table_on_a_terminal_and_lines_in_a_file() -> None:
    block = LostBlock(
        (0, 12), (0.0, 2560.0), (10.5, 20.0), "10.0.0.3:41235", "OSError: \x1b[2J full"
    )
    losses = [
        block,
        LostBlock((3, 4), (0.0, 1.0), (0.0, 1.0), "", "killed"),
        "the cube is not whole",
    ]
    written = {}
    for form in (True, False):
        terminal, file = Terminal(), io.StringIO()
        terminal.console = Console(
            file=file, width=80, force_terminal=form, color_system=None, soft_wrap=True
        )
        terminal.report_losses(losses)
        written[form] = file.getvalue()

    rows = [re.split(r" {2,}", line.strip()) for line in written[True].splitlines()]
    assert rows[0] == ["lost"]
    assert ["block", "place", "worker", "reason"] in rows
    assert ["(0, 12)", "x 0 to 2560", "10.0.0.3:41235", "OSError: \ufffd[2J full"] in rows
    assert ["y 10.5 to 20"] in rows
    assert ["(3, 4)", "x 0 to 1", "killed"] in rows
    assert rows[-1] == ["lost: the cube is not whole"]
    assert max(map(len, written[True].splitlines())) <= 80
    assert written[False].splitlines() == [
        "lost: block (0, 12): OSError: \ufffd[2J full (x 0 to 2560, y 10.5 to 20; "
        "worker 10.0.0.3:41235)",
        "lost: block (3, 4): killed (x 0 to 1, y 0 to 1)",
        "lost: the cube is not whole",
    ]


def test_a_bar_in_a_file_is_a_line_now_and_then(clock: list[float]) -> None:
    file = io.StringIO()
    work(Bar(Console(file=file, width=80)), clock, 35.0, 350)
    lines = file.getvalue().splitlines()
    assert lines[-1] == "train 350/350  loss 349"
    assert 3 <= len(lines) <= 5


def test_nothing_is_shown_outside_a_stage(clock: list[float]) -> None:
    events: list[object] = []
    file = io.StringIO()
    for progress in (Events(events.append), Bar(Console(file=file)), Silent()):
        progress.advance(3)
        progress.close()
    assert (events, file.getvalue()) == ([], "")


def test_what_is_shown_chooses_the_progress() -> None:
    terminal = Terminal()
    for settings, kind in (
        ({}, Bar),
        ({"log_json": True}, Events),
        ({"quiet": True}, Silent),
        ({"quiet": True, "log_json": True}, Silent),
    ):
        terminal.settle(**settings)
        assert type(terminal.bar()) is kind


LATE = """
import logging
from terralatent.pipeline.cli.terminal import terminal


class Loop:
    def __del__(self, log=logging.getLogger("asyncio")):
        log.error("a task of https://host/a?sig=b was lost")


terminal.listen()
logging.getLogger("asyncio").error("said in time")
loop = Loop()
loop.own = loop  # outlives what modules need to import
"""


def test_what_is_said_as_the_process_ends_makes_no_noise() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", LATE], capture_output=True, text=True, timeout=WITHIN_S
    )

    assert ended.returncode == 0
    assert ended.stderr.splitlines() == ["error: said in time"]
