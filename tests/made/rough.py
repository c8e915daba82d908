"""Trainings that end soon: for laws that hold however well a model is fitted."""

from __future__ import annotations

from collections.abc import Callable

from terralatent.models import calibration
from terralatent.models.start import components
from terralatent.pipeline.training import choices


def make_rough(set_attribute: Callable[..., None] = setattr) -> None:
    """Let trainings fit kernels and widths in a few steps, and try choices on a few dates.

    Args:
        set_attribute: Of a patch, for it to be undone; by default it is for the whole process.
    """
    set_attribute(components, "EVIDENCE_STEPS", 5)
    set_attribute(calibration, "STEPS", 5)
    set_attribute(calibration, "FOLDS", 2)
    set_attribute(calibration, "WINDOWS_DAYS", ())
    set_attribute(choices, "DATES", 20)
