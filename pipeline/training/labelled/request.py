"""What labels a training is given beside the series, and how much they count."""

from __future__ import annotations

import math
from dataclasses import dataclass

from terralatent.catalogs.errors import InputError
from terralatent.pipeline.tables.places import VectorSource

__all__ = ["Supervision"]


@dataclass(frozen=True)
class Supervision:
    r"""Labels, and the last steps of a training in which they count.

    .. math:: -\frac{1}{V} \mathrm{ELBO} + \alpha \, \mathrm{CE}(A\,m + b,\; c)

    where m are the posterior means on twelve dates of a year, c the class, A and b a linear head
    that is thrown away in the end, and V the values that the bound counts.

    Raises:
        InputError: If weight or steps are no such thing.

    Examples:
        >>> import terralatent as tl
        >>> crops = tl.Supervision("crop", labels="labels.geojson")
        >>> tl.train("cube", "own-crops", supervision=crops)  # doctest: +SKIP
    """

    column: str
    """Of the class: a column of the labels, and of tables of pixel series."""

    labels: VectorSource | None = None
    """Polygons or points on the cubes; None for tables, which have labels of their own."""

    weight: float = 0.3
    """Alpha. With 0 the same steps are taken without labels: what these add is the difference."""

    steps: int = 120
    """Steps with labels, after those without."""

    def __post_init__(self) -> None:
        if not (math.isfinite(self.weight) and self.weight >= 0.0):
            raise InputError(f"the weight of labels is {self.weight}; it must be at least 0.")
        if self.steps < 1:
            raise InputError(f"steps with labels are {self.steps}; there must be at least 1.")
