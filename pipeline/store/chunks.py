"""How chunks are stored so that a changed one is never read as data, and named where one is.

Every chunk ends in a checksum of Zstandard's (RFC 8878, 3.1.1: four bytes of XXH64), and the index
of every shard in a CRC-32C (Zarr v3, ``sharding_indexed``). Arrays of before that were written
without one are protected by :func:`protect`: a frame without a checksum is read as ever.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import icechunk
import zarr
from zarr.codecs import ZstdCodec
from zarr.core.buffer import default_buffer_prototype
from zarr.core.codec_pipeline import BatchedCodecPipeline
from zarr.core.sync import sync
from zarr.registry import register_pipeline

from terralatent.pipeline.store.library_errors import (
    causes_of,
    file_of,
    is_changed,
    is_missing,
    is_of_objects,
)

__all__ = [
    "COMPRESSOR",
    "WITHOUT",
    "DamagedChunkError",
    "chunk_keys",
    "chunks_without_checksum",
    "is_protected",
    "name_damaged_chunks",
    "protect",
    "stored_chunks",
]

COMPRESSOR = ZstdCodec(level=3, checksum=True)
"""Of every chunk."""


WITHOUT = "chunks_without_checksum"
"""Attribute of the root of a store that a version of before made: for each array how many chunks
were written without a checksum, at most."""


class DamagedChunkError(Exception):
    """A chunk is missing, or not as it was written."""

    exit_code = 2

    def __init__(self, path: str, reason: str) -> None:
        array, _, key = path.partition("/c/") if "/c/" in path else (path, "", "")
        self.array = array.removesuffix("/c")
        """Path of its array."""
        self.chunk = tuple(int(index) for index in key.split("/")) if key else ()
        """Its place among the chunks of the array, among the shards where it has those."""
        named = f"chunk {key} of {self.array}" if key else f"chunk of {self.array}"
        super().__init__(f"its {named} is missing or changed ({reason})")
        self.path, self.reason = path, reason

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.path, self.reason)


class NamingPipeline(BatchedCodecPipeline):
    """Zarr's own pipeline of codecs, whose errors name the chunk that could not be read."""

    async def read_batch(
        self, batch_info: Iterable[Any], out: Any, drop_axes: tuple[int, ...] = ()
    ) -> None:
        """Read chunks into ``out``, one at a time so that the one at fault is known.

        Raises:
            DamagedChunkError: If one is missing, cut short or changed.
        """
        for info in batch_info:
            try:
                await super().read_batch([info], out, drop_axes)
            except (ValueError, RuntimeError, icechunk.IcechunkError) as error:
                path = getattr(info[0], "path", None)  # inner chunks of a shard have none
                if path is None or (reason := _damage(error)) is None:
                    raise
                raise DamagedChunkError(path, reason) from error


def _damage(error: Exception) -> str | None:
    """What is wrong with a chunk; None where it is not the chunk, but the way to it."""
    if not isinstance(error, icechunk.IcechunkError):
        return " ".join(str(error).split())[:200]
    file = file_of(error)
    if is_of_objects(error) or not file.startswith("chunks/"):
        return None
    if is_missing(error):
        return f"its file {file} is gone"
    return " ".join(causes_of(error)[-1].split())[:200] if is_changed(error) else None


def name_damaged_chunks() -> None:
    """Let Zarr read by :class:`NamingPipeline` in this process, unless its user chose another."""
    setting, ours = "codec_pipeline.path", f"{NamingPipeline.__module__}.{NamingPipeline.__name__}"
    if zarr.config.get(setting).endswith(f".{BatchedCodecPipeline.__name__}"):
        register_pipeline(NamingPipeline)
        zarr.config.set({setting: ours})


def is_protected(array: zarr.Array) -> bool:
    """Whether every chunk that is written into an array from now on ends in a checksum."""
    return all(
        codec["configuration"].get("checksum") is True
        for codec in _codecs(array.metadata.to_dict())
        if codec["name"] == "zstd"
    )


def protect(root: zarr.Group) -> bool:
    """Let chunks that arrays of ``root`` get from now on end in a checksum; those there stay.

    Changes what ``zarr.json`` of arrays says of their codecs, which a version of before wrote, and
    notes in the attribute :data:`WITHOUT` of the root how many chunks each has by then.

    Returns:
        Whether there was any such array.
    """
    before: dict[str, int] = {}
    store: Any = root.store
    for name, node in sorted(root.members(max_depth=None)):
        if not isinstance(node, zarr.Array) or is_protected(node):
            continue
        before[name] = stored_chunks(node)
        key = f"{node.path}/zarr.json".lstrip("/")
        prototype = default_buffer_prototype()
        metadata = json.loads(sync(store.get(key, prototype)).to_bytes())
        for codec in _codecs(metadata):
            if codec["name"] == "zstd":
                codec["configuration"]["checksum"] = True
        text = json.dumps(metadata, indent=2).encode()
        sync(store.set(key, prototype.buffer.from_bytes(text)))
    if before:
        root.update_attributes({WITHOUT: before})
    return bool(before)


def chunks_without_checksum(root: zarr.Group) -> int:
    """How many chunks of a store were written without a checksum, at most. Reads no pixels."""
    noted: Any = root.attrs.get(WITHOUT, {})
    arrays = (node for _, node in root.members(max_depth=None) if isinstance(node, zarr.Array))
    return sum(noted.values()) + sum(
        stored_chunks(array) for array in arrays if not is_protected(array)
    )


def stored_chunks(array: zarr.Array) -> int:
    """How many chunks of an array are stored, shards where it has those. Reads no pixels."""
    return sum(1 for _ in chunk_keys(array))


def chunk_keys(array: zarr.Array) -> Iterator[str]:
    """The keys of the chunks of an array that are stored, of shards where it has those."""
    store: Any = array.store

    async def listed() -> list[str]:
        keys = store.list_prefix(f"{array.path}/")
        return [key async for key in keys if not key.endswith("/zarr.json")]

    yield from sync(listed())


def _codecs(metadata: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The codecs of an array's chunks: of inner chunks, where it has shards."""
    for codec in metadata["codecs"]:
        if codec["name"] == "sharding_indexed":
            yield from codec["configuration"]["codecs"]
        else:
            yield codec
