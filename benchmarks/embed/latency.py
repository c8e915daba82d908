"""Cube and result in an object store that answers late, and what a second block a process brings.

The store is moto, a server of S3 in a process of its own, behind a relay in another one that keeps
every byte back for a while. Keys, buckets and objects are as they would be elsewhere.
"""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
import threading
from asyncio import StreamReader, StreamWriter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from statistics import median
from unittest.mock import patch
from urllib.parse import urlparse

import boto3

from benchmarks.embed.workers import Cost, cost_of, fresh_workers
from terralatent.pipeline import embed

__all__ = ["compare_threads", "far_store"]

LATE_S = (0.03, 0.2)
"""How long each piece of an answer is kept back, as from a store in the same part of the world and
from one on the other side of it."""

ORDER_S = 1e-6
"""What lies between two pieces at least: asyncio keeps no order of what is due at once."""

BUCKET = "lake"
KEYS = {"AWS_ACCESS_KEY_ID": "anybody", "AWS_SECRET_ACCESS_KEY": "anything"}


def compare_threads(
    cube: Path, model: Path, side: int, late: float, memory: str, rounds: int
) -> None:
    """Print what two workers take that are at one block each, and at two, in turns.

    Args:
        cube: A cube.
        model: A model's folder.
        side: Pixels along y and x of the cube.
        late: How long each piece of an answer is kept back, seconds.
        memory: What a worker may use.
        rounds: How often the cube is embedded by either.
    """
    costs: dict[int, list[Cost]] = {1: [], 2: []}
    with far_store(cube, late) as url:
        for turn in range(rounds):
            for threads, runs in costs.items():
                with fresh_workers(2, model, memory, threads=threads) as client:
                    runs.append(
                        cost_of(
                            client,
                            lambda client=client, threads=threads, turn=turn: embed(
                                f"{url}/cube", model, f"{url}/{threads}-{turn}",
                                device="cpu", client=client, memory=memory,
                            ),
                        )
                    )  # fmt: skip
    for threads, runs in costs.items():
        wall, peak = (median(getattr(cost, name) for cost in runs) for name in ("wall", "peak"))
        print(f"blocks at a time a process: {threads}, {wall:.1f} s, {side**2 / wall:,.0f} px/s, "
              f"peak memory of a worker {peak:.0f} MB (median of {rounds})")  # fmt: skip
    single, double = (median(cost.wall for cost in runs) for runs in costs.values())
    print(f"{late * 1e3:.0f} ms late, 2 blocks a process to 1, time: {double / single:.2f}")


@contextmanager
def far_store(cube: Path, late: float) -> Iterator[str]:
    """Serve a copy of a cube, as ``URL/cube``, to this process and those that it starts."""
    moto = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", "0"]
    with (
        _server(moto) as near,
        _server([sys.executable, "-m", __spec__.name, near, str(late)]) as far,
    ):
        variables = {
            **KEYS,
            "AWS_ENDPOINT_URL": far,
            "AWS_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        with patch.dict("os.environ", variables):
            client = boto3.client("s3", endpoint_url=near, region_name="us-east-1")
            client.create_bucket(Bucket=BUCKET)
            for file in cube.rglob("*"):
                if file.is_file():
                    client.upload_file(str(file), BUCKET, f"cube/{file.relative_to(cube)}")
            yield f"s3://{BUCKET}"


@contextmanager
def _server(command: list[str]) -> Iterator[str]:
    """Run a server for the time of a ``with`` block; yields the URL that it reports."""
    process = subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])},
    )
    try:
        assert process.stderr is not None
        output = ""
        while (match := re.search(r"http://127\.0\.0\.1:\d+", output)) is None:
            line = process.stderr.readline()
            if not line:
                raise RuntimeError(f"{' '.join(command)} did not start: {output}")
            output += line
        # It logs each request, and would stop when nobody reads the log.
        threading.Thread(target=process.stderr.read, daemon=True).start()
        yield match[0]
    finally:
        process.terminate()
        process.wait()


async def _relay(near: str, late: float) -> None:
    """Pass on what is sent to a server at once, and what it answers ``late``."""
    where = urlparse(near)

    async def connected(requests: StreamReader, client: StreamWriter) -> None:
        answers, upstream = await asyncio.open_connection(where.hostname, where.port)
        await asyncio.gather(_pass_on(requests, upstream, 0.0), _pass_on(answers, client, late))

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    print(f"http://{host}:{port}", file=sys.stderr, flush=True)
    await server.serve_forever()


async def _pass_on(source: StreamReader, target: StreamWriter, late: float) -> None:
    """Write what is read so many seconds later, in order; how much that is does not matter."""
    loop, last = asyncio.get_running_loop(), 0.0
    with suppress(ConnectionError):
        while some := await source.read(1 << 20):
            last = max(loop.time() + late, last + ORDER_S)
            loop.call_at(last, target.write, some)
    await asyncio.sleep(max(0.0, last - loop.time()))
    target.close()


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        asyncio.run(_relay(sys.argv[1], float(sys.argv[2])))
