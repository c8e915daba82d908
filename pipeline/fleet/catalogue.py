"""The publications of all tiles, and a root catalogue that links them."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from terralatent.catalogs.enclosing_store import refuse_inside_store
from terralatent.catalogs.errors import InputError
from terralatent.pipeline.fleet.run import FleetReport, LostTile
from terralatent.pipeline.fleet.tiles import KINDS, Tile
from terralatent.pipeline.progress import Progress
from terralatent.pipeline.publication.catalogue import STAC_VERSION
from terralatent.pipeline.publication.publish import publish
from terralatent.pipeline.store.location import is_url

__all__ = ["publish_tiles"]

CATALOG = "catalog.json"

RESULTS = KINDS[1:]
"""What is published by default: all that tiles have of them."""


def publish_tiles(
    tiles: Sequence[Tile],
    out: str | Path,
    *,
    name: str,
    kinds: Sequence[str],
    licence: str | None,
    providers: Sequence[str],
    title: str | None,
    description: str | None,
    keywords: Sequence[str],
    model: str | None,
    copy: str | None,
    url: str | None,
    progress: Progress,
) -> FleetReport:
    """Publish what tiles have, each below ``OUT/TILE/KIND``, and write ``OUT/catalog.json``.

    A tile that cannot be published is named and passed over. The same call again changes nothing;
    what was said once holds until it is said anew.

    Args:
        tiles: Of the fleet.
        out: Folder of the root catalogue.
        name: Its id.
        kinds: Of stores; none: :data:`RESULTS`.
        licence: As for :func:`~terralatent.pipeline.publication.publish.publish`, as all below.
        providers: Likewise.
        title: Of the root catalogue.
        description: Of it.
        keywords: Of all collections.
        model: As above.
        copy: As above.
        url: Where the root catalogue will be served.
        progress: Advanced by each tile.

    Raises:
        InputError: If no tile has anything to publish, or something else is at ``out``.
    """
    unknown = sorted(set(kinds) - set(KINDS))
    if unknown:
        raise InputError(f"Tiles have no {unknown[0]!r}; give {', '.join(KINDS)}.")
    if is_url(out):
        raise InputError(f"{out}: a catalogue goes to a local folder; copy it from there.")
    folder = Path(out).expanduser().absolute()
    refuse_inside_store(folder)
    before = _ours(folder, name)
    own = [link["href"] for link in before.get("links", ()) if link["rel"] == "self"]
    url = url or (own[0].removesuffix(f"/{CATALOG}") if own else None)
    title, description = title or before.get("title"), description or before.get("description")
    begun, failed, done = time.monotonic(), [], 0
    children: list[tuple[str, str]] = []
    progress.start(len(tiles), "publish")
    try:
        for tile in tiles:
            there = [kind for kind in kinds or RESULTS if tile.store(kind).exists()]
            for kind in there:
                place = f"{tile.name}/{kind}"
                try:
                    publish(
                        tile.store(kind), folder / place, name=f"{tile.name}-{kind}",
                        licence=licence, providers=providers, keywords=keywords, model=model,
                        copy=copy, url=None if url is None else f"{url.rstrip('/')}/{place}",
                    )  # fmt: skip
                except InputError as error:
                    failed.append(LostTile(tile.name, str(error)))
                if (folder / place / CATALOG).is_file():
                    children.append((f"./{place}/{CATALOG}", f"{tile.name} {kind}"))
            done += bool(there)
            progress.advance()
    finally:
        progress.close()
    if not children:
        raise InputError(
            str(failed[0]) if failed else f"No tile has {', '.join(kinds or RESULTS)} to publish."
        )
    _write(folder / CATALOG, _root(name, title, description, children, url))
    return FleetReport("publish", len(tiles), 0, done, (), tuple(failed), time.monotonic() - begun)


def _root(
    name: str,
    title: str | None,
    description: str | None,
    children: Sequence[tuple[str, str]],
    url: str | None,
) -> dict[str, Any]:
    kind = "application/json"
    links: list[dict[str, str]] = [{"rel": "root", "href": f"./{CATALOG}", "type": kind}]
    if url is not None:
        href = f"{url.rstrip('/')}/{CATALOG}"
        links.insert(0, {"rel": "self", "href": href, "type": kind})
    links += [
        {"rel": "child", "href": href, "type": kind, "title": label} for href, label in children
    ]
    return {
        "type": "Catalog",
        "stac_version": STAC_VERSION,
        "id": name,
        "title": title or f"Results of the fleet {name}",
        "description": description or f"A catalogue for each tile and result of the fleet {name}.",
        "links": links,
    }


def _ours(folder: Path, name: str) -> Mapping[str, Any]:
    """The root catalogue of this fleet that is there; {} where there is none.

    Raises:
        InputError: If it is something else.
    """
    if not folder.exists() or not any(folder.iterdir()):
        return {}
    try:
        root: Mapping[str, Any] = json.loads((folder / CATALOG).read_text("utf-8"))
        if root["id"] == name:
            return root
    except FileNotFoundError:
        # A run that was ended before the root was written leaves publications of tiles alone.
        if all(path.is_dir() and any(path.glob(f"*/{CATALOG}")) for path in folder.iterdir()):
            return {}
    except (OSError, ValueError, LookupError, TypeError):
        pass
    raise InputError(
        f"{folder} exists and is not the catalogue of the fleet {name}; choose another out=, or "
        "remove it."
    )


def _write(path: Path, document: Mapping[str, Any]) -> None:
    content = (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode()
    if path.is_file() and path.read_bytes() == content:
        return
    aside = path.with_name(f".{path.name}.part")
    try:
        aside.write_bytes(content)
        os.replace(aside, path)
    except OSError as error:
        raise InputError(f"Cannot write {path}: {error.strerror or error}.") from error
