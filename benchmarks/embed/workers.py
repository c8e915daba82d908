"""Fresh worker processes that are ready to embed, and what one run costs them."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from distributed import Client

from terralatent.models.checkpoint import load_model
from terralatent.models.observations import Observations
from terralatent.pipeline.cluster.client import client_for

__all__ = ["Cost", "cost_of", "fresh_workers"]


@dataclass(frozen=True)
class Cost:
    """What a run cost."""

    wall: float
    """Seconds."""

    cpu: float
    """CPU seconds of all workers."""

    peak: float
    """Most memory that one worker ever held, MB."""


@contextmanager
def fresh_workers(
    workers: int, model: Path, memory: str, *, device: str = "cpu", threads: int = 1
) -> Iterator[Client]:
    """Start processes that have imported, loaded and compiled what they need once in their lives.

    Args:
        workers: How many.
        model: A model's folder.
        memory: What each may use.
        device: Where they will compute.
        threads: Of each: how many blocks it is at.
    """
    started = client_for("local", workers=workers, memory=memory, threads=threads)
    with started as client:
        client.run(_warm_up, model, device)
        yield client


def cost_of(client: Client, run: Callable[[], object]) -> Cost:
    """Do one run on workers and tell what it cost; memory is that of their whole lives."""
    before, began = sum(client.run(_cpu_seconds).values()), time.perf_counter()
    run()
    wall = time.perf_counter() - began
    cpu = sum(client.run(_cpu_seconds).values()) - before
    return Cost(wall, cpu, max(client.run(_peak_memory).values()))


def _warm_up(folder: Path, device: str) -> None:
    """Infer a few made-up pixels by both kinds of encoders."""
    import terralatent.pipeline.mapping.embed  # noqa: F401

    model = load_model(folder, device)
    days = torch.arange(128, dtype=torch.float64, device=device)
    seen = {
        sensor.name: Observations(
            days=days,
            values=torch.zeros(32, 128, len(sensor.bands), device=device),
            valid=torch.ones(32, 128, len(sensor.bands), dtype=torch.bool, device=device),
            distance=torch.full((32, 128), 16.0, device=device),
            incidence=torch.full((128,), torch.nan, device=device),
        )
        for sensor in model.config.sensors
    }
    for dtype in model.encoder_dtypes:
        model.encode_in(getattr(torch, dtype))
        model.infer(seen, days)


def _cpu_seconds() -> float:
    return time.process_time()


def _peak_memory() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
