"""The site of ``make docs``: what its pages say is there, and it needs nobody else's host.

Tests of the built site are marked ``site`` and run in ``make ci-extra``.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlsplit

import pytest

import terralatent
from tests.modules import PATHS, ROOT

SITE = ROOT / "build" / "site"
PAGES = sorted(SITE.rglob("*.html"))
SOURCE = ROOT / "docs" / "site"

ERROR = re.compile(r"^```text\n(.*?)\n```$", re.MULTILINE)
CHANGING = "…"
"""In an error: what differs from case to case."""


def literal(node: ast.AST) -> str:
    """A text of the source, with :data:`CHANGING` for what is filled in; "" where it is none."""
    if isinstance(node, ast.JoinedStr):
        parts = [part.value if isinstance(part, ast.Constant) else CHANGING for part in node.values]
        return "".join(map(str, parts))
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


@cache
def literals() -> str:
    """All texts of the packages, a line each."""
    trees = (ast.parse(path.read_text("utf-8")) for path in PATHS)
    texts = (literal(node) for tree in trees for node in ast.walk(tree))
    return "\n".join(re.sub(r"%[sd]", CHANGING, text).replace("\n", " ") for text in texts)


@pytest.mark.parametrize("error", ERROR.findall((ROOT / "docs/faq.md").read_text()))
def test_errors_that_the_questions_answer_are_those_of_the_code(error: str) -> None:
    assert re.search(".*".join(map(re.escape, error.split(CHANGING))), literals()), error


def test_every_public_name_has_an_entry_in_the_reference() -> None:
    entries = re.findall(
        r"^\.\. [\w:]+:: terralatent\.(\w+)$", (SOURCE / "api.rst").read_text(), re.M
    )
    assert sorted(entries) == sorted(terralatent.__all__)


def test_every_page_is_in_the_table_of_contents() -> None:
    listed = set(re.findall(r"^/(\S+)$", (SOURCE / "contents.md").read_text(), re.M))
    pages = {f"docs/{path.stem}" for path in (ROOT / "docs").glob("*.md")}
    assert pages <= listed, f"{pages - listed}: add them to docs/site/contents.md"


class Requests(HTMLParser):
    """What a browser fetches to show a page, where its links lead, and its visible text."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.linked: list[str] = []
        self.names: set[str] = set()
        self.inline: list[str] = []
        self.text: list[str] = []
        self._inside = ""
        self.feed(page.read_text("utf-8"))

    def handle_starttag(self, tag: str, given: list[tuple[str, str | None]]) -> None:
        attrs = {name: value or "" for name, value in given}
        self._inside = tag
        self.names |= {attrs[name] for name in ("id", "name") if name in attrs}
        if tag == "a":
            self.linked += [attrs["href"]] if "href" in attrs else []
            return
        self.fetched += [
            attrs[name] for name in ("src", "data", "poster", "srcset") if name in attrs
        ]
        if tag == "link":
            self.fetched.append(attrs["href"])
        if tag == "meta" and attrs.get("http-equiv") == "refresh":
            self.fetched.append(attrs["content"].partition("url=")[2])
        self.inline.append(attrs.get("style", ""))

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        (self.inline if self._inside in ("script", "style") else self.text).append(data)


@cache
def read(page: Path) -> Requests:
    return Requests(page)


def is_local(url: str) -> bool:
    """Whether a URL stays within the site, or carries what it names in itself."""
    parts = urlsplit(url)
    return parts.scheme == "data" or not (parts.scheme or parts.netloc)


def styles() -> Iterator[tuple[Path, str]]:
    """URLs that style sheets fetch."""
    for path in SITE.rglob("*.css"):
        text = re.sub(r"/\*.*?\*/", "", path.read_text("utf-8"), flags=re.DOTALL)
        for url in re.findall(r"url\(\s*['\"]?(.*?)['\"]?\s*\)|@import\s+['\"](.*?)['\"]", text):
            yield path, "".join(url)


@pytest.mark.site
def test_the_site_is_built() -> None:
    assert len(PAGES) > len(list((ROOT / "docs").glob("*.md"))), "no site; run make docs"


@pytest.mark.site
def test_pages_fetch_nothing_from_other_hosts() -> None:
    outside = [
        f"{page.relative_to(SITE)}: {url}"
        for page in PAGES
        for url in read(page).fetched
        if not is_local(url)
    ]
    outside += [f"{path.relative_to(SITE)}: {url}" for path, url in styles() if not is_local(url)]
    outside += [
        f"{page.relative_to(SITE)}: {code.strip()[:80]}"
        for page in PAGES
        for code in read(page).inline
        if re.search(r"https?:|//\w+\.\w", code)
    ]
    assert not outside, "\n".join(outside)


@pytest.mark.site
def test_what_pages_fetch_and_link_to_is_in_the_site() -> None:
    missing = []
    for page in PAGES:
        for url in [*read(page).fetched, *read(page).linked]:
            path, anchor = urldefrag(url)
            if not is_local(url) or url.startswith("data:"):
                continue
            target = (page.parent / unquote(urlsplit(path).path)).resolve() if path else page
            there = target.is_file() and target.is_relative_to(SITE)
            if there and anchor and target.suffix == ".html":
                there = unquote(anchor) in read(target).names
            if not there:
                missing.append(f"{page.relative_to(SITE)}: {url}")
    assert not missing, "\n".join(missing)


@pytest.mark.site
def test_no_mark_up_is_left_in_the_text() -> None:
    left = re.compile(r"``|:(?:func|class|meth|attr|math|data|mod):|\$\$|\\(?:frac|sum|mathcal)\b")
    found = [
        f"{page.relative_to(SITE)}: {text.strip()[:80]}"
        for page in PAGES
        for text in read(page).text
        if left.search(text)
    ]
    assert not found, "\n".join(found)
