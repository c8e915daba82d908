"""What changes are wanted between: two dates, or two runs of latents."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from terralatent.catalogs.errors import InputError
from terralatent.catalogs.moments import Moment, Span, read_span
from terralatent.pipeline.store.history import find_snapshot
from terralatent.pipeline.store.repository import ABOUT, Store

__all__ = ["Dates", "Run", "Runs", "read_between"]

MONTH = np.timedelta64(31, "D")


@dataclass(frozen=True)
class Dates:
    """Two dates, of one cube and one model."""

    first: np.datetime64
    last: np.datetime64

    @property
    def micros(self) -> tuple[int, int]:
        """Microseconds since 1970-01-01 UTC, in the order they were given."""
        first, last = (
            int(date.astype("datetime64[us]").astype(np.int64)) for date in (self.first, self.last)
        )
        return first, last


@dataclass(frozen=True)
class Run:
    """Latents at a snapshot."""

    store: Store
    snapshot: str
    """Empty for plain Zarr."""


@dataclass(frozen=True)
class Runs:
    """Latents of the same dates, inferred of less and of more."""

    older: Run
    newer: Run


def read_between(store: Store, between: Sequence[Moment | str | Path]) -> Dates | Runs:
    """Read what A and B mean. Reads no pixels.

    Args:
        store: Latents or a cube.
        between: Two dates (a month is its 15th); or two runs, each a snapshot of the latents at
            ``store``, by its id, the first characters of it or a tag, or the path or URL of
            latents. What can be a date is one.

    Raises:
        InputError: If they are neither, or one of each.
    """
    if len(between) != 2:
        raise InputError(f"between= takes A and B, two dates or two runs, not {len(between)}.")
    dates = [_date(value) for value in between]
    if dates[0] is not None and dates[1] is not None:
        return Dates(dates[0], dates[1])
    runs = [None if date is not None else _run(store, value)
            for date, value in zip(dates, between, strict=True)]  # fmt: skip
    if runs[0] is not None and runs[1] is not None:
        return Runs(runs[0], runs[1])
    neither = [
        str(value)
        for value, date, run in zip(between, dates, runs, strict=True)
        if date is None and run is None
    ]
    if neither:
        raise InputError(
            f"{' and '.join(map(repr, neither))} (between= of {store}): neither a date, such as "
            "2018-05-01, nor a snapshot of these latents (`terralatent status` lists them), "
            "nor other latents by their path."
        )
    raise InputError(
        f"between={str(between[0])!r}, {str(between[1])!r}: a date and a run; give two dates, or "
        "two runs."
    )


def _date(value: Moment | str | Path) -> np.datetime64 | None:
    """The instant that a date stands for, None of no date."""
    try:
        span = read_span(value, "{value}")
    except InputError:
        return None
    if span.last_day == span.first_day:
        return span.first
    return _middle(span, value)


def _middle(span: Span, value: Moment | str | Path) -> np.datetime64:
    if span.last - span.first >= MONTH:
        raise InputError(f"{str(value)!r} (between=) is many days; give one, such as 2018-05-01.")
    return (span.first_day + 14).astype("datetime64[us]")  # as everywhere a month is its 15th


def _run(store: Store, value: Moment | str | Path) -> Run | None:
    """The latents that a name means, None of no latents."""
    name = str(value)
    if _kind(store) == "latents" and not store.is_plain:
        try:
            found = find_snapshot(store, name)
        except InputError:
            found = None
        if found is not None:
            return Run(store, found)
    other = Store.of(name)
    return Run(other, other.snapshot()) if _kind(other) == "latents" else None


def _kind(store: Store) -> str | None:
    """None where there is no store."""
    try:
        return str(store.group().attrs[ABOUT]["kind"]) if store.exists() else None
    except (InputError, FileNotFoundError):
        return None
