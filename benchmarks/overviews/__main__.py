"""What overviews cost beside the run that they end, and what pictures read.

    python -m benchmarks.overviews [SCENES] [--quick] [--only PART ...] [--cache FOLDER]

`cost`: the cube of `benchmarks.embed` (a year of real scenes, repeated in space) is embedded by two
workers without overviews, then they are made. `reading`: latents of 1,024 x 1,024 pixels of noise,
with all of their overviews, and of 10,980 x 10,980 pixels of which only coarse levels are filled;
what `show` reads to draw them is counted by the kernel, in a process of its own, manifests included
and fonts left out. `cube`: the same of `show` on the cube, beside the bytes of the shards that hold
what it shows.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from benchmarks.embed.cube import random_model, repeated_cube, scenes_cube
from benchmarks.embed.workers import cost_of, fresh_workers
from benchmarks.overviews.reading import bytes_read, bytes_shown, coarse_latents, whole_latents
from terralatent.pipeline import embed, make_overviews
from terralatent.pipeline.overviews import pyramid


def main() -> int:
    """Measure and print; 1 where the scenes are absent."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default = Path(__file__).resolve().parents[3] / "shared" / "scenes"
    parser.add_argument("scenes", nargs="?", type=Path, default=default)
    parser.add_argument("--quick", action="store_true", help="smaller")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=tuple(PARTS))
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir(), "terralatent"))
    options = parser.parse_args()
    if options.only != ["reading"] and not (options.scenes / "region.geojson").exists():
        print(f"NOT MEASURED: there are no scenes at {options.scenes}", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as folder:
        for part in options.only:
            PARTS[part](Path(folder), options)
    return 0


def _cost(folder: Path, options: argparse.Namespace) -> None:
    side = 256 if options.quick else 1024
    pyramid.LEAST = min(pyramid.LEAST, side - 1)
    cube = repeated_cube(scenes_cube(options.scenes, options.cache), side, side // 4)
    model, out = random_model(cube, folder / "model"), folder / "latents"
    with fresh_workers(2, model, "4GB") as client:
        run = cost_of(
            client,
            lambda: embed(cube, model, out, device="cpu", overviews=False, client=client),
        )
        added = cost_of(client, lambda: make_overviews(out, client=client))
    print(
        f"{side} x {side} pixels, monthly, 16 latents: embed {run.wall:.1f} s ({run.cpu:.1f} of "
        f"the workers' cores), overviews {added.wall:.1f} s ({added.cpu:.1f}): "
        f"{added.wall / run.wall:.1%}, {added.cpu / run.cpu:.1%} (wanted: at most 10 %)",
        flush=True,
    )


def _reading(folder: Path, options: argparse.Namespace) -> None:
    side = 600 if options.quick else 1024
    whole, coarse = whole_latents(folder / "whole", side), coarse_latents(folder / "coarse", 10_980)
    for what, path, words in (
        (f"{side} x {side}, no overviews", whole, ("--level", "0")),
        (f"{side} x {side}", whole, ()),
        (f"{side} x {side}, one date", whole, ("--date", "2018-07-15")),
        ("10,980 x 10,980", coarse, ()),
        ("10,980 x 10,980, one date", coarse, ("--date", "2018-07-15")),
    ):
        read, picture = bytes_read(path, folder / "picture.png", words)
        print(f"{what}: {read / 1e6:.2f} MB read, drawn from {picture}", flush=True)


def _cube(folder: Path, options: argparse.Namespace) -> None:
    side = 256 if options.quick else 1024
    cube = repeated_cube(scenes_cube(options.scenes, options.cache), side, side // 4)
    for sensor, most in (("sentinel-2-l2a", 12), ("sentinel-1-asc", None)):
        read, _ = bytes_read(cube, folder / "picture.png", ("--sensor", sensor))
        shown = bytes_shown(cube, sensor, most)
        print(
            f"{side} x {side} cube, {sensor}: {read / 1e6:.1f} MB read, {shown / 1e6:.1f} MB in "
            f"the shards of what is shown: {read / shown:.3f} times (wanted: at most 1.1)",
            flush=True,
        )


PARTS = {"cost": _cost, "reading": _reading, "cube": _cube}

if __name__ == "__main__":
    sys.exit(main())
