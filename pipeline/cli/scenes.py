"""Scenes as the command line gives them: by a search now, or from the file of one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from terralatent.catalogs.errors import InputError
from terralatent.catalogs.scenes.scenes import Scenes
from terralatent.catalogs.scenes.search import search_scenes
from terralatent.catalogs.sources.sensors import pick_sensors, with_offsets

__all__ = ["choose_scenes"]


def choose_scenes(
    region: str,
    *,
    kept: str | None = None,
    source: str | None = None,
    start: str | None = None,
    end: str | None = None,
    sensors: Sequence[str] | None = None,
    offsets: Mapping[str, float] | None = None,
    described: Sequence[Path] = (),
    mask: str | None = None,
    say: Callable[[str], None],
) -> Scenes:
    """Read the scenes of the file ``kept``, or search for them. Reads no pixels.

    Args:
        region: As for :func:`~terralatent.catalogs.scenes.search.search_scenes`, as all that
            follows.
        kept: A file of ``terralatent search``, instead of a source and a period.
        source: Where to search; or, with ``kept``, where the items of that file come from.
        start: First day.
        end: Last day.
        sensors: Names of sensors; None: all.
        offsets: What is stated for items that do not give their offset.
        described: Files of descriptions.
        mask: The mask band to take.
        say: Called with a line on what the file holds.

    Raises:
        InputError: If both or neither are given, or what is given cannot be used.
    """
    if kept is None and source and start and end:
        return search_scenes(
            source,
            region,
            start,
            end,
            sensors or None,
            offsets=offsets,
            described=described,
            mask=mask,
        )
    if kept is None or start or end:
        raise InputError("give either --scenes, or all of --source, --start and --end.")
    scenes = Scenes.from_parquet(kept, described, source or None)
    if sensors or offsets or mask:
        known = {sensor.name: sensor for sensor in scenes.wanted}
        scenes = Scenes.gather(
            scenes.items,
            with_offsets(pick_sensors(sensors or None, known), offsets),
            source=scenes.place,
            period=scenes.period,
            access=scenes.access,
            mask=mask or scenes.mask,
        )
    say(scenes.summary())
    return scenes
