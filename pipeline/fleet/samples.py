"""Labelled pixels of all tiles of a fleet, gathered once and kept: what its one classifier is of.

A classifier for each tile would leave seams, and so would one that is fitted anew whenever another
tile is there. So the pixels are kept beside the fleet's table, and every run fits the same to them.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import shapely
from numpy.typing import NDArray

from terralatent.catalogs.errors import InputError
from terralatent.pipeline.fleet.notes import digest_of
from terralatent.pipeline.fleet.tiles import Tile
from terralatent.pipeline.landcover.features import LatentFeatures, find_features
from terralatent.pipeline.probes.labels import KnownLabels, Labels, most_pixels
from terralatent.pipeline.probes.sample import Sample
from terralatent.pipeline.progress import Progress

__all__ = ["KeptSample", "described", "gather", "kept_sample"]

log = logging.getLogger(__name__)

MOST_NAMED = 5
"""Tiles that a warning names."""

NOT_EQUAL = ("cube", "snapshot")
"""Of the identity of latents, what differs from tile to tile."""

KeptSample = tuple[Sample, dict[str, Any]]
"""Labelled pixels, and what describes all latents that they are of."""


def described(features: LatentFeatures) -> dict[str, Any]:
    """What must be equal for latents of two tiles to mean the same; JSON values."""
    about = features.identity()
    latents = {name: value for name, value in about["latents"].items() if name not in NOT_EQUAL}
    made = features.attributes()
    values = {
        **latents,
        "with_std": about["with_std"],
        "dates": made["latents_dates"],
        "latents_hash": made.get("latents_hash", made.get("model_hash", "")),
    }
    return dict(json.loads(json.dumps(values)))


def kept_sample(
    path: Path,
    tiles: Sequence[Tile],
    kind: str,
    known: KnownLabels,
    *,
    with_std: bool,
    progress: Progress,
) -> KeptSample:
    """The sample that is kept at ``path``, or a new one, which is then kept. Computes where new.

    Raises:
        InputError: If that of other labels or latents is kept there, or as :func:`gather` does.
    """
    request = digest_of(
        {
            "labels": _digest(known),
            "columns": repr(known.columns),
            "latents": kind,
            "with_std": with_std,
            "tiles": [[tile.name, tile.epsg, *tile.bounds] for tile in tiles],
        }
    )
    if path.exists():
        sample, about = _read(path)
        if about.pop("request", None) != request:
            raise InputError(
                f"{path} holds pixels of other labels, latents or tiles, to which the maps of this "
                "fleet were fitted. Choose another name= for these maps, or remove it."
            )
        log.info(
            "one classifier for all tiles, of %d pixels in %s", len(sample.features), path.name
        )
        return sample, about
    sample, about = gather(tiles, kind, known, with_std=with_std, progress=progress)
    _write(path, sample, {**about, "request": request})
    return sample, about


def gather(
    tiles: Sequence[Tile], kind: str, known: KnownLabels, *, with_std: bool, progress: Progress
) -> KeptSample:
    """Read the features of the labels' pixels in every tile. Computes.

    A label that lies in two tiles has pixels in both, which cross-validation never parts. Tiles
    without latents are left out, which is logged.

    Raises:
        InputError: If no labelled pixel has latents, or tiles have latents of two kinds.
    """
    by_crs = {crs: known.to_crs(crs) for crs in dict.fromkeys(tile.crs for tile in tiles)}
    zones = {crs: place for place, crs in enumerate(by_crs)}
    laid: list[tuple[Tile, LatentFeatures, Labels]] = []
    absent: list[str] = []
    about: dict[str, Any] | None = None
    progress.start(len(tiles), "labels")
    try:
        for tile in tiles:
            progress.advance()
            try:
                features = find_features(tile.store(kind).address, None, with_std)
            except InputError:
                absent.append(tile.name)
                continue
            own = described(features)
            if about is None:
                about = own
            elif own != about:
                key = next(name for name in own if own[name] != about.get(name))
                raise InputError(
                    f"Tile {tile.name} has {kind} with another {key} than tiles before it; one "
                    "classifier wants the same of all."
                )
            labels = by_crs[tile.crs].on(features.grid)
            if labels is not None:
                if known.columns.square is not None:  # squares of two zones are not the same
                    offset = zones[tile.crs] * len(labels)
                    labels = replace(labels, groups=labels.groups + offset)
                laid.append((tile, features, labels.kept(np.ones(len(labels.of), bool))))
    finally:
        progress.close()
    if absent:
        some = ", ".join(absent[:MOST_NAMED])
        more = f" and {len(absent) - MOST_NAMED} more" if len(absent) > MOST_NAMED else ""
        log.warning(
            "%d of %d tiles have no %s, and no part in the classifier: %s%s",
            len(absent), len(tiles), kind, some, more,
        )  # fmt: skip
    total = sum(len(labels) for _, _, labels in laid)
    parts = [_pixels(features, labels, most_pixels(total)) for _, features, labels in laid]
    parts = [part for part in parts if len(part[0])]
    if not parts or about is None:
        raise InputError(
            f"None of the {len(known)} labels holds a pixel that has {kind} in any of the "
            f"{len(tiles)} tiles. Check the CRS of the labels, and what tiles have."
        )
    return _joined(parts), about


def _pixels(
    features: LatentFeatures, labels: Labels, most: int
) -> tuple[NDArray[np.float32], Labels]:
    """The features of labelled pixels that have some, and the labels of these."""
    labels = labels.kept(labels.spread(most))
    values = features.at(labels.rows, labels.columns)
    seen: NDArray[np.bool_] = np.asarray(np.isfinite(values).all(axis=1))
    return values[seen], labels.kept(seen)


def _joined(parts: Sequence[tuple[NDArray[np.float32], Labels]]) -> Sample:
    """The samples of tiles as one; rows and columns stay those of their tiles."""
    every = [labels for _, labels in parts]
    starts = np.cumsum([0, *(len(labels) for labels in every)])
    values = np.concatenate([labels.values for labels in every])
    labels = Labels(
        values=values,
        groups=np.concatenate([labels.groups for labels in every]),
        strata=None,
        rows=np.concatenate([labels.rows for labels in every]),
        columns=np.concatenate([labels.columns for labels in every]),
        of=np.concatenate([own.of + start for own, start in zip(every, starts, strict=False)]),
        sizes=np.concatenate([labels.sizes for labels in every]),
    )
    return Sample(np.concatenate([features for features, _ in parts]), values, labels)


def _digest(known: KnownLabels) -> str:
    digest = hashlib.sha256(str(known.frame.crs).encode())
    for content in shapely.to_wkb(known.frame.geometry.to_numpy()):
        digest.update(content)
    digest.update("\n".join(map(str, known.values)).encode())
    if known.columns.group is not None:
        digest.update("\n".join(map(str, known.frame[known.columns.group])).encode())
    return digest.hexdigest()


def _write(path: Path, sample: Sample, about: dict[str, Any]) -> None:
    """Keep a sample, whole or not at all; nothing in it runs when it is read."""
    labels, aside = sample.labels, path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with aside.open("wb") as file:
            np.savez(
                file,
                features=sample.features,
                values=np.array([str(value) for value in labels.values]),
                groups=labels.groups,
                rows=labels.rows,
                columns=labels.columns,
                of=labels.of,
                sizes=labels.sizes,
                about=np.array(json.dumps(about)),
            )
        os.replace(aside, path)
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror or error}.") from error
    finally:
        aside.unlink(missing_ok=True)


def _read(path: Path) -> KeptSample:
    try:
        with np.load(path, allow_pickle=False) as file:
            held = {name: file[name] for name in file.files}
        values = held["values"].astype(object)
        labels = Labels(
            values=values,
            strata=None,
            **{name: held[name] for name in ("groups", "rows", "columns", "of", "sizes")},
        )
        return Sample(held["features"], values, labels), json.loads(str(held["about"]))
    except (OSError, ValueError, LookupError, TypeError, BadZipFile) as error:
        raise InputError(f"{path} is no kept sample of labels ({error}); remove it.") from error
