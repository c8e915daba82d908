"""Options of labels that count in a training, as one group."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from terralatent.catalogs.errors import InputError

if TYPE_CHECKING:
    from terralatent.pipeline.training.labelled.request import Supervision

__all__ = ["Labelling"]

LABELS = "Labels that count in the last steps"


@dataclass(frozen=True)
class Labelling:
    """Which labels a training has, and how much they count."""

    labels: Annotated[
        str | None,
        typer.Option(
            metavar="FILE", help="Polygons or points on the cubes.", rich_help_panel=LABELS
        ),
    ] = None
    column: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Column of the class: of the labels, and of tables.",
            rich_help_panel=LABELS,
        ),
    ] = None
    label_weight: Annotated[
        float | None,
        typer.Option(
            metavar="W",
            help="Weight of the labels' cross-entropy; 0.3 by default.",
            rich_help_panel=LABELS,
        ),
    ] = None
    label_steps: Annotated[
        int | None,
        typer.Option(help="Steps with labels; 120 by default.", rich_help_panel=LABELS),
    ] = None

    def supervision(self) -> Supervision | None:
        """As :func:`~terralatent.pipeline.training.train.train` takes it; None without labels.

        Raises:
            InputError: If labels are given without a column, or a weight is none.
        """
        if self.column is None:
            given = [name for name, value in vars(self).items() if value is not None]
            if given:
                option = given[0].replace("_", "-")
                raise InputError(f"--{option} says nothing without a column; give --column.")
            return None
        from terralatent.pipeline.training.labelled.request import Supervision

        numbers = {"weight": self.label_weight, "steps": self.label_steps}
        some: dict[str, Any] = {name: own for name, own in numbers.items() if own is not None}
        return Supervision(self.column, self.labels, **some)
