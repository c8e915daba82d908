"""How a fleet stands, as a page for a terminal."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from terralatent.catalogs.printable import printable
from terralatent.pipeline.cli.pages.text import counted, fact_table, listed, some
from terralatent.pipeline.fleet.status import NONE, STATES, FleetStatus

__all__ = ["fleet_page"]

HEADS = {"done": "done", "partial": "not whole", "outdated": "outdated", "begun": "begun",
         "failed": "failed", "none": "not begun"}  # fmt: skip


def fleet_page(status: FleetStatus) -> RenderableType:
    """Lay a status out for a person: tiles by store and state, what runs, and what failed."""
    head = Text("fleet", style="bold")
    head.append(f"  {printable(status.fleet)}, {counted(len(status.tiles), 'tile')}", "not bold")
    counts = status.counts()
    begun = {kind: own for kind, own in counts.items() if own[NONE] < len(status.tiles)}
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="cyan")
    table.add_column("tiles with")
    for state in STATES:
        table.add_column(HEADS[state], justify="right", no_wrap=True)
    for kind, own in (begun or {"cube": counts["cube"]}).items():
        table.add_row(kind, *(f"{own[state]:,}" if own[state] else "·" for state in STATES))
    running = [f"{tile}, {kind}" for tile, kind in status.running()]
    failed = [f"{tile}, {kind}: {reason}" for tile, kind, reason in status.failed()]
    facts = [
        *listed("running", some(running, len(running))),
        *listed("try again", some(failed, len(failed))),
    ]
    parts: list[RenderableType] = [head, Text(""), Padding(table, (0, 0, 0, 2), expand=False)]
    if facts:
        parts += [Text(""), fact_table(iter(facts))]
    return Group(*parts)
