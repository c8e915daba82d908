"""What the items of a file of scenes may name: kept on this machine, never in the file itself.

A file comes from anywhere, and whatever it says of its own rights counts for nothing. Of a file
that a search of this user wrote, a note beside no other's says what its source granted; it is found
by the SHA-256 of the file, so that it holds for that file wherever it lies, and for no other.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from contextlib import suppress
from pathlib import Path

from terralatent.catalogs.documents.access import Access

__all__ = ["keep_rights", "rights_of"]

_LOG = logging.getLogger(__name__)

_MOST = 1000
"""Notes that are kept, the newest."""


def keep_rights(file: Path, access: Access) -> None:
    """Note what the items of ``file``, as it is now, may name. Warns where that cannot be kept."""
    folder = _folder()
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        note = folder / f"{_digest(file)}.json"
        partial = note.with_suffix(f".{os.getpid()}")
        partial.write_text(json.dumps(access.to_json()), encoding="utf-8")
        os.replace(partial, note)
        notes = sorted(folder.glob("*.json"), key=lambda path: path.stat().st_mtime_ns)
        for old in notes[:-_MOST]:
            old.unlink(missing_ok=True)
    except OSError as error:
        _LOG.warning(
            "what %s may name cannot be noted in %s (%s); whoever reads it gives source= as well",
            file,
            folder,
            error.strerror or error,
        )


def rights_of(file: Path) -> Access | None:
    """What was noted of ``file``; None where nothing was, or where it has changed since."""
    with suppress(OSError, ValueError):
        note = _folder() / f"{_digest(file)}.json"
        return Access.from_json(json.loads(note.read_text(encoding="utf-8")))
    return None


def _folder() -> Path:
    """``~/.local/state/terralatent/searches``, or below ``$XDG_STATE_HOME``."""
    home = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(home, "terralatent", "searches")


def _digest(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
