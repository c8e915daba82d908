"""All sensors and sources: the built-in ones, and those of a user's own TOML files."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from terralatent.catalogs.errors import InputError
from terralatent.catalogs.sources import sensors, sources
from terralatent.catalogs.sources.sensors import SENSORS, Sensor
from terralatent.catalogs.sources.sources import SOURCES, Source
from terralatent.catalogs.sources.toml_tables import read_tables

__all__ = ["Registry", "read_registry", "user_files"]


@dataclass(frozen=True)
class Registry:
    """The sensors and sources that are known by name."""

    sensors: Mapping[str, Sensor]
    """Sensors by name."""

    sources: Mapping[str, Source]
    """Sources by name."""

    files: Mapping[str, Path]
    """For each sensor and source of a user, as ``sources.NAME``, the file that holds its table."""


def read_registry(files: Sequence[str | Path] = ()) -> Registry:
    """Read the built-in tables, those of :func:`user_files`, and those of ``files``.

    To add a source or a sensor, describe it in a TOML file, for example::

        [sources.my-archive]
        where = "https://stac.example.org/v1"
        hosts = ["files.example.org"]

        [sources.my-archive.sensors.sentinel-2-l2a]
        collections = ["s2-l2a"]
        assets = { B02 = "blue_10m", SCL = "classes" }
        offset = -0.1

    Its keys are the fields of :class:`~terralatent.catalogs.sources.sources.Source`,
    :class:`~terralatent.catalogs.sources.sources.Offer`,
    :class:`~terralatent.catalogs.sources.sources.Bucket` and
    :class:`~terralatent.catalogs.sources.sensors.Sensor`.

    Raises:
        InputError: If a file cannot be read or does not fit; it says where, what was found there
            and what was wanted.
    """
    own = [Path(file) for file in files]
    for file in own:
        if not file.is_file():
            raise InputError(
                f"There is no TOML file {str(file)!r} of sources and sensors; check its path."
            )
    own = [*user_files(), *own]
    if not own:
        return Registry(SENSORS, SOURCES, {})
    tables = read_tables([sensors.BUILT_IN, sources.BUILT_IN, *dict.fromkeys(own)])
    every = sensors.sensors_of(tables)
    return Registry(
        every,
        sources.sources_of(tables, every),
        {table.key: table.file for table in tables if table.file in own},
    )


def user_files() -> list[Path]:
    """The files ``*.toml`` in ``~/.config/terralatent`` (or ``$XDG_CONFIG_HOME/terralatent``)."""
    home = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return sorted(Path(home, "terralatent").glob("*.toml"))
