"""A store -> a STAC catalogue: its collection and items, its model's item, its data beside."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from terralatent.catalogs.enclosing_store import refuse_inside_store
from terralatent.catalogs.errors import InputError
from terralatent.catalogs.publication.product import Data, Product
from terralatent.pipeline.command import command_line
from terralatent.pipeline.progress import ProgressChoice, choose_progress
from terralatent.pipeline.publication.catalogue import Catalogue, made_whole
from terralatent.pipeline.publication.copies import COPIES, ICECHUNK, ZARR
from terralatent.pipeline.publication.describe import describe
from terralatent.pipeline.publication.lineage import find_lineage
from terralatent.pipeline.publication.model import find_model
from terralatent.pipeline.publication.wording import Wording
from terralatent.pipeline.sentence import Sentence
from terralatent.pipeline.store.damage import translated_errors
from terralatent.pipeline.store.history import find_snapshot, keep_for
from terralatent.pipeline.store.location import is_url
from terralatent.pipeline.store.lock.writer import writer_lock
from terralatent.pipeline.store.repository import Store

__all__ = ["Published", "publish"]


@dataclass(frozen=True, repr=False)
class Published(Sentence):
    """What :func:`publish` left."""

    catalogue: Path
    """Its ``catalog.json``."""

    items: tuple[str, ...]
    """Ids of the items of this state of the store."""

    inputs: int
    """Scenes that they link to."""

    changed: int
    """Documents that were written; 0 where all were there."""

    def __str__(self) -> str:
        what = f"{len(self.items)} items, derived from {self.inputs} scenes"
        return f"{what}; {self.changed} documents written" if self.changed else f"{what}; no change"


def publish(
    store: str | Path | Store,
    out: str | Path,
    *,
    licence: str | None = None,
    providers: Sequence[str] = (),
    title: str | None = None,
    description: str | None = None,
    keywords: Sequence[str] = (),
    name: str | None = None,
    cube: str | Path | None = None,
    model: str | Path | None = None,
    copy: str | None = None,
    url: str | None = None,
    at: str | None = None,
    progress: ProgressChoice = None,
) -> Published:
    """Publish a store as a static STAC catalogue in a folder. Reads no pixels unless it copies.

    The folder appears whole. The same call again changes nothing; a newer state of the same store
    takes the place of the one before, and another year of annual embeddings comes beside it. What
    was said once (licence, providers, title, description, keywords, URL) holds until it is said
    anew.

    Args:
        store: A cube, latents, bands, annual embeddings or a map, by path or URL.
        out: Folder of the catalogue.
        licence: SPDX identifier of what is published, such as ``CC-BY-4.0``, or ``proprietary``;
            must be given the first time.
        providers: Who publishes, ``NAME=URL`` or ``NAME``; producers of scenes are named anyway.
        title: Of the collection.
        description: Of the collection.
        keywords: Of the collection.
        name: Id of the collection; the store's name by default.
        cube: The cube that the store is made from, where it is not where it was.
        model: The folder of the model, where it is not where it was.
        copy: ``zarr`` copies the data into the catalogue, as plain Zarr with consolidated metadata;
            by default its assets lead to the store where it lies, which then keeps the snapshot.
        url: Where the catalogue will be served, for absolute links to itself.
        at: An earlier snapshot, see :func:`terralatent.pipeline.store.history.find_snapshot`.
        progress: Advanced by what is copied; True: a bar, as by default in a notebook.

    Raises:
        InputError: If the store is not whole, its cube or model cannot be found or is another one,
            no licence is given, or something else is at ``out``.
        CheckpointError: If the model cannot be read.

    Examples:
        >>> import terralatent as tl
        >>> tl.publish("annual", "catalogue", licence="CC-BY-4.0").catalogue.name
        'catalog.json'
    """
    progress = choose_progress(progress)
    store = Store.of(store)
    if copy is not None and copy not in COPIES:
        raise InputError(f"Copies as {copy!r} cannot be made; give {', '.join(COPIES)}.")
    if is_url(out):
        raise InputError(f"{out}: a catalogue goes to a local folder; copy it from there.")
    folder = Path(out).expanduser().absolute()
    refuse_inside_store(folder)
    store.group()  # raises, and names what is there instead
    with translated_errors(store):
        snapshot = find_snapshot(store, at) or store.snapshot()
        lineage = find_lineage(store, snapshot, cube)
        record = find_model(store, lineage, model)
        with writer_lock(folder, command_line()):
            there = Catalogue.at(folder)
            there.require_ours(lineage)
            said = Wording.of(
                there.collection or {},
                store,
                licence,
                providers,
                title,
                description,
                keywords,
                name,
            )
            product = describe(lineage, said, record)
            with made_whole(there) as into:
                target = into.folder / product.id
                data = (
                    linked(product, store, folder)
                    if copy is None
                    else COPIES[copy](lineage, product, target, url or there.url, progress)
                )
                product = replace(product, data=data)
                changed = into.write(product, record, url or there.url)
            if copy is None:
                keep_for(str(folder), store, snapshot)
    inputs = {(scene.sensor, scene.id) for window in product.windows for scene in window.inputs}
    ids = tuple(window.id for window in product.windows)
    return Published(folder / "catalog.json", ids, len(inputs), changed)


def linked(product: Product, store: Store, folder: Path) -> tuple[Data, ...]:
    """Assets that lead to the store where it lies: relative to the collection, or its URL."""
    href = store.address
    if store.path is not None:
        href = Path(os.path.relpath(store.path, folder / product.id)).as_posix()
    kind = ZARR if store.is_plain else ICECHUNK
    return tuple(replace(data, href=href, media_type=kind) for data in product.data)
