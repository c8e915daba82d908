"""Crops from one band: the UCR archive's Crop, all of its labels, dates there or dropped.

    python -m benchmarks.downstream.ucr_crop [TABLES] [--work DIR] [--latents N] [--steps N]
                                             [--quick] [--tables]

TABLES is a folder with ``ucr-crop.npz``, ../shared/tables by default: 46 values of one channel of
FORMOSAT-2, 24 classes, 7,200 series to learn from and 16,799 to test, by the archive's split. Dates
are not stated: they are laid evenly over a made year. The GP-VAE is trained on the training series
without labels; its features are latents at the 46 dates. Classifiers learn from all labels. All
dates are there, or a half or 70 % of each series is dropped at random, of those learnt from as of
those tested; raw series are then interpolated linearly. Rows and latents are kept in the work
folder. Exit code 1 where there is no table.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmarks.downstream.encoders import kept_arrays
from benchmarks.downstream.missing import NONE
from benchmarks.downstream.raw import interpolated
from benchmarks.downstream.rows import Row, RowResult, read_row, write_row
from benchmarks.gapfill.tables import table
from terralatent.pipeline import Series, features, train

TABLE = "ucr-crop.npz"
SENSOR, BAND = "formosat-2-index", "index"
DESCRIBED = f"""
[sensors.{SENSOR}]
title = "The one channel of UCR Crop"
collections = ["ucr-crop"]
constellation = "formosat-2"
bands = {{ {BAND} = [] }}
resolution = 8.0
units = "1"
scale = 1.0
offset = 0.0
packing = {{ scale_factor = 1e-4, add_offset = 0.0, fill_value = -32768, dtype = "int16" }}
"""
"""The sensor, as docs/own-sensor.md describes one."""

DATES = np.datetime64("2006-01-01", "D") + np.round(np.arange(46) * 365 / 46).astype(int)
DROPPED = {NONE: 0.0, "50 %": 0.5, "70 %": 0.7}
SEED = 0
SETS: Mapping[str, tuple[str, ...]] = {
    "raw": (),
    "raw, z-normalised": (),
    "latents, means": ("mean",),
    "latents, means and std": ("mean", "std"),
}
"""Feature sets, and the parts of latents that they are made of."""

LATENTS, STEPS = 8, 800
QUICK_SERIES, QUICK_STEPS, QUICK_LATENTS = 480, 8, 4
PUBLISHED = {
    "InceptionTime": 0.793, "MultiRocket": 0.774, "HIVE-COTE 2.0": 0.764, "ResNet": 0.764,
    "ROCKET": 0.752, "TSF": 0.746}  # fmt: skip
"""Accuracy, means over 30 resamples of the archive; those here are of the default split alone."""

PROBES: Mapping[str, Any] = {
    "1-NN": lambda: KNeighborsClassifier(1),
    "lda": lambda: make_pipeline(
        StandardScaler(), LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto")
    ),
    "logit": lambda: make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=500)),
    "rf": lambda: RandomForestClassifier(300, random_state=SEED),
}


@dataclass(frozen=True, eq=False)
class Crop:
    """The series, those to learn from before those to test."""

    values: NDArray[np.float32]  # (N, date)
    target: NDArray[np.intp]  # class, from 0, (N,)
    learning: int  # how many series are learnt from

    @classmethod
    def read(cls, file: Path, most: int | None = None) -> Crop:
        """Read the table; of each part ``most`` series at most, evenly spread."""
        with np.load(file) as stored:
            sides = [(stored[f"{side}_x"], stored[f"{side}_y"]) for side in ("train", "test")]
        thin = [[own[:: max(1, len(own) // (most or len(own)))] for own in side] for side in sides]
        values, target = (np.concatenate(both) for both in zip(*thin, strict=True))
        return cls(values.astype(np.float32), target.astype(np.intp) - 1, len(thin[0][0]))

    def dropped(self, kind: str) -> NDArray[np.bool_]:
        """Which dates of each series are dropped, as many of all, (N, date)."""
        draw = np.random.default_rng([SEED, 23]).random(self.values.shape)
        count = round(DROPPED[kind] * self.values.shape[1])
        return draw.argsort(axis=1).argsort(axis=1) < count

    def series(self) -> Series:
        """As a table of the sensor :data:`SENSOR`, which must be known."""
        count, dates = self.values.shape
        pixel = np.repeat(np.arange(count), dates)
        time = np.tile(DATES.astype("datetime64[us]"), count)
        frame = pd.DataFrame({"pixel": pixel, "time": time, BAND: self.values.ravel()})
        return Series.from_table(frame, {SENSOR: {BAND: BAND}})


@dataclass(frozen=True)
class Setting:
    """How latents are made, and where they are kept."""

    work: Path
    latents: int
    steps: int

    def features(self, crop: Crop, name: str, kind: str) -> NDArray[np.float64]:
        """Features of all series without the dates that are dropped, (N, F); computes."""
        if SETS[name]:
            own = self._latents(crop, kind)
            return np.concatenate([own[part] for part in SETS[name]], axis=1).astype(np.float64)
        values = np.where(crop.dropped(kind), np.nan, crop.values)[..., None].astype(np.float64)
        complete = interpolated(values, len(DATES), np.zeros(1))[..., 0]  # none lacks all dates
        middle, spread = complete.mean(axis=1, keepdims=True), complete.std(axis=1, keepdims=True)
        return complete if name == "raw" else (complete - middle) / np.maximum(spread, 1e-9)

    def _latents(self, crop: Crop, kind: str) -> dict[str, NDArray[Any]]:
        """``mean`` and ``std`` at all dates, (N, date * latent) both."""

        def make() -> Mapping[str, NDArray[Any]]:
            series, model = crop.series(), self.work / "model"
            train(
                series.select(np.arange(crop.learning)), model, latents=self.latents,
                steps=self.steps, calibrated=False, device="cpu",
            )  # fmt: skip
            left = series.where(~crop.dropped(kind).ravel())
            found = features(model, left, list(DATES), parts=("mean", "std"), device="cpu")
            return {part: found.part(part) for part in ("mean", "std")}

        return kept_arrays(self.work / "latents" / f"{kind.replace(' ', '-')}.npz", make)


def run(crop: Crop, setting: Setting) -> None:
    """Compute the rows that are not there, and print a line for each."""
    for kind in DROPPED:
        for name in SETS:
            rows = [Row(name, kind, probe=probe) for probe in PROBES]
            rows = [row for row in rows if not row.file(setting.work).exists()]
            made = setting.features(crop, name, kind) if rows else np.empty(0)
            learning, test = made[: crop.learning], made[crop.learning :]
            for row in rows:
                fitted = PROBES[row.probe]().fit(learning, crop.target[: crop.learning])
                probabilities = fitted.predict_proba(test)
                predicted = fitted.classes_[probabilities.argmax(axis=1)].astype(np.intp)
                result = RowResult(predicted, probabilities.max(axis=1), False)
                write_row(setting.work, row, result, crop.target[crop.learning :])
                right = (predicted == crop.target[crop.learning :]).mean()
                print(f"{name} | {kind} | {row.probe}: {right:.3f}", flush=True)


def format_page(crop: Crop, work: Path) -> str:
    """Accuracies on the test series, and what was published."""
    test = crop.target[crop.learning :]
    rows = []
    for name in SETS:
        found = [read_row(work, Row(name, kind, probe=own)) for kind in DROPPED for own in PROBES]
        right = [(own.predicted == test).mean() if own else np.nan for own in found]
        rows.append([name, *(f"{share:.3f}" for share in right)])
    head = ["features", *(f"{own}, {kind} dropped" for kind in DROPPED for own in PROBES)]
    published = table(["published", "accuracy"], [[k, f"{v:.3f}"] for k, v in PUBLISHED.items()])
    note = "Means over 30 resamples, all dates there; those above are of the default split."
    return "\n\n".join([table(head, rows), published, note]) + "\n"


def main() -> int:
    """Compute what is not there, and print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    default = Path(__file__).resolve().parents[3] / "shared" / "tables"
    parser.add_argument("folder", metavar="TABLES", nargs="?", type=Path, default=default)
    parser.add_argument("--work", type=Path, help="folder kept over runs")
    parser.add_argument("--latents", type=int, default=LATENTS)
    parser.add_argument("--steps", type=int, default=STEPS, help="of training at most")
    parser.add_argument("--quick", action="store_true", help="few series, a few steps")
    parser.add_argument("--tables", action="store_true", help="run nothing, print what is there")
    options = parser.parse_args()
    file = options.folder / TABLE
    if not file.exists():
        print(f"NOT MEASURED: there is no {file}", file=sys.stderr)
        return 1
    latents, steps = options.latents, options.steps
    if options.quick:
        latents, steps = QUICK_LATENTS, QUICK_STEPS
    crop = Crop.read(file, QUICK_SERIES if options.quick else None)
    with tempfile.TemporaryDirectory() as temporary:
        base = options.work or Path(temporary)
        work = base / ("quick" if options.quick else f"{latents}-latents-{steps}-steps")
        # Where the package seeks the sensors of a user.
        os.environ["XDG_CONFIG_HOME"] = str(base / "config")
        described = base / "config" / "terralatent"
        described.mkdir(parents=True, exist_ok=True)
        (described / f"{SENSOR}.toml").write_text(DESCRIBED)
        if not options.tables:
            run(crop, Setting(work, latents, steps))
        print(format_page(crop, work))
    return 0


if __name__ == "__main__":
    sys.exit(main())
