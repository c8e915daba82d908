"""Latents and labels -> a map of a number, with scores."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from distributed import Client

from terralatent.catalogs.errors import InputError
from terralatent.pipeline.cluster.client import Workers
from terralatent.pipeline.landcover.arrays import NumberArrays
from terralatent.pipeline.landcover.cog import require_cog, write_cogs
from terralatent.pipeline.landcover.features import features_of, grid_under
from terralatent.pipeline.landcover.maps import KIND, fill_map, map_layout, require_map
from terralatent.pipeline.landcover.report import (
    NumberReport,
    learnt_of,
    report_path,
    write_report,
)
from terralatent.pipeline.probes.estimators import (
    REGRESSORS,
    Estimator,
    find_estimators,
    name_of,
)
from terralatent.pipeline.probes.labels import LabelColumns, LabelSource, read_labels
from terralatent.pipeline.probes.probe import NumberProbe, cross_validate, fit_probe
from terralatent.pipeline.probes.sample import read_sample
from terralatent.pipeline.probes.scores import score_numbers
from terralatent.pipeline.progress import ProgressChoice, choose_progress
from terralatent.pipeline.store.repository import Store

__all__ = ["regress"]

log = logging.getLogger(__name__)

FEWEST_GROUPS = 3
"""Groups of labels: with two, each is predicted from one value."""


def regress(
    latents: str | Path,
    labels: LabelSource,
    column: str,
    out: str | Path,
    *,
    regressor: str | Estimator = "ridge",
    with_std: bool = False,
    group: str | None = None,
    square: float | None = None,
    ignore: Sequence[str] = (),
    cog: str | Path | None = None,
    report: str | Path | None = None,
    seed: int = 0,
    at: str | None = None,
    overviews: bool = True,
    client: Client | str | None = None,
    workers: int | None = None,
    memory: str = "4GB",
    progress: ProgressChoice = None,
) -> NumberReport:
    """Map a number of labels over all pixels of ``latents`` and keep it at ``out``; computes.

    As :func:`terralatent.pipeline.landcover.classify.classify` does for classes.

    Args:
        latents: Path or URL of latents; or of a cube, whose latents by the model that comes with
            the package, at the first of each month, are then kept at ``OUT.latents``.
        labels: A file of polygons or points in any CRS, or a geopandas frame.
        column: Of the labels: their number. Labels without one are left out.
        out: Path or URL of the map, see :func:`terralatent.pipeline.mapping.opened.open_landcover`:
            ``mean``, and ``std``, the root mean square of the residuals of pixels in
            cross-validation, the same everywhere.
        regressor: ``ridge``, ``rf``, ``svm``, ``knn``, ``module:attribute``, or an estimator of
            scikit-learn's kind.
        with_std: Whether posterior standard deviations are features beside the means.
        group: Column of labels whose equal values cross-validation never parts.
        square: The same for labels in one square of this side, in metres.
        ignore: Values of the column that mean none, such as ``-9999``.
        cog: A file that ends in .tif, for the mean; the standard deviation goes beside it.
        report: File of the report; by default ``OUT.report.json`` beside a local map.
        seed: Of folds, bootstrap, and estimators that draw.
        at: An earlier snapshot of the latents or the cube.
        overviews: Whether the map has overviews, where it is large.
        client: A Dask client, its address, or a kind of cluster.
        workers: Worker processes to start; one for each core of this machine by default.
        memory: What a worker may use, such as ``4GB``.
        progress: Advanced by every block; True: a bar, as by default in a notebook.

    Raises:
        InputError: If the latents, labels, column, regressor or ``out`` cannot be used, a value is
            no number, or there are fewer than three groups of labels.

    Examples:
        >>> import terralatent as tl
        >>> tl.regress("latents", "labels.geojson", "yield", out="yields")
        NumberReport: 4 of 4 blocks, 306 pixels, ... pixels/s, RMSE ... (95 % interval ...)
        >>> sorted(tl.open_landcover("yields"))
        ['mean', 'std']
    """
    progress = choose_progress(progress)
    result, who = Store.of(out), Workers(client, workers, memory)
    image, page = require_cog(cog), report_path(report, result)
    candidates = find_estimators(regressor, REGRESSORS, seed)
    columns = LabelColumns(column, group, square, None, tuple(ignore))
    known = read_labels(labels, columns, grid_under(latents), numbers=True)
    features = features_of(latents, result, who, at=at, with_std=with_std, progress=progress)
    sample = read_sample(features, known, lambda values: values.astype(np.float64))
    if (groups := len(np.unique(sample.labels.groups))) < FEWEST_GROUPS:
        raise InputError(
            f"The {len(sample.labels)} labels on the latents are {groups} groups; cross-validation "
            f"wants {FEWEST_GROUPS} at least."
        )
    identity = {
        "task": "number",
        "labels": sample.labels.digest(),
        "estimator": name_of(regressor),
        "seed": seed,
    }
    attributes = {"title": column, "column": column, "estimator": name_of(regressor)}
    layout = map_layout(features, NumberArrays(column, np.nan), identity, attributes)
    require_map(result, layout)

    log.info("cross-validating %s on %d labels", name_of(regressor), len(sample.labels))
    held_out = cross_validate(NumberProbe, candidates, sample, 0, seed)
    probe = fit_probe(NumberProbe, candidates, sample, 0, seed)
    scores = score_numbers(held_out, sample.target.astype(np.float64), sample.labels, seed)
    arrays = NumberArrays(column, scores.pixel_std)
    filled = fill_map(
        features,
        arrays,
        probe,
        layout,
        result,
        who,
        title="regress",
        overviews=overviews,
        progress=progress,
    )
    learnt = learnt_of(features, sample, columns, str(probe.fitted.estimator))
    made = NumberReport(learnt, column, scores, filled)
    write_report(made, page)
    if image is not None:
        write_cogs(result, KIND, image)
    return made
