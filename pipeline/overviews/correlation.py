"""How far the errors of near pixels are the same, by what a store says of its model.

The attribute :data:`CORRELATION` of a result comes from its model, see
:mod:`terralatent.models.shared_errors`: for squares of some sizes the correlation rho of the errors
of two pixels of one, latent by latent.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from terralatent.pipeline.attributes import nested

__all__ = ["CORRELATION", "NEW_OBSERVATION", "correlation_of"]

CORRELATION = "overview_correlation"
"""Attribute of a store's root: ``{"sides": [...], "rho": [[...], ...]}``."""

NEW_OBSERVATION = "std"
"""Array of decoded bands whose errors are mostly those of one acquisition, which pixels share."""


def correlation_of(
    attrs: Mapping[str, Any], kind: str, name: str, dims: tuple[str, ...], sizes: tuple[int, ...]
) -> dict[int, NDArray[np.float64]]:
    """The correlation of errors within squares, by their side in pixels.

    Where nothing is known it is 1: the standard deviation of a mean is then the mean standard
    deviation, which is never too small. Components and bands are sums of latents, whose errors are
    at most as much alike as those of the latent where they are most so: that one counts. So does 1
    for a new observation of a band.

    Args:
        attrs: Of the store's root, or of what was opened of it.
        kind: Of the store.
        name: Of the array of standard deviations.
        dims: Its dimensions.
        sizes: Their sizes.

    Returns:
        For each side that was measured, ascending, rho (n, 1, 1), n one or the latents.
    """
    table = nested(attrs, CORRELATION)
    if not table or (kind == "bands" and name == NEW_OBSERVATION) or len(dims) < 3:
        return {}
    found = {}
    for side, rho in zip(table["sides"], table["rho"], strict=True):
        values = np.asarray(rho, np.float64)
        if dims[-3] != "latent" or values.size != sizes[-3]:
            values = values.max(keepdims=True)
        found[int(side)] = values[:, None, None]
    return dict(sorted(found.items()))
