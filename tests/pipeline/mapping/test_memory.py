"""How blocks are cut so that they fit a worker's memory, and what is too little."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from terralatent.catalogs.errors import InputError
from terralatent.pipeline.mapping.job import Pairing
from terralatent.pipeline.mapping.memory import PROCESS, Budget, Pieces, cut_pieces
from terralatent.pipeline.region import Block
from terralatent.pipeline.store.arrays import TIME_CHUNK

GB = 10**9


def a_pairing(
    dates: int, seen: Sequence[int] = (73, 60), block: int = 256, latents: int = 16
) -> Pairing:
    """A pairing of a cube of two sensors, as far as it is asked for its sizes."""
    sizes = {"optical": (seen[0], 10), "radar": (seen[1], 2)}
    arrays = {f"{name}/data": np.empty((*size, 0), "int16") for name, size in sizes.items()}
    told = SimpleNamespace(
        sensors=tuple(sizes),
        times=tuple(range(dates)),
        open_cube=lambda: arrays,
        block=block,
        config=lambda: SimpleNamespace(latents=latents),
    )
    return cast(Pairing, told)


def cut(memory: float, dates: int = 12, halvings: int = 0, **sizes: Any) -> Pieces:
    block, latents = sizes.get("block", 256), sizes.get("latents", 16)
    budget = Budget(int(memory * GB), halvings)
    return cut_pieces(a_pairing(dates, **sizes), budget, latents * 4, block**2)


def test_pieces_are_a_whole_block_where_it_fits_and_shrink_with_the_memory() -> None:
    assert cut(4) == Pieces(256, TIME_CHUNK, 100_000)

    pieces = [cut(memory, dates=73) for memory in (4, 2, 1.5, 1.3, 1.2)]

    sizes = [(each.dates, each.rows, each.observations) for each in pieces]
    assert sizes == sorted(sizes, reverse=True)
    assert len({(dates, rows) for dates, rows, _ in sizes}) > 2
    assert all(each.rows % 64 == 0 and each.dates % TIME_CHUNK == 0 for each in pieces)


def test_more_latents_take_smaller_pieces() -> None:
    pieces = [cut(2.7, latents=latents) for latents in (4, 16, 64, 128)]

    sizes = [(each.rows, each.observations) for each in pieces]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] < sizes[0]


def test_what_is_too_little_is_refused_and_what_it_says_is_enough() -> None:
    with pytest.raises(InputError, match=r"256 x 256 pixels .* at least [\d.]+GB") as error:
        cut(0.8)
    words = str(error.value).split()
    enough = float(next(word for word in words if word.endswith("GB")).removesuffix("GB"))

    assert cut(enough).rows == 64
    with pytest.raises(InputError):
        cut(enough - 0.1)


def test_a_task_that_killed_its_worker_gets_smaller_pieces_and_always_some() -> None:
    sizes = [cut(4, dates=365, halvings=times) for times in range(12)]

    amounts = [each.rows * each.dates * each.observations for each in sizes]
    assert amounts == sorted(amounts, reverse=True)
    assert amounts[1] < amounts[0]
    assert sizes[-1].rows == 64
    assert sizes[-1].dates == TIME_CHUNK


def test_more_dates_than_memory_are_inferred_in_parts() -> None:
    pieces = cut(1.5, dates=365)

    parts = list(pieces.parts(365))

    assert [date for part in parts for date in range(part.start, part.stop)] == list(range(365))
    assert all(part.start % TIME_CHUNK == 0 for part in parts)
    assert len(parts) > 1


def test_strips_are_the_rows_of_a_block() -> None:
    block = Block((1, 2), slice(256, 411), slice(512, 600))

    strips = Pieces(64, TIME_CHUNK, 1).strips(block)

    assert [row for strip in strips for row in range(strip.y.start, strip.y.stop)] == [
        *range(256, 411)
    ]
    assert {(strip.index, strip.x.start, strip.x.stop) for strip in strips} == {((1, 2), 512, 600)}


def test_the_process_itself_counts() -> None:
    assert Budget(2 * PROCESS).task() == PROCESS
