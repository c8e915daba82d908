"""What a check of a store found, as a page for a terminal."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from terralatent.pipeline.cli.pages.text import Facts, counted, fact_table
from terralatent.pipeline.store.integrity import Check, Damage

__all__ = ["check_page"]

MOST_LISTED = 50
"""Damaged chunks and files that are listed one by one."""


def check_page(check: Check, opened: Sequence[Damage] | None = None) -> RenderableType:
    """Lay out for a person what :func:`~terralatent.pipeline.store.integrity.check_store` found.

    Args:
        check: What was found.
        opened: What was opened again; None where that was not asked for.
    """
    head = Text(check.store, style="bold")
    state = f"{len(check.damaged):,} damaged" if check.damaged else "as it was written"
    head.append(f"  {state}", style="bold red" if check.damaged else "not bold")
    listed = [Text(f"  {damage}", style="red") for damage in check.damaged[:MOST_LISTED]]
    if more := len(check.damaged) - MOST_LISTED:
        listed += [Text(f"  and {more:,} more; --json lists all")] if more > 0 else []
    return Group(head, fact_table(_facts(check)), *listed, *_advice(check, opened))


def _facts(check: Check) -> Facts:
    yield "chunks", f"{check.chunks:,} read"
    if check.without_checksum:
        yield (
            "",
            (
                f"{check.without_checksum:,} without a checksum, by a version that wrote none: "
                "what changed there may be read as data"
            ),
        )
    yield (
        "files",
        f"{check.files:,} compared with their digests"
        if check.files
        else ("no digests: of a version that wrote none, or by another program"),
    )


def _advice(check: Check, opened: Sequence[Damage] | None) -> list[RenderableType]:
    if not check.damaged:
        return []
    name = shlex.quote(check.store)
    left = len(check.damaged) - len(opened or ())
    lines = []
    if opened:
        lines += [f"{counted(len(opened), 'chunk')} opened again. Make them again with:"]
        lines += [f"  {check.command}" if check.command else "  the command that made the store"]
    elif opened is None and check.snapshot:
        lines += [
            f"`terralatent check {name} --reopen` lets the command that made chunks of pixels "
            "make them again."
        ]
    if opened is None or left:
        lines += ["What else is damaged is in a copy of the store, or has to be made anew."]
    return [Text(line, no_wrap=True, overflow="ignore") for line in lines]  # to be copied
