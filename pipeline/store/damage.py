"""A store that is damaged, or a disk that is full: what Icechunk and Zarr say, in one line."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager

import icechunk

from terralatent.catalogs.errors import InputError
from terralatent.pipeline.store.chunks import DamagedChunkError
from terralatent.pipeline.store.library_errors import (
    causes_of,
    clocks_of,
    file_of,
    is_changed,
    is_missing,
    is_of_objects,
    trouble_of,
)

__all__ = ["ADVICE", "damage_of", "translated_errors"]

_CANNOT_WRITE = {
    errno.EACCES: "permission denied",
    errno.EROFS: "it is read-only",
    errno.ENOSPC: "no space is left on the device",
    errno.EFBIG: "the file would be larger than is allowed",
    errno.EDQUOT: "the disk quota is used up",
}
"""Why a file may not be written, by the number of the error."""

ADVICE = (
    "Take the store from a copy, or make it anew; `terralatent check` lists all that is damaged."
)
"""What to do."""


@contextmanager
def translated_errors(store: object, raising: type[Exception] = InputError) -> Iterator[None]:
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
        damage = damage_of(error)
        if damage is None:
            raise
        raise raising(f"{store} {damage}") from error


def damage_of(error: BaseException) -> str | None:
    """Say what is wrong with a store and what to do, as the end of a sentence that names it.

    Returns:
        None where ``error`` is no error of a store.
    """
    if is_of_objects(error) and (trouble := trouble_of(error)) is not None:
        return f"{trouble}."
    if isinstance(error, DamagedChunkError):
        return f"is damaged: {error}. {ADVICE}"
    if isinstance(error, icechunk.IcechunkError):
        return _damaged(error)
    number = error.errno if isinstance(error, OSError) else _number(str(error))
    if number in _CANNOT_WRITE:
        return _full(_CANNOT_WRITE[number])
    return None


def _damaged(error: icechunk.IcechunkError) -> str:
    reason = " ".join(causes_of(error)[-1].split())[:200]
    number = _number(reason)
    if number in _CANNOT_WRITE:
        return _full(_CANNOT_WRITE[number])
    file = file_of(error)
    name = f"its file {file}" if file else "one of its files"
    if is_missing(error):
        return f"is damaged: {name} is missing. {ADVICE}"
    if is_changed(error):
        return _changed(name, reason)
    if (clocks := clocks_of(error)) is not None:
        return f"cannot be written: {clocks}."
    return f"cannot be used: {reason}."


def _changed(name: str, reason: str) -> str:
    return f"is damaged: {name} was cut short or changed ({reason}). {ADVICE}"


def _full(why: str) -> str:
    return (
        f"cannot be written: {why}. Make room, or choose another out=; what is stored is whole, "
        "and the same command goes on from it."
    )


def _number(text: str) -> int:
    """The number of the error that a program in Rust gives in its words; 0 for none."""
    match = re.search(r"os error (\d+)", text)
    return int(match[1]) if match else 0
