"""What more workers bring, and what more blocks cost."""

from __future__ import annotations

from pathlib import Path
from statistics import median

from benchmarks.embed.workers import Cost, cost_of, fresh_workers
from terralatent.pipeline import embed

__all__ = ["compare_blocks", "compare_workers"]


def compare_workers(cube: Path, model: Path, out: Path, memory: str, rounds: int) -> None:
    """Print what two workers bring over one, each started once and measured in turns."""
    walls: dict[int, list[float]] = {1: [], 2: []}
    with fresh_workers(1, model, memory) as single, fresh_workers(2, model, memory) as double:
        for turn in range(rounds):
            for workers, client in ((1, single), (2, double)):
                where = out / f"{workers} workers, {turn}"
                cost = cost_of(
                    client,
                    lambda client=client, where=where: embed(
                        cube, model, where, device="cpu", client=client, memory=memory
                    ),
                )
                walls[workers].append(cost.wall)
    alone, both = median(walls[1]), median(walls[2])
    print(f"1 worker: {alone:.1f} s, 2 workers: {both:.1f} s (median of {rounds})")
    print(f"1 worker to 2 on 2 cores: {alone / both:.2f} x (wanted: at least 1.6)")


def compare_blocks(
    few: Path, many: Path, times: int, model: Path, out: Path, memory: str, rounds: int
) -> None:
    """Print what a cube of more blocks costs, each run in worker processes of its own.

    Args:
        few: A cube.
        many: A cube of ``times`` as many blocks of the same size.
        times: How many times as many.
        model: A model's folder.
        out: Where results are written.
        memory: What a worker may use.
        rounds: How often each cube is embedded.
    """
    costs: dict[Path, list[Cost]] = {few: [], many: []}
    for turn in range(rounds):
        for cube, runs in costs.items():
            with fresh_workers(2, model, memory) as client:
                runs.append(
                    cost_of(
                        client,
                        lambda cube=cube, client=client, turn=turn: embed(
                            cube, model, out / f"{cube.name}, {turn}",
                            device="cpu", client=client, memory=memory,
                        ),
                    )
                )  # fmt: skip
    walls, peaks = (
        {cube: median(getattr(cost, field) for cost in runs) for cube, runs in costs.items()}
        for field in ("wall", "peak")
    )
    print(f"{times} x the blocks: {walls[few]:.1f} to {walls[many]:.1f} s, a worker's peak "
          f"{peaks[few]:.0f} to {peaks[many]:.0f} MB (median of {rounds})")  # fmt: skip
    longer, larger = walls[many] / walls[few], peaks[many] / peaks[few]
    print(f"{times} x the blocks, time: {longer:.2f} x "
          f"(wanted: {0.85 * times:.1f} to {1.15 * times:.1f})")  # fmt: skip
    print(f"{times} x the blocks, peak memory of a worker: {larger:.2f} x (wanted: 0.9 to 1.1)")
