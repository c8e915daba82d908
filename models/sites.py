"""What the encoders say of the latents, laid on the union of all sensors' days."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Sites:
    """Gaussian pseudo-observations of the latents on the union of all sensors' days."""

    days: Tensor
    """Days since 1970-01-01, ascending, may repeat, shape (T,), float64."""

    w: Tensor
    """Precision, shape (N, T, L), exactly 0 where nothing was observed."""

    eta: Tensor
    """Information w * y, shape (N, T, L), exactly 0 where nothing was observed."""

    places: Mapping[str, Tensor]
    """For each sensor, where its own days are in ``days``, shape (T_sensor,), int64."""


def merge_calendars(calendars: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
    """Join the sensors' days, ascending, and say where each sensor's own days went.

    Repeated days are kept. The order in which sensors are given means nothing.

    Args:
        calendars: Days by sensor name, each ascending, shape (T_s,), float64.

    Returns:
        All days, shape (T,), and for each sensor the index of its days therein, shape (T_s,).
    """
    names = sorted(calendars)
    days, order = torch.cat([calendars[name] for name in names]).sort(stable=True)
    place = torch.empty_like(order)
    place[order] = torch.arange(len(order), device=order.device)
    parts = torch.split(place, [len(calendars[name]) for name in names])
    return days, dict(zip(names, parts, strict=True))
