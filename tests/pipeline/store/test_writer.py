"""One writer a store, which notes how far it is; reading that never stands in its way."""

from __future__ import annotations

import fcntl
import os
import platform
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from terralatent.catalogs.errors import InputError
from terralatent.pipeline import progress
from terralatent.pipeline.progress import Silent
from terralatent.pipeline.store.lock import file_lock
from terralatent.pipeline.store.lock.file_lock import lock_file, note_file
from terralatent.pipeline.store.lock.run_note import Run, decode_run, encode_run
from terralatent.pipeline.store.lock.writer import read_run, writer_lock
from tests.waiting import WITHIN_S

WORK = """
import sys
from terralatent.pipeline.store.lock.writer import writer_lock
with writer_lock(sys.argv[1], 'python work.py') as lock:
    progress = lock.tee(None)
    progress.start(10, "embed")
    for _ in range(3):
        progress.advance(loss=0.5)
    print("at 3", flush=True)
    sys.stdin.read()
    progress.close()
"""


def until(store: Path, known: Callable[[Run], bool]) -> Run:
    """Read a run until it is as it should be; what a writer knows it notes within a second."""
    end = time.monotonic() + WITHIN_S
    while (run := read_run(store)) is None or not known(run):
        assert time.monotonic() < end, run
        time.sleep(0.02)
    return run


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "store"


def start(store: Path) -> subprocess.Popen[str]:
    """Start another process that writes ``store`` and has done 3 of 10."""
    other = subprocess.Popen(
        [sys.executable, "-c", WORK, str(store)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert other.stdout is not None
    assert other.stdout.readline() == "at 3\n"
    return other


def test_a_store_has_one_writer(tmp_path: Path) -> None:
    store = tmp_path / "deep" / "store"
    who = rf"process {os.getpid()} on {platform.node()} since \d{{4}}-\S+ \S+ UTC, build 2 of 5;"

    with writer_lock(store) as lock:
        progress = lock.tee(None)
        progress.start(5, "build")
        progress.advance(2)
        progress.close()
        with pytest.raises(InputError, match=f"is being written by {who}"), writer_lock(store):
            pass
    with writer_lock(store):
        pass

    assert list(store.parent.iterdir()) == []


def test_links_lead_to_one_lock(tmp_path: Path, store: Path) -> None:
    store.mkdir()
    (tmp_path / "link").symlink_to(store)

    with (
        writer_lock(tmp_path / "link"),
        pytest.raises(InputError, match="is being written"),
        writer_lock(store),
    ):
        pass


def test_a_file_is_no_store(store: Path) -> None:
    store.write_text("x")
    with pytest.raises(InputError, match="is a file; a store is a folder"), writer_lock(store):
        pass


def test_the_run_of_another_process_is_seen_until_it_ends(store: Path) -> None:
    other = start(store)
    run = until(store, lambda run: run.done == 3)
    assert (run.going, run.pid, run.stage, run.total) == (True, other.pid, "embed", 10)
    assert (run.host, run.folder, run.fields) == (platform.node(), os.getcwd(), {"loss": 0.5})
    assert run.command == "python work.py"
    assert run.go_on is None  # it is not our command line
    with pytest.raises(InputError, match=f"written by process {other.pid} on .*, embed 3 of 10;"):
        writer_lock(store).__enter__()

    other.communicate(timeout=WITHIN_S)
    assert other.returncode == 0
    assert read_run(store) is None
    assert list(store.parent.iterdir()) == []


def test_a_killed_run_is_distinguished_from_one_that_goes_on(store: Path) -> None:
    other = start(store)
    going = until(store, lambda run: run.done == 3)
    other.kill()
    other.communicate(timeout=WITHIN_S)
    assert other.returncode == -signal.SIGKILL

    killed = read_run(store)
    assert killed is not None
    assert killed == Run(**{**vars(going), "going": False})
    with writer_lock(store):
        assert until(store, lambda run: run.pid == os.getpid()).going
    assert read_run(store) is None


def test_a_run_that_fails_leaves_how_far_it_was_and_why(store: Path) -> None:
    def fail(error: BaseException, *, begin: bool) -> None:
        with writer_lock(store) as lock:
            progress = lock.tee(Silent())
            if begin:
                progress.start(4, "decode")
                progress.advance(3)
            raise error

    def work(error: BaseException, *, begin: bool) -> Run | None:
        with pytest.raises(type(error)):
            fail(error, begin=begin)
        return read_run(store)

    # Refused before anything was done: nothing is left.
    assert work(InputError("other dates"), begin=False) is None
    for error, why in (
        (KeyboardInterrupt(), "interrupted"),
        (InputError("no such\nmodel"), "no such model"),
        (ZeroDivisionError("by zero"), "ZeroDivisionError: by zero"),
    ):
        run = work(error, begin=True)
        assert run is not None
        assert (run.going, run.stage, run.done, run.ended) == (False, "decode", 3, why)
    # What is refused later leaves what the last run said.
    assert work(InputError("other dates"), begin=False) == run
    assert work(KeyboardInterrupt(), begin=False) != run


def test_reading_makes_and_removes_nothing(store: Path) -> None:
    assert read_run(store) is None
    assert read_run(store / "deeper") is None
    assert list(store.parent.iterdir()) == []

    lock_file(store).write_text("process 123")  # of older code, and not held
    note_file(store).write_text('{"pid": 12')  # of a disk that was full, say
    assert read_run(store) is None
    assert lock_file(store).read_text() == "process 123"
    with writer_lock(store):
        pass
    assert list(store.parent.iterdir()) == []


OLD_NOTE = b'5d1b3a0c {"pid": 12, "host": "far", "stage": "build", "done": 3, "total": 9}\n'
"""What an older version wrote into the file that it locked: a checksum, and JSON."""


def test_the_writer_of_an_older_version_is_respected(store: Path) -> None:
    lock_file(store).write_bytes(OLD_NOTE)
    with lock_file(store).open("rb") as older:
        fcntl.flock(older, fcntl.LOCK_EX)
        assert read_run(store) == Run(going=True)
        with pytest.raises(InputError, match="is being written by another process"):
            writer_lock(store).__enter__()
        assert lock_file(store).read_bytes() == OLD_NOTE

    assert read_run(store) is None
    with writer_lock(store):
        pass
    assert list(store.parent.iterdir()) == []


def test_a_writer_waits_while_a_note_is_read(store: Path) -> None:
    reader = os.open(lock_file(store), os.O_RDWR | os.O_CREAT)
    fcntl.flock(reader, fcntl.LOCK_SH)
    threading.Timer(0.1, os.close, [reader]).start()

    with writer_lock(store):
        pass


def test_reading_never_refuses_a_writer_nor_takes_its_end_for_a_kill(store: Path) -> None:
    code = (
        "import sys, threading\n"
        "from pathlib import Path\n"
        "from terralatent.pipeline.store.lock.writer import read_run\n"
        "over = threading.Thread(target=sys.stdin.read)\n"
        "over.start()\n"
        "print('reading', flush=True)\n"
        "while over.is_alive():\n"
        "    run = read_run(Path(sys.argv[1]))\n"
        "    if run and not run.going: sys.exit(f'cut short: {run}')\n"
    )
    readers = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(store)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    for reader in readers:
        assert reader.stdout is not None
        assert reader.stdout.readline() == "reading\n"
    for _ in range(1000):
        with writer_lock(store):
            pass
    for reader in readers:
        reader.communicate(timeout=WITHIN_S)
        assert reader.returncode == 0
    assert list(store.parent.iterdir()) == []


def test_a_reader_that_never_lets_go_is_named(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_lock, "PATIENCE_S", 0.05)
    reader = os.open(lock_file(store), os.O_RDWR | os.O_CREAT)
    fcntl.flock(reader, fcntl.LOCK_SH)
    with pytest.raises(InputError, match=r"some process has been reading .*\.store\.lock"):
        writer_lock(store).__enter__()
    os.close(reader)


def test_a_reader_never_sees_half_a_note(store: Path) -> None:
    seen: list[Run] = []
    with writer_lock(store) as lock:
        over = threading.Event()

        def read() -> None:
            while not over.is_set():
                run = read_run(store)
                assert run is not None
                seen.append(run)

        reader = threading.Thread(target=read)
        reader.start()
        lock.begin(300, "train")
        for done in range(1, 301):
            lock.count(1, {"same": str(done), "wide": "x" * (done % 7)})
            lock.note()
        over.set()
        reader.join()

    assert seen
    assert all(run.going and run.pid == os.getpid() for run in seen)
    counts = [run.done for run in seen]
    assert counts == sorted(counts)
    assert all(run.fields["same"] == str(run.done) for run in seen if run.done)


def test_a_note_that_is_none_is_known_as_such() -> None:
    run = Run(going=True, pid=1, stage="build", done=99, fields={"loss": 0.5})
    note = encode_run(replace(run, going=False))
    assert decode_run(note) == run
    unknown = encode_run(replace(run, fields={"loss": float("nan")}))
    assert decode_run(unknown) == replace(run, fields={"loss": None})

    for cut in range(len(note) - 1):
        assert decode_run(note[:cut]) is None
    for other in (OLD_NOTE, b"process 123", b"123", b"[1, 2]", b"\xff"):
        assert decode_run(other) is None
    assert decode_run(b'{"pid": 1, "of a newer version": 2}') == Run(going=True, pid=1)


def test_the_rate_leaves_out_what_was_done_before(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]

    def noted(after: float) -> Run:
        now[0] += after
        lock.note()
        run = read_run(store)
        assert run is not None
        return run

    with writer_lock(store) as lock:
        monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
        lock.begin(100, "train")
        lock.count(40, {})  # by an earlier run
        assert noted(0.1).left_s is None
        lock.count(5, {})
        assert noted(1.4).left_s is None
        lock.count(10, {})
        run = noted(5.0)
        assert run.rate == pytest.approx(2.0)
        assert run.left_s == pytest.approx(45 / 2.0)
        monkeypatch.undo()


def test_what_is_noted_here_is_passed_on(store: Path) -> None:
    heard: list[object] = []

    class Heard:
        def start(self, total: int, title: str) -> None:
            heard.append((total, title))

        def advance(self, n: int = 1, **fields: float | str) -> None:
            heard.append((n, fields))

        def close(self) -> None:
            heard.append("closed")

    with writer_lock(store) as lock:
        progress = lock.tee(Heard())
        progress.start(2, "build")
        progress.advance(2, loss=1.0)
        progress.close()
    assert heard == [(2, "build"), (2, {"loss": 1.0}), "closed"]
