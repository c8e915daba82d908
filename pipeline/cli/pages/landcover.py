"""What is known of a map of classes or of a number, as a page for a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from terralatent.catalogs.errors import InputError
from terralatent.catalogs.printable import printable
from terralatent.pipeline.cli.pages.text import Facts, counted, fact_table, number
from terralatent.pipeline.landcover.report import ClassReport, Learnt, NumberReport

__all__ = ["landcover_page", "parse_colours"]

SHOWN = (1.0, 0.9, 0.7, 0.5)
"""Shares of the pixels that are kept, of those in the report."""

MOST_CLASSES = 12
"""Of a confusion matrix that fits on a page; all are in the report."""


def landcover_page(report: ClassReport | NumberReport) -> RenderableType:
    """Lay a report out for a person: what was learnt from, how good it is, and the areas."""
    head = Text("cross-validated", style="bold")
    learnt = fact_table(_learnt(report.learnt))
    if isinstance(report, NumberReport):
        return Group(head, learnt, fact_table(_numbers(report)))
    parts = [head, learnt, fact_table(_classes(report)), Text(""), _table(report)]
    if len(report.labels) <= MOST_CLASSES:
        parts += [Text(""), _confusion(report)]
    return Group(*parts, Text(""), Text(f"  {_of_areas(report)}"))


def parse_colours(typed: Sequence[str]) -> dict[str, str]:
    """Read ``CLASS=COLOUR``.

    Raises:
        InputError: If one is not of that form.
    """
    pairs = [text.rpartition("=")[::2] for text in typed]
    for (name, _), text in zip(pairs, typed, strict=True):
        if not name:
            raise InputError(f"The colour {text!r} is of no class; give CLASS=#2ca02c.")
    return dict(pairs)


def _learnt(learnt: Learnt) -> Facts:
    yield "learnt", f"{counted(learnt.labels, 'label')}, {counted(learnt.pixels, 'pixel')} of them"
    parted = "" if learnt.parted_by == "label" else f", hidden together by {learnt.parted_by}"
    if parted:
        yield "", f"{counted(learnt.groups, 'group')}{parted}"
    yield "by", f"{learnt.estimator} of {counted(learnt.features, 'feature')}"


def _classes(report: ClassReport) -> Facts:
    scores = report.scores
    yield (
        "accuracy",
        f"{scores.accuracy} of a label's pixels; of all pixels {scores.pixel_accuracy:.3f}",
    )
    yield "macro F1", str(scores.macro_f1)
    yield "off by", f"{scores.calibration_error:.3f}: probabilities from how often they are right"
    kept = dict(scores.kept)
    words = (f"{share:.0%}: {kept[share]:.3f}" for share in SHOWN)
    yield "of the surest", ", ".join(words)


def _numbers(report: NumberReport) -> Facts:
    scores = report.scores
    yield "RMSE", f"{scores.rmse} of labels; of their pixels {number(scores.pixel_std)}"
    yield "R2", str(scores.r2)
    yield "bias", number(scores.bias)


def _table(report: ClassReport) -> RenderableType:
    """Of each class its labels, its F1 and its area."""
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="cyan")
    table.add_column("class")
    for name in ("labels", "F1", "mapped ha", "share"):
        table.add_column(name, justify="right", no_wrap=True)
    if report.design is not None:
        for name in ("estimated ha (standard error)", "user's", "producer's"):
            table.add_column(name, justify="right", no_wrap=True)
    for row, (name, count), f1 in zip(
        report.area_rows(), report.labels.items(), report.scores.f1, strict=True
    ):
        cells = [
            printable(name), str(count), f"{f1:.2f}", f"{row['mapped_ha']:,.2f}",
            f"{row['mapped_share']:.1%}",
        ]  # fmt: skip
        if "estimated_ha" in row:
            cells.append(f"{row['estimated_ha']:,.2f} ({row['standard_error_ha']:,.2f})")
            cells += [f"{row[name]:.2f}" for name in ("users_accuracy", "producers_accuracy")]
        table.add_row(*map(Text, cells))
    return Padding(table, (0, 0, 0, 2), expand=False)


def _confusion(report: ClassReport) -> RenderableType:
    """Labels of a class, by row, and what they are taken for, by number of the column."""
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="cyan")
    table.add_column("labels taken for")
    for place in range(len(report.labels)):
        table.add_column(str(place + 1), justify="right", no_wrap=True)
    for place, (name, row) in enumerate(zip(report.labels, report.scores.confusion, strict=True)):
        cells = (f"{n:.1f}" if n >= 0.05 else "·" for n in row)
        table.add_row(Text(f"{place + 1} {printable(name)}"), *map(Text, cells))
    return Padding(table, (0, 0, 0, 2), expand=False)


def _of_areas(report: ClassReport) -> str:
    if report.design is None:
        return "areas: counts of pixels, with no design-based error (see --design stratified)"
    accuracy = report.design.accuracy
    return (
        f"areas: stratified estimator; {accuracy.value:.1%} of the mapped area is right "
        f"(standard error {accuracy.standard_error:.1%})"
    )
