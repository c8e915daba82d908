"""Polygons that were drawn on the map: labels, and the classes of what is seen learnt from them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import geopandas
import numpy as np
import xarray as xr
from numpy.typing import NDArray
from shapely.geometry import Polygon

from terralatent.catalogs.errors import InputError
from terralatent.pipeline.explorer.layers import Layer
from terralatent.pipeline.explorer.levels import SIDE, Levels, Wanted, Window
from terralatent.pipeline.landcover.arrays import ClassArrays
from terralatent.pipeline.landcover.lazy import lazy_map
from terralatent.pipeline.probes.dataset import DatasetFeatures
from terralatent.pipeline.probes.estimators import CLASSIFIERS, find_estimators
from terralatent.pipeline.probes.labels import LabelColumns, read_labels
from terralatent.pipeline.probes.legend import Legend
from terralatent.pipeline.probes.probe import ClassProbe, cross_validate, fit_probe
from terralatent.pipeline.probes.sample import Sample, read_sample
from terralatent.pipeline.probes.scores import score_classes

__all__ = ["COLUMN", "Learnt", "frame_of", "geojson_of", "learn"]

COLUMN = "class"
"""Of the frame, and of the file that is saved."""

WANTED = Wanted(("mean",))


@dataclass(frozen=True)
class Learnt:
    """What was learnt from labels."""

    layer: Layer
    """The map of classes."""

    legend: Legend

    score: str
    """The cross-validated accuracy in words, or what it lacks."""


def frame_of(
    xs: Sequence[Sequence[float]], ys: Sequence[Sequence[float]], names: Sequence[str], crs: Any
) -> geopandas.GeoDataFrame:
    """The polygons that have an area, with the class of each in the column ``class``.

    Args:
        xs: Corners of each, in map coordinates.
        ys: The same.
        names: The class of each.
        crs: Of the map.
    """
    drawn = [
        (Polygon(zip(x, y, strict=True)).buffer(0), name)
        for x, y, name in zip(xs, ys, names, strict=True)
        if len(x) >= 3
    ]
    drawn = [(shape, name) for shape, name in drawn if not shape.is_empty and name]
    shapes = [shape for shape, _ in drawn]
    return geopandas.GeoDataFrame({COLUMN: [name for _, name in drawn]}, geometry=shapes, crs=crs)


def geojson_of(labels: geopandas.GeoDataFrame) -> str:
    """The labels as GeoJSON in degrees, as ``classify`` reads them."""
    return json.dumps(json.loads(labels.to_crs(4326).to_json(drop_id=True)))


def learn(levels: Levels, labels: geopandas.GeoDataFrame, seen: Window) -> Learnt:
    """Learn classes from labels by ``classify``'s linear discriminant analysis. Computes.

    The features are those of the pixels that are seen, which are kept for the map; where a label
    lies outside, of the level that has room for all labels. The map is predicted when it is drawn.

    Args:
        levels: Latents, annual vectors or bands.
        labels: As :func:`frame_of` gives them.
        seen: Of the map.

    Raises:
        InputError: If there are less than two classes, or no values under the labels.
    """
    if labels[COLUMN].nunique() < 2:
        raise InputError("Draw polygons of two classes at least.")
    around = Window(*(float(edge) for edge in labels.total_bounds))
    part = levels.part(seen if seen.holds(around) else around, SIDE, WANTED, None)
    if part is None:
        raise InputError("Zoom in, and draw polygons that are nearer to each other.")
    features = DatasetFeatures.of(part.data, "view", with_std=False)
    known = read_labels(labels, LabelColumns(COLUMN), features.grid)
    sample = read_sample(features, known, lambda values: values)
    legend = Legend.of(sample.labels.values)
    if len(legend) < 2:
        raise InputError("The polygons of one class alone have values below them.")
    sample = Sample(sample.features, legend.places(sample.labels.values), sample.labels)
    candidates = find_estimators("lda", CLASSIFIERS, 0)
    probe = fit_probe(ClassProbe, candidates, sample, len(legend), 0)
    assert isinstance(probe, ClassProbe)
    layer = Layer(
        "classes from polygons", levels, WANTED, lambda part: _classes(part, legend, probe), legend,
        every_date=True,
    )  # fmt: skip
    return Learnt(layer, legend, _score(candidates, sample, legend))


def _classes(part: xr.Dataset, legend: Legend, probe: ClassProbe) -> NDArray[np.uint8]:
    features = DatasetFeatures.of(part, "view", with_std=False)
    made = lazy_map(part, features, ClassArrays(legend), probe, {})
    found: NDArray[np.uint8] = made["class"].values
    return found


def _score(candidates: Any, sample: Sample, legend: Legend) -> str:
    counts = np.bincount(sample.targets.astype(np.intp), minlength=len(legend))
    if counts.min() < 2:
        lacking = legend.names[int(counts.argmin())]
        return f"No accuracy yet: it takes two polygons of each class, and {lacking} has one."
    held_out = cross_validate(ClassProbe, candidates, sample, len(legend), 0)
    scores = score_classes(held_out, sample.target.astype(np.intp), sample.labels, legend, 0)
    accuracy = scores.accuracy
    return (
        f"Accuracy by cross-validation, polygon by polygon: {accuracy.value:.0%} "
        f"(95 % interval {accuracy.low:.0%} to {accuracy.high:.0%})."
    )
