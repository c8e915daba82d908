"""One map of classes over all tiles: a classifier fitted once, and applied to each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from distributed import Client

from terralatent.catalogs.errors import InputError
from terralatent.pipeline.cluster.client import Workers
from terralatent.pipeline.fleet.run import FleetReport, FleetVerb
from terralatent.pipeline.fleet.samples import described, kept_sample
from terralatent.pipeline.fleet.tiles import Tile
from terralatent.pipeline.landcover.areas import MappedAreas, mapped_areas
from terralatent.pipeline.landcover.arrays import ClassArrays
from terralatent.pipeline.landcover.classify import require_parted
from terralatent.pipeline.landcover.features import find_features
from terralatent.pipeline.landcover.maps import KIND, fill_map, map_layout, require_map
from terralatent.pipeline.landcover.report import ClassReport, Learnt, write_report
from terralatent.pipeline.mapping.results.report import ResultReport
from terralatent.pipeline.probes.estimators import CLASSIFIERS, Estimator, find_estimators, name_of
from terralatent.pipeline.probes.labels import LabelColumns, LabelSource, know_labels
from terralatent.pipeline.probes.legend import Legend
from terralatent.pipeline.probes.probe import ClassProbe, cross_validate, fit_probe
from terralatent.pipeline.probes.sample import Sample
from terralatent.pipeline.probes.scores import score_classes
from terralatent.pipeline.progress import Progress

__all__ = ["FleetClassReport", "classify_tiles"]

SOURCES = ("latents", "annual")
"""What maps are made from."""


@dataclass(frozen=True, repr=False)
class FleetClassReport(ClassReport):
    """How the map of a fleet ended; areas are those of all tiles that are done."""

    fleet: FleetReport
    """Tile by tile."""

    @property
    def losses(self) -> tuple[Any, ...]:
        """What is to be tried again."""
        return self.fleet.losses

    def __str__(self) -> str:
        return f"{self.fleet}, accuracy {self.scores.accuracy}"


@dataclass(frozen=True)
class _TileMap:
    """How the map of one tile ended."""

    filled: ResultReport
    areas: MappedAreas

    @property
    def losses(self) -> tuple[Any, ...]:
        return self.filled.losses

    def __str__(self) -> str:
        return str(self.filled)

    def facts(self) -> dict[str, Any]:
        return {
            "pixels": list(self.areas.pixels),
            "none": self.areas.none,
            "pixel_area": self.areas.pixel_area,
            "blocks": self.filled.blocks,
        }


def classify_tiles(
    tiles: Sequence[Tile],
    base: Path,
    labels: LabelSource,
    column: str,
    *,
    latents: str,
    name: str,
    classifier: str | Estimator,
    with_std: bool,
    group: str | None,
    square: float | None,
    ignore: Sequence[str],
    colours: Mapping[str, str] | None,
    seed: int,
    overviews: bool,
    memory: str,
    run: Callable[[FleetVerb], FleetReport],
    progress: Progress,
) -> FleetClassReport:
    """Fit a classifier to the labels of all tiles and map every tile by it. Computes.

    Args:
        tiles: Of the fleet.
        base: Beside which, as ``BASE.NAME.sample.npz`` and ``BASE.NAME.report.json``, the labelled
            pixels and the report are kept.
        labels: As for :func:`~terralatent.pipeline.landcover.classify.classify`, as all that
            follows but what is named here.
        column: Likewise.
        latents: ``latents`` or ``annual``: what of each tile is classified.
        name: Of the maps: a store of each tile, and what is kept beside the fleet.
        classifier: As above.
        with_std: As above.
        group: As above.
        square: As above.
        ignore: As above.
        colours: As above.
        seed: As above.
        overviews: As above.
        memory: Of a worker.
        run: Runs a verb over the tiles.
        progress: Advanced by each tile while labels are read.

    Raises:
        InputError: As ``classify`` does, or if labelled pixels of something else are kept.
    """
    if latents not in SOURCES:
        raise InputError(f"A fleet has no {latents!r}; give {' or '.join(SOURCES)}.")
    candidates = find_estimators(classifier, CLASSIFIERS, seed)
    columns = LabelColumns(column, group, square, None, tuple(ignore))
    known = know_labels(labels, columns)
    kept = base.with_name(f"{base.name}.{name}.sample.npz")
    sample, about = kept_sample(
        kept, tiles, latents, known, with_std=with_std, progress=progress
    )  # fmt: skip
    legend = Legend.of(sample.labels.values, colours)
    sample = Sample(sample.features, legend.places(sample.labels.values), sample.labels)
    require_parted(sample, legend, columns)
    held_out = cross_validate(ClassProbe, candidates, sample, len(legend), seed)
    probe = fit_probe(ClassProbe, candidates, sample, len(legend), seed)
    assert isinstance(probe, ClassProbe)
    identity = {
        "task": "classes",
        "classes": dict(zip(legend.names, legend.values, strict=True)),
        "labels": sample.labels.digest(),
        "estimator": name_of(classifier),
        "seed": seed,
    }
    said = {"title": f"classes of {column}", "column": column, "estimator": name_of(classifier)}

    def map_tile(tile: Tile, client: Client, progress: Progress) -> _TileMap:
        features = find_features(tile.store(latents).address, None, with_std)
        if described(features) != about:
            raise InputError(
                f"its {latents} are of another model or of other dates than those of the labels."
            )
        arrays, out = ClassArrays(legend), tile.store(name)
        layout = map_layout(features, arrays, identity, said)
        require_map(out, layout)
        who = Workers(client, None, memory)
        filled = fill_map(
            features, arrays, probe, layout, out, who,
            title="classify", overviews=overviews, progress=progress,
        )  # fmt: skip
        return _TileMap(filled, mapped_areas(out.group(kind=KIND)))

    request = {**identity, "latents": latents, "with_std": with_std, "overviews": overviews}
    title = "classify" if name == KIND else f"classify-{name}"
    verb = FleetVerb(title, name, request, map_tile, (latents,), facts=_TileMap.facts)
    fleet = run(verb)
    done = [facts for facts in fleet.facts.values() if "pixels" in facts]
    target = sample.target.astype(np.intp)
    counts = {own: int((sample.targets == place).sum()) for place, own in enumerate(legend.names)}
    report = FleetClassReport(
        learnt=_learnt(sample, columns, str(probe.fitted.estimator), base),
        labels=counts,
        temperature=probe.temperature,
        scores=score_classes(held_out, target, sample.labels, legend, seed),
        areas=_areas(legend, done),
        design=None,
        map=_filled(fleet, done),
        fleet=fleet,
    )
    write_report(report, base.with_name(f"{base.name}.{name}.report.json"))
    return report


def _learnt(sample: Sample, columns: LabelColumns, estimator: str, base: Path) -> Learnt:
    squares = f"squares of {columns.square:g}" if columns.square is not None else None
    return Learnt(
        latents=str(base),
        estimator=estimator,
        features=sample.features.shape[1],
        labels=len(sample.labels),
        groups=len(np.unique(sample.labels.groups)),
        parted_by=columns.group or squares or "label",
        pixels=len(sample.features),
    )


def _areas(legend: Legend, tiles: Sequence[Mapping[str, Any]]) -> MappedAreas:
    """Of all tiles together, whose pixels are alike."""
    pixels = np.zeros(len(legend), np.int64)
    for facts in tiles:
        pixels += np.array(facts["pixels"], np.int64)
    none = sum(int(facts["none"]) for facts in tiles)
    area = float(tiles[0]["pixel_area"]) if tiles else 0.0
    return MappedAreas(legend.names, tuple(map(int, pixels)), none, area)


def _filled(fleet: FleetReport, tiles: Sequence[Mapping[str, Any]]) -> ResultReport:
    """The blocks of all tiles as those of one result."""
    blocks = sum(int(facts["blocks"]) for facts in tiles)
    pixels = sum(sum(facts["pixels"]) for facts in tiles)
    losses = tuple(str(loss) for loss in fleet.losses)
    return ResultReport(blocks, blocks, pixels, 0, fleet.wall, {}, losses)
