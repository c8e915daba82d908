"""What annual vectors lose, take and cost.

    python -m benchmarks.annual [SHARED] [--only accuracy cost] [--work DIR] [--draws 10]
                                [--development] [--quick] [--rounds 3]

SHARED is a folder with ``tables/canada-2017.parquet`` and ``scenes``, ../shared by default.
`accuracy`: crops of Canada from 192 posterior means, from 16, 32 and 64 components, and from what
is stored of them. `cost`: bytes a pixel-year, and time beside monthly latents, on a year of the
scenes repeated in space. Exit code 1 where the input is absent.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from benchmarks.annual.accuracy import compare_accuracy
from benchmarks.annual.cost import compare_cost

PARTS = ("accuracy", "cost")


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    default = Path(__file__).resolve().parents[3] / "shared"
    parser.add_argument("shared", nargs="?", type=Path, default=default)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--work", type=Path, help="folder kept over runs")
    parser.add_argument("--draws", type=int, default=10, help="of labels")
    parser.add_argument("--development", action="store_true", help="what settings are chosen on")
    parser.add_argument("--quick", action="store_true", help="one draw; a small cube, once")
    parser.add_argument("--rounds", type=int, default=3, help="runs of which the best counts")
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir(), "terralatent"))
    options = parser.parse_args()
    table, scenes = options.shared / "tables" / "canada-2017.parquet", options.shared / "scenes"
    needed = {"accuracy": table, "cost": scenes / "region.geojson"}
    for path in [needed[part] for part in options.only]:
        if not path.exists():
            print(f"NOT MEASURED: there is no {path}", file=sys.stderr)
            return 1
    with tempfile.TemporaryDirectory() as folder:
        work = options.work or Path(folder)
        if "accuracy" in options.only:
            draws = 1 if options.quick else options.draws
            compare_accuracy(table, work, draws, development=options.development or options.quick)
        if "cost" in options.only:
            side, rounds = (256, 1) if options.quick else (512, options.rounds)
            compare_cost(scenes, options.cache, Path(folder), side=side, rounds=rounds)
    return 0


if __name__ == "__main__":
    sys.exit(main())
