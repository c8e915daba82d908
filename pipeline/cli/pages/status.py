"""How a store or a model stands, as a page for a terminal 80 columns wide or wider."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.filesize import decimal
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from terralatent.catalogs.printable import printable
from terralatent.pipeline.cli.pages.text import (
    Facts,
    ago,
    counted,
    fact_table,
    listed,
    moment,
    number,
    some,
    span,
)
from terralatent.pipeline.info.models import ModelStatus, TrainedOn
from terralatent.pipeline.info.status import Grid, Status
from terralatent.pipeline.info.stores import CubeStatus, Dates, Items, ResultStatus, States
from terralatent.pipeline.store.history import Snapshot
from terralatent.pipeline.store.lock.run_note import Run

__all__ = ["history_page", "status_page"]


def status_page(status: Status) -> RenderableType:
    """Lay ``status`` out for a person: what it is, what it holds, what is missing, what runs.

    Print it without cropping: the command that goes on is one line, however long, to be copied.
    """
    head = Text(printable(status.kind or "not laid out yet"), style="bold")
    head.append(f"  {printable(status.store)}", style="not bold")
    parts: list[RenderableType] = [head, fact_table(_made(status))]
    if status.cube is not None:
        parts += [_sensors(status.cube), fact_table(_cube(status.cube))]
    if status.result is not None:
        parts.append(fact_table(_result(status.result)))
    if status.behind is not None:
        words = Text(printable(str(status.behind)), "yellow")
        parts.append(fact_table(iter([("behind", words)])))
        if status.behind.command:
            parts.append(Text(f"  {printable(status.behind.command)}", "bold"))
    if status.model is not None:
        parts.append(fact_table(_model(status.model)))
    if status.run is not None:
        parts.append(fact_table(_running(status.run) if status.run.going else _stopped(status.run)))
        if not status.run.going:
            parts.append(_go_on(status.run))
    return Group(*[line for part in parts for line in (part, Text(""))][:-1])


def history_page(states: Sequence[Snapshot]) -> RenderableType:
    """Lay the states of a store out for a person, the newest first."""
    lines = []
    for state in states:
        message = f"  {printable(state.message)}, {moment(state.written)}"
        head = Text.assemble((state.id, "bold"), message)
        lines += [head, *(Text(f"  kept for {printable(tag)}") for tag in state.kept_for)]
    return Group(*lines)


def _made(status: Status) -> Facts:
    """By what and when it was made, and its grid."""
    made = [f"by terralatent {status.code_version}"] if status.code_version else []
    if status.format in ("icechunk", "zarr"):
        made.append({"icechunk": "Icechunk", "zarr": "plain Zarr"}[status.format])
    yield "made", ", ".join(made)
    if status.bytes is not None:
        yield "size", decimal(status.bytes)
    if status.model is not None and status.model.created:
        yield "stored", moment(status.model.created)
    if status.committed is not None:
        count = "" if status.commits is None else f"{counted(status.commits, 'commit')}, the last "
        yield "stored", f"{count}{moment(status.committed)}"
        yield "snapshot", status.snapshot or ""
    if status.chunks_without_checksum:
        count = counted(status.chunks_without_checksum, "chunk")
        yield "unchecked", f"at most {count} of a version that wrote no checksums"
    if status.growing:
        yield "growing", Text("what is new is not shown before it is whole", "yellow")
    if status.grid is not None:
        yield from _grid(status.grid, status.block)


def _grid(grid: Grid, block: int | None) -> Facts:
    crs = grid.crs
    if not crs.startswith("EPSG:"):  # WKT begins with its kind and, in quotes, its name
        crs = [*crs.split('"'), "", ""][1] or "of no known CRS"
    blocks = f", blocks of {block}" if block else ""
    rows, columns = grid.shape
    yield "grid", f"{rows:,} x {columns:,} pixels of {grid.resolution:g} m{blocks}, {crs}"
    yield "bounds", "{:.10g} {:.10g} {:.10g} {:.10g}".format(*grid.bounds)


def _sensors(cube: CubeStatus) -> RenderableType:
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="cyan")
    table.add_column("sensor", no_wrap=True)
    for name in ("bands", "dates"):
        table.add_column(name, justify="right", no_wrap=True)
    for name in ("first", "last"):
        table.add_column(name, no_wrap=True)
    table.add_column("read tasks")
    for name, sensor in cube.sensors.items():
        dates = sensor.dates
        numbers = (str(len(sensor.bands)), f"{dates.count:,}", _day(dates.first), _day(dates.last))
        table.add_row(printable(name), *numbers, _states(sensor.units))
    return Padding(table, (0, 0, 0, 2), expand=False)


def _cube(cube: CubeStatus) -> Facts:
    if cube.period is not None:
        yield "period", " to ".join(cube.period)
    if cube.items is not None:
        yield from _items(cube.items)
    lost = [line for sensor in cube.sensors.values() for line in sensor.first_losses]
    count = sum(sensor.losses for sensor in cube.sensors.values())
    if count:
        yield "lost", Text(f"{counted(count, 'file')} could not be read", "yellow")
        yield from listed("", some(lost, count))


def _items(items: Items) -> Facts:
    yield "items", f"{items.used:,} used"
    for fate, count in (("merged", items.merged), ("dropped", items.dropped)):
        reasons = items.reasons[fate]
        if len(reasons) == 1:
            yield "", f"{count:,} {fate}: {next(iter(reasons))}"
        elif reasons:
            yield "", f"{count:,} {fate}"
            counts = [f"  {n:,}: {reason}" for reason, n in reasons.items()]
            yield from listed("", some(counts, len(counts)))


def _result(result: ResultStatus) -> Facts:
    attrs = dict(result.provenance)
    if attrs.get("title"):
        yield "what", str(attrs["title"])
    if result.dates.count or "latents_dates" not in attrs:
        yield "dates", _span_of(result.dates) if result.dates.count else "none"
    if result.classes:
        yield "classes", ", ".join(f"{value} {name}" for name, value in result.classes.items())
    alike: dict[str, list[str]] = {}
    for name, array in result.arrays.items():
        shape = " x ".join(f"{size:,} {dim}" for dim, size in array["dims"].items())
        alike.setdefault(f"{shape}, {array['dtype']}", []).append(name)
    yield from listed("arrays", (f"{', '.join(alike[shape])}: {shape}" for shape in alike))
    yield from listed("changed", _changed(attrs.get("marked", ())))
    yield "blocks", _states(result.blocks)
    if result.overviews is not None:
        rows, columns = result.overviews
        yield "overviews", f"down to {rows:,} x {columns:,} pixels"
    if result.clipped:
        clipped = f"{counted(result.clipped, 'value')} did not fit the packing and were clipped"
        yield "", Text(clipped, "yellow")
    if attrs.get("model_name"):
        yield "model", f"{attrs['model_name']}, version {attrs.get('model_version', 'unknown')}"
    hashed = str(attrs.get("model_hash", "not recorded"))
    yield "" if attrs.get("model_name") else "model", hashed
    if attrs.get("kernel_days"):
        yield "", _timescales(attrs["kernel_days"])
    if "latents_dates" in attrs:
        dates = attrs["latents_dates"]
        at = f"snapshot {attrs.get('latents_snapshot') or 'not recorded'}"
        span = f", from {_day(dates[0])} to {_day(dates[-1])}" if dates else ""
        yield "latents", f"{at}, {counted(len(dates), 'date')}{span}"
        yield "by", str(attrs.get("estimator", ""))
    yield "cube", f"snapshot {attrs.get('cube_snapshot') or 'not recorded'}"
    if attrs.get("until"):
        yield "", f"what of it was there by {attrs['until']}"
    if attrs.get("sensors"):
        yield "", ", ".join(attrs["sensors"])


def _changed(marked: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Of a map of changes, how many pixels of each date are."""
    for own in marked:
        every = own["changed"] + own["unchanged"] + own["not_known"]
        unclear = f", {own['not_known']:,} not known enough" if own["not_known"] else ""
        yield f"{own['changed']:,} of {every:,} pixels beyond chance{unclear}, {_day(own['time'])}"


def _model(model: ModelStatus) -> Facts:
    if model.hash is not None:
        yield "hash", model.hash
    if model.latents_hash is not None:
        yield "", f"{model.latents_hash} of its latents"
    if model.model is not None:
        yield "model", model.model
    if model.latents is not None:
        kernel = f", kernel {model.kernel}" if model.kernel else ""
        likelihood = f", likelihood {model.likelihood}" if model.likelihood else ""
        posterior = f", posterior {model.posterior}" if model.posterior else ""
        yield "latents", f"{model.latents}{kernel}{likelihood}{posterior}"
    sensors = model.sensors or {}
    bands = (f"{name}: {' '.join(sensor.bands)}" for name, sensor in sensors.items())
    yield from listed("sensors", bands)
    yield from listed("cubes", map(_at_snapshot, model.cubes))
    if model.calibrated_on is not None:
        yield "calibrated", f"to {_at_snapshot(model.calibrated_on)}"
    yield "training", _training(model)
    if model.score is not None:
        start = "" if model.start_score is None else f" (start {model.start_score:.3f})"
        yield "score", f"{model.score:.3f} held-out log density{start}"
    for n, (name, sensor) in enumerate(sensors.items()):
        if name in model.rmse:
            units = f" {sensor.units}" if sensor.units not in ("", "1") else ""
            error = f"{model.rmse[name]:.4g}{units} RMSE of held-out {name}"
            yield "" if n else "error", error


def _at_snapshot(cube: TrainedOn) -> str:
    at = f"snapshot {cube.snapshot}" if cube.snapshot else "plain Zarr"
    return f"{cube.store or ''} {at}".strip()


def _training(model: ModelStatus) -> Text:
    best = "" if model.best_step is None else f", best at step {model.best_step:,}"
    if model.step is None:
        done = "finished" if model.finished else "no step is kept yet"
        return Text(done + best, "green" if model.finished else "yellow")
    steps = f"{model.step:,} of {model.steps or 0:,} steps"
    if model.finished:
        early = " (more gained nothing)" if model.step < (model.steps or 0) else ""
        return Text(f"finished after {steps}{early}{best}", "green")
    return Text(f"{steps} are kept{best}", "yellow")


def _running(run: Run) -> Facts:
    if run.pid is None:
        yield "running", Text("another process writes here", "bold green")
        return
    left = "" if run.left_s is None else f", about {span(run.left_s)} left"
    yield "running", Text(f"{_far(run)}{left}" if run.stage else "starting", "bold green")
    fields = (
        f"{name} {number(value)}" if isinstance(value, float) else f"{name} {value}"
        for name, value in run.fields.items()
    )
    yield "", ", ".join(part for part in (*fields, f"last heard of {ago(run.updated)}"))
    yield "", f"process {run.pid} on {run.host}, started {moment(run.started)}"
    yield "", run.command


def _stopped(run: Run) -> Facts:
    at = f"{run.stage} was interrupted at {_far(run, stage=False)}"
    yield "stopped", Text(at if run.stage else "was interrupted at its start", "bold yellow")
    why = {None: "its process was killed", "interrupted": ""}.get(run.ended, run.ended or "")
    if why:
        yield "", why
    yield "", f"process {run.pid} on {run.host}, last heard of {moment(run.updated)}"


def _go_on(run: Run) -> Text:
    """One line to be copied; from elsewhere it changes to the folder of the command first."""
    if run.go_on is None:
        command = printable(run.command)
        return Text(f"  it was run by: {command}\n  the same call again goes on with it")
    here = not run.folder or run.folder == os.getcwd()
    cd = "" if here else f"cd {shlex.quote(run.folder)} && "
    return Text(f"  go on with: {printable(cd + run.go_on)}", no_wrap=True, overflow="ignore")


def _far(run: Run, *, stage: bool = True) -> str:
    share = f" ({100 * run.done / run.total:.0f} %)" if run.total else ""
    return f"{run.stage + ' ' if stage else ''}{run.done:,} of {run.total:,}{share}"


def _states(states: States | None) -> Text:
    if states is None:
        return Text("not recorded")
    if states.done == states.total:
        return Text(f"all {states.total:,} done" if states.total else "none", "green")
    counts = {"done": states.done, "partial": states.partial, "pending": states.pending}
    return Text(", ".join(f"{n:,} {name}" for name, n in counts.items() if n), "yellow")


def _timescales(kernels: Mapping[str, Sequence[float | None]]) -> str:
    """The shortest and the longest time-scale of each part of the kernel."""
    parts = []
    for name, days in kernels.items():
        known = [value for value in days if value]  # constants have none, white noise 0
        parts.append(f"{name} of {min(known):.0f} to {max(known):.0f} days" if known else name)
    return f"kernel {' + '.join(parts)}"


def _span_of(dates: Dates) -> str:
    return f"{dates.count:,}, from {_day(dates.first)} to {_day(dates.last)}"


def _day(time: str | None) -> str:
    return (time or "")[:10]
