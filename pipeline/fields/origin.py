"""What sums over fields are made from: a cube, a model, and where the fields lie."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import zarr
from numpy.typing import NDArray

from terralatent.pipeline.field_labels import NONE, FieldLabels
from terralatent.pipeline.fields.plan import FieldPlan
from terralatent.pipeline.fields.sample import FieldPixels, spread
from terralatent.pipeline.fields.shared_errors import (
    MOST_FIELDS,
    MOST_PIXELS,
    SharedErrors,
    estimate_shared_errors,
)
from terralatent.pipeline.fields.sums import ERRORS
from terralatent.pipeline.mapping.results.origin import CubeOrigin
from terralatent.pipeline.progress import Progress
from terralatent.pipeline.region import blocks
from terralatent.pipeline.store.damage import translated_errors
from terralatent.pipeline.store.repository import BRANCH, Store

__all__ = ["FieldOrigin"]


@dataclass(frozen=True)
class FieldOrigin(CubeOrigin):
    """A cube, mapped by a model, at the pixels of fields."""

    labels: FieldLabels
    """The fields."""

    plan: FieldPlan
    """Where they lie."""

    errors: SharedErrors | None
    """What their pixels share; None: estimated from the cube."""

    progress: Progress | None
    """Of the estimation."""

    def prepare(self, out: Store) -> None:
        """Write, in one commit, where the fields lie and what their pixels share, unless that is
        there; before it what any result needs."""
        super().prepare(out)
        if ERRORS in out.group().attrs:
            return
        session = out.repository().writable_session(BRANCH)
        root = zarr.open_group(session.store, mode="r+")
        pixels = self._lay(root)
        with translated_errors(self.store):
            errors = self.errors or estimate_shared_errors(self.job, pixels, self.progress)
        root.update_attributes({ERRORS: errors.to_json()})
        out.commit(session, "lay the fields and estimate what their pixels share")

    def _lay(self, root: zarr.Group) -> FieldPixels:
        """Write the field of each pixel; gives those that errors are estimated from."""
        total = self.plan.total
        some = np.flatnonzero(total)
        some = some[np.unique(np.linspace(0, len(some) - 1, MOST_FIELDS).round().astype(int))]
        share = np.zeros(len(total) + 1)  # the last is that of pixels without a field
        share[some] = MOST_PIXELS / total[some]
        found: list[NDArray[np.intp]] = []
        rows, columns = self.job.grid.shape
        for block in blocks((rows, columns), self.job.block):
            if self.plan.blocks_of_fields[(*block.index, 0)] == NONE:
                continue
            numbers = self.labels.on(block.y, block.x)
            root["label"][block.y, block.x] = numbers
            y, x = np.mgrid[block.y, block.x]
            chosen = spread(y, x, share[numbers])
            found.append(np.stack([y[chosen], x[chosen], numbers[chosen]]))
        where = np.concatenate(found, axis=1)
        return FieldPixels(*where[:, np.lexsort((where[1], where[0]))])
