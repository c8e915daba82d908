"""Memory for pixels that are being decoded, shared by the threads of a process that read files."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from terralatent.pipeline.ingest.raster import MOST_BYTES, RasterError

__all__ = ["DecodingMemory", "decoding_memory"]


class DecodingMemory:
    """So many bytes, from which each reading takes what it needs and waits until that is free.

    A file of a megabyte may claim one tile of a gigabyte, which is only ever decoded whole: what a
    file needs is known from its header, and eight of them at once would end the process.
    """

    def __init__(self, limit: int) -> None:
        """Take the number of bytes that there are."""
        self.limit = limit
        self._free = limit
        self._changed = threading.Condition()

    @contextmanager
    def taken(self, size: int) -> Iterator[None]:
        """Hold ``size`` bytes, once they are free. Not to be called again by who holds some.

        Raises:
            RasterError: If there never are so many.
        """
        if size > self.limit:
            raise RasterError(
                f"it takes {size / 1e6:.0f} MB to decode, {self.limit / 1e6:.0f} MB of a worker "
                "are for that (a quarter of --memory)"
            )
        with self._changed:
            self._changed.wait_for(lambda: self._free >= size)
            self._free -= size
        try:
            yield
        finally:
            with self._changed:
                self._free += size
                self._changed.notify_all()


@cache
def decoding_memory(limit: int = MOST_BYTES) -> DecodingMemory:
    """Return that of this process, the same for all threads that give the same ``limit``."""
    return DecodingMemory(limit)
