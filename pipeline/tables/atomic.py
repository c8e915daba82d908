"""A Parquet file that is written whole or not at all, and says what it was made from."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from terralatent.catalogs.enclosing_store import refuse_inside_store
from terralatent.catalogs.errors import InputError
from terralatent.catalogs.temporary import temporary_folder
from terralatent.models.checkpoint import code_version
from terralatent.pipeline.command import command_line

__all__ = ["MADE", "is_made", "require_same", "writing_parquet"]

MADE = b"terralatent:made"
"""Under which the metadata of such a file say what it is, as JSON."""

PART = "-part"
"""In the name of the hidden folder beside a file that is being written."""


def is_made(out: Path, identity: Mapping[str, Any]) -> bool:
    """Whether a file of this identity is there already. Reads its metadata alone.

    Args:
        out: Where it goes; it must end in ``.parquet``.
        identity: What it is made from, JSON values.

    Raises:
        InputError: If another file is there, or the path is none of a Parquet file, or lies inside
            a store.
    """
    refuse_inside_store(out)
    if out.suffix != ".parquet":
        raise InputError(f"{out} is no Parquet file by its name; give one that ends in .parquet.")
    if not out.exists():
        return False
    try:
        stored = (pq.read_metadata(out).metadata or {}).get(MADE)
    except (pa.ArrowException, OSError):
        stored = None
    if stored is None:
        raise InputError(
            f"{out} is there and was not made by terralatent; choose another out=, or remove it."
        )
    require_same(out, json.loads(stored)["identity"], identity)
    return True


def require_same(out: Path, before: Mapping[str, Any], identity: Mapping[str, Any]) -> None:
    """Check that a file that is there is the one that is wanted.

    Args:
        out: The file.
        before: What it was made from, JSON values.
        identity: What the wanted one is made from, likewise.

    Raises:
        InputError: If they differ; the first difference is named.
    """
    now = json.loads(json.dumps(identity))
    for key in now:
        if before.get(key) != now[key]:
            raise InputError(
                f"{out} is there and is another one: its {key} is {_brief(before.get(key))}, that "
                f"of this command {_brief(now[key])}; choose another out=, or remove it."
            )


@contextmanager
def writing_parquet(out: Path, identity: Mapping[str, Any]) -> Iterator[Callable[[pa.Table], None]]:
    """Yield what writes one row group after the other; the file is there once the block has ended.

    All tables must have the schema of the first. What ends early leaves nothing at ``out``; what a
    kill left beside it is removed by the next that writes there.

    Raises:
        InputError: If it cannot be written.
    """
    facts = {"identity": dict(identity), "version": code_version(), "command": command_line()}
    writer: pq.ParquetWriter | None = None
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with temporary_folder(f".{out.name}{PART}", out.parent.absolute()) as folder:
            partial = folder / out.name

            def write(table: pa.Table) -> None:
                nonlocal writer
                if writer is None:
                    about = {**(table.schema.metadata or {}), MADE: json.dumps(facts).encode()}
                    writer = pq.ParquetWriter(
                        partial, table.schema.with_metadata(about), compression="zstd"
                    )
                writer.write_table(table.replace_schema_metadata(writer.schema.metadata))

            try:
                yield write
            finally:
                if writer is not None:
                    writer.close()
            if writer is None:
                raise InputError(f"There is nothing to write to {out}.")
            os.replace(partial, out)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise InputError(f"{out} cannot be written: {reason}.") from error


def _brief(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
