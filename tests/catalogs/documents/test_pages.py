"""The pages of a search end, each counts once, and what was lost on the way is named."""

from __future__ import annotations

import gzip
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from terralatent.catalogs.documents import pages, static
from terralatent.catalogs.errors import InputError
from terralatent.catalogs.scenes.scenes import Scenes
from terralatent.catalogs.scenes.search import search_scenes
from tests.made.catalogue import region
from tests.servers.scripted import Answer, Request, scripted

MAY = ("2018-05-01", "2018-05-31")
PAGE = 3
CORE = "https://api.stacspec.org/v1.0.0"

Page = dict[str, Any]
Paging = Callable[[str, int, dict[str, Any]], Page]


@pytest.fixture(scope="module")
def items(made_up: Scenes) -> list[dict[str, Any]]:
    return [
        json.loads(json.dumps(item).replace('"/', '"https://example.org/'))
        for item in made_up.items
    ]


def search(items: list[Any], paging: Paging, **stated: Any) -> tuple[Scenes, list[str]]:
    """Search an API whose pages go on as ``paging`` says; gives scenes and how it was asked."""

    def answer(request: Request) -> Answer:
        if request.path == "/search":
            query = {key: value[0] for key, value in parse_qs(urlsplit(request.url).query).items()}
            asked = json.loads(request.body or "{}") | query
            at = int(asked.get("token", 0))
            more = {"features": items[at : at + PAGE], **stated, **paging(it.url, at, asked)}
            return Answer(
                gzip.compress(json.dumps(more).encode()), headers={"content-encoding": "gzip"}
            )
        links = [
            {
                "rel": "search",
                "href": f"{it.url}/search",
                "type": "application/geo+json",
                "method": method,
            }
            for method in ("GET", "POST")
        ]
        document = {"id": "api", "stac_version": "1.0.0", "description": "d", "links": links}
        if request.path != "/":
            extent = {
                "spatial": {"bbox": [[-180, -90, 180, 90]]},
                "temporal": {"interval": [[None, None]]},
            }
            document |= {"type": "Collection", "license": "x", "extent": extent}
        else:
            document |= {
                "type": "Catalog",
                "conformsTo": [f"{CORE}/core", f"{CORE}/item-search", f"{CORE}/collections"],
            }
        return Answer(json.dumps(document).encode())

    with scripted(answer) as it:
        found = search_scenes(it.url, region(), *MAY)
        return found, [request.method for request in it.requests if request.path == "/search"]


def following(url: str, at: int, asked: Page, **own: Any) -> Page:
    link = {"rel": "next", "href": f"{url}/search", **own}
    return {"links": [link] if at + PAGE < 8 else []}


def get(url: str, at: int, asked: Page) -> Page:
    return following(url, at, asked, href=f"{url}/search?token={at + PAGE}")


def post(url: str, at: int, asked: Page) -> Page:
    return following(url, at, asked, method="POST", body={**asked, "token": at + PAGE})


def merged(url: str, at: int, asked: Page) -> Page:
    return following(url, at, asked, method="POST", merge=True, body={"token": at + PAGE})


def with_empty_pages(url: str, at: int, asked: Page) -> Page:
    """Each page with items comes after two without, and the last has a link to others without."""
    turn = asked.get("turn", 0)
    if turn == 2:
        body = {**asked, "token": at + PAGE, "turn": 0}
        return {"links": [{"rel": "next", "href": f"{url}/search", "method": "POST", "body": body}]}
    body = {**asked, "turn": turn + 1}
    link = {"rel": "next", "href": f"{url}/search", "method": "POST", "body": body}
    return {"features": [], "links": [link] if at < 8 else []}


@pytest.mark.parametrize("paging", [get, post, merged, with_empty_pages])
@pytest.mark.parametrize("stated", [{}, {"numberMatched": 3}, {"context": {"matched": 8}}], ids=str)
def test_pages_hold_all_items_however_they_go_on(
    items: list[Any],
    made_up: Scenes,
    paging: Paging,
    stated: Page,
    caplog: pytest.LogCaptureFixture,
) -> None:
    found, _ = search(items, paging, **stated)
    assert found.digest == made_up.digest
    assert "counted" not in caplog.text


def same(url: str, at: int, asked: Page) -> Page:
    return {"links": [{"rel": "next", "href": f"{url}/search", "method": "POST", "body": asked}]}


def without_method(url: str, at: int, asked: Page) -> Page:
    return following(url, at, asked, body={**asked, "token": at + PAGE})


def other_token(url: str, at: int, asked: Page) -> Page:
    number = int(asked.get("n", 0)) + 1
    return {"links": [{"rel": "next", "href": f"{url}/search?n={number}"}]}


def never_an_item(url: str, at: int, asked: Page) -> Page:
    return {"features": [], **other_token(url, at, asked)}


def ever_other_items(url: str, at: int, asked: Page) -> Page:
    number = asked.get("n", "0")
    return {"features": [{"type": "Feature", "id": number}] * 50, **other_token(url, at, asked)}


@pytest.mark.parametrize(
    ("paging", "words"),
    [
        (same, "its next page repeats one that came before, after 3 of 8"),
        (without_method, "a page repeats one that came before, after 6 of 8"),
        (other_token, "a page repeats one that came before, after 6 of 8"),
        (never_an_item, "11 pages in a row hold no item, after 0 of 8"),
        (ever_other_items, r"it lists more than 1,000 items, after 1050 of 8"),
    ],
)
def test_pages_without_an_end_are_named(
    items: list[Any], paging: Paging, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "MOST_EMPTY", 10)
    monkeypatch.setattr(pages, "MOST_ITEMS", 1000)
    with pytest.raises(InputError, match=f"have no end: {words}"):
        search(items, paging, numberMatched=8)


@pytest.mark.parametrize("stated", [{"numberMatched": 8}, {"context": {"matched": 8}}], ids=str)
def test_items_that_an_api_counted_and_did_not_give_are_named(
    items: list[Any], stated: Page, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        search(items, lambda *_: {"links": []}, **stated)
    assert "gave 3 of 8 items that it counted" in caplog.text


def test_an_api_is_asked_in_a_way_that_it_offers(items: list[Any]) -> None:
    assert search(items, post)[1] == ["POST"] * 3
    assert search(items, get)[1] == ["POST", "GET", "GET"]


def test_an_item_collection_is_the_same_by_url_and_by_path(
    items: list[Any], made_up: Scenes, tmp_path: Path
) -> None:
    def collection(at: int) -> bytes:
        links = [{"rel": "next", "href": f"items-{at + PAGE}.json"}] if at + PAGE < 8 else []
        content = {"type": "FeatureCollection", "features": items[at : at + PAGE], "links": links}
        return json.dumps(content).encode()

    for at in range(0, 8, PAGE):
        (tmp_path / f"items-{at}.json").write_bytes(collection(at))
    assert search_scenes(tmp_path / "items-0.json", region(), *MAY).digest == made_up.digest
    with scripted(lambda r: Answer((tmp_path / r.path[1:]).read_bytes())) as it:
        assert search_scenes(f"{it.url}/items-0.json", region(), *MAY).digest == made_up.digest
    (tmp_path / "items-6.json").write_bytes(collection(0))
    with pytest.raises(InputError, match="its pages have no end"):
        search_scenes(tmp_path / "items-0.json", region(), *MAY)


def test_a_catalogue_that_grows_as_it_is_read_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(static, "MOST_DOCUMENTS", 100)

    def below(request: Request) -> Answer:
        links = [{"rel": "child", "href": f"{request.path}x{n}"} for n in range(9)]
        document = {"type": "Catalog", "id": "c", "stac_version": "1.0.0", "description": "d"}
        return Answer(json.dumps({**document, "links": links}).encode())

    with scripted(below) as it, pytest.raises(InputError, match="more than 100 documents"):
        list(static.walk(f"{it.url}/c"))
