"""What of a cube is used in season: options that verbs of maps share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from terralatent.catalogs.errors import InputError
from terralatent.pipeline.cli.options import by_sensor

if TYPE_CHECKING:
    from terralatent.pipeline.cli.groups import Inference

__all__ = ["InSeason"]

SEASON = "What was known in season (all that the cube holds, by default)"


@dataclass(frozen=True)
class InSeason:
    """By when what is used of a cube was there."""

    until: Annotated[
        str | None,
        typer.Option(
            metavar="DATE",
            help="Use only acquisitions that were there by the end of this day.",
            rich_help_panel=SEASON,
        ),
    ] = None
    delay: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SENSOR=DAYS",
            help="From sensing until products are there, where items do not say; may be repeated.",
            rich_help_panel=SEASON,
        ),
    ] = None

    def refuse_fleet(self) -> None:
        """Check that nothing is said here that fleets do not take.

        Raises:
            InputError: If it is.
        """
        if self.until is not None or self.delay:
            raise InputError("until= and delays= are of one cube; leave them or fleet= out.")

    def keywords(self, how: Inference) -> dict[str, Any]:
        """As :func:`~terralatent.pipeline.mapping.embed.embed` and others take them.

        Args:
            how: By which model the cube is mapped.

        Raises:
            InputError: If the model is to be calibrated to the whole cube, later dates too, or
                there are delays alone.
        """
        delays = by_sensor("delay", self.delay or (), "number of days", "sentinel-2-l2a=2")
        if self.until is None:
            if delays:
                raise InputError(
                    "A delay says what was there by a day; give one, until=2018-06-01."
                )
            return {}
        if how.calibrate:
            raise InputError(
                "calibrate= fits the model to all that the cube holds, what came later too; "
                "calibrate to a cube of earlier years, and give that model."
            )
        if not delays:
            return {"until": self.until}
        from terralatent.pipeline.cube.reading import Until

        return {"until": Until(self.until, delays)}
