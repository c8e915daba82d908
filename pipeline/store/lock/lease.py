"""The writer's lock of a store in an object store: one object, held as long as it is renewed.

An object store keeps no lock that ends with a process. What it has is the conditional write: make
an object only if there is none, replace it only if it is still the one that was read. So the lock
is an object beside the store, made on the first condition and renewed every few seconds on the
second. Whoever finds one that is not renewed for a minute of its own clock replaces it, on the
second condition too, so that of two that try one succeeds. A holder that is known to be gone (it
ran on this machine, or said that it ended, or left its object alone for longer than any clock may
be wrong) is not waited for.

The lock keeps two runs from doing the same work; a store stays whole without it. A process that is
stopped for a minute may wake up and hold it no more, and no lock in another place can prevent that.
So each commit is conditional as well: :mod:`terralatent.pipeline.cluster.stream` commits only on
top of its own last commit.

A branch or tag of Icechunk's, which is made by a conditional write too, was not taken for it: there
is none before the first build, it cannot be renewed, and it holds no word on who made it.
"""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

from terralatent.catalogs.errors import InputError
from terralatent.pipeline.store.library_errors import trouble_of
from terralatent.pipeline.store.location import (
    Place,
    open_objects,
    translated_object_errors,
)
from terralatent.pipeline.store.lock.run_note import Run, decode_run, encode_run

__all__ = ["Lease", "leased_run"]

log = logging.getLogger(__name__)

BEAT_S = 5.0
"""How often a lock is renewed."""

STALE_S = 60.0
"""A lock that is not renewed for so long may be taken over."""

CHECK_S = 0.5
"""How often it is checked whether a lock is renewed."""

LONG_AGO = timedelta(minutes=20)
"""A lock this old is not watched: object stores refuse clocks that are off by a quarter hour."""


@dataclass(frozen=True)
class _LockObject:
    """The lock's object as it was read."""

    run: Run | None
    """What its writer noted of its run."""

    holder: str | None
    """Who holds it; None where its writer has let go."""

    process: str | None
    """The holder's process, see :func:`_process`."""

    version: dict[str, Any]
    """What to name on the condition that it is still this one."""

    body: bytes
    """All of it."""

    modified: datetime
    """When it was written, by the object store's clock."""

    @property
    def who(self) -> str:
        """Its writer in a few words."""
        return (self.run or Run(going=True)).who


class Lease:
    """The lock of one store; not taken yet.

    Args:
        place: Where the store lies.

    Raises:
        InputError: If the environment does not say how to get there.
    """

    def __init__(self, place: Place) -> None:
        self._place = place
        self._objects = _objects(place)
        self._holder = uuid4().hex
        self._process = _process(os.getpid())
        self._beats = 0
        self._run: Run | None = None
        self._version: dict[str, Any] = {}
        self._beaten = 0.0
        self._lost: str | None = None
        self._over, self._awake = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._keep_beating, daemon=True)

    def claim(self) -> Run | None:
        """Take the lock; waits up to a minute where its last holder may be gone.

        Returns:
            An earlier run that was cut short.

        Raises:
            InputError: If another process holds it, or it cannot be written.
        """
        left = None
        with translated_object_errors(self._place):
            while not self._put("create"):
                lock = _fetch(self._objects, self._place)
                if lock is not None and self._is_free(lock):
                    left = lock.run
                    if self._put(lock.version):
                        break
        self._thread.start()
        return left

    def keep(self, run: Run, *, now: bool = False) -> None:
        """Note how far the run is with the next renewal, or ``now``."""
        self._run = run
        if now:
            self._awake.set()

    def require(self) -> None:
        """Check that the lock is still held.

        Raises:
            InputError: If another run has taken it over.
        """
        if self._lost is not None:
            raise InputError(self._lost)

    def release(self, left: Run | None) -> None:
        """Let go, and leave the note of a run that was cut short, or nothing. Never raises."""
        import obstore

        self._over.set()
        self._awake.set()
        self._thread.join()
        if self._lost is not None:
            return
        try:
            if left is None and time.monotonic() - self._beaten < STALE_S / 2:
                # No condition is needed: nobody else may have it yet.
                obstore.delete(self._objects, self._place.beside)
            else:
                self._run, self._holder = left, ""
                self._put(self._version)
        except Exception as error:  # it is not renewed any more, which will do
            log.debug("cannot remove the lock of %s: %s", self._place, type(error).__name__)

    def _keep_beating(self) -> None:
        while not self._over.is_set():
            self._awake.wait(BEAT_S)
            self._awake.clear()
            if self._over.is_set():
                return
            try:
                held = self._put(self._version)
            except Exception as error:  # no answer: the next beat may get one
                log.debug("cannot renew the lock of %s: %s", self._place, type(error).__name__)
                continue
            if not held:
                self._lost = (
                    f"{self._place} was taken over by another run: for more than {STALE_S:g} s "
                    "this one gave no sign of life there. What was committed is kept."
                )
                return

    def _put(self, mode: Any) -> bool:
        """Write the object on a condition; False if it does not hold."""
        import obstore
        from obstore.exceptions import AlreadyExistsError, PreconditionError

        self._beats += 1
        held = {"holder": self._holder, "process": self._process, "beat": self._beats}
        note = encode_run(self._run) if self._run else b"\n"
        body = note + (json.dumps(held).encode() + b"\n" if self._holder else b"")
        while True:
            begun = time.monotonic()
            try:
                put = obstore.put(
                    self._objects, self._place.beside, body, mode=mode, use_multipart=False
                )
                version = _version(put)
            except (AlreadyExistsError, PreconditionError):
                # A request whose answer was lost is sent again, and meets what it wrote itself.
                lock = _fetch(self._objects, self._place)
                if lock is None or not self._holder or lock.holder != self._holder:
                    return False
                mode = version = lock.version
                if lock.body != body:
                    continue
            self._version, self._beaten = version, begun
            return True

    def _is_free(self, lock: _LockObject) -> bool:
        """Whether the one who held the lock is gone; waits where that is not known at once.

        Returns:
            False if what is there has changed and is to be read again.

        Raises:
            InputError: If the holder is there.
        """
        alive = _alive(lock.process)
        if alive:
            raise self._refusal(lock)
        if lock.holder is None or alive is False:
            return True
        if datetime.now(UTC) - lock.modified > LONG_AGO:
            return True
        log.info(
            "%s is locked by %s; waiting up to %g s for a sign of life",
            self._place, lock.who, STALE_S,
        )  # fmt: skip
        until = time.monotonic() + STALE_S
        while time.monotonic() < until:
            time.sleep(CHECK_S)
            later = _fetch(self._objects, self._place)
            if later is None or later.holder is None:
                return False
            if later.body != lock.body:
                raise self._refusal(later)
        return True

    def _refusal(self, lock: _LockObject) -> InputError:
        return InputError(
            f"{self._place} is being written by {lock.who}; wait until it ends, or end it."
        )


def leased_run(place: Place) -> Run | None:
    """How far the run is that writes a store in an object store, or that was cut short.

    A note that is older than a minute by this machine's clock, or whose process is known to be
    gone, is that of a run that was cut short. None also where the lock may not be read.

    Raises:
        InputError: If the object store cannot be used.
    """
    from obstore.exceptions import PermissionDeniedError

    with translated_object_errors(place):
        try:
            lock = _fetch(_objects(place), place)
        except PermissionDeniedError:
            return None
    if lock is None:
        return None
    alive = _alive(lock.process)
    fresh = datetime.now(UTC) - lock.modified < timedelta(seconds=STALE_S)
    going = lock.holder is not None and (fresh if alive is None else alive)
    if lock.run is None:
        return Run(going=True) if going else None
    return replace(lock.run, going=going)


def _objects(place: Place) -> Any:
    with translated_object_errors(place):
        return open_objects(place)


def _fetch(objects: Any, place: Place) -> _LockObject | None:
    """Read the lock's object; None if there is none."""
    import obstore

    try:
        got = obstore.get(objects, place.beside)
    except FileNotFoundError as error:
        if trouble_of(error) is not None:  # not even its bucket
            raise
        return None
    body = bytes(got.bytes())
    note, _, rest = body.partition(b"\n")
    try:
        held = dict(json.loads(rest)) if rest else {}
    except ValueError:  # not ours, or cut: to be watched like any other
        held = {"holder": "unknown"}
    return _LockObject(
        run=decode_run(note),
        holder=held.get("holder"),
        process=held.get("process"),
        version=_version(got.meta),
        body=body,
        modified=got.meta["last_modified"],
    )


def _version(meta: Any) -> dict[str, Any]:
    """What identifies one version of an object, without what its store does not know."""
    return {key: meta[key] for key in ("e_tag", "version") if meta.get(key) is not None}


def _process(pid: int) -> str | None:
    """A name that no other process ever has: the machine's start, its pids, and the process's.

    None where the system does not say, or there is no such process.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        pids = os.readlink("/proc/self/ns/pid")
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if state in "ZX" else f"{boot} {pids} {pid} {fields[18]}"


def _alive(process: str | None) -> bool | None:
    """Whether a process lives; None where that is not known from here."""
    here = _process(os.getpid())
    if process is None or here is None or process.split()[:2] != here.split()[:2]:
        return None
    return _process(int(process.split()[2])) == process
