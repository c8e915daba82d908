"""Who makes the scenes of the built-in sensors, and where their data is described."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from terralatent.catalogs.sources.sensors import SENSORS

__all__ = ["Producer", "producers_of", "source_data"]

TABLE = Path(__file__).with_name("producers.toml")


@dataclass(frozen=True)
class Producer:
    """An agency whose scenes are read."""

    name: str
    """As it is to be named."""

    url: str
    """Its page."""

    source: str
    """Page of the data."""

    notice: str
    """What it asks to be said of what is made of them."""


def source_data(sensors: Iterable[str]) -> dict[str, str]:
    """By sensor, a URI of the data that it delivers: a page, or a URN of a sensor of one's own."""
    return {
        name: known.source if (known := _producer(name)) else f"urn:terralatent:sensor:{name}"
        for name in sensors
    }


def producers_of(sensors: Iterable[str]) -> tuple[Producer, ...]:
    """The producers of some sensors' scenes, once each; nothing of sensors of one's own."""
    known = (_producer(name) for name in sensors)
    return tuple({own.name: own for own in known if own is not None}.values())


def _producer(sensor: str) -> Producer | None:
    known = SENSORS.get(sensor)
    return None if known is None else _table().get(known.constellation)


@cache
def _table() -> dict[str, Producer]:
    tables = tomllib.loads(TABLE.read_text("utf-8"))["producers"]
    return {name: Producer(**table) for name, table in tables.items()}
