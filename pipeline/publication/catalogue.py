"""The folder of a publication: what is in it, and how it changes without ever being half."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pystac

from terralatent.catalogs.errors import InputError
from terralatent.catalogs.publication.collection import STORE, catalogue_of, collection_of
from terralatent.catalogs.publication.items import input_href, input_item, item_of
from terralatent.catalogs.publication.model import ModelRecord, model_item
from terralatent.catalogs.publication.product import Product
from terralatent.pipeline.publication.lineage import Lineage

__all__ = ["Catalogue", "made_whole"]

CATALOG, COLLECTION = "catalog.json", "collection.json"

STAC_VERSION = "1.0.0"
"""Of all documents: the embeddings extension is written for it, and refuses others."""


@dataclass(frozen=True)
class Catalogue:
    """A folder that holds a publication, or none yet."""

    folder: Path
    """Where it is, or will be."""

    collection: Mapping[str, Any] | None
    """Its collection; None where there is none yet."""

    @classmethod
    def at(cls, folder: Path) -> Catalogue:
        """Read what is there.

        Raises:
            InputError: If it is something else than a publication.
        """
        if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
            return cls(folder, None)
        try:
            root = json.loads((folder / CATALOG).read_text("utf-8"))
            hrefs = [link["href"] for link in root["links"] if link["rel"] == "child"]
            collection = json.loads((folder / hrefs[0]).read_text("utf-8"))
            collection[STORE]["digest"]
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise InputError(
                f"{folder} exists and is not a publication of terralatent; choose another out=, "
                "or remove it."
            ) from error
        return cls(folder, collection)

    @property
    def url(self) -> str:
        """Where it is served, as was said when it was made; empty where nothing was."""
        own = [link for link in (self.collection or {}).get("links", ()) if link["rel"] == "self"]
        suffix = f"/{self.collection['id']}/{COLLECTION}" if self.collection else ""
        return str(own[0]["href"]).removesuffix(suffix) if own else ""

    def require_ours(self, lineage: Lineage) -> None:
        """Check that what is there is the same store's.

        Raises:
            InputError: If it is another's.
        """
        if self.collection is None:
            return
        of = self.collection[STORE]
        if of != {"kind": lineage.kind, "digest": lineage.digest}:
            raise InputError(
                f"{self.folder} is the publication of another store, the {of.get('kind')} "
                f"{self.collection['id']}, not of {lineage.store}; choose another out=."
            )

    def write(self, product: Product, model: ModelRecord | None, url: str) -> int:
        """Write every document that is new or another, what others link to first.

        Each is replaced whole, so that at any moment all links lead somewhere.

        Returns:
            How many were written.
        """
        own = Path(product.id)
        documents: dict[Path, dict[str, Any]] = {}
        root = [("root", CATALOG), ("parent", CATALOG)]
        for window in product.windows:
            for scene in window.inputs:
                if not scene.href:
                    place = Path(os.path.normpath(own / input_href(scene)))
                    documents[place] = _document(input_item(scene), place, root[:1], url)
        if model is not None:
            place = Path("models", model.id, f"{model.id}.json")
            self._copy_files(place.parent, model)
            documents[place] = _document(model_item(model), place, root, url)
        around = [
            *root[:1],
            ("parent", f"{own}/{COLLECTION}"),
            ("collection", f"{own}/{COLLECTION}"),
        ]
        for window in product.windows:
            place = own / f"{window.id}.json"
            documents[place] = _document(item_of(product, window), place, around, url)
        spans = {window.id: (window.start, window.end) for window in product.windows}
        spans = {**self._spans_before(), **spans}
        below = [("item", f"{own}/{name}.json") for name in sorted(spans)]
        collection = collection_of(product, list(spans.values()))
        place = own / COLLECTION
        documents[place] = _document(collection, place, [*root, *below], url)
        children = [("child", str(place))]
        if model is not None:
            children += [("item", f"models/{model.id}/{model.id}.json")]
        top = Path(CATALOG)
        documents[top] = _document(catalogue_of(product), top, [*root[:1], *children], url)
        written = sum(self._replace(place, document) for place, document in documents.items())
        self._clean(product)
        return written

    def _copy_files(self, folder: Path, model: ModelRecord) -> None:
        """Put the model's files beside where its item will be; each appears whole."""
        target = self.folder / folder
        for source in model.files.values():
            name = source.name
            if not (target / name).is_file():
                target.mkdir(parents=True, exist_ok=True)
                partial = target / f".{name}.part"
                shutil.copyfile(source, partial)
                os.replace(partial, target / name)

    def _spans_before(self) -> dict[str, tuple[str, str]]:
        """Of the items that are there, first and last instant."""
        if self.collection is None:
            return {}
        folder = self.folder / str(self.collection["id"])
        spans = {}
        for link in self.collection["links"]:
            if link["rel"] == "item":
                item = json.loads((folder / link["href"]).read_text("utf-8"))
                own = item["properties"]
                spans[str(item["id"])] = (own["start_datetime"], own["end_datetime"])
        return spans

    def _replace(self, place: Path, document: Mapping[str, Any]) -> bool:
        """Write a document unless it is there; whether it was written."""
        target = self.folder / place
        content = (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode()
        if target.is_file() and target.read_bytes() == content:
            return False
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(f".{target.name}.part")
        partial.write_bytes(content)
        os.replace(partial, target)
        return True

    def _clean(self, product: Product) -> None:
        """Remove copies of earlier states, to which no item leads any more."""
        folder = self.folder / product.id
        texts = [path.read_text("utf-8") for path in folder.glob("*.json")]
        for copy in folder.glob(f"{product.id}-*.zarr"):
            if not any(f'"./{copy.name}"' in text for text in texts):
                shutil.rmtree(copy)


@contextmanager
def made_whole(there: Catalogue) -> Iterator[Catalogue]:
    """Yield the place to write to: a folder aside that becomes the catalogue if the block ends
    well; or the catalogue itself, which changes document by document."""
    if there.collection is not None:
        yield there
        return
    aside = there.folder.with_name(f".{there.folder.name}.new")
    try:
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
        yield Catalogue(aside, None)
        if there.folder.exists():
            there.folder.rmdir()  # it is empty
        aside.rename(there.folder)
    except OSError as error:
        if error.errno is None:
            raise
        raise InputError(f"Cannot write {there.folder}: {error.strerror or error}.") from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _document(
    thing: pystac.Item | pystac.Collection | pystac.Catalog,
    place: Path,
    around: list[tuple[str, str]],
    url: str,
) -> dict[str, Any]:
    """A document as JSON values, with links relative to where it lies.

    Args:
        thing: Item, collection or catalogue, without links to one another.
        place: Where it lies in the folder.
        around: Relation and place of the documents around it.
        url: Of the folder; empty where it is not known.
    """
    document: dict[str, Any] = thing.to_dict(include_self_link=False, transform_hrefs=False)
    document["stac_version"] = STAC_VERSION
    kinds = {"item": pystac.MediaType.GEOJSON}
    links = [
        {
            "rel": rel,
            "href": _relative(target, place),
            "type": str(kinds.get(rel, pystac.MediaType.JSON)),
        }
        for rel, target in around
    ]
    if url:
        links.insert(0, {"rel": "self", "href": f"{url.rstrip('/')}/{place.as_posix()}"})
    own = [link for link in document["links"] if link["rel"] not in ("root", "parent", "self")]
    document["links"] = links + own
    for rel, target in around:
        if rel == "collection":
            document["collection"] = Path(target).parent.name
    return json.loads(json.dumps(document))


def _relative(target: str, place: Path) -> str:
    href = Path(os.path.relpath(target, place.parent or ".")).as_posix()
    return href if href.startswith(".") else f"./{href}"
