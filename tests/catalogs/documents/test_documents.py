"""The links, pages and redirects of a catalogue lead neither to files nor to private hosts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from terralatent.catalogs.documents.fetch import Documents, open_api, read_document
from terralatent.catalogs.documents.static import walk
from terralatent.catalogs.errors import InputError
from terralatent.catalogs.scenes.search import search_scenes
from terralatent.catalogs.sources.sources import Offer, Source
from tests.made.catalogue import region
from tests.servers.names import leading
from tests.servers.scripted import Answer, Request, scripted

SECRET = "s3cr3t"


def catalogue(*hrefs: str, rel: str = "item") -> Answer:
    links = [{"rel": rel, "href": href} for href in hrefs]
    document = {"type": "Catalog", "id": "c", "stac_version": "1.0.0", "description": "d"}
    return Answer(json.dumps({**document, "links": links}).encode())


@pytest.mark.parametrize("rel", ["item", "child", "items"])
@pytest.mark.parametrize(
    "href",
    ["file:///etc/passwd", "/etc/passwd", "file:/etc/passwd", "http://10.0.0.1/a", "ftp://a.b/c"],
)
def test_a_catalogue_elsewhere_leads_to_no_file_and_to_no_other_private_host(
    tmp_path: Path, rel: str, href: str
) -> None:
    (tmp_path / "item.json").write_text('{"type": "Feature"}')

    def answer(request: Request) -> Answer | None:
        return catalogue(href, rel=rel) if request.path == "/c.json" else None

    refused = pytest.raises(InputError, match=r"may not be read|answers with the error 404")
    with scripted(answer) as it, refused:
        list(walk(f"{it.url}/c.json"))
    assert set(it.paths()) <= {"/c.json", "/etc/passwd"}  # a path is one of that host


def test_a_catalogue_in_a_folder_does_not_lead_out_of_it(tmp_path: Path) -> None:
    folder = tmp_path / "catalogue"
    folder.mkdir()
    (tmp_path / "item.json").write_text('{"type": "Feature", "id": "outside"}')
    for href in ("../item.json", str(tmp_path / "item.json"), "http://127.0.0.1:1/item.json"):
        (folder / "catalog.json").write_bytes(catalogue(href).body)
        with pytest.raises(InputError, match=r"catalog\.json has a link: .* may not be read"):
            list(walk(str(folder)))
    (folder / "catalog.json").unlink()
    (folder / "linked.json").symlink_to(tmp_path / "item.json")
    with pytest.raises(InputError, match="leaves the folder"):
        list(walk(str(folder)))


@pytest.mark.parametrize(
    "target", ["file:///etc/passwd", "http://10.0.0.1/x", "http://169.254.169.254/", "ftp://a.b/c"]
)
def test_no_redirect_leads_to_a_file_or_to_another_private_host(target: str) -> None:
    with scripted(lambda _: Answer(status=302, headers={"location": target})) as it:
        for read in (
            lambda: read_document(f"{it.url}/c.json", Documents(it.url)),
            lambda: open_api(it.url),
            lambda: list(walk(f"{it.url}/items.parquet")),
        ):
            with pytest.raises(Exception, match=r"may not be read|No connection adapters"):
                read()
        with pytest.raises(InputError, match=r"is refused|does not answer"):
            search_scenes(it.url, region(), "2018-05-01", "2018-05-31")


def test_a_catalogue_without_an_end_is_left() -> None:
    def below(request: Request) -> Answer:
        return catalogue(f"{request.path.removesuffix('.json')}x.json", rel="child")

    with scripted(below) as it, pytest.raises(InputError, match="lies 32 documents below"):
        list(walk(f"{it.url}/c.json"))


def api(url: str, *links: dict[str, Any], ids: Sequence[str] = ("0",)) -> dict[str, Any]:
    """An API's first page and its first page of items at once."""
    core = "https://api.stacspec.org/v1.0.0"
    search = {"rel": "search", "href": f"{url}/search", "type": "application/geo+json"}
    return {
        "type": "Catalog",
        "id": "api",
        "stac_version": "1.0.0",
        "description": "d",
        "conformsTo": [f"{core}/core", f"{core}/item-search"],
        "links": [search, *links],
        "features": [{"type": "Feature", "id": name} for name in ids],
    }


def search_api(url: str, **source: Any) -> None:
    """Search an API that says nothing of its collections."""
    place = Source("api", url, sensors=(Offer("sentinel-1-asc", ("any",)),), **source)
    search_scenes(place, region(), "2018-05-01", "2018-05-31", ["sentinel-1-asc"])


def test_the_next_page_of_an_api_is_no_file_and_no_deletion() -> None:
    for link, words in (
        ({"href": "file:///etc/passwd"}, "may not be read|is refused|does not answer"),
        ({"href": "/etc/passwd"}, "may not be read|is refused|does not answer"),
        ({"href": "http://10.0.0.1/next"}, "private"),
        ({"href": "http://127.0.0.1:9/next", "method": "DELETE"}, "may not be requested by DELETE"),
    ):
        page = {"rel": "next", **link}
        with (
            scripted(lambda _, page=page: Answer(json.dumps(api(it.url, page)).encode())) as it,
            pytest.raises(InputError, match=words),
        ):
            search_api(it.url)


def test_credentials_go_to_their_own_host_and_to_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other host is this machine by another name, which the source vouches for."""

    def answer(request: Request) -> Answer:
        other = it.url.replace("127.0.0.1", "other.host.org")
        if request.path == "/moved":
            return Answer(status=302, headers={"location": f"{other}/redirected"})
        href = {"/search": f"{it.url}/moved", "/redirected": f"{other}/next"}.get(request.path)
        links = [{"rel": "next", "href": href}] if href else []
        return Answer(json.dumps(api(it.url, *links, ids=[request.path])).encode())

    names = leading(tmp_path, monkeypatch, {"other.host.org": "127.0.0.1"})
    with names, scripted(answer) as it, pytest.raises(InputError, match=r"None of|No scene"):
        search_api(it.url.replace("//", f"//me:{SECRET}@"), hosts=("other.host.org",))
    sent = {request.path: request.headers.get("authorization", "") for request in it.requests}
    assert sent["/"].startswith("Basic ")
    assert sent["/search"] == sent["/moved"] == sent["/"]
    assert (sent["/redirected"], sent["/next"]) == ("", "")
