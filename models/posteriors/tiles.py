"""Series in tiles: what is dense in the dates of a series is not laid out for all at once."""

from collections.abc import Callable

import torch
from torch import Tensor

ROOM = 2**24
"""Numbers, of float64, in the largest array of a tile."""


def by_tiles(
    work: Callable[..., tuple[Tensor, ...]], numbers: int, *series: Tensor, room: int = ROOM
) -> tuple[Tensor, ...]:
    """Return ``work(*series)``, done for some series at a time where nothing takes gradients.

    Arguments:
        work: From tensors of N series to others, all with the series first.
        numbers: Those that a series needs in the largest array.
        series: What it takes.
        room: Numbers in the largest array of a tile.
    """
    count = len(series[0])
    size = max(1, room // max(1, numbers))
    if torch.is_grad_enabled() or count <= size:
        return work(*series)
    tiles = [work(*parts) for parts in zip(*(tensor.split(size) for tensor in series), strict=True)]
    return tuple(torch.cat(parts) for parts in zip(*tiles, strict=True))
