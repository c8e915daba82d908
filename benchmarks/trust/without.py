"""The product without one of its protections, in this process or on workers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

import zarr
from zarr.codecs import ZstdCodec

from terralatent.catalogs.documents.access import Access

__all__ = ["WAYS", "without"]

STORE = "terralatent.pipeline.store"
NO_CHECKSUM = ZstdCodec(level=3, checksum=False)
ZARRS_OWN = "zarr.core.codec_pipeline.BatchedCodecPipeline"


def _nothing(*args: Any, **named: Any) -> None:
    """Stand for a protection."""


def _no_settings(access: Access) -> dict[str, str]:
    return {}


WAYS: dict[str, dict[str, Any]] = {
    "as shipped": {},
    "without checksums and digests": {
        f"{STORE}.arrays.COMPRESSOR": NO_CHECKSUM,
        f"{STORE}.repository.seal": _nothing,
        f"{STORE}.repository.name_damaged_chunks": _nothing,
        f"{STORE}.repository.Store.require_sound": _nothing,
        "terralatent.pipeline.cluster.stream.protect": _nothing,
    },
    "without the proxy": {"terralatent.pipeline.ingest.assets.gdal_settings": _no_settings},
}
"""What takes the place of what, by name."""


@contextmanager
def without(way: str) -> Iterator[None]:
    """Take a protection off this process while a ``with`` block lasts; one of :data:`WAYS`."""
    with ExitStack() as stack:
        for name, replacement in WAYS[way].items():
            stack.enter_context(patch(name, replacement))
        if "checksums" in way:
            stack.enter_context(zarr.config.set({"codec_pipeline.path": ZARRS_OWN}))
        yield


def take_off(way: str) -> None:
    """Take a protection off this process for good, as of a worker; one of :data:`WAYS`."""
    without(way).__enter__()
