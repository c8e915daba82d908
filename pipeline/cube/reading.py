"""How a cube is read: as it was when, and masked how."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import zarr

from terralatent.pipeline.cube.masking import AS_STORED, MaskingRequest, Masks, mask_bands, settle
from terralatent.pipeline.store.history import find_snapshot
from terralatent.pipeline.store.repository import Store

__all__ = ["NEWEST", "Reading"]


@dataclass(frozen=True)
class Reading:
    """What a caller requests of a cube that is read: by default the newest, masked as trained."""

    masking: MaskingRequest = None
    """How the sensors are masked; as a model was trained, where that leaves something open."""

    at: str | None = None
    """An earlier snapshot, see :func:`terralatent.pipeline.store.history.find_snapshot`."""

    def open(self, cube: Store) -> tuple[zarr.Group, str]:
        """Open the root of a cube, and give its snapshot, empty for plain Zarr. Reads no pixels.

        Raises:
            InputError: If there is no cube or no such snapshot.
        """
        cube.group(kind="cube")  # raises, and names what is there instead
        snapshot = find_snapshot(cube, self.at) or cube.snapshot()
        return cube.group(kind="cube", snapshot=snapshot or None), snapshot

    def masks(self, root: zarr.Group, sensors: Sequence[str], before: Masks = AS_STORED) -> Masks:
        """Settle how the sensors of a cube are masked. Reads no pixels.

        Args:
            root: Of the cube.
            sensors: Those that are read.
            before: What holds where the request leaves something open: how a model was trained.

        Raises:
            InputError: If they cannot be masked so, see
                :func:`terralatent.pipeline.cube.masking.settle`.
        """
        return settle(mask_bands(root, sensors), self.masking, before)


NEWEST = Reading()
"""The newest snapshot, masked as a model was trained."""
