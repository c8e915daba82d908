"""The sources that are known, what each needs, and whether that is met: values and a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from terralatent.catalogs.hrefs import bare_href
from terralatent.catalogs.sources.registry import read_registry
from terralatent.catalogs.sources.signing import missing_keys
from terralatent.catalogs.sources.sources import Source
from terralatent.pipeline.cli.pages.text import Facts, fact_table, listed

__all__ = ["source_list", "source_page"]

OTHERS = (
    "the URL of any STAC API (1.0 or 1.1), of a static catalogue or of a stac-geoparquet file",
    "the path of a folder of STAC items, of a STAC document or of a stac-geoparquet file",
    "your own: describe it in a TOML file in ~/.config/terralatent, or given by --sources FILE",
)
"""What else ``--source`` takes."""


def source_list(described: Sequence[str | Path] = ()) -> dict[str, Any]:
    """List the sources and sensors that are known. Sends no request, and shows no secrets.

    Args:
        described: Files as for :func:`~terralatent.catalogs.sources.registry.read_registry`.

    Returns:
        JSON values: ``sources``, each with ``name``, ``where``, ``needs``, ``ready`` (as far as it
        is known without a request), ``described_in`` (a user's file) and ``sensors``, each with its
        ``collections``, why it is ``refused``, what is ``missing`` and whether it is ``ready``;
        ``sensors``, each with ``name``, ``title``, ``bands`` and ``described_in``.

    Raises:
        InputError: If a description does not fit.
    """
    known = read_registry(described)

    def file_of(kind: str, name: str) -> str | None:
        file = known.files.get(f"{kind}.{name}")
        return None if file is None else str(file)

    return {
        "sources": [
            {**_values(source), "described_in": file_of("sources", source.name)}
            for source in known.sources.values()
        ],
        "sensors": [
            {
                "name": sensor.name,
                "title": sensor.title,
                "bands": list(sensor.bands),
                "described_in": file_of("sensors", sensor.name),
            }
            for sensor in known.sensors.values()
        ],
    }


def source_page(listing: Mapping[str, Any]) -> RenderableType:
    """Lay what :func:`source_list` gives out for a person."""
    parts: list[RenderableType] = []
    for source in listing["sources"]:
        head = Text(source["name"], style="bold")
        head.append(f"  {source['where']}", style="not bold")
        parts += [head, fact_table(_facts(source)), Text("")]
    parts += [Text("any other", style="bold"), fact_table(listed("", OTHERS)), Text("")]
    parts += [Text("sensors", style="bold"), fact_table(_sensors(listing["sensors"]))]
    return Group(*parts)


def _values(source: Source) -> dict[str, Any]:
    missing = {bucket.name: missing_keys(bucket) for bucket in source.buckets}
    sensors = [
        {
            "name": offer.sensor,
            "collections": list(offer.collections),
            "refused": offer.refused,
            "missing": missing.get(offer.bucket, ""),
            "ready": not (offer.refused or missing.get(offer.bucket)),
        }
        for offer in source.sensors or ()
    ]
    return {
        "name": source.name,
        "where": bare_href(source.where),
        "needs": source.needs,
        "ready": all(sensor["ready"] or sensor["refused"] for sensor in sensors),
        "sensors": sensors,
    }


def _facts(source: Mapping[str, Any]) -> Facts:
    for offer in source["sensors"]:
        origin = f"from {', '.join(offer['collections'])}"
        if offer["refused"]:
            yield offer["name"], Text(f"not {origin}: {offer['refused']}", "yellow")
        elif offer["missing"]:
            yield (
                offer["name"],
                Text(f"{origin}, once there are keys: {offer['missing']}", "yellow"),
            )
        else:
            yield offer["name"], origin
    yield "needs", source["needs"]
    yield "ready", "yes, as far as is known without a request" if source["ready"] else "not for all"
    yield "described in", source["described_in"] or ""


def _sensors(sensors: Sequence[Mapping[str, Any]]) -> Facts:
    for sensor in sensors:
        yield sensor["name"], f"{sensor['title']}: {', '.join(sensor['bands'])}"
        yield "", f"described in {sensor['described_in']}" if sensor["described_in"] else ""
