"""Counts what a scheduler knows; it imports nothing else, for the scheduler imports it."""

from __future__ import annotations

from typing import Any

from distributed import SchedulerPlugin

__all__ = ["MostTasks", "most_tasks"]


class MostTasks(SchedulerPlugin):
    """Notes the most tasks that a scheduler ever knew at once."""

    name = "most-tasks"

    def __init__(self) -> None:
        self.most = 0

    async def start(self, scheduler: Any) -> None:
        """Stay with the scheduler."""
        self.scheduler = scheduler

    def transition(self, *args: Any, **options: Any) -> None:
        """Count at every change of any task."""
        self.most = max(self.most, len(self.scheduler.tasks))


def most_tasks(dask_scheduler: Any = None) -> int:
    """What the plugin noted; to be run on the scheduler."""
    return int(dask_scheduler.plugins[MostTasks.name].most)
