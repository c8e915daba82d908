"""How far the run of a store's writer is: the note that it keeps beside its lock."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime

from terralatent.pipeline.command import PROGRAM
from terralatent.pipeline.json_value import json_value

__all__ = ["Run", "decode_run", "encode_run", "iso"]


@dataclass(frozen=True)
class Run:
    """One run of a command or call that writes a store."""

    going: bool
    """Whether its process holds the lock; if not, the run was cut short."""

    pid: int | None = None
    """Its process, None where the note does not say."""

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
    """Items of the stage that are done: read tasks, steps, blocks."""

    total: int = 0
    """Items of the stage."""

    rate: float | None = None
    """Items a second in this stage; None until it is known."""

    fields: Mapping[str, float | str | None] = field(default_factory=dict)
    """What it last reported beside the count, such as ``loss``."""

    updated: str = ""
    """When it last reported something."""

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


def encode_run(run: Run) -> bytes:
    """The note of a run: one line of JSON. Whether it goes on is for who reads it to see."""
    values = json_value(asdict(run))
    del values["going"]
    return json.dumps(values).encode() + b"\n"


def decode_run(note: bytes) -> Run | None:
    """The run of a note, as one that goes on; None if that is no note, or one of older code."""
    try:
        values = json.loads(note)
    except ValueError:
        return None
    if not isinstance(values, dict):
        return None
    known = {item.name for item in fields(Run)} & values.keys()
    return Run(**{"going": True, **{name: values[name] for name in known}})


def iso(when: datetime | None = None) -> str:
    """``when``, which knows its zone, now by default: in ISO 8601, UTC, to the second."""
    when = (when or datetime.now(UTC)).astimezone(UTC)
    return when.replace(tzinfo=None).isoformat(timespec="seconds") + "Z"
