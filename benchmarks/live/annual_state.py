"""Whether annual vectors should keep a joint state, so that a new acquisition costs them one step.

    python -m benchmarks.live.annual_state [--size 256] [--seed N] [--cache FOLDER] [--quick]

The joint state of the last acquisition and the twelve dates of a year would be n + 12 means and
their covariances, for each pixel and latent. Measured are its bytes, beside those of the cube and
of vectors, and what one step of it takes: reading it from a store, one Kalman update of all of it,
and writing it back; beside a run of `annual` that infers the same pixels anew.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

import torch
import xarray as xr
import zarr

from terralatent.catalogs.scenes.search import search_scenes
from terralatent.catalogs.simulation.simulate import simulate
from terralatent.models.annual import MONTHS
from terralatent.models.gpvae import GPVAE
from terralatent.pipeline import annual, build_cube
from terralatent.pipeline.cluster.client import client_for
from terralatent.pipeline.mapping.job import plan_job
from terralatent.pipeline.store.arrays import ArrayLayout

YEAR = ("2018-01-01", "2018-12-31")
ROUNDS = 3
BATCH = 2048
"""Pixels that are updated together."""


def main() -> int:
    """Measure and print."""
    options = _parser().parse_args()
    size = 64 if options.quick else options.size
    with tempfile.TemporaryDirectory() as temporary, client_for("local", workers=1) as client:
        folder = Path(temporary)
        region = (options.cache or folder) / f"region-{size}-{options.seed}"
        if not region.exists():
            simulate(region, size=size, seed=options.seed)
        outline, cube = region / "region.geojson", folder / "cube"
        build_cube(search_scenes(region, outline, *YEAR), outline, cube, client=client)
        runs = []
        for number in range(ROUNDS):
            report = annual(cube, out=folder / f"annual-{number}", window="2018", client=client)
            assert not isinstance(report, xr.Dataset)
            runs.append(sum(report.seconds.values()))
        anew = sorted(runs)[ROUNDS // 2]
        model = plan_job(cube, None, "2018-01-01").load()
        assert isinstance(model, GPVAE)
        states, latents = model.kernel.state_dim, model.config.latents
        step, stored = one_step(folder / "states", size, states, latents)
        in_cube = _bytes_of(cube)
    pixels = size * size
    width = states + MONTHS
    numbers = latents * (width + width * (width + 1) // 2)
    print(f"{pixels:,} pixels; the cube has {in_cube / pixels:,.0f} bytes of each on disk")
    print(f"a joint state: {4 * numbers:,} bytes a pixel, {stored / pixels:,.0f} on disk")
    print(f"annual, inferred anew: {anew:.2f} s of a worker; a step of joint states, without the "
          f"acquisition itself: {step:.2f} s, {step / anew:.2f} of it")  # fmt: skip
    return 0


def one_step(place: Path, size: int, states: int, latents: int) -> tuple[float, int]:
    """Seconds to read, update and write joint states of random values, and their bytes on disk."""
    width = states + MONTHS
    rows, columns = torch.triu_indices(width, width)
    count = width + len(rows)
    root = zarr.open_group(place, mode="w")
    shape = (size, size, count, latents)
    chunk = (min(64, size), min(64, size), count, latents)
    layout = ArrayLayout("joint", ("y", "x", "moment", "latent"), shape, "float32", chunk)
    layout.create(root)
    generator = torch.Generator().manual_seed(0)
    array = root["joint"]
    assert isinstance(array, zarr.Array)
    array[...] = torch.randn(shape, generator=generator).numpy()
    w = torch.rand(size * size, 1, latents, generator=generator)
    taken = []
    for _ in range(ROUNDS):
        begun = time.perf_counter()
        stored = torch.from_numpy(array[...]).reshape(-1, count, latents)
        for begin in range(0, len(stored), BATCH):
            part, seen = stored[begin : begin + BATCH], w[begin : begin + BATCH]
            mean, covariance = part[:, :width], part[:, width:]
            column = covariance[:, :width]  # with the series itself, the first of the states
            gain = 1.0 / (1.0 + seen * column[:, :1].abs())
            mean.addcmul_(column, gain * (seen - seen * mean[:, :1]))
            covariance.addcmul_(column[:, rows] * column[:, columns], -seen * gain)
        array[...] = stored.reshape(shape).numpy()
        taken.append(time.perf_counter() - begun)
    return sorted(taken)[ROUNDS // 2], _bytes_of(place)


def _bytes_of(place: Path) -> int:
    return sum(path.stat().st_size for path in place.rglob("*") if path.is_file())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--size", type=int, default=256, help="pixels along the region")
    parser.add_argument("--seed", type=int, default=3)
    parser.add_argument("--cache", type=Path, help="folder where regions are kept")
    parser.add_argument("--quick", action="store_true", help="a small region")
    return parser


if __name__ == "__main__":
    sys.exit(main())
