"""A plan of a build as a page for a terminal."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.filesize import decimal
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from terralatent.pipeline.cli.pages.text import Facts, counted, fact_table, listed, some, span
from terralatent.pipeline.ingest.plan import BuildPlan

__all__ = ["plan_page"]


def plan_page(plan: BuildPlan) -> RenderableType:
    """Lay out for a person what :func:`~terralatent.pipeline.ingest.plan.plan_build` gives."""
    head = Text(plan.out, style="bold")
    what = "is there: what is missing" if plan.there else "a new cube"
    head.append(f"  {what}; nothing is written now", style="not bold")
    return Group(head, fact_table(_facts(plan)), Text(""), _sensors(plan), Text(""),
                 fact_table(_sums(plan)))  # fmt: skip


def _facts(plan: BuildPlan) -> Facts:
    rows, columns = plan.shape
    yield "grid", f"{rows:,} x {columns:,} pixels of {plan.resolution:g} m, {plan.crs}"
    yield "", f"in blocks of {plan.block}"
    yield "period", " to ".join(plan.period)
    used, *others = (f"{count:,} {fate}" for fate, count in plan.scenes.items() if count)
    yield "scenes", ", ".join((used, *others))


def _sensors(plan: BuildPlan) -> RenderableType:
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    table.add_column("sensor", style="cyan", no_wrap=True)
    for name in ("dates", "to read", "read tasks", "of at most", "to fetch", "to store"):
        table.add_column(name, justify="right")
    for sensor in plan.sensors:
        rows, columns = sensor.window
        table.add_row(
            sensor.name,
            f"{sensor.dates:,}",
            f"{sensor.open_dates:,}",
            f"{sensor.units:,}",
            f"{rows:,} x {columns:,}" if sensor.units else "",
            decimal(sensor.fetch),
            decimal(sensor.store),
        )
    return Padding(table, (0, 0, 0, 2), expand=False)


def _sums(plan: BuildPlan) -> Facts:
    yield "tasks", f"{plan.units:,}" if plan.units else "nothing left to read"
    if not plan.units:
        return
    yield "fetch", decimal(plan.fetch)
    yield "store", decimal(plan.store)
    yield "time", f"{span(plan.seconds)} by {counted(plan.workers, 'worker')} of {plan.memory}"
    files = sum(sensor.files for sensor in plan.sensors)
    yield "", f"estimated from {counted(files, 'file')}, read and compressed here and now"
    unread = [f"{sensor.name} {line}" for sensor in plan.sensors for line in sensor.unread]
    if unread:
        yield "unread", Text(f"{counted(len(unread), 'file')} of these", "yellow")
        yield from listed("", some(unread, len(unread)))
