"""The pixels of fields: series of those blocks alone that hold some."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from terralatent.pipeline.cube.series import SeriesBlock
from terralatent.pipeline.mapping.job import MappingJob
from terralatent.pipeline.region import Block, blocks

__all__ = ["read_where"]


def read_where(
    job: MappingJob, wanted: NDArray[np.bool_]
) -> Iterator[tuple[Block, SeriesBlock, NDArray[np.intp]]]:
    """Read the blocks of the cube that hold wanted pixels; computes.

    Args:
        job: Of the cube.
        wanted: (y, x).

    Yields:
        A block, its series, and the wanted pixels' row-major places within it.
    """
    for block in blocks(wanted.shape, job.block):
        places = np.flatnonzero(wanted[block.y, block.x])
        if places.size:
            yield block, job.read(block), places
