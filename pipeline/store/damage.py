"""A store that is damaged, or a disk that is full: what Icechunk and Zarr say, in one line."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import icechunk

from terralatent.catalogs.errors import InputError
from terralatent.pipeline.store.location import trouble_of

__all__ = ["damage_of", "telling_damage"]

_CANNOT_WRITE = {
    errno.EACCES: "permission denied",
    errno.EROFS: "it is read-only",
    errno.ENOSPC: "no space is left on the device",
    errno.EFBIG: "the file would be larger than is allowed",
    errno.EDQUOT: "the disk quota is used up",
}
"""Why a file may not be written, by the number of the error."""

_CUT_OR_CHANGED = (
    "checksum|early eof|EOF while|incomplete frame|magic number"
    "|expected value|bytes long|range start"
)
"""What Icechunk and Zarr say of a file that is not as they wrote it."""

_OF_OBJECTS = "dispatch failure|service error|timeout error|Error performing [A-Z]+ http"
"""What clients of object stores say where a request did not succeed."""

_ADVICE = "Take the store from a copy, or make it anew."


@contextmanager
def telling_damage(store: str | Path, raising: type[Exception] = InputError) -> Iterator[None]:
    """Turn what a damaged store, or a full disk below it, raises into one clear line.

    Args:
        store: What the line begins with.
        raising: What is raised; a task on a worker, which spoils one block alone, takes another.

    Raises:
        InputError: If the block raised something of which :func:`damage_of` knows the reason.
    """
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        told = damage_of(error)
        if told is None:
            raise
        raise raising(f"{store} {told}") from error


def damage_of(error: BaseException) -> str | None:
    """Say what is wrong with a store and what to do, as the end of a sentence that names it.

    Returns:
        None where ``error`` is no error of a store.
    """
    text = str(error)
    if re.search(_OF_OBJECTS, text) and (trouble := trouble_of(text)) is not None:
        return f"{trouble}."
    if isinstance(error, icechunk.IcechunkError):
        return _told(_file(text), _innermost(text))
    number = error.errno if isinstance(error, OSError) else _number(text)
    if number in _CANNOT_WRITE:
        return _full(_CANNOT_WRITE[number])
    # The codecs of Zarr have no error of their own.
    if isinstance(error, (ValueError, RuntimeError)) and re.search("checksum|decompress", text):
        return _told("", "its checksum is another")
    return None


def _told(file: str, reason: str) -> str:
    number = _number(reason)
    if number in _CANNOT_WRITE:
        return _full(_CANNOT_WRITE[number])
    name = f"its file {file}" if file else "one of its files"
    if number == errno.ENOENT or reason.startswith("snapshot not found"):
        return f"is damaged: {name} is missing. {_ADVICE}"
    if re.search(_CUT_OR_CHANGED, reason):
        return f"is damaged: {name} was cut short or changed ({reason}). {_ADVICE}"
    return f"cannot be used: {reason}."


def _full(why: str) -> str:
    return (
        f"cannot be written: {why}. Make room, or choose another --out; what is stored is whole, "
        "and the same command goes on from it."
    )


def _number(text: str) -> int:
    """The number of the error that a program in Rust tells in its words; 0 for none."""
    found = re.search(r"os error (\d+)", text)
    return int(found[1]) if found else 0


def _innermost(text: str) -> str:
    """The last cause that Icechunk lists below its tree of contexts, else its first line."""
    causes = re.findall(r"^\s*[|`]-> (.+)$", text, re.MULTILINE)
    first = text.strip().splitlines()[0].removeprefix("x ") if text.strip() else "no reason given"
    return " ".join((causes[-1] if causes else first).split())[:200]


def _file(text: str) -> str:
    """Which file of the repository it is, as a path below it; empty where it is not told."""
    key = re.search(r'key="((?:chunks|manifests|snapshots|refs|transactions)/[^"]+)"', text)
    if key is not None:
        return key[1]
    told = re.search(r"\b(chunk|manifest|snapshot)(?:_id=| not found: `)(\w+)", text)
    return f"{told[1]}s/{told[2]}" if told else ""
