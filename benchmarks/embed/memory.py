"""Whether workers stay within the memory they may use, whatever region, dates or latents."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dask.utils import parse_bytes

from benchmarks.embed.workers import cost_of, fresh_workers
from terralatent.pipeline import embed

__all__ = ["Case", "hold_memory"]

UNBOUND = "16GB"
"""Limit of Dask's own, far away: what is measured is what the work takes, not who is restarted."""


@dataclass(frozen=True)
class Case:
    """An embedding, and what a worker may take for it."""

    memory: str
    """Of a worker."""

    dates: str
    """Requested."""

    cube: Path
    """A cube."""

    model: Path
    """A model's folder."""

    words: str
    """What is large about it."""


def hold_memory(cases: list[Case], out: Path) -> None:
    """Print the peak of two workers for each case, each in worker processes of its own."""
    worst = 0.0
    for number, case in enumerate(cases):
        with fresh_workers(2, case.model, UNBOUND) as client:
            cost = cost_of(
                client,
                lambda client=client, case=case, number=number: embed(
                    case.cube, case.model, out / str(number),
                    dates=case.dates, device="cpu", client=client, memory=case.memory,
                ),
            )  # fmt: skip
        share = cost.peak * 2**20 / parse_bytes(case.memory)
        worst = max(worst, share)
        print(f"--memory {case.memory}, {case.words}: {cost.wall:.1f} s, peak memory of a worker "
              f"{cost.peak * 2**20 / 1e6:.0f} MB, {share:.2f} of it", flush=True)  # fmt: skip
    print(f"peak memory to --memory, at most: {worst:.2f} (wanted: at most 1)")
