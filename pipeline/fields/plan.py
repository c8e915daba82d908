"""Which blocks hold which fields, known before anything is read."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from terralatent.pipeline.cube.losses import DONE, PENDING
from terralatent.pipeline.field_labels import NONE, FieldLabels
from terralatent.pipeline.region import blocks

__all__ = ["FieldPlan", "plan_fields"]


@dataclass(frozen=True, eq=False)
class FieldPlan:
    """Where fields lie on a grid."""

    total: NDArray[np.int64]
    """Pixels of each field, (field,)."""

    blocks_of_fields: NDArray[np.int32]
    """Fields that each block holds, ascending, then :data:`NONE`, (block_y, block_x, slot)."""

    @property
    def slots(self) -> int:
        """Fields in the block that holds most of them."""
        return self.blocks_of_fields.shape[2]

    @property
    def empty_blocks_done(self) -> NDArray[np.uint8]:
        """State of each block before the work begins: there is nothing to do without fields."""
        empty = self.blocks_of_fields[..., 0] == NONE
        return np.where(empty, DONE, PENDING).astype(np.uint8)


def plan_fields(labels: FieldLabels, block: int) -> FieldPlan:
    """Lay the fields block by block, and count. Reads no pixels of the cube.

    Args:
        labels: The fields.
        block: Pixels along a side of a block.

    Raises:
        InputError: If no field has a pixel.
    """
    rows, columns = labels.grid.shape
    total = np.zeros(len(labels), np.int64)
    held: dict[tuple[int, int], NDArray[np.int32]] = {}
    for part in blocks((rows, columns), block):
        own, counts = np.unique(labels.on(part.y, part.x), return_counts=True)
        there = own != NONE
        total[own[there]] += counts[there]
        held[part.index] = own[there]
    labels.check(total)
    across = (math.ceil(rows / block), math.ceil(columns / block))
    slots = np.full((*across, max(map(len, held.values()))), NONE, np.int32)
    for index, own in held.items():
        slots[(*index, slice(0, len(own)))] = own
    return FieldPlan(total, slots)
