"""Keys and signed URLs reach neither what is printed nor what is stored."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from terralatent.catalogs.scenes.scenes import Scenes
from terralatent.pipeline.cluster.tasks import one_line
from terralatent.pipeline.command import command_line
from terralatent.pipeline.store.repository import Store
from tests.commands.plans import WHERE
from tests.commands.processes import Ended, Launcher
from tests.servers.scripted import LOG_IN, Answer, Request, ScriptedServer, scripted

SECRET = "s3cr3tT0ken"
SIGNED = f"sv=2020&sig={SECRET}%2B&se=2030-01-01T00:00:00Z"
MAY = ("--start", "2018-05-01", "--end", "2018-05-31")

ECHO = json.dumps({"error": f"no https://host.org/v1?key={SECRET} for you", "token": SECRET})
"""What a server may answer that repeats the request."""

BROKEN = {
    "S2_A/B03.tif": Answer(ECHO.encode(), 403),
    "S2_A/B04.tif": Answer(LOG_IN + SECRET.encode(), headers={"content-type": "text/html"}),
    "S2_C/B03.tif": Answer(status=302, headers={"location": f"file:///tmp/{SECRET}.tif"}),
    "S2_C/B04.tif": Answer(status=302, headers={"location": f"/moved.tif?sig={SECRET}"}),
    "S1_3/vv.tif": Answer(ECHO.encode(), 404),
}


@pytest.fixture(scope="module")
def api(catalogue: Path) -> Iterator[ScriptedServer]:
    """An API with a key, whose items have signed hrefs, some of which lead to nothing."""

    def items() -> list[dict[str, Any]]:
        found = []
        for path in sorted(catalogue.glob("*/*/*.json")):
            item = json.loads(path.read_text())
            place = path.parent.relative_to(catalogue)
            for asset in item["assets"].values():
                name = Path(asset["href"]).name
                asset["href"] = f"{it.url}/files/{place}/{name}?{SIGNED}"
            item["links"] = [{"rel": "self", "href": f"{it.url}/items/{item['id']}?key={SECRET}"}]
            found.append(item)
        return found

    def answer(request: Request) -> Answer | None:
        if request.path.startswith("/files/"):
            for ending, broken in BROKEN.items():
                if request.path.endswith(ending):
                    return broken
            return Answer((catalogue / request.path.removeprefix("/files/")).read_bytes())
        if request.path.startswith("/broken"):
            return Answer(ECHO.encode(), 500 if request.path == "/broken" else 200)
        if request.path == "/search":
            page = items()
            half = page[4:] if "token" in request.url else page[:4]
            collection: dict[str, Any] = {
                "type": "FeatureCollection",
                "features": half,
                "links": [],
            }
            if half == page[:4]:
                href = f"{it.url}/search?token={SECRET}"
                collection["links"] = [{"rel": "next", "href": href, "method": "GET"}]
            return Answer(json.dumps(collection).encode())
        if request.path.startswith("/collections/"):
            collection = {
                "type": "Collection",
                "id": Path(request.path).name,
                "license": "x",
                "links": [],
            }
            extent = {"spatial": {"bbox": [[0, 0, 1, 1]]}, "temporal": {"interval": [[None, None]]}}
            collection |= {"stac_version": "1.0.0", "description": "d", "extent": extent}
            return Answer(json.dumps(collection).encode())
        if request.path != "/api":
            return None
        core = "https://api.stacspec.org/v1.0.0"
        links = [
            {
                "rel": rel,
                "href": f"{it.url}/{rel}?key={SECRET}" * (rel == "self") or f"{it.url}/{to}",
            }
            for rel, to in (("self", ""), ("search", "search"), ("data", "collections"))
        ]
        links[1]["type"] = "application/geo+json"
        landing = {"type": "Catalog", "id": "api", "stac_version": "1.0.0", "description": "d"}
        landing["conformsTo"] = [
            f"{core}/{name}" for name in ("core", "item-search", "collections")
        ]
        return Answer(json.dumps({**landing, "links": links}).encode())

    with scripted(answer) as it:
        yield it


def secretive(ended: Ended, code: int) -> str:
    """Check how a command ended, and that it showed no secret."""
    assert ended.code == code, ended.output
    assert SECRET not in ended.output
    return ended.output


def holds(place: Path) -> list[str]:
    """The files below a folder that hold the secret, by name or content."""
    files = [path for path in place.rglob("*") if path.is_file()]
    assert files
    return [str(p) for p in files if SECRET in str(p) or SECRET.encode() in p.read_bytes()]


def texts(group: zarr.Group) -> Iterator[str]:
    """All attributes and texts of a group and those below; chunks on disk are compressed."""
    yield json.dumps(group.attrs.asdict())
    for _, array in group.arrays():
        yield json.dumps(array.attrs.asdict())
        if array.dtype.kind in "TOU":
            yield from map(str, np.asarray(array[:]).ravel())
    for _, each in group.groups():
        yield from texts(each)


def test_no_command_tells_or_stores_a_secret(
    api: ScriptedServer, launcher: Launcher, tmp_path: Path
) -> None:
    url = f"{api.url.replace('//', f'//me:{SECRET}@')}/api?key={SECRET}"
    kept, cube, plain = tmp_path / "scenes.parquet", tmp_path / "cube", tmp_path / "cube.zarr"
    build = ("build", *WHERE, "--block", "64", "--out", cube)

    search = ("search", "--source", url, *MAY, *WHERE, "--out", kept, "--debug", "--log-json")
    secretive(launcher.run(*search), 0)
    output = secretive(launcher.run(*build, "--source", url, *MAY, "--debug"), 3)
    losses = [line for line in output.splitlines() if line.startswith("lost: ")]
    again = secretive(launcher.run(*build, "--scenes", kept, "--log-json"), 3)

    assert len(losses) == len(BROKEN) == again.count('"lost: ')
    for words in ("403", "404", "not recognized", "file", "HTTP"):
        assert any(words in line for line in losses), (words, losses)
    assert any(SIGNED in asset["href"] for item in Scenes.from_parquet(kept).items
               for asset in item["assets"].values()), "it is needed to read the files"  # fmt: skip
    for command in (("status", cube), ("status", cube, "--json"), ("export", cube, "--out", plain)):
        secretive(launcher.run(*command), 0)
    assert holds(cube) == holds(plain) == []
    assert not any(SECRET in text for text in texts(Store.of(cube).group()))
    assert not [path for path in tmp_path.iterdir() if path.is_file() and path != kept]


@pytest.mark.parametrize("path", ["broken", "broken/page", "nowhere", "items.parquet", "c.json"])
def test_no_error_tells_a_secret(
    api: ScriptedServer, launcher: Launcher, tmp_path: Path, path: str
) -> None:
    url = f"{api.url.replace('//', f'//me:{SECRET}@')}/{path}?key={SECRET}"
    command = ("search", *MAY, *WHERE, "--out", tmp_path / "x.parquet", "--debug", "--source")
    output = secretive(launcher.run(*command, url), 2)
    assert "Traceback" in output, "the output of --debug is what is checked"
    assert f"127.0.0.1:{api.url.rpartition(':')[2]}/{path}" in output


def test_the_command_that_goes_on_is_told_without_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"https://me:{SECRET}@host.org/v1?key={SECRET}"
    assert command_line(["build", "--source", url]) == (
        "terralatent build --source https://host.org/v1"
    )
    monkeypatch.setattr(sys, "argv", ["notebook.py"])
    monkeypatch.setattr(sys, "orig_argv", ["python", "notebook.py", url, "a b"])
    assert shlex.split(command_line()) == ["python", "notebook.py", "https://host.org/v1", "a b"]


def test_why_a_task_failed_is_told_without_secrets() -> None:
    error = ValueError(f"Could not sign https://host.org/a.tif?sig={SECRET}\x1b[2J")
    assert one_line(error) == "ValueError: Could not sign https://host.org/a.tif"
