"""All files of some sources at once, as the laws of reading hold them."""

from typing import Any

import numpy as np

from terralatent.pipeline.ingest.assets import Unread, read_sources

__all__ = ["read_all"]


def read_all(sources: Any, bands: Any, window: Any, **how: Any) -> tuple[Any, list[Unread]]:
    """The pixels of each band (source, y, x), and what could not be read."""
    unread: list[Unread] = []
    read = [
        pixels for _, pixels in read_sources(sources, bands, window, unread=unread.append, **how)
    ]
    return {band.name: np.stack([pixels[band.name] for pixels in read]) for band in bands}, unread
