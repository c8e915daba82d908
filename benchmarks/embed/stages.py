"""The stages of `embed` timed in workers from outside: the product carries no instruments.

Functions are replaced by ones that are timed, in the worker processes alone.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from importlib import import_module
from operator import attrgetter

import psutil
from distributed import Client
from zarr.core.sync import iothread

from benchmarks.embed.stopwatch import IDLE, Split, Stopwatch

__all__ = ["print_table", "start_timing", "time_stages"]

STAGES = {
    "read": "read: bytes from the store",
    "decompress": "decompress",
    "assemble": "put chunks together",
    "unpack": "masks, distances, order of series",
    "encode": "encode, from integers on",
    "refine": "refine precisions",
    "infer": "infer: the smoother",
    "pack": "pack",
    "compress": "compress",
    "write": "write: bytes to the store",
    "zarr": "what else Zarr does",
    "rest": "what is left of the tasks",
    IDLE: "no task",
}
"""What a table calls each stage, in the order of the work."""

TIMED = {
    "terralatent.pipeline.mapping.block:map_block": "rest",
    "terralatent.pipeline.mapping.job:read_series": "unpack",
    "terralatent.pipeline.cube.series:SensorSeries.observations": "unpack",
    "terralatent.models.gpvae:GPVAE.infer": "infer",
    "terralatent.models.gpvae:GPVAE.encode": "encode",
    "terralatent.models.refinement:agreement": "refine",
    "terralatent.pipeline.mapping.latents.product:pack": "pack",
    "numcodecs.zstd:Zstd.decode": "decompress",
    "numcodecs.zstd:Zstd.encode": "compress",
    "zarr.core.buffer.cpu:NDBuffer.__setitem__": "assemble",
    "zarr:Array.__getitem__": "zarr",
    "zarr:Array.__setitem__": "zarr",
}
"""Functions that compute, or wait for Zarr, and the stage that they are."""

AWAITED = {"icechunk:IcechunkStore.get": "read", "icechunk:IcechunkStore.set": "write"}
"""Coroutines that wait for the store."""

NATIVE = "native"
"""Name of the CPU time of threads that Python did not start; waits have none of their own."""

FULL = 0.9
"""Share of the cores' time from which on the CPU is what limits."""

_watch = Stopwatch(waits=("read", "write", "zarr", "rest"))
"""Of this process. A task that does nothing that is timed may wait for a thread that reads."""

_timed: set[str] = set()
"""Functions that were replaced in this process."""

_before: dict[str, float] = {}
"""CPU seconds of threads when the counting began."""


def time_stages(client: Client) -> None:
    """Time the stages in all workers of ``client`` from now on.

    Raises:
        AttributeError: If a function is no longer there: the lists above are to be kept up.
    """
    client.run(_instrument)


def start_timing(client: Client) -> None:
    """Begin to count anew."""
    client.run(_begin)


def print_table(client: Client, wall: float) -> None:
    """Print what the workers did since :func:`start_timing`, and what limits them.

    Args:
        client: Whose workers.
        wall: Seconds that the run took, as seen from here.
    """
    splits: Mapping[str, Split] = client.run(_split)
    seconds, cpu = _summed(splits, "seconds"), _summed(splits, "cpu_seconds")
    total, used = wall * len(splits), sum(split.cpu for split in splits.values())
    native = cpu.pop(NATIVE)
    for stage, name in STAGES.items():
        if stage in seconds:
            cpu_time = f", CPU {cpu[stage]:.2f} s" if stage in cpu else ""
            print(f"  {name}: {seconds[stage]:.2f} s ({seconds[stage] / total:.1%}){cpu_time}")
    other = used - native - sum(cpu.values())
    print(f"  CPU in no stage: threads of the store {native:.2f} s ({native / used:.1%} of all), "
          f"Dask and all else {other:.2f} s ({other / used:.1%})")  # fmt: skip
    added = sum(seconds.values()) / total
    print(f"  parts to {len(splits)} workers' time: {added:.3f} (wanted: 0.98 to 1.02)")
    fill, stage = used / total, max((s for s in seconds if s != IDLE), key=lambda s: seconds[s])
    most = f"{STAGES[stage].partition(':')[0]} most ({seconds[stage] / total:.0%} of the time)"
    if fill >= FULL:
        print(f"  bound: the cores, {fill:.0%} full; {most}")
    else:
        idle = sum(seconds.get(wait, 0.0) for wait in ("read", "write", IDLE)) / total
        print(f"  bound: not the cores, {fill:.0%} full; waits for the store or for tasks are "
              f"{idle:.0%}; {most}")  # fmt: skip


def _summed(splits: Mapping[str, Split], field: str) -> dict[str, float]:
    by_worker = [getattr(split, field) for split in splits.values()]
    return {
        stage: sum(seconds.get(stage, 0.0) for seconds in by_worker)
        for seconds in by_worker
        for stage in seconds
    }


def _instrument() -> None:
    """Replace the functions, once in a process."""
    for places, wrap in ((TIMED, _watch.timed), (AWAITED, _watch.awaited)):
        for place, stage in places.items():
            module, _, path = place.partition(":")
            owner, _, name = path.rpartition(".")
            holder = import_module(module)
            holder = attrgetter(owner)(holder) if owner else holder
            if place not in _timed:
                setattr(holder, name, wrap(getattr(holder, name), stage))
                _timed.add(place)


def _begin() -> None:
    _watch.begin()
    _before.update({"zarr": _zarr_cpu(), NATIVE: _native_cpu()})


def _split() -> Split:
    split = _watch.split()
    own = split.cpu_seconds
    # Zarr's thread puts chunks together, which is a stage of its own; the rest is its bookkeeping.
    own["zarr"] = own.get("zarr", 0.0) + _zarr_cpu() - _before["zarr"] - own.get("assemble", 0.0)
    own[NATIVE] = _native_cpu() - _before[NATIVE]
    return split


def _zarr_cpu() -> float:
    """CPU seconds of the thread in which Zarr's event loop runs, which lives on once it began."""
    if iothread[0] is None or iothread[0].ident is None:
        return 0.0
    return time.clock_gettime(time.pthread_getcpuclockid(iothread[0].ident))


def _native_cpu() -> float:
    """CPU seconds of threads that Python did not start, in which Icechunk reads and writes."""
    python = {thread.native_id for thread in threading.enumerate()}
    threads = (thread for thread in psutil.Process().threads() if thread.id not in python)
    return sum(thread.user_time + thread.system_time for thread in threads)
