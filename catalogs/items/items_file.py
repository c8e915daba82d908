"""Items of a search and its own facts in one file: stac-geoparquet, which every reader opens."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import rustac

from terralatent.catalogs.documents.static import read_parquet
from terralatent.catalogs.enclosing_store import refuse_inside_store
from terralatent.catalogs.errors import InputError
from terralatent.catalogs.items.item import footprint, sensed_at
from terralatent.catalogs.temporary import temporary_folder

__all__ = ["read_items", "require_scenes_file", "write_items"]

_KEY = b"terralatent:search"
"""Under which the file's metadata has the facts."""

_ASIDE = "aside"
"""The fact that lists the items which fit no row."""

Item = dict[str, Any]


def write_items(path: Path, items: Sequence[Item], facts: Mapping[str, Any]) -> None:
    """Write items and facts (JSON), replacing ``path`` whole.

    Items without a time or a place, and those that are too unlike the others for one table, are
    kept as JSON among the facts: one odd item does not keep a thousand good ones from being stored.

    Raises:
        InputError: If the file cannot be written, or may not be, see :func:`require_scenes_file`.
    """
    placed = [item for item in items if None not in (sensed_at(item), footprint(item))]
    rows = _rows(placed) or placed  # where none fits, the error says what is wrong with them
    kept = {id(item) for item in rows}
    facts = {**facts, _ASIDE: [item for item in items if id(item) not in kept]}
    require_scenes_file(path)
    table, metadata = _table(rows)
    metadata[_KEY] = json.dumps(facts).encode()
    partial = path.with_name(f".{path.name}.{os.getpid()}.parquet")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table.replace_schema_metadata(metadata), partial, compression="zstd")
        os.replace(partial, path)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise InputError(f"The scenes cannot be written to {path}: {reason}.") from error
    finally:
        with suppress(OSError):
            partial.unlink()


def require_scenes_file(path: Path) -> None:
    """Check that nothing else is lost where scenes are written: what is there must be the scenes of
    a search, or empty.

    Raises:
        InputError: If another file is there, or if the path lies inside a store.
    """
    refuse_inside_store(path)
    if not path.is_file() or path.stat().st_size == 0:
        return
    try:
        ours = _KEY in (pq.read_metadata(path).metadata or {})
    except (pa.ArrowException, OSError):
        ours = False
    if not ours:
        raise InputError(
            f"The scenes cannot be written to {path}: it is there and is no file of `terralatent "
            "search`; choose another out=, or remove it."
        )


def read_items(path: Path) -> tuple[list[Item], dict[str, Any]]:
    """Read what :func:`write_items` wrote, or any other stac-geoparquet file.

    Returns:
        The items, hrefs absolute, and the facts; none in a file of others.

    Raises:
        InputError: If it is no stac-geoparquet, or if its facts are damaged.
    """
    items = list(read_parquet(str(path)))
    text = (pq.read_metadata(path).metadata or {}).get(_KEY, b"{}")
    try:
        facts = dict(json.loads(text))
        items += [dict(item) for item in facts.pop(_ASIDE, ())]
    except (ValueError, TypeError, RecursionError) as error:
        raise InputError(
            f"The file of scenes {path} is damaged: the request of its search cannot be read "
            f"({error}). Search again."
        ) from error
    return items, facts


class _UnfitError(InputError):
    """Some items do not fit into one table."""


def _rows(items: Sequence[Item]) -> list[Item]:
    """Those of the items that fit into one table, all but a few of them."""
    if not items or _fit(items):
        return list(items)
    if len(items) == 1:
        return []
    half = len(items) // 2
    first, second = _rows(items[:half]), _rows(items[half:])
    return first + second if _fit(first + second) else max(first, second, key=len)


def _fit(items: Sequence[Item]) -> bool:
    try:
        _table(items)
    except _UnfitError:
        return False
    return True


def _table(items: Sequence[Item]) -> tuple[pa.Table, dict[bytes, bytes]]:
    """Items as stac-geoparquet, by way of a file of rustac's own.

    It lies in a temporary folder: where rustac cannot write it makes folders and, on some file
    systems, tries for ever.
    """
    with temporary_folder("terralatent-search-") as aside:
        file = str(Path(aside, "items.parquet"))
        try:
            rustac.write_sync(file, list(items), format="parquet")
            rustac.read_sync(file, format="parquet")  # it writes some that it cannot read
        except Exception as error:  # rustac has no class of its own for some of them
            full = isinstance(error, OSError) or "os error" in str(error)
            raise (InputError if full else _UnfitError)(
                f"The scenes cannot be written as stac-geoparquet: {error}."
            ) from error
        metadata = dict(pq.read_metadata(file).metadata or {})
        metadata.pop(b"ARROW:schema", None)
        return pq.read_table(file), metadata
