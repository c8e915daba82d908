"""Lazy results: what a part of one reads, time and memory beside a store, and imports.

    python -m benchmarks.lazy [SCENES] [--cache DIR] [--rounds N] [--only PART ...] [--quick]

SCENES is a static catalogue with a region.geojson, ../shared/scenes by default, whose scenes are
repeated in space. Exit code 1 where there is none.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from benchmarks.embed.cube import random_model, repeated_cube, scenes_cube
from benchmarks.lazy.beside_store import compare
from benchmarks.lazy.imports import import_seconds, import_table
from benchmarks.lazy.reading import read_of_a_block

PARTS = ("imports", "reading", "store")


def main() -> int:
    """Measure, and print."""
    options = _parser().parse_args()
    if "imports" in options.only:
        libraries, with_ours = import_seconds(options.rounds)
        print(f"xarray, dask, zarr, icechunk and rioxarray: {libraries:.2f} s; with what opens a "
              f"store: {with_ours / libraries:.2f} times that")  # fmt: skip
        print(*import_table(options.rounds), sep="\n", flush=True)
    if not (options.scenes / "catalog.json").is_file():
        print(f"NOT MEASURED: there is no catalogue at {options.scenes}", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as temporary:
        cache = options.cache or Path(temporary)
        source = scenes_cube(options.scenes, cache)
        model = random_model(source, cache / "model") and cache / "model"
        block, side = (64, 512) if options.quick else (256, 4096)
        if "reading" in options.only:
            read, stored = read_of_a_block(source, model, side, block)
            print(f"a block of {block} x {block} of {side} x {side} pixels: read {read / 1e6:.1f} "
                  f"MB, stored of one {stored / 1e6:.1f} MB: {read / stored:.2f}")  # fmt: skip
        if "store" in options.only:
            side = 128 if options.quick else 512
            cube = repeated_cube(source, side, block)
            for _ in range(options.rounds):
                print(compare(cube, model, Path(temporary)), flush=True)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    default = Path(__file__).resolve().parents[3] / "shared" / "scenes"
    parser.add_argument("scenes", metavar="SCENES", nargs="?", type=Path, default=default)
    parser.add_argument("--cache", type=Path, help="folder for cubes, kept over runs")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--quick", action="store_true", help="small cubes")
    return parser


if __name__ == "__main__":
    sys.exit(main())
