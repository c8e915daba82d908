"""What a GPU worker does in a second, how busy its GPU is, and how far its latents are off."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch
from dask.utils import parse_bytes
from distributed import Client

from benchmarks.embed.cube import DATES
from benchmarks.embed.workers import cost_of, fresh_workers
from terralatent.models.gpvae import GPVAE
from terralatent.pipeline import embed
from terralatent.pipeline.cluster.client import client_for
from terralatent.pipeline.region import blocks
from terralatent.pipeline.store.repository import Store

__all__ = ["measure_device", "missing_device"]

TILE, TILE_DATES = 10_980, 73 + 120
"""Pixels along y and x of a tile of Sentinel-2, and its dates of a year with those of radar."""

SAMPLE_MS = 200
"""Milliseconds between two samples of how busy the GPU is."""

THREADS = 4
"""Blocks that the GPU's worker is at: what is read, decompressed or written beside the GPU."""

_spans: list[tuple[torch.cuda.Event, torch.cuda.Event]] = []
"""Begin and end on the GPU of every inference in this process."""

_zero: list[torch.cuda.Event] = []
"""The event from which the others are timed."""


def missing_device(device: str) -> str | None:
    """Why nothing can be measured on ``device``; None where it can."""
    if not torch.cuda.is_available():
        return "torch finds no CUDA device on this machine"
    index = torch.device(device).index or 0
    count = torch.cuda.device_count()
    return f"there are {count} CUDA devices, not {device}" if index >= count else None


def measure_device(
    cube: Path, small: Path, model: Path, out: Path, device: str, memory: str
) -> None:
    """Print speed, how busy the GPU is, and the difference from latents of the CPU.

    Args:
        cube: The cube that is timed.
        small: One that is embedded on both kinds of devices.
        model: A model's folder.
        out: Where results are written.
        device: ``cuda`` or ``cuda:N``; it has one worker process.
        memory: What each thread of the worker may use.
    """
    print(f"# {torch.cuda.get_device_name(device)}, one worker process of {THREADS} threads")
    whole = f"{THREADS * parse_bytes(memory)}B"
    with fresh_workers(1, model, whole, device=device, threads=THREADS) as client:
        embed(small, model, out / "warm", device=device, client=client, memory=whole)
        client.run(_note_spans)
        for encoder in ("float32", "bfloat16"):
            _speed(cube, model, out / f"device {encoder}", device, encoder, whole, client)
        exact = out / "exact, device"
        embed(small, model, exact, device=device, precision="float32", client=client)
    with client_for("local", memory=memory) as client:
        wanted = out / "exact, cpu"
        embed(small, model, wanted, device="cpu", precision="float32", client=client)
    off = _furthest(wanted, exact)
    print(f"latents of CPU and GPU differ by {off:.1e} of the posterior std "
          "(wanted: at most 1e-3)")  # fmt: skip


def _speed(
    cube: Path, model: Path, out: Path, device: str, encoder: str, memory: str, client: Client
) -> None:
    client.run(_forget_spans, device)
    with _driver_samples(device) as busy:
        cost = cost_of(
            client,
            lambda: embed(
                cube, model, out, device=device, encoder=encoder, client=client, memory=memory
            ),
        )
    rows, columns = Store.of(out).group()["mean"].shape[-2:]
    rate = rows * columns / cost.wall
    inside = sum(client.run(_seconds_in_spans).values()) / cost.wall
    print(f"{encoder}, {rows} x {columns} pixels: {rate:,.0f} pixels a second "
          f"({cost.wall:.1f} s, CPU {cost.cpu:.1f} s, peak {cost.peak:.0f} MB)")  # fmt: skip
    print(f"{encoder}, the GPU computes {fmean(busy):.0%} of the time by its driver"
          if busy else f"{encoder}, NOT MEASURED: nvidia-smi reports no utilisation")  # fmt: skip
    print(f"{encoder}, at some inference, waits between kernels included: {inside:.0%} of the time")
    hours = TILE**2 / rate * TILE_DATES / sum(DATES.values()) / 3600
    print(f"{encoder}, a tile-year ({TILE:,} x {TILE:,} pixels, {TILE_DATES} dates) at this rate, "
          f"in proportion to the dates: {hours:.1f} h")  # fmt: skip


@contextmanager
def _driver_samples(device: str) -> Iterator[list[float]]:
    """Sample the driver's share of time in which a kernel ran; filled when the block ends."""
    busy: list[float] = []
    uuid = f"GPU-{torch.cuda.get_device_properties(device).uuid}".replace("GPU-GPU-", "GPU-")
    query = ["nvidia-smi", "-i", uuid, "--query-gpu=utilization.gpu", "-lms", str(SAMPLE_MS),
             "--format=csv,noheader,nounits"]  # fmt: skip
    try:
        sampler = subprocess.Popen(
            query, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
    except FileNotFoundError:
        yield busy
        return
    try:
        yield busy
    finally:
        sampler.terminate()
        text, _ = sampler.communicate()
        busy += [float(line) / 100 for line in text.split() if line.strip().isdigit()]


def _note_spans() -> None:
    """Put events of the GPU around every inference of this worker."""
    infer = GPVAE.infer

    @wraps(infer)
    def noted(model: GPVAE, *args: Any, **options: Any) -> Any:
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        stream = torch.cuda.current_stream(model.device)
        begin.record(stream)
        posterior = infer(model, *args, **options)
        end.record(stream)
        _spans.append((begin, end))
        return posterior

    GPVAE.infer = noted  # type: ignore[method-assign]


def _forget_spans(device: str) -> None:
    _spans.clear()
    _zero[:] = [torch.cuda.Event(enable_timing=True)]
    _zero[0].record(torch.cuda.current_stream(device))


def _seconds_in_spans() -> float:
    """Seconds in which the GPU was at some inference; those of two streams may overlap."""
    for event in (*_zero, *(end for _, end in _spans)):
        event.synchronize()
    times = sorted((_zero[0].elapsed_time(a), _zero[0].elapsed_time(b)) for a, b in _spans)
    total, until = 0.0, 0.0
    for begin, end in times:
        total += max(0.0, end - max(begin, until))
        until = max(until, end)
    return total / 1e3


def _furthest(wanted: Path, measured: Path) -> float:
    """The largest difference of two stores of float32 latents, in posterior standard deviations."""
    cpu, gpu = Store.of(wanted).group(), Store.of(measured).group()
    furthest = 0.0
    for block in blocks(cpu["mean"].shape[-2:], 256):
        at = (..., block.y, block.x)
        std = np.asarray(cpu["std"][at])
        for name in ("mean", "std"):
            expected, actual = np.asarray(cpu[name][at]), np.asarray(gpu[name][at])
            if (np.isnan(expected) != np.isnan(actual)).any():
                return float("inf")
            off = np.abs(actual - expected) / std
            furthest = max(furthest, float(np.nanmax(off, initial=0.0)))
    return furthest
