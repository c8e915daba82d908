"""Dates that end the worker that reads them: found by halves, named, and the others kept.

A read task whose worker died may hold a single file that no memory is enough for, or that GDAL
does not survive. Its dates are read again by halves, one part after the other, as no two tasks may
write one shard: each part keeps what the parts before it have stored, and names as missing what is
not read yet, so that a run that is killed meanwhile goes on there.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from terralatent.pipeline.cluster.stream import Failure
from terralatent.pipeline.cube.losses import Loss
from terralatent.pipeline.ingest.read_tasks import ReadTask

__all__ = ["Read", "read_by_halves"]

log = logging.getLogger(__name__)

PUT_OFF = "not read yet: a worker process died while it read this and other dates"

Read = Callable[[ReadTask, int], list[Failure[ReadTask]]]
"""Reads one task and commits it, trying again so often; gives its failure, if any."""


def read_by_halves(failure: Failure[ReadTask], read: Read) -> list[Failure[ReadTask]]:
    """Read a task part by part until each date is read, or known to end the worker. Computes.

    Args:
        failure: What is known of the task; nothing is done where no worker died of it.
        read: Reads a part.

    Returns:
        The failure, where no date could be read; else none: what is missing is named in the cube.
    """
    task = failure.task
    if not failure.killed or len(task.acquisitions) < 2:
        return [failure]
    log.warning(
        "%s: a worker process died under read task %s; its %d dates are read by halves",
        task.sensor.name,
        task.name,
        len(task.acquisitions),
    )
    found = _Found(task)
    waiting = [*_halves(tuple(range(len(task.acquisitions))))]
    while waiting:
        part = waiting.pop(0)
        later = tuple(date for dates in waiting for date in dates)
        failures = read(found.task(part, later), int(len(part) == 1))
        if not failures:
            found = replace(found, read=(*found.read, *part))
        elif len(part) > 1:
            waiting = [*_halves(part), *waiting]
        else:
            found = replace(found, guilty=(*found.guilty, (part[0], failures[0].reason)))
    if not found.read:
        return [failure]
    return read(found.task((), ()), 1) if found.guilty else []


def _halves(dates: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    middle = len(dates) // 2
    yield dates[:middle]
    yield dates[middle:]


@dataclass(frozen=True, eq=False)
class _Found:
    """What is known of the dates of a task, counted among those that it reads."""

    whole: ReadTask
    """The task as it failed."""

    read: tuple[int, ...] = ()
    """Dates that are stored by now."""

    guilty: tuple[tuple[int, str], ...] = ()
    """Dates of which the worker died each time, and what was said of it."""

    def task(self, part: tuple[int, ...], later: tuple[int, ...]) -> ReadTask:
        """The task that reads some dates, and names others as missing."""
        whole = self.whole
        missing = [*self.guilty, *((date, PUT_OFF) for date in later)]
        kept, base = whole.kept, whole.base
        if self.read:  # what is kept is where it belongs since the first part was stored
            places = sorted(
                [place for place, _ in whole.kept] + [whole.places[date] for date in self.read]
            )
            kept, base = tuple((place, whole.dates.start + place) for place in places), None
        return replace(
            whole,
            places=tuple(whole.places[date] for date in sorted(part)),
            acquisitions=tuple(whole.acquisitions[date] for date in sorted(part)),
            kept=kept,
            base=base,
            known=(*whole.known, *(loss for entry in missing for loss in self._losses(*entry))),
        )

    def _losses(self, date: int, reason: str) -> Iterator[Loss]:
        for item in self.whole.acquisitions[date].items:
            yield Loss(self.whole.sensor.name, str(item["id"]), "", reason)
