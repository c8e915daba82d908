"""What is known of a map when it is made: scores, areas, and how its blocks went."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from terralatent.catalogs.enclosing_store import refuse_inside_store
from terralatent.catalogs.errors import InputError
from terralatent.pipeline.json_value import json_value
from terralatent.pipeline.landcover.areas import DesignEstimate, MappedAreas
from terralatent.pipeline.landcover.features import LatentFeatures
from terralatent.pipeline.mapping.results.report import LostBlock, ResultReport
from terralatent.pipeline.probes.labels import LabelColumns
from terralatent.pipeline.probes.sample import Sample
from terralatent.pipeline.probes.scores import ClassScores, NumberScores
from terralatent.pipeline.sentence import Sentence
from terralatent.pipeline.store.repository import Store

__all__ = [
    "ClassReport",
    "Learnt",
    "NumberReport",
    "StratifiedAreas",
    "learnt_of",
    "report_path",
    "write_report",
]

NO_ERROR = 'no design-based error: areas are counts of pixels; see design="stratified"'


@dataclass(frozen=True)
class Learnt:
    """What a probe was fitted to."""

    latents: str
    """Path or URL."""

    estimator: str
    """By its name, with the choice that folds made."""

    features: int
    """Of a pixel."""

    labels: int
    """Polygons or points that lie on the latents."""

    groups: int
    """Of them, by which cross-validation parts them."""

    parted_by: str
    """``label``, the name of a column, or the side of squares."""

    pixels: int
    """Of the labels, that were learnt from."""


@dataclass(frozen=True)
class StratifiedAreas:
    """What a probability sample of labels says of the whole region."""

    shares: Mapping[str, DesignEstimate]
    """Of each class in the mapped area."""

    accuracy: DesignEstimate
    """Share of the mapped area whose class is right."""

    users: Mapping[str, DesignEstimate]
    """User's accuracy: of what is mapped as a class, the share that is of it; NaN of none."""

    producers: Mapping[str, DesignEstimate]
    """Producer's accuracy: of what is of a class, the share that is mapped so."""

    strata: Mapping[str, float]
    """Mapped shares of the strata, the weights."""


@dataclass(frozen=True, repr=False)
class ClassReport(Sentence):
    """How a map of classes ended. JSON: :meth:`to_json`."""

    learnt: Learnt
    labels: Mapping[str, int]
    """Of each class."""
    temperature: float
    """Of the probabilities."""
    scores: ClassScores
    """Cross-validated."""
    areas: MappedAreas
    design: StratifiedAreas | None
    """None where labels are not declared a probability sample."""
    map: ResultReport

    @property
    def losses(self) -> tuple[LostBlock | str, ...]:
        """What failed, or came from latents that are not whole."""
        return self.map.losses

    def area_rows(self) -> list[dict[str, Any]]:
        """For each class its mapped area, and its estimated one where there is a design."""
        shares, total = self.areas.shares(), sum(self.areas.hectares().values())
        rows = []
        for name, area in self.areas.hectares().items():
            row: dict[str, Any] = {"class": name, "mapped_ha": area, "mapped_share": shares[name]}
            if self.design is not None:
                estimate = self.design.shares[name]
                low, high = estimate.interval()
                row |= {
                    "estimated_ha": total * estimate.value,
                    "standard_error_ha": total * estimate.standard_error,
                    "low_ha": total * low,
                    "high_ha": total * high,
                    "users_accuracy": self.design.users[name].value,
                    "producers_accuracy": self.design.producers[name].value,
                }
            rows.append(row)
        return rows

    def to_json(self) -> dict[str, Any]:
        """All of it as JSON values."""
        scores = asdict(self.scores)
        names = list(self.labels)
        scores["confusion"] = {"classes": names, "labels": scores["confusion"]}
        scores["f1"] = dict(zip(names, scores["f1"], strict=True))
        scores["kept"] = [dict(zip(("share", "accuracy"), row, strict=True))
                          for row in scores["kept"]]  # fmt: skip
        none = self.areas.none * self.areas.pixel_area / 1e4
        values = {
            "task": "classes",
            "learnt_from": {**asdict(self.learnt), "labels_of_class": dict(self.labels)},
            "temperature": self.temperature,
            "cross_validated": scores,
            "areas": self.area_rows(),
            "area_without_class_ha": none,
            "area_error": NO_ERROR if self.design is None else "stratified estimator",
            "design": None if self.design is None else asdict(self.design),
            **_blocks(self.map),
        }
        return dict(json_value(values))

    def __str__(self) -> str:
        return f"{self.map}, accuracy {self.scores.accuracy}"


@dataclass(frozen=True, repr=False)
class NumberReport(Sentence):
    """How a map of a number ended. JSON: :meth:`to_json`."""

    learnt: Learnt
    number: str
    """The column."""
    scores: NumberScores
    """Cross-validated."""
    map: ResultReport

    @property
    def losses(self) -> tuple[LostBlock | str, ...]:
        """What failed, or came from latents that are not whole."""
        return self.map.losses

    def to_json(self) -> dict[str, Any]:
        """All of it as JSON values."""
        values = {
            "task": "number",
            "number": self.number,
            "learnt_from": asdict(self.learnt),
            "cross_validated": asdict(self.scores),
            **_blocks(self.map),
        }
        return dict(json_value(values))

    def __str__(self) -> str:
        return f"{self.map}, RMSE {self.scores.rmse}"


def learnt_of(
    features: LatentFeatures, sample: Sample, columns: LabelColumns, estimator: str
) -> Learnt:
    """What was learnt from, for a report."""
    square = f"squares of {columns.square:g}" if columns.square is not None else None
    return Learnt(
        latents=features.store.address,
        estimator=estimator,
        features=features.count,
        labels=len(sample.labels),
        groups=len(np.unique(sample.labels.groups)),
        parted_by=columns.group or square or "label",
        pixels=len(sample.features),
    )


def report_path(report: str | Path | None, out: Store) -> Path | None:
    """Where a report goes: as named, else beside a local map; None for a URL.

    Raises:
        InputError: If that lies inside a store.
    """
    if report is None:
        return None if out.path is None else out.path.with_name(f"{out.path.name}.report.json")
    refuse_inside_store(report)
    return Path(report)


def write_report(report: ClassReport | NumberReport, path: Path | None) -> None:
    """Write a report as JSON; one that was there before stays until the new one is whole.

    Raises:
        InputError: If it cannot be written.
    """
    if path is None:
        return
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        aside.write_text(json.dumps(report.to_json(), indent=2, ensure_ascii=False) + "\n", "utf-8")
        os.replace(aside, path)
    except OSError as error:
        raise InputError(f"Cannot write {path}: {error.strerror or error}.") from error
    finally:
        with suppress(OSError):
            aside.unlink()


def _blocks(report: ResultReport) -> dict[str, Any]:
    return {
        "blocks": {"all": report.blocks, "computed_now": report.computed},
        "losses": [str(loss) for loss in report.losses],
    }
