"""Ctrl-C ends a command with one line that says what to type, and the next run ends the same."""

from __future__ import annotations

import os
import shlex
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import Any

import pytest
from distributed import Client

from terralatent.models.checkpoint import load_model
from terralatent.pipeline import interrupts
from terralatent.pipeline.interrupts import Interrupts, deaf_threads
from terralatent.pipeline.mapping.embed import embed
from terralatent.pipeline.progress import Silent
from tests.commands.mishaps import Mishap, second
from tests.commands.plans import FilledStore, Plan, some_and_all
from tests.commands.processes import Ended
from tests.commands.trainings import Training

NOISE = ("Traceback", "Exception", "Error", "error", "warning", "distributed")


def is_clean(ended: Ended) -> bool:
    """Whether a command says that it was interrupted, what to type to go on, and nothing else."""
    *before, last = ended.output.splitlines()
    head, _, command = last.partition("go on with: ")
    assert head == "interrupted: what is done is kept; ", ended.output
    assert not [line for line in before for word in NOISE if word in line], ended.output
    assert shlex.split(command)[0] == "terralatent"
    return ended.code == 130


# Where a build is interrupted, run after run, and how many units are done then at least: what came
# back meanwhile is kept too.
BUILD = (
    (Mishap("started", "interrupt"), 0),
    (Mishap("written", "interrupt", nth=3, after=("after commit", 2)), 2),
    (Mishap("before commit", "interrupt twice"), 4),
    (Mishap("after commit", "terminate"), 6),
)


@pytest.mark.soak  # `embed` is interrupted in every run, builds are killed
@some_and_all(BUILD, slice(1, 3))
def test_an_interrupted_build_keeps_what_is_done_and_ends_with_the_same_bytes(
    radar_plan: Plan, filling: Callable[[Plan], FilledStore], points: tuple[tuple[Mishap, int], ...]
) -> None:
    store = filling(radar_plan)
    for mishap, done in points:
        assert is_clean(store.run(mishap=mishap)), mishap
        assert done <= store.done() < radar_plan.units, mishap

    # The last run ends well, though another wants to write too while it is at it.
    ended = store.run(mishap=Mishap("merged", "second"))
    assert ended.code == 0, ended.output
    assert store.is_whole()
    code, output = second(store.last)
    assert code == 2
    assert f"error: {store.path} is being written by process" in output.splitlines()[-1]


def test_an_interrupted_embedding_keeps_what_is_done_and_ends_with_the_same_bytes(
    embed_plan: Plan, filling: Callable[[Plan], FilledStore], workers: Client
) -> None:
    store = filling(embed_plan)

    assert is_clean(store.run(mishap=Mishap("merged", "interrupt", nth=2)))

    done = store.done()
    assert done >= 4
    _, cube, model, _, dates, _ = embed_plan.command
    report = embed(cube, model, store.path, dates=dates, client=workers)
    assert report.computed == embed_plan.units - done
    assert store.is_whole()


class Pressing(Silent):
    """Presses Ctrl-C when some blocks are done, as who watches a notebook does."""

    def __init__(self, blocks: int) -> None:
        self.left = blocks

    def advance(self, n: int = 1, **fields: float | str) -> None:
        self.left -= n
        if self.left == 0:
            signal.raise_signal(signal.SIGINT)


def test_an_embedding_interrupted_in_this_process_goes_on_from_what_is_done(
    embed_plan: Plan, filling: Callable[[Plan], FilledStore], workers: Client
) -> None:
    store = filling(embed_plan)
    _, cube, model, _, dates, _ = embed_plan.command
    how: dict[str, Any] = {"dates": dates, "client": workers}

    with pytest.raises(KeyboardInterrupt):
        embed(cube, model, store.path, **how, progress=Pressing(3))

    done = store.done()
    assert 3 <= done < embed_plan.units
    report = embed(cube, model, store.path, **how)
    assert report.computed == embed_plan.units - done
    assert store.is_whole()


# Where a training is interrupted, run after run, and how many steps its state has then.
TRAIN = (
    (Mishap("linear start", "interrupt"), None),
    (Mishap("step", "terminate"), 1),
    (Mishap("step", "interrupt twice", nth=2), 3),
    (Mishap("state written", "interrupt"), 4),
    (Mishap("weights replaced", "interrupt"), 6),
)


@some_and_all(TRAIN, slice(1, 3))
def test_an_interrupted_training_keeps_its_steps_and_ends_with_the_same_bytes(
    trained: Training, training: Training, points: tuple[tuple[Mishap, int | None], ...]
) -> None:
    for mishap, step in points:
        assert is_clean(training.run(mishap)), mishap
        assert training.step() == step, mishap
        if step is not None:
            load_model(training.out)  # the best one so far

    ended = training.run()

    assert ended.code == 0, ended.output
    assert training.contents() == trained.contents()


# What the commands do it with.


def press() -> None:
    """Press Ctrl-C."""
    os.kill(os.getpid(), signal.SIGINT)


@pytest.fixture(autouse=True)
def _as_it_was() -> Iterator[None]:
    before = signal.getsignal(signal.SIGINT)
    yield
    assert signal.getsignal(signal.SIGINT) is before


def ends_so(work: Callable[[], None], error: type[BaseException] = KeyboardInterrupt) -> bool:
    """Whether a function ends by an interrupt, or another error."""
    try:
        work()
    except error:
        return True
    return False


def test_what_is_held_back_comes_at_the_end() -> None:
    done = []

    def work() -> None:
        with Interrupts() as held:
            press()
            press()
            done.append(held.heard())
        done.append("after it")

    assert ends_so(work)
    assert done == [True]


def test_what_is_let_through_comes_at_once() -> None:
    done = []

    def work() -> None:
        with Interrupts() as held, held.let_through():
            press()
            done.append("after it")

    assert ends_so(work)
    assert done == []


def test_what_was_held_back_comes_where_it_is_let_through() -> None:
    done = []

    def work() -> None:
        with Interrupts() as held:
            press()
            done.append("held")
            with held.let_through():
                done.append("within")

    assert ends_so(work)
    assert done == ["held"]


@pytest.mark.parametrize("hold", [True, False])
def test_the_outer_block_decides(hold: bool) -> None:
    done = []

    def work() -> None:
        with Interrupts() as outer, nullcontext() if hold else outer.let_through():  # noqa: SIM117
            with Interrupts() as inner, inner.let_through():
                press()
                done.append("held by the outer")

    assert ends_so(work)
    assert done == (["held by the outer"] if hold else [])


def test_another_error_comes_before_what_is_held_back() -> None:
    def work() -> None:
        with Interrupts():
            press()
            raise ZeroDivisionError

    assert ends_so(work, ZeroDivisionError)


def test_the_next_one_ends_what_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interrupts, "PATIENCE_S", -1.0)
    done = []

    def work() -> None:
        with Interrupts():
            press()
            done.append("held")
            press()
            done.append("hangs")

    assert ends_so(work)
    assert done == ["held"]


def test_where_ctrl_c_is_ignored_it_stays_so() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with Interrupts() as held, held.let_through():
            press()
        assert not held.heard()
    finally:
        signal.signal(signal.SIGINT, before)


def test_beside_the_main_thread_nothing_is_held_back() -> None:
    ended = []

    def work() -> None:
        with Interrupts() as held, held.let_through():
            ended.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert ended == [signal.default_int_handler]


def test_threads_that_are_to_be_deaf_are_and_this_one_hears_again() -> None:
    masks = []

    def work() -> None:
        masks.append(signal.pthread_sigmask(signal.SIG_BLOCK, ()))

    with deaf_threads():
        thread = threading.Thread(target=work)
        thread.start()
    thread.join()
    assert signal.SIGINT in masks[0]
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())
