"""What the day of year and the width of the networks are worth at places that no training saw.

    python -m benchmarks.pretrained.ablation --work DIR [--steps 800] [--trained 0 1] [--jobs 2]

Each variant is trained on one simulated world of each climate, six of them south of the equator,
and scored on the clear development acquisitions of both real places, every fifth pixel. The first
is trained with several seeds, which says what chance does.
Worlds, cubes and models are kept in the work folder. Exit code 1 where real scenes are absent.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from benchmarks.gapfill.holdouts import Rotation
from benchmarks.gapfill.tables import table
from benchmarks.pretrained.recipe import OPTICAL_AND_RADAR, PLACES, RECIPE, Recipe, WorldName
from benchmarks.pretrained.scores import mean_of, score_rotation
from benchmarks.pretrained.selection import EVERY
from benchmarks.pretrained.worlds import Place, make_worlds, place_of, world_cube
from terralatent.pipeline.store.repository import BRANCH, Store
from terralatent.pipeline.training.train import train

SOUTHERN = ("semi-arid", "savanna", "savanna-two-rains", "double-cropping", "evergreen-forest",
            "wetland")  # fmt: skip
NORTH, SOUTH = 201, 204
"""Seeds of worlds; all of the first lie north of the equator, those of the second south of it."""

SOUTHERN_PLACES = ("tanzania",)
HALF_A_YEAR = np.timedelta64(183, "D")
WIDTHS = {"sentinel-1-asc": 16, "sentinel-1-desc": 16}
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


@dataclass(frozen=True)
class Variant:
    """What is trained."""

    choices: Mapping[str, Any]
    shifted: bool = False
    """Whether dates south of the equator count as half a year later."""

    widths: Mapping[str, int] = field(default_factory=lambda: WIDTHS)


VARIANTS = {
    "as it ships: no day of year, 64 wide, radar 16": Variant({"season": False}),
    "day of year as it is": Variant({"season": True}),
    "day of year half a year later in the south": Variant({"season": True}, shifted=True),
    "32 wide": Variant({"season": False, "hidden": 32}),
    "128 wide": Variant({"season": False, "hidden": 128}),
    "64 wide, radar as well": Variant({"season": False}, widths={}),
}


@dataclass(frozen=True)
class Worlds(Recipe):
    """One world of each climate."""

    def worlds(self) -> tuple[WorldName, ...]:
        """Southern ones where the climate has them."""
        return tuple(
            WorldName(world.climate, SOUTH if world.climate in SOUTHERN else NORTH)
            for world in replace(RECIPE, seeds=(NORTH,)).worlds()
        )

    def aside(self) -> tuple[WorldName, ...]:
        """None: variants are judged on real places."""
        return ()


class LaterPlace(Place):
    """A place whose dates are half a year later."""

    def cube(self, rotation: Rotation) -> Path:
        """The cube without what a rotation hides."""
        return later(super().cube(rotation))


def main() -> int:
    """Train what is not there, score it and print a table."""
    options = _parser().parse_args()
    work, shared = options.work.absolute(), options.shared.absolute()
    if not all((shared / name / "catalog.json").exists() for name in PLACES.values()):
        print(f"NOT MEASURED: there are no scenes at {shared}", file=sys.stderr)
        return 1
    for name in THREADS:  # the processes that are started read it
        os.environ[name] = "1"
    make_worlds(work, Worlds(), options.jobs)
    for place in (place_of(work, shared, name, OPTICAL_AND_RADAR) for name in PLACES):
        place.rotations("clear")  # cubes are built before processes share them
        if place.name in SOUTHERN_PLACES:
            for rotation in place.rotations("clear")[1]:
                later(place.cube(rotation))
    for world in Worlds().worlds():
        if world.seed == SOUTH:
            later(world_cube(work, world))
    first, *others = VARIANTS
    runs = [*((first, seed) for seed in options.trained), *((own, 0) for own in others)]
    with ProcessPoolExecutor(options.jobs, mp_context=get_context("spawn")) as pool:
        begun = {
            run: pool.submit(_figures, work, shared, *run, options.steps) for run in runs
        }  # fmt: skip
        rows = []
        for (name, seed), figures in begun.items():
            rows.append([name, str(seed), *(_cell(own) for own in figures.result().values())])
            print(" | ".join(rows[-1]), flush=True)
    print(table(["variant", "seed", *PLACES], rows))
    return 0


def later(cube: Path) -> Path:
    """Copy a cube whose dates are half a year later, where there is none yet; return the copy."""
    copy = cube.with_name(f"{cube.name}-later")
    if not copy.exists():
        aside = cube.with_name(f"{cube.name}-moving")
        shutil.rmtree(aside, ignore_errors=True)
        shutil.copytree(cube, aside)
        store = Store.of(aside)
        session = store.repository().writable_session(BRANCH)
        for _, group in zarr.open_group(session.store, mode="r+").groups():
            group["time"][:] += HALF_A_YEAR.astype("timedelta64[us]").astype(np.int64)
        store.commit(session, "half a year later")
        aside.rename(copy)
    return copy


def _figures(work: Path, shared: Path, name: str, seed: int, steps: int) -> dict[str, Any]:
    """Train a variant and score it at both places, whatever of it is not there."""
    variant = VARIANTS[name]
    words = "-".join("".join(c if c.isalnum() else " " for c in name).split())
    model = work / "ablation" / f"{words}-{seed}-{steps}"
    scored = model.with_suffix(".json")
    if scored.exists():
        return dict(json.loads(scored.read_text()))
    cubes = [
        later(cube) if variant.shifted and world.seed == SOUTH else cube
        for world in Worlds().worlds()
        for cube in [world_cube(work, world)]
    ]
    train(
        cubes, model, steps=steps, seed=seed, batch=RECIPE.batch, rate=RECIPE.rate,
        validate_every=steps // 10, patience=10, drop_bands=True, widths=variant.widths,
        device="cpu", **variant.choices,
    )  # fmt: skip
    figures = {
        place: _score(place_of(work, shared, place, OPTICAL_AND_RADAR), model,
                      variant.shifted and place in SOUTHERN_PLACES)
        for place in PLACES
    }  # fmt: skip
    scored.write_text(json.dumps(figures))
    return figures


def _score(place: Place, model: Path, shifted: bool) -> dict[str, Any]:
    observations, rotations = place.rotations("clear")
    if shifted:
        observations = replace(observations, times=observations.times + HALF_A_YEAR)
        place = LaterPlace(**vars(place))
    return mean_of(
        [score_rotation(place, observations, rotation, model, EVERY) for rotation in rotations]
    )


def _cell(figures: Mapping[str, Any]) -> str:
    return f"{figures['all']:.3f} / {figures['clean']:.3f}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--work", type=Path, required=True, help="folder kept over runs")
    parser.add_argument("--shared", type=Path, default=Path(__file__).parents[3] / "shared")
    parser.add_argument("--steps", type=int, default=800)
    parser.add_argument("--trained", type=int, nargs="+", default=[0, 1], help="seeds")
    parser.add_argument("--jobs", type=int, default=2, help="processes side by side")
    return parser


if __name__ == "__main__":
    sys.exit(main())
