"""The lock of a store in an object store: one holder, renewed, taken over when it is stale."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from itertools import count

import pytest

from terralatent.catalogs.errors import InputError
from terralatent.pipeline.store.location import Place
from terralatent.pipeline.store.lock import lease
from terralatent.pipeline.store.lock.lease import Lease
from terralatent.pipeline.store.lock.writer import read_run, writer_lock
from tests.servers.s3 import BUCKET, S3Server, serving_s3
from tests.waiting import WITHIN_S

OF_OLDER_CODE = (
    b'5d1b3a0c {"pid": 12, "stage": "build"}\n{"holder": "ab", "process": null, "beat": 3}\n'
)
NUMBER = count()


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    with serving_s3() as started, pytest.MonkeyPatch.context() as patch:
        for name, value in started.environment().items():
            if value:
                patch.setenv(name, value)
            else:
                patch.delenv(name, raising=False)
        yield started


@pytest.fixture
def store(server: S3Server, monkeypatch: pytest.MonkeyPatch) -> Place:
    """A place of its own, where locks are renewed often; stale is what a test says is."""
    monkeypatch.setattr(lease, "BEAT_S", 0.05)
    monkeypatch.setattr(lease, "STALE_S", WITHIN_S)
    monkeypatch.setattr(lease, "CHECK_S", 0.01)
    return Place("s3", BUCKET, f"{next(NUMBER)}/cube")


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no process be known to any other, as if each ran on a machine of its own."""
    monkeypatch.setattr(lease, "_process", lambda pid: None)


def stopped(store: Place, process: str | None = None) -> Lease:
    """A lock whose holder was stopped, and gives no sign of life."""
    holder = Lease(store)
    holder._process = process or holder._process
    holder._keep_beating = lambda: None  # type: ignore[method-assign]
    holder._thread = threading.Thread(target=lambda: None)
    holder.claim()
    return holder


def test_a_store_has_one_writer(store: Place, server: S3Server) -> None:
    with writer_lock(store) as lock:
        lock.begin(5, "build")
        end = time.monotonic() + WITHIN_S
        while (run := read_run(store)) is None or run.total != 5:
            assert time.monotonic() < end, run
        assert run.going
        with pytest.raises(
            InputError, match=r"is being written by process \d+ on .* build 0 of 5;"
        ):
            writer_lock(store).__enter__()
    with writer_lock(store):
        pass
    assert read_run(store) is None
    assert not server.objects(store.path.partition("/")[0] + "/")


def test_a_holder_on_another_machine_is_known_by_its_signs_of_life(
    store: Place, elsewhere: None, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "terralatent")
    with writer_lock(store) as lock:
        lock.begin(5, "build")
        with pytest.raises(InputError, match="is being written by"):
            writer_lock(store).__enter__()
    assert f"waiting up to {WITHIN_S:g} s for a sign of life" in caplog.text


def test_a_lock_that_is_stale_is_taken_over_and_its_holder_notices(
    store: Place, elsewhere: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "STALE_S", 1.0)
    holder = stopped(store)

    with writer_lock(store) as lock:
        assert not holder._put(holder._version), "it is not its own any more"
        lock.begin(1, "build")
        lock.count(1, {})
    assert read_run(store) is None


def test_a_holder_that_wakes_up_does_no_more_work(store: Place, elsewhere: None) -> None:
    other = Lease(store)

    def wake_up() -> None:
        with writer_lock(store) as lock:
            mine = lock._lock
            assert isinstance(mine, Lease)
            end = time.monotonic() + WITHIN_S
            held = lease._fetch(other._objects, other._place)
            while held is None or not other._put(held.version):  # it may be renewed in between
                assert time.monotonic() < end
                held = lease._fetch(other._objects, other._place)
            mine._thread.join(WITHIN_S)
            lock.count(1, {})

    with pytest.raises(InputError, match="was taken over by another run"):
        wake_up()

    kept = lease._fetch(other._objects, other._place)
    assert kept is not None
    assert kept.holder == other._holder, "what another run holds is left alone"


def test_of_many_that_take_a_stale_lock_over_one_succeeds(
    store: Place, elsewhere: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Its holder is known to be gone, so that nobody waits: a wait short enough for a test would let
    # the next one take over whoever is held up for as long on a busy machine.
    monkeypatch.setattr(lease, "_alive", lambda process: False if process == "gone" else None)
    stopped(store, process="gone")
    begun, ended, refused = threading.Event(), threading.Event(), []
    inside: list[str] = []
    most: list[int] = []

    def take(name: str) -> None:
        begun.wait()
        try:
            with writer_lock(store):
                inside.append(name)
                most.append(len(inside))
                ended.wait(WITHIN_S)
                inside.remove(name)
        except InputError as error:
            refused.append(str(error))
            ended.set()

    takers = [threading.Thread(target=take, args=(str(n),)) for n in range(3)]
    for taker in takers:
        taker.start()
    begun.set()
    for taker in takers:
        taker.join(WITHIN_S)

    assert len(most) + len(refused) == 3
    assert set(most) == {1}, "never two at once"
    assert refused
    assert all("is being written by" in words for words in refused)


def test_a_lock_of_long_ago_or_of_a_process_that_is_gone_is_not_waited_for(
    store: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "STALE_S", 1e6)
    holder = stopped(store)
    boot, pids, _, start = str(holder._process).split()
    holder._process = f"{boot} {pids} 4194305 {start}"  # more than there can be
    assert holder._put(holder._version)
    with writer_lock(store):
        pass

    with monkeypatch.context() as patch:
        patch.setattr(lease, "_process", lambda pid: None)
        patch.setattr(lease, "LONG_AGO", timedelta(seconds=-60))
        stopped(store)
        with writer_lock(store):
            pass


def test_a_run_that_fails_leaves_its_note_and_no_lock(store: Place) -> None:
    def fail() -> None:
        with writer_lock(store) as lock:
            lock.begin(4, "build")
            lock.count(3, {})
            raise ZeroDivisionError("by zero")

    with pytest.raises(ZeroDivisionError):
        fail()
    run = read_run(store)
    assert run is not None
    assert (run.going, run.done, run.ended) == (False, 3, "ZeroDivisionError: by zero")
    with pytest.raises(InputError), writer_lock(store):
        raise InputError("refused before it began")
    assert read_run(store) == run
    with writer_lock(store):
        pass
    assert read_run(store) is None


@pytest.mark.parametrize("body", [b"something\nelse", OF_OLDER_CODE])
def test_what_others_put_in_its_place_is_no_lock_for_ever(
    body: bytes, store: Place, server: S3Server, elsewhere: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = store.beside
    server.client().put_object(Bucket=BUCKET, Key=key, Body=body)
    with monkeypatch.context() as patch:  # the store's clock has whole seconds
        patch.setattr(lease, "STALE_S", 1e6)
        assert read_run(store) is not None
    monkeypatch.setattr(lease, "STALE_S", 1.0)
    with writer_lock(store):
        pass
    assert read_run(store) is None


def test_an_answer_that_is_lost_does_not_lose_the_lock(store: Place) -> None:
    """The request is sent again, and the condition does not hold for what it did itself."""
    holder = stopped(store)
    before = holder._version
    holder._put(before)
    assert holder._put(before), "the version that it knew is not the newest, which is its own"
    holder.release(None)
    assert read_run(store) is None
