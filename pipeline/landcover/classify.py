"""Latents and labels -> a map of classes, with probabilities, scores and areas."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np
import xarray as xr
from distributed import Client
from numpy.typing import NDArray

from terralatent.catalogs.errors import InputError
from terralatent.pipeline.cluster.client import Workers
from terralatent.pipeline.landcover.areas import mapped_areas, stratified_ratios, stratified_shares
from terralatent.pipeline.landcover.arrays import ClassArrays
from terralatent.pipeline.landcover.cog import require_cog, write_cogs
from terralatent.pipeline.landcover.features import features_of, grid_under
from terralatent.pipeline.landcover.lazy import lazy_map, open_features
from terralatent.pipeline.landcover.maps import KIND, fill_map, map_layout, require_map
from terralatent.pipeline.landcover.report import (
    ClassReport,
    StratifiedAreas,
    learnt_of,
    report_path,
    write_report,
)
from terralatent.pipeline.probes.dataset import DatasetFeatures
from terralatent.pipeline.probes.estimators import (
    CLASSIFIERS,
    Estimator,
    find_estimators,
    name_of,
)
from terralatent.pipeline.probes.labels import LabelColumns, LabelSource, read_labels
from terralatent.pipeline.probes.legend import Legend
from terralatent.pipeline.probes.probe import ClassProbe, cross_validate, fit_probe
from terralatent.pipeline.probes.sample import Sample, read_sample
from terralatent.pipeline.probes.scores import score_classes
from terralatent.pipeline.progress import ProgressChoice, choose_progress
from terralatent.pipeline.store.repository import Store

__all__ = ["classify", "require_parted"]

log = logging.getLogger(__name__)

DESIGNS = ("stratified",)


@overload
def classify(
    latents: str | Path | xr.Dataset | xr.DataTree,
    labels: LabelSource,
    column: str,
    out: None = None,
    *,
    classifier: str | Estimator = "lda",
    with_std: bool = False,
    group: str | None = None,
    square: float | None = None,
    ignore: Sequence[str] = (),
    colours: Mapping[str, str] | None = None,
    seed: int = 0,
    at: str | None = None,
) -> xr.Dataset: ...
@overload
def classify(
    latents: str | Path,
    labels: LabelSource,
    column: str,
    out: str | Path,
    *,
    classifier: str | Estimator = "lda",
    with_std: bool = False,
    group: str | None = None,
    square: float | None = None,
    ignore: Sequence[str] = (),
    colours: Mapping[str, str] | None = None,
    design: str | None = None,
    strata: str | None = None,
    drawn_from: str | Path | None = None,
    cog: str | Path | None = None,
    report: str | Path | None = None,
    seed: int = 0,
    at: str | None = None,
    overviews: bool = True,
    client: Client | str | None = None,
    workers: int | None = None,
    memory: str = "4GB",
    progress: ProgressChoice = None,
) -> ClassReport: ...
def classify(
    latents: str | Path | xr.Dataset | xr.DataTree,
    labels: LabelSource,
    column: str,
    out: str | Path | None = None,
    *,
    classifier: str | Estimator = "lda",
    with_std: bool = False,
    group: str | None = None,
    square: float | None = None,
    ignore: Sequence[str] = (),
    colours: Mapping[str, str] | None = None,
    design: str | None = None,
    strata: str | None = None,
    drawn_from: str | Path | None = None,
    cog: str | Path | None = None,
    report: str | Path | None = None,
    seed: int = 0,
    at: str | None = None,
    overviews: bool = True,
    client: Client | str | None = None,
    workers: int | None = None,
    memory: str = "4GB",
    progress: ProgressChoice = None,
) -> xr.Dataset | ClassReport:
    """Map the classes of labels over all pixels of ``latents``: lazily, or to a store at ``out``.

    A classifier is fitted here to the latents of the labels' pixels and scored by cross-validation
    that never parts a label, which computes. Without ``out`` the map is a Dataset as
    :func:`~terralatent.pipeline.mapping.opened.open_landcover` gives it, whose blocks are predicted
    when they are asked for; its ``attrs`` have the scores. With ``out`` it is mapped block by block
    on Dask workers. The same call again
    computes only what is not done; the map does not depend on its blocks.

    Args:
        latents: Path or URL of latents or annual vectors; without ``out`` also a Dataset of these,
            or an opened cube; or of a cube, whose latents by the model that comes with
            the package, at the first of each month, are then kept at ``OUT.latents``.
        labels: A file of polygons or points in any CRS (GeoJSON, GeoParquet, GeoPackage,
            Shapefile, KML), or a geopandas frame.
        column: Of the labels: their class. Labels without one are left out.
        out: Path or URL of the map, see :func:`terralatent.pipeline.mapping.opened.open_landcover`.
        classifier: ``lda`` (with shrinkage), ``logit``, ``rf``, ``svm``, ``knn``,
            ``module:attribute``, or an estimator of scikit-learn's kind.
        with_std: Whether posterior standard deviations are features beside the means.
        group: Column of labels whose equal values cross-validation never parts, such as a farm.
        square: The same for labels in one square of this side, in metres.
        ignore: Values of the column that are no class.
        colours: Of classes, by name, such as ``#2ca02c``; chosen by default.
        design: ``stratified`` where labels are a random sample within strata: areas then have
            standard errors.
        strata: Column of the stratum of each label, a class of the map that it was drawn from.
        drawn_from: That map; the one that is made here by default.
        cog: A file that ends in .tif, for the classes; probabilities and entropy go beside it.
        report: File of the report; by default ``OUT.report.json`` beside a local map.
        seed: Of folds, bootstrap, and estimators that draw.
        at: An earlier snapshot of the latents or the cube.
        overviews: Whether the map has overviews, where it is large.
        client: A Dask client, its address, or a kind of cluster, see
            :func:`terralatent.pipeline.cluster.client.client_for`.
        workers: Worker processes to start; one for each core of this machine by default.
        memory: What a worker may use, such as ``4GB``.
        progress: Advanced by every block; True: a bar, as by default in a notebook.

    Raises:
        InputError: If the latents, labels, column, classifier or ``out`` cannot be used, there is
            one class only, or a class with one label.

    Examples:
        >>> import terralatent as tl
        >>> land = tl.classify("latents", "labels.geojson", "crop")  # lazy, scored already
        >>> sorted(land), 0 <= land.attrs["accuracy"] <= 1
        (['class', 'entropy', 'probability'], True)
        >>> tl.classify("latents", "labels.geojson", "crop", out="crops")
        ClassReport: 4 of 4 blocks, 306 pixels, ... pixels/s, accuracy ... (95 % interval ...)
    """
    progress = choose_progress(progress)
    _check_design(design, strata, drawn_from)
    if out is None:
        if (cog, report, design) != (None, None, None):
            raise InputError("cog=, report= and design= are of a map that is kept; give out=PATH.")
        columns = LabelColumns(column, group, square, None, tuple(ignore))
        return _lazily(latents, labels, columns, classifier, with_std, colours, seed, at)
    if isinstance(latents, xr.Dataset | xr.DataTree):
        raise InputError(
            "A map is kept of latents in a store: keep these first, with out= of embed or annual, "
            "or leave out= out and store what classify gives."
        )
    result, who = Store.of(out), Workers(client, workers, memory)
    image, page = require_cog(cog), report_path(report, result)
    candidates = find_estimators(classifier, CLASSIFIERS, seed)
    columns = LabelColumns(column, group, square, strata, tuple(ignore))
    known = read_labels(labels, columns, grid_under(latents))
    features = features_of(latents, result, who, at=at, with_std=with_std, progress=progress)
    sample = read_sample(features, known, lambda values: values)
    legend = Legend.of(sample.labels.values, colours)
    sample = Sample(sample.features, legend.places(sample.labels.values), sample.labels)
    require_parted(sample, legend, columns)
    layout = map_layout(
        features,
        ClassArrays(legend),
        {
            "task": "classes",
            "classes": dict(zip(legend.names, legend.values, strict=True)),
            "labels": sample.labels.digest(),
            "estimator": name_of(classifier),
            "seed": seed,
        },
        {"title": f"classes of {column}", "column": column, "estimator": name_of(classifier)},
    )
    require_map(result, layout)
    weights = None if drawn_from is None else _shares_of(Store.of(drawn_from))

    log.info("cross-validating %s on %d labels", name_of(classifier), len(sample.labels))
    count = len(legend)
    held_out = cross_validate(ClassProbe, candidates, sample, count, seed)
    probe = fit_probe(ClassProbe, candidates, sample, count, seed)
    assert isinstance(probe, ClassProbe)
    target = sample.target.astype(np.intp)
    scores = score_classes(held_out, target, sample.labels, legend, seed)
    filled = fill_map(
        features, ClassArrays(legend), probe, layout, result, who,
        title="classify", overviews=overviews, progress=progress,
    )  # fmt: skip
    estimated = None
    if design is not None:
        mapped = held_out.argmax(axis=1)
        estimated = _stratified(sample, legend, mapped, weights or _shares_of(result))
    made = ClassReport(
        learnt=learnt_of(features, sample, columns, str(probe.fitted.estimator)),
        labels={
            name: int((sample.targets == place).sum()) for place, name in enumerate(legend.names)
        },
        temperature=probe.temperature,
        scores=scores,
        areas=mapped_areas(result.group(kind=KIND)),
        design=estimated,
        map=filled,
    )
    write_report(made, page)
    if image is not None:
        write_cogs(result, KIND, image)
    return made


def _lazily(
    latents: str | Path | xr.Dataset | xr.DataTree,
    labels: LabelSource,
    columns: LabelColumns,
    classifier: str | Estimator,
    with_std: bool,
    colours: Mapping[str, str] | None,
    seed: int,
    at: str | None,
) -> xr.Dataset:
    """Fit and score as for a store; the map is computed when it is used."""
    candidates = find_estimators(classifier, CLASSIFIERS, seed)
    data = open_features(latents, at)
    features = DatasetFeatures.of(data, "classify", with_std=with_std)
    sample = read_sample(features, read_labels(labels, columns, features.grid), lambda own: own)
    legend = Legend.of(sample.labels.values, colours)
    sample = Sample(sample.features, legend.places(sample.labels.values), sample.labels)
    require_parted(sample, legend, columns)
    held_out = cross_validate(ClassProbe, candidates, sample, len(legend), seed)
    probe = fit_probe(ClassProbe, candidates, sample, len(legend), seed)
    scores = score_classes(held_out, sample.target.astype(np.intp), sample.labels, legend, seed)
    about = {
        "title": f"classes of {columns.value}",
        "column": columns.value,
        "estimator": name_of(classifier),
        "accuracy": scores.accuracy.value,
        "accuracy_interval": [scores.accuracy.low, scores.accuracy.high],
        "macro_f1": scores.macro_f1.value,
        "calibration_error": scores.calibration_error,
    }
    return lazy_map(data, features, ClassArrays(legend), probe, about)


def _check_design(design: str | None, strata: str | None, drawn_from: Any) -> None:
    if design is not None and design not in DESIGNS:
        raise InputError(f"The design {design!r} is unknown; give {', '.join(DESIGNS)}.")
    if (design is None) != (strata is None):
        raise InputError(
            "Areas get standard errors where labels were drawn at random within strata: give both "
            "the design `stratified` and the column of the strata, or neither."
        )
    if drawn_from is not None and design is None:
        raise InputError("A map that labels were drawn from is of use with a design alone.")


def require_parted(sample: Sample, legend: Legend, columns: LabelColumns) -> None:
    """Check that each class is there where one of its groups is hidden."""
    count = len(sample.labels)
    if len(legend) < 2:
        raise InputError(
            f"All of the {count} labels that lie on the latents are {legend.names[0]!r}; a map of "
            "classes wants two at least."
        )
    for place, name in enumerate(legend.names):
        mine = sample.targets == place
        if len(np.unique(sample.labels.groups[mine])) >= 2:
            continue
        if mine.sum() == 1:
            raise InputError(
                f"The class {name!r} has one label on the latents, and cross-validation hides one "
                f'at a time: label another, or leave the class out with ignore=["{name}"].'
            )
        raise InputError(
            f"All {mine.sum()} labels of the class {name!r} lie in one group of "
            f"{columns.group or 'squares'}, which cross-validation hides as a whole: label "
            "another, or group otherwise."
        )


def _shares_of(store: Store) -> dict[str, float]:
    root = store.group(kind=KIND)
    if "class" not in root:
        raise InputError(f"{store} is a map of a number; one of classes is wanted as strata.")
    return mapped_areas(root).shares()


def _stratified(
    sample: Sample, legend: Legend, mapped: NDArray[np.intp], weights: Mapping[str, float]
) -> StratifiedAreas:
    """Estimate areas and accuracies; ``mapped`` is the class that each pixel got, unseen."""
    labels, count = sample.labels, len(legend)
    assert labels.strata is not None
    taken_for = np.zeros((len(labels), count))
    np.add.at(taken_for, (labels.of, mapped), labels.shares())
    of_class = (sample.targets[:, None] == np.arange(count)).astype(float)
    right = of_class * taken_for
    design = labels.strata, labels.sizes.astype(float), weights
    indicators = np.column_stack([of_class, right.sum(axis=1)])
    *shares, accuracy = stratified_shares(indicators, *design)
    ratios = (stratified_ratios(right, whole, *design) for whole in (taken_for, of_class))
    users, producers, areas = (
        dict(zip(legend.names, own, strict=True)) for own in (*ratios, shares)
    )
    return StratifiedAreas(areas, accuracy, users, producers, dict(weights))
