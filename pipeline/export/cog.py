"""A store, or part of one, as a folder of cloud-optimised GeoTIFFs (COGs)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from terralatent.catalogs.errors import InputError
from terralatent.catalogs.temporary import temporary_folder
from terralatent.pipeline.export.cog_files import CogBatch, cog_batches
from terralatent.pipeline.export.geotiff import Cog
from terralatent.pipeline.export.selection import Selection, select
from terralatent.pipeline.export.whole import local_place, require_room, writing_export
from terralatent.pipeline.json_value import json_value
from terralatent.pipeline.progress import Progress, ProgressChoice, choose_progress
from terralatent.pipeline.store.creation import differences
from terralatent.pipeline.store.digests import SUMS, read_sums, seal, unseal
from terralatent.pipeline.store.repository import ABOUT, Store

__all__ = ["FILES", "MANIFEST", "export_cogs"]

FILES = ("date", "dimension")
"""What a file of an array ``(time, latent, y, x)`` is: a date, or a latent."""

MANIFEST = "export.json"
"""File of the folder that says what it holds."""

PART = ".part"
"""How the hidden folder in it begins in which files are on the way."""

PROVENANCE = ("model_name", "model_version", "model_hash", "cube_snapshot", "sensor")
"""Attributes of a store that every file carries."""


def export_cogs(
    store: str | Path | Store,
    out: str | Path,
    *,
    sensor: str | None = None,
    variable: str | None = None,
    date: str | None = None,
    files: str = "date",
    at: str | None = None,
    progress: ProgressChoice = None,
) -> Path:
    """Write a store, or part of it, as COGs into a folder. Computes, a shard at a time.

    Integers stay as they are stored, with GDAL's scale, offset and no data; tiles have 512 pixels
    along a side (fewer where very many bands share a tile), with overviews, compressed by
    Zstandard. Bands are named and have units, classes their colours. Each file appears when it is
    whole, so the same call again makes those that are not there yet. The sensors of a cube have a
    folder each, unless one is chosen.

    Args:
        store: A cube, latents, bands or a map, by path or URL.
        out: The folder.
        sensor: Take this sensor of a cube alone.
        variable: Of the arrays over the grid, take this one alone, such as ``data`` or ``mean``.
        date: Take the dates of this day (``2018-07-01``) or this instant alone.
        files: ``date``: a file is a date, its bands are latents (or bands, components);
            ``dimension``: a file is one of those, its bands are dates.
        at: An earlier snapshot, see :func:`terralatent.pipeline.store.history.find_snapshot`.
        progress: Advanced by each shard; True: a bar, as by default in a notebook.

    Returns:
        The folder.

    Raises:
        InputError: If the store has no such sensor, variable or date, if the folder holds anything
            else, or if the disk has no room for what is not there yet.
    """
    if files not in FILES:
        raise InputError(f"A file cannot be a {files!r}; take {' or '.join(FILES)}.")
    how = {"format": "cog", "files": files}
    chosen = select(store, sensor=sensor, variable=variable, date=date, at=at, how=how)
    if Path(out).suffix.lower() in (".tif", ".tiff"):
        raise InputError(f"{out}: COGs go into a folder, a file for each date; name a folder.")
    folder = local_place(out)
    manifest = json_value({ABOUT: chosen.about, "attributes": _attributes(chosen)})
    batches = list(_batches(chosen, folder, by_date=files == "date"))
    _require_same(folder, manifest)
    if not any(_missing(batch) for batch in batches) and (folder / SUMS).exists():
        return folder
    require_room(folder, _most_bytes(batches))
    with writing_export(folder, chosen.store):
        folder.mkdir(exist_ok=True)
        with temporary_folder(PART, folder) as aside:
            _write_manifest(folder, manifest, aside)
            sums = _unsealed(folder, batches)
            _write(batches, aside, choose_progress(progress))
        seal(folder, sums, all_files=True)
    return folder


def _batches(chosen: Selection, folder: Path, *, by_date: bool) -> list[CogBatch]:
    batches: list[CogBatch] = []
    attrs = chosen.root.attrs.asdict()
    tags = {name: str(attrs[name]) for name in PROVENANCE if name in attrs}
    tags |= {"kind": str(chosen.about.get("kind"))}
    tags |= {"snapshot": snapshot} if (snapshot := chosen.about["export"]["snapshot"]) else {}
    for path, group in chosen.groups.items():
        own = folder if chosen.about["export"]["sensor"] else folder / path
        for name, array in chosen.arrays(path):
            if "spatial_ref" in group and 0 not in chosen.shape(path, array):
                span = chosen.span(path, array)
                named = tags | ({"sensor": path} if path else {})
                batches += cog_batches(own, group, name, span, by_date=by_date, tags=named)
    if not batches:
        raise InputError(f"{chosen.store} has no pixels on a grid, so there is no file to make.")
    return batches


def _attributes(chosen: Selection) -> dict[str, Any]:
    return {key: value for key, value in chosen.root.attrs.asdict().items() if key != ABOUT}


def _require_same(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Check that a folder, if there is one, holds the same export or nothing.

    Raises:
        InputError: If it holds something else; of an export the difference is named.
    """
    if not folder.exists():
        return
    try:
        there = json.loads((folder / MANIFEST).read_text())[ABOUT]
    except (OSError, ValueError, KeyError, TypeError) as error:
        if folder.is_dir() and all(p.name.lstrip(".").startswith("part") for p in folder.iterdir()):
            return  # empty, or its maker was killed at once
        raise InputError(
            f"{folder} exists and is not this export; choose another folder."
        ) from error
    if unlike := differences(there, manifest[ABOUT]):
        raise InputError(
            f"{folder} holds another export: {'; '.join(unlike)}. Choose another folder, or remove "
            "that one."
        )


def _write_manifest(folder: Path, manifest: Mapping[str, Any], aside: Path) -> None:
    if not (folder / MANIFEST).exists():
        (aside / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n")
        (aside / MANIFEST).rename(folder / MANIFEST)


def _missing(batch: CogBatch) -> list[Cog]:
    return [cog for cog in batch.cogs if not cog.path.exists()]


def _most_bytes(batches: list[CogBatch]) -> int:
    """What the files that are not there yet take at most, and the plain ones beside them."""
    missing = [_missing(batch) for batch in batches]
    beside = max(sum(cog.plain_bytes for cog in cogs) for cogs in missing)
    return beside + sum(cog.most_bytes for cogs in missing for cog in cogs)


def _unsealed(folder: Path, batches: list[CogBatch]) -> dict[str, str]:
    """Forget the digests of a folder that gets more files; gives those of files that stay."""
    sums = read_sums(folder)
    unseal(folder)
    made = {str(cog.path.relative_to(folder)) for batch in batches for cog in _missing(batch)}
    return {path: digest for path, digest in sums.items() if path not in made}


def _write(batches: list[CogBatch], aside: Path, progress: Progress) -> None:
    todo = [(batch, cogs) for batch in batches if (cogs := _missing(batch))]
    progress.start(sum(len(batch.cut()) for batch, _ in todo), "export")
    for batch, cogs in todo:
        cogs[0].path.parent.mkdir(exist_ok=True)
        for _ in batch.write(cogs, aside):
            progress.advance()
    progress.close()
