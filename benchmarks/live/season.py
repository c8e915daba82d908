"""Crops by what was known at the end of each month, from a few labelled polygons of each class.

    python -m benchmarks.live.season [--work DIR] [--seeds 11,12,13,14] [--size PIXELS]
                                     [--labels N] [--draws N] [--figure FILE] [--quick]

Regions are simulated in the default temperate climate, with seeds that no setting was chosen on and
no model has seen. Of each a cube is built of all acquisitions of 2018, once. Then, for the end of
each month from April to October, features are made with ``until`` that day: latents of the model
that comes with the package on the 15th of each month so far, and medians of the bands of each month
so far over the clear observations of the same acquisitions, months without any filled linearly in
time; these also rotated and scaled by sensor (whitened). Features of pixels are averaged over
parcels; linear discriminants learn from N parcels of each class and predict parcels of a third of
the region that they are not drawn from. Three folds hide every parcel once; folds and draws are the
same for all features. Every region leaves a file in the work folder and is not computed again.
``--quick`` takes one region of 64 pixels, two months and one draw.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from numpy.typing import NDArray

from benchmarks.downstream import raw
from benchmarks.downstream.parcels.medians import DECIBELS, Medians
from benchmarks.downstream.parcels.polygons import CLASS, Polygons, lay_polygons
from benchmarks.downstream.probes import probe
from benchmarks.downstream.rows import draw_labels
from benchmarks.downstream.scores import calibration_error
from benchmarks.downstream.whitening import rotate
from benchmarks.gapfill.cubes import build_once
from terralatent.catalogs.scenes.search import search_scenes
from terralatent.catalogs.simulation.simulate import FIRST_YEAR, simulate
from terralatent.pipeline import embed, open_cube
from terralatent.pipeline.cli.demo_landcover import outlines
from terralatent.pipeline.cli.demo_scores import open_truth
from terralatent.pipeline.cube.reading import Known, known_by
from terralatent.pipeline.store.repository import Store

SEEDS, SIZE, LABELS, DRAWS = "11,12,13,14", 128, 5, 5
MONTHS = (4, 5, 6, 7, 8, 9, 10)
NAMES = ("April", "May", "June", "July", "August", "September", "October")
CROPS = ("winter_wheat", "winter_barley", "maize", "potato", "sugar_beet", "pea")
SURE = 0.9
"""A probability from which on a parcel counts as named."""

SETS = {
    "latents": ("#0072B2", "-", "o"),
    "monthly medians": ("#E69F00", ":", "s"),
    "monthly medians, whitened": ("#000000", "--", "s"),
}
"""Colour, line and marker of the features."""

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Seen:
    """What a sensor saw of P pixels: values (T, B, P), NaN where not clear, and when."""

    name: str
    times: NDArray[np.datetime64]
    values: NDArray[np.float32]
    decibels: bool


def main() -> int:
    """Measure what is not there, and print the table."""
    options = _parser().parse_args()
    seeds = [int(seed) for seed in options.seeds.split(",")]
    size, months, draws = options.size, MONTHS, options.draws
    if options.quick:
        seeds, size, months, draws = seeds[:1], 64, (6, 9), 1
    with tempfile.TemporaryDirectory() as temporary:
        work = options.work or Path(temporary)
        found = [measure(work, seed, size, months, options.labels, draws) for seed in seeds]
    print(table(found, months))
    if options.figure is not None:
        draw(found, months, options.figure)
        print(f"drawn: {options.figure}")
    return 0


def measure(
    work: Path, seed: int, size: int, months: Sequence[int], labels: int, draws: int
) -> Mapping[str, Any]:
    """The figures of one region, from its file where it is there; computes."""
    folder = work / f"simulated-{seed}-{size}"
    kept = folder / f"season-{labels}-{draws}-{'-'.join(map(str, months))}.json"
    if kept.exists():
        stored: Mapping[str, Any] = json.loads(kept.read_text())
        return stored
    simulate(folder / "scenes", size=size, seed=seed)
    region = folder / "scenes" / "region.geojson"
    scenes = search_scenes(folder / "scenes", region, f"{FIRST_YEAR}-01-01", f"{FIRST_YEAR}-12-31")
    build_once(folder / "cubes" / "all", scenes, region, {})
    cube = folder / "cubes" / "all"
    truth = outlines(open_truth(folder / "scenes")).dissolve("parcel")
    grid = open_cube(cube)["sentinel-2-l2a"].to_dataset().odc.geobox
    polygons = lay_polygons(truth.rename(columns={"cover": CLASS}), grid, seed=seed)
    seen = list(_seen(cube, polygons))
    learnt = [len(draw_labels(polygons, fold, labels, 0)) for fold in polygons.folds]
    figures: dict[str, Any] = {
        "seed": seed,
        "polygons": len(polygons.target),
        "crops": int(np.isin(np.array(polygons.classes)[polygons.target], CROPS).sum()),
        "classes": polygons.classes,
        "labels": float(np.mean(learnt)),
        "scores": {},
    }
    for month in months:
        last = str(np.datetime64(f"{FIRST_YEAR}-{month:02}", "M").astype("datetime64[D]") + 30)
        last = min(last, str((np.datetime64(f"{FIRST_YEAR}-{month:02}") + 1).astype("M8[D]") - 1))
        made = features(cube, seen, polygons, month, last)
        for name, values in made.items():
            scored = score(values, polygons, labels, draws)
            figures["scores"][f"{month} {name}"] = scored
            print(f"{seed} | until {last} | {name} | {scored}", flush=True)
    kept.write_text(json.dumps(figures, indent=1))
    return figures


def features(
    cube: Path, seen: Sequence[Seen], polygons: Polygons, month: int, last: str
) -> dict[str, Array]:
    """Features of all polygons by what was there by a day, (N, F) each; computes."""
    dates = f"monthly:{FIRST_YEAR}-01/{FIRST_YEAR}-{month:02}"
    latents = embed(cube, dates=dates, until=last)["mean"].transpose("y", "x", "time", "latent")
    rows, columns = polygons.pixels
    means = np.nan_to_num(latents.values[rows, columns]).reshape(len(rows), -1)
    root = Store.of(cube).group()
    known = known_by(root, [own.name for own in seen], last)
    assert known is not None
    medians = _medians(seen, known, root, month)
    complete = raw.interpolated(medians.logarithms, month, medians.middle)
    white = raw.whitened(complete, np.arange(len(rows)), parts=list(medians.parts))
    return {
        "latents": polygons.means(means),
        "monthly medians": polygons.means(complete.reshape(len(rows), -1)),
        "monthly medians, whitened": polygons.means(white.reshape(len(rows), -1)),
    }


def _medians(seen: Sequence[Seen], known: Known, root: Any, month: int) -> Medians:
    """Of the months so far, over what was there."""
    found = []
    for own in seen:
        there = known.came(root, own.name) <= known.last
        of = own.times.astype("datetime64[M]")
        parts = np.full((own.values.shape[2], month, own.values.shape[1]), np.nan, np.float32)
        for place in range(month):
            dates = there & (of == np.datetime64(f"{FIRST_YEAR}-{place + 1:02}", "M"))
            if dates.any():
                with warnings.catch_warnings():
                    warnings.filterwarnings("ignore", "All-NaN slice", RuntimeWarning)
                    parts[:, place] = np.nanmedian(own.values[dates], axis=0).T
        found.append(parts)
    bands = [part.shape[2] for part in found]
    optical = sum(n for n, own in zip(bands, seen, strict=True) if not own.decibels)
    return Medians(np.concatenate(found, axis=2), np.array(optical), np.cumsum(bands)[:-1])


def _seen(cube: Path, polygons: Polygons) -> Iterator[Seen]:
    """All that the sensors saw of the pixels in polygons, optical ones first; computes."""
    tree = open_cube(cube)
    groups = [(name, tree[name].to_dataset()) for name in tree.children if name != "items"]
    groups.sort(key=lambda group: group[1]["data"].attrs["units"] == DECIBELS)
    rows, columns = polygons.pixels
    for name, group in groups:
        data = group["data"].transpose("time", "band", "y", "x")
        decibels = data.attrs["units"] == DECIBELS
        yield Seen(name, group["time"].values, data.values[:, :, rows, columns], decibels)


def score(features: Array, polygons: Polygons, labels: int, draws: int) -> dict[str, float]:
    """Accuracies of polygons that were hidden, over all folds and draws; computes."""
    target, classes = polygons.target, len(polygons.classes)
    right, sure = np.zeros((draws, len(target)), bool), np.zeros((draws, len(target)))
    for fold in polygons.folds:
        rotated = rotate(features, fold.training)
        for draw in range(draws):
            labelled = draw_labels(polygons, fold, labels, draw)
            others = np.setdiff1d(fold.training, labelled)
            learnt = probe(
                "lda", rotated, target, polygons.cells, labelled, others, fold.test, classes
            )
            right[draw, fold.test] = learnt.probabilities.argmax(axis=1) == target[fold.test]
            sure[draw, fold.test] = learnt.probabilities.max(axis=1)
    crop = np.isin(np.array(polygons.classes)[target], CROPS)
    named = sure[:, crop] >= SURE
    return {
        "crops": float(right[:, crop].mean()),
        "all": float(right.mean()),
        "named": float(named.mean()),
        "right of named": float(right[:, crop][named].mean()) if named.any() else float("nan"),
        "calibration": calibration_error(sure.ravel(), right.ravel()),
    }


def table(found: Sequence[Mapping[str, Any]], months: Sequence[int]) -> str:
    """The table of the documentation: means over regions, lowest and highest in brackets."""
    counts = {key: _span([own[key] for own in found], ".0f") for key in ("polygons", "crops")}
    labels = _span([own["labels"] for own in found], ".0f")
    lines = [
        f"{len(found)} regions; of each {counts['polygons']} parcels, {counts['crops']} of them "
        f"crops; {labels} are labelled.",
        "",
        f"| until the end of | {' | '.join(SETS)} | named by latents, right of these |",
        f"|---|{'---|' * (len(SETS) + 1)}",
    ]
    for month in months:
        cells = [_span(_of(found, month, name, "crops")) for name in SETS]
        named, right = (
            100.0 * np.nanmean(_of(found, month, "latents", key))
            for key in ("named", "right of named")
        )
        lines.append(f"| {NAMES[month - 4]} | {' | '.join(cells)} | {named:.0f} %, {right:.0f} % |")
    errors = [
        f"{name} {np.nanmean([_of(found, month, name, 'calibration') for month in months]):.3f}"
        for name in SETS
    ]
    return "\n".join([*lines, "", f"Calibration error, all months: {'; '.join(errors)}."])


def draw(found: Sequence[Mapping[str, Any]], months: Sequence[int], file: Path) -> None:
    """Accuracy of crops by month: means over regions, and bars from the lowest to the highest."""
    with plt.rc_context({"font.size": 12, "axes.spines.top": False, "axes.spines.right": False}):
        figure, axes = plt.subplots(figsize=(8.0, 4.8), layout="constrained")
        for place, (name, (colour, line, marker)) in enumerate(SETS.items()):
            values = np.array([_of(found, month, name, "crops") for month in months])
            middle, at = values.mean(axis=1), np.arange(len(months)) + 0.09 * (place - 1)
            ends = [middle - values.min(axis=1), values.max(axis=1) - middle]
            axes.errorbar(at, middle, ends, color=colour, linestyle=line, marker=marker, label=name)
        axes.set_xticks(range(len(months)), [NAMES[month - 4] for month in months])
        axes.set_xlim(-0.4, len(months) - 0.6)
        axes.set_xlabel("known until the end of")
        axes.set_ylabel("share of crop parcels named right")
        axes.set_ylim(None, 1.0)
        axes.grid(axis="y", alpha=0.3)
        axes.legend(loc="lower right", frameon=False)
        labels = np.mean([own["labels"] for own in found])
        axes.set_title(
            f"{len(found)} simulated regions, {labels:.0f} labelled parcels of "
            f"{len(found[0]['classes'])} classes in each; bars: lowest to highest region",
            fontsize=10, loc="left",
        )  # fmt: skip
        file.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(file, dpi=100)
        plt.close(figure)


def _of(found: Sequence[Mapping[str, Any]], month: int, name: str, key: str) -> list[float]:
    return [own["scores"][f"{month} {name}"][key] for own in found]


def _span(values: Sequence[float], form: str = ".2f") -> str:
    mean = format(float(np.mean(values)), form)
    return f"{mean} ({min(values):{form}} to {max(values):{form}})"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--work", type=Path, help="folder kept over runs")
    parser.add_argument("--seeds", default=SEEDS, help="of the regions")
    parser.add_argument("--size", type=int, default=SIZE, help="pixels along a region")
    parser.add_argument("--labels", type=int, default=LABELS, help="parcels of each class")
    parser.add_argument("--draws", type=int, default=DRAWS, help="of labels")
    parser.add_argument("--figure", type=Path, metavar="FILE", help="of the picture")
    parser.add_argument("--quick", action="store_true", help="one small region, two months")
    return parser


if __name__ == "__main__":
    sys.exit(main())
