"""What a publisher says of a publication, now or when it was made."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pystac

from terralatent.catalogs.errors import InputError
from terralatent.catalogs.publication.providers import parse_provider
from terralatent.pipeline.store.repository import Store

__all__ = ["Wording"]

_LICENCE = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+-]*")
_NAME = re.compile(r"[A-Za-z0-9][\w.-]*")

_KINDS = {
    "cube": "Satellite scenes on one grid, each sensor on its own dates",
    "latents": "Latent series of pixels, mean and standard deviation",
    "annual": "Annual embeddings of pixels, mean and standard deviation",
    "bands": "Bands of one sensor, predicted with their uncertainty",
    "landcover": "A map made of latent series and labels",
    "changes": "Where latent series moved beyond chance",
}


@dataclass(frozen=True)
class Wording:
    """Names and terms of a publication."""

    name: str
    """Id of the collection."""

    licence: str
    title: str
    description: str
    keywords: tuple[str, ...]
    providers: tuple[pystac.Provider, ...]
    """Those that the publisher names."""

    @classmethod
    def of(
        cls,
        before: Mapping[str, Any],
        store: Store,
        licence: str | None,
        providers: Sequence[str],
        title: str | None,
        description: str | None,
        keywords: Sequence[str],
        name: str | None,
    ) -> Wording:
        """What is said now, else what the collection said ``before``, else what follows from the
        store.

        Raises:
            InputError: If no licence was ever given, or it, a provider or the name cannot be used.
        """
        kind = str(store.about()["kind"])
        licence = licence or before.get("license")
        if licence is None:
            raise InputError(
                f"Under which licence is {store} published? Give licence= with an SPDX "
                "identifier such as CC-BY-4.0, or `proprietary` where nobody may use it yet."
            )
        if not _LICENCE.fullmatch(licence):
            raise InputError(
                f"Licence {licence!r} is no SPDX identifier; give one such as CC-BY-4.0, or "
                "`proprietary`."
            )
        own = re.sub(r"[^\w.-]+", "-", store.address.rstrip("/").rsplit("/", 1)[-1]).strip("-.")
        chosen = name or before.get("id") or own.removesuffix(".zarr")
        if not _NAME.fullmatch(chosen):
            raise InputError(f"{chosen!r} is no id; give name= with letters, digits, . _ and -.")
        if before and chosen != before["id"]:
            raise InputError(
                f"The collection there is called {before['id']}, and stays so; leave name= out, or "
                "choose another out=."
            )
        named = tuple(map(parse_provider, providers)) or tuple(
            pystac.Provider.from_dict(entry)
            for entry in before.get("providers", ())
            if "host" in entry.get("roles", ())
        )
        return cls(
            name=chosen,
            licence=licence,
            title=title or before.get("title") or _KINDS.get(kind, kind),
            description=description or before.get("description") or f"{_KINDS.get(kind, kind)}.",
            keywords=tuple(keywords) or tuple(before.get("keywords", ())) or (kind, "terralatent"),
            providers=named,
        )
