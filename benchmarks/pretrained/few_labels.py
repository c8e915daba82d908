"""Land cover of a simulated world from few labels: features of one model beside another's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import zarr
from numpy.typing import NDArray
from sklearn.ensemble import RandomForestClassifier

from terralatent.pipeline.dates import days_since_1970
from terralatent.pipeline.mapping.job import plan_job
from terralatent.pipeline.region import Block

__all__ = ["few_label_accuracy"]

LABELS = 10
"""Pixels of each class that a forest learns from."""

DRAWS = 10
"""Of these labels."""

TREES = 200


def few_label_accuracy(scenes: Path, cube: Path, model: Path) -> float:
    """Balanced accuracy of land cover from ten labels a class, by posterior means of the months.

    A random forest learns from labelled pixels of parcels that are not scored; mean over ten draws.

    Args:
        scenes: Folder of the simulated world, with its truth.
        cube: Of the same world.
        model: Folder of the model.
    """
    features = _features(cube, model)
    truth = zarr.open_group(scenes / "truth.zarr", mode="r")
    cover = np.asarray(truth["land_cover"])[0].ravel()
    parcel = np.asarray(truth["parcel"]).ravel()
    usable = np.isfinite(features).all(1)
    scores = []
    for draw in range(DRAWS):
        generator = np.random.default_rng(draw)
        parcels = np.unique(parcel)
        learning = np.isin(parcel, generator.permutation(parcels)[: len(parcels) // 2])
        chosen, classes = [], []
        for number in np.unique(cover[usable]):
            pool = np.flatnonzero(usable & learning & (cover == number))
            if len(pool) and (usable & ~learning & (cover == number)).any():
                chosen.append(generator.choice(pool, min(LABELS, len(pool)), replace=False))
                classes.append(number)
        rows = np.concatenate(chosen)
        forest = RandomForestClassifier(TREES, random_state=draw)
        forest.fit(features[rows], cover[rows])
        scored = np.flatnonzero(usable & ~learning & np.isin(cover, classes))
        right = forest.predict(features[scored]) == cover[scored]
        scores.append(np.mean([right[cover[scored] == number].mean() for number in classes]))
    return float(np.mean(scores))


def _features(cube: Path, model: Path) -> NDArray[np.floating]:
    """Posterior means of all latents at the middle of the months, (pixel, month * latent)."""
    job = plan_job(cube, model, "monthly")
    rows, columns = job.grid.shape
    series = job.read(Block((0, 0), slice(0, rows), slice(0, columns)))
    days = torch.from_numpy(days_since_1970(job.dates))
    features = np.full((rows * columns, len(days) * job.config().latents), np.nan, np.float32)
    with torch.no_grad():
        for pixels, mean, _ in job.infer(series, np.flatnonzero(series.seen)):
            features[pixels] = mean.flatten(1).cpu().numpy()
    return features
