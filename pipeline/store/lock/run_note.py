"""How far the run of a store's writer is: the note that it keeps in its lock, and reading it.

The lock of a local store is a ``flock`` on a hidden file beside it and ends with the writer's
process, however that ends. A note whose file nobody holds is therefore that of a run that was cut
short. In an object store it is an object, see :mod:`terralatent.pipeline.store.lock.lease`.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from terralatent.pipeline.command import PROGRAM
from terralatent.pipeline.json_value import json_value
from terralatent.pipeline.store.storage import local_path

__all__ = [
    "Run",
    "content",
    "decode_run",
    "encode_run",
    "has_writer",
    "iso",
    "lies_at",
    "lock_file",
    "read_run",
]

TRIES, PAUSE_S = 20, 0.002
"""How often, and how long apart, a note is read that is just being changed."""


@dataclass(frozen=True)
class Run:
    """One run of a command or call that writes a store."""

    going: bool
    """Whether its process holds the lock; if not, the run was cut short."""

    pid: int | None = None
    """Its process, None where the file does not tell."""

    host: str = ""
    """The machine of the process."""

    command: str = ""
    """Its command line, quoted for a shell."""

    folder: str = ""
    """The working directory of the command."""

    started: str = ""
    """When it took the lock; ISO 8601, UTC, as all times here."""

    stage: str = ""
    """What it does now: ``build``, ``train``, ``embed``, ``decode``; empty before the first."""

    done: int = 0
    """Units of the stage that are done: read units, steps, blocks."""

    total: int = 0
    """Units of the stage."""

    rate: float | None = None
    """Units a second in this stage; None until it can be told."""

    fields: Mapping[str, float | str | None] = field(default_factory=dict)
    """What it last told beside the count, such as ``loss``."""

    updated: str = ""
    """When it last told something."""

    ended: str | None = None
    """Why it was cut short, where it could still say: ``interrupted``, or its error."""

    @property
    def left_s(self) -> float | None:
        """Seconds that the rest of the stage takes at this rate; None if that is not known."""
        return (self.total - self.done) / self.rate if self.going and self.rate else None

    @property
    def go_on(self) -> str | None:
        """The command that goes on with what was cut short; None if it was none of ours."""
        return self.command if self.command.startswith(f"{PROGRAM} ") else None

    @property
    def who(self) -> str:
        """Process, machine, start and progress in a few words."""
        if self.pid is None:
            return "another process"
        started = self.started.replace("T", " ").replace("Z", " UTC")
        far = f", {self.stage} {self.done} of {self.total}" if self.stage else ""
        return f"process {self.pid} on {self.host} since {started}{far}"


def lock_file(store: str | Path) -> Path | None:
    """Where the writer of ``store`` locks and tells; None for a URL. Links lead to one file."""
    path = local_path(store)
    if path is None:
        return None
    path = path.resolve()
    return path.parent / f".{path.name}.lock"


def read_run(store: str | Path) -> Run | None:
    """How far the run is that writes ``store``, or that was cut short; None if there is none.

    Changes nothing and stands in no writer's way, see :func:`has_writer`.

    Raises:
        InputError: If ``store`` is a URL and its object store cannot be used.
    """
    name = lock_file(store)
    if name is None:
        from terralatent.pipeline.store.lock.lease import leased_run  # which knows of runs itself

        return leased_run(str(store))
    for _ in range(TRIES):
        try:
            file = os.open(name, os.O_RDONLY)
        except OSError:
            return None
        try:
            line = content(file)
            going, told = has_writer(file), decode_run(line)
            if not lies_at(name, file):
                continue  # the writer ended meanwhile and removed its file
            if going and told is not None:
                return Run(going=True, **told)
            if not going and content(file) == line:
                return None if told is None else Run(going=False, **told)
        finally:
            os.close(file)
        time.sleep(PAUSE_S)  # the line is being changed
    return Run(going=True)


def encode_run(run: Run) -> bytes:
    """One line: a checksum, so that half a line is known as such, and JSON."""
    told = json_value(asdict(run))
    del told["going"]
    body = json.dumps(told).encode()
    return b"%08x %s\n" % (zlib.crc32(body), body)


def decode_run(content: bytes) -> dict[str, Any] | None:
    """The fields of a :class:`Run` that ``content`` begins with; None if it is no whole line."""
    line, newline, _ = content.partition(b"\n")
    checksum, _, body = line.partition(b" ")
    if not newline or checksum != b"%08x" % zlib.crc32(body):
        return None
    told: dict[str, Any] = json.loads(body)
    return {each.name: told[each.name] for each in fields(Run) if each.name in told}


def iso(when: datetime | None = None) -> str:
    """``when``, which knows its zone, now by default: in ISO 8601, UTC, to the second."""
    when = (when or datetime.now(UTC)).astimezone(UTC)
    return when.replace(tzinfo=None).isoformat(timespec="seconds") + "Z"


def has_writer(file: int) -> bool:
    """Whether somebody holds the lock of ``file`` as its writer.

    A shared lock is taken for an instant to find out. A writer that comes in that instant cannot
    take its own, but does have a shared one beside it: so it knows that it only has to try again.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    fcntl.flock(file, fcntl.LOCK_UN)
    return False


def content(file: int) -> bytes:
    """All that an open file holds."""
    return os.pread(file, os.fstat(file).st_size, 0)


def lies_at(name: Path, file: int) -> bool:
    """Whether the open ``file`` is still what lies at ``name``."""
    try:
        return os.path.samestat(os.fstat(file), name.stat())
    except FileNotFoundError:
        return False
