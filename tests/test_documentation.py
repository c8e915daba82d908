"""The documentation is true: its commands parse, its links lead somewhere, its examples run."""

from __future__ import annotations

import ast
import importlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sysconfig
import time
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import geopandas
import pytest
import typer.main
import yaml
from shapely.geometry import box

from terralatent.catalogs.documents.serve import free_port
from terralatent.pipeline.cli.app import app

ROOT = Path(__file__).resolve().parents[1]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "CONTRIBUTING.md")
LANGUAGES = {"sh", "cron", "python", "toml", "yaml", "text"}
VERBS: Any = typer.main.get_command(app)
PROGRAM = Path(sysconfig.get_path("scripts"), "terralatent")

MOST_LINES = 120
"""Of the README."""

NOT_SAID = re.compile(r"\b(looks?|told)\b", re.IGNORECASE)
"""An observation is no look: in radar that is multilooking."""

FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SPAN = re.compile(r"`([^`\n]+)`")
WRITTEN = re.compile(r"Write `([\w-]+\.toml)`:\n\n```toml\n(.*?)^```$", re.MULTILINE | re.DOTALL)
"""A table that a reader is to write into a file."""

ALONE = {"changes.md", "landcover.md", "own-sensor.md", "publishing.md"}
"""Pages that begin in an empty folder: what they need they make."""

PLACEHOLDER = re.compile(r"\bVERB\b|benchmarks\.NAME")
LINK = re.compile(r"\]\(([^)\s]+)\)")


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    page: Path
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page.name}:{self.line}"


@dataclass(frozen=True)
class Command:
    """One command of a shell block."""

    words: tuple[str, ...]
    needs: str
    """What a test has not, by the comment ``# needs ...`` above it; empty where nothing."""
    background: bool = False
    ends: int = 0
    """Its exit code, by the comment ``# ends with 2: ...`` above it."""
    says: str = ""
    """What it then says on standard error, by the same comment."""


def blocks(*languages: str) -> list[Block]:
    """The blocks of all pages, of some languages where they are given."""
    return [
        Block(page, text[: fence.start()].count("\n") + 1, fence[1], fence[2])
        for page in PAGES
        for text in [page.read_text()]
        for fence in FENCE.finditer(text)
        if not languages or fence[1] in languages
    ]


def commands(block: Block) -> Iterator[Command]:
    """The commands of a block, without what a shell does with their output."""
    needs, ends, says = "", 0, ""
    for line in block.text.replace("\\\n", " ").splitlines():
        if line.startswith("#"):
            needs = line[2:] if line.startswith("# needs ") else ""
            if failing := re.match(r"# ends with (\d): (.*)", line):
                ends, says = int(failing[1]), failing[2]
            continue
        line = re.sub(r"\$\([^)]*\)", "2024-12-31", line)
        for part in line.split("&&"):
            words = shlex.split(part.partition("2>>")[0], comments=True)
            while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
                words.pop(0)
            if words:
                background = words[-1] == "&"
                own = tuple(words[: len(words) - background])
                yield Command(own, needs, background, ends, says)
                ends, says = 0, ""


def is_ours(words: tuple[str, ...]) -> bool:
    return Path(words[0]).name == "terralatent"


def names(*parts: Any) -> set[str]:
    """All that the options of a verb, or of several, are called; of one of verbs, theirs too."""
    below = [own for part in parts if part is not VERBS for own in commands_of(part).values()]
    options = [option for part in (*parts, *below) for option in part.params]
    return {name for own in options for name in (*own.opts, *own.secondary_opts)} | {"--help"}


def commands_of(verb: Any) -> dict[str, Any]:
    """The verbs below a verb, as ``plan`` below ``fleet``."""
    return dict(getattr(verb, "commands", {}))


def parse(words: tuple[str, ...]) -> None:
    """Parse a command line as the program does, and run nothing."""
    rest = list(words[1:])
    while rest and rest[0].startswith("-"):
        assert rest.pop(0) in names(VERBS)
    verb = VERBS.commands[rest[0]]
    if below := commands_of(verb):
        rest = rest[1:]
        verb = below[rest[0]]
    verb.make_context(rest[0], rest[1:])


def check_benchmark(words: tuple[str, ...]) -> None:
    """``python -m benchmarks.NAME ...``: the program is there, and has these options."""
    path = ROOT.joinpath(*words[2].split("."))
    program = path / "__main__.py" if path.is_dir() else path.with_suffix(".py")
    assert program.is_file(), f"no program {words[2]}"
    source = program.read_text()
    meant = [word for word in words[3:] if word.startswith("--")]
    meant += words[words.index("--only") + 1 :] if "--only" in words else []
    missing = [word for word in meant if f'"{word}"' not in source]
    assert not missing, f"{words[2]} has no {missing}"


def check_other(words: tuple[str, ...]) -> None:
    """A command that is not ours: what it names of ours must be there."""
    if words[0] == "make":
        targets = (ROOT / "Makefile").read_text()
        for target in (word for word in words[1:] if "=" not in word):
            assert re.search(rf"^{target}:", targets, re.MULTILINE), f"no make {target}"
    elif words[:2] == ("python", "-m") and words[2].startswith("benchmarks"):
        check_benchmark(words)
    elif words[:3] == ("python", "-m", "pytest"):
        for path in (word for word in words[3:] if not word.startswith("-")):
            assert (ROOT / path).exists(), f"no {path}"
    elif words[:2] == ("pip", "install"):
        extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
        for extra in re.findall(r"terralatent\[(\w+)\]", words[2]):
            assert extra in extras["optional-dependencies"]


@pytest.mark.parametrize("block", blocks(), ids=str)
def test_each_block_names_its_language(block: Block) -> None:
    assert block.language in LANGUAGES


@pytest.mark.parametrize("block", blocks("sh", "cron"), ids=str)
def test_commands_parse(block: Block, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TERRALATENT_SOURCES", raising=False)
    for command in commands(block):
        if is_ours(command.words):
            parse(command.words)
        else:
            check_other(command.words)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_and_options_in_sentences_exist(page: Path) -> None:
    for span in SPAN.findall(FENCE.sub("", page.read_text())):
        words = tuple(word.split("=")[0] for word in span.split())
        if not words or PLACEHOLDER.search(span):
            continue
        verb = words[1] if is_ours(words) and len(words) > 1 else words[0]
        options = {word for word in words if re.match(r"--?[a-z]", word)}
        if verb in VERBS.commands:
            known = names(VERBS.commands[verb])
            assert options <= known, f"`{span}`: {verb} has no {options - known}"
        elif words[0].startswith("--"):
            known = names(VERBS, *VERBS.commands.values())
            assert options <= known, f"`{span}`: no verb has {options - known}"
        elif words[0] in ("make", "pip", "python"):
            check_other(tuple(shlex.split(span)))


@pytest.mark.parametrize("block", blocks("python"), ids=str)
def test_examples_import_what_is_there(block: Block) -> None:
    for node in ast.walk(ast.parse(block.text, str(block))):
        if isinstance(node, ast.ImportFrom):
            module = importlib.import_module(str(node.module))
            for alias in node.names:
                assert hasattr(module, alias.name), f"{node.module} has no {alias.name}"


@pytest.mark.parametrize("block", blocks("toml"), ids=str)
def test_tables_are_good_descriptions(
    block: Block, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "none"))
    own = tmp_path / "own.toml"
    own.write_text(block.text)
    app(args=["sources", "--sources", str(own), "--json"], standalone_mode=False)
    listing = json.loads(capsys.readouterr().out)
    for kind, tables in tomllib.loads(block.text).items():
        listed = {entry["name"] for entry in listing[kind] if entry["described_in"] == str(own)}
        assert listed == set(tables)


@pytest.mark.parametrize("block", blocks("yaml"), ids=str)
def test_configuration_is_of_dask(block: Block) -> None:
    assert set(yaml.safe_load(block.text)) <= {"jobqueue", "kubernetes", "gateway", "distributed"}


def anchors(page: Path) -> set[str]:
    """What the headings of a page are called in links."""
    headings = re.findall(r"^#+ (.*)$", FENCE.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for link in LINK.findall(FENCE.sub("", page.read_text())):
        if link.startswith(("http://", "https://")):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{page.name}: {link}"
        assert not anchor or anchor in anchors(target), f"{page.name}: {link}"


def test_every_page_is_linked_from_the_readme() -> None:
    linked = {(ROOT / link).resolve() for link in LINK.findall(PAGES[0].read_text())}
    assert set(PAGES[1:]) <= linked


def test_the_readme_is_short() -> None:
    assert len(PAGES[0].read_text().splitlines()) <= MOST_LINES


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_words_of_the_field_are_used(page: Path) -> None:
    assert not NOT_SAID.findall(page.read_text())


def test_the_map_has_every_room() -> None:
    drawn = re.findall(r"^\| `(\w+)/` \|", (ROOT / "docs/design.md").read_text(), re.MULTILINE)
    rooms = [
        room.parent.name
        for package in ("catalogs", "models", "pipeline")
        for room in (ROOT / package).glob("*/__init__.py")
    ]
    assert sorted(drawn) == sorted(rooms)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_in_sentences_are_there(page: Path) -> None:
    """By the end of their path: ``mapping/embed.py`` is that of ``pipeline/``."""
    tops = ("catalogs", "models", "pipeline", "tests", "benchmarks")
    there = [path.as_posix() for top in tops for path in (ROOT / top).rglob("*.py")]
    for name in SPAN.findall(FENCE.sub("", page.read_text())):
        if re.fullmatch(r"[\w/]+\.py", name):
            assert any(path.endswith(f"/{name}") for path in there), f"no {name}"


@pytest.mark.parametrize("page", ["docs/design.md", "CONTRIBUTING.md"])
def test_functions_and_classes_in_sentences_are_there(page: str) -> None:
    tops = ("catalogs", "models", "pipeline", "tests/made")
    source = "\n".join(path.read_text() for top in tops for path in (ROOT / top).rglob("*.py"))
    there = set(re.findall(r"^\s*(?:def|class) (\w+)|^\s*(\w+) *[:=]", source, re.MULTILINE))
    known = {name for pair in there for name in pair}
    for name in SPAN.findall(FENCE.sub("", (ROOT / page).read_text())):
        if re.fullmatch(r"(?!.*\.md)[A-Z]\w+(\.\w+)?|[a-z]+_\w+", name):
            assert set(name.split(".")) <= known, f"no {name}"


# All commands and examples, run in the order of the pages on a small simulated region.

CHANGED = {
    "--size 64": "--size 32",
    'search_scenes("planetary-computer"': 'search_scenes("SCENES"',
    '"2024-01-01", "2024-12-31"': '"2018-01-01", "2018-12-31"',
    'Client("tcp://scheduler:8786")': "Client(processes=False, dashboard_address=None)",
}
"""What a reader has, or waits for, and a test does not."""


def run(words: tuple[str, ...], folder: Path, ends: int = 0, says: str = "") -> str:
    """Run a command to its end; a training of default length takes few steps.

    Its exit code must be ``ends``, and ``says`` a part of what it says on standard error.
    """
    if is_ours(words) and words[1] == "train" and "--steps" not in words:
        words = (*words, "--steps", "8")
    called = [str(PROGRAM), *words[1:]] if is_ours(words) else list(words)
    done = subprocess.run(called, cwd=folder, capture_output=True, text=True, timeout=900)
    assert done.returncode == ends, f"{shlex.join(words)}: {done.stderr}"
    assert says in done.stderr, f"{shlex.join(words)}: {done.stderr}"
    return done.stdout


def write_tables(page: Path, folder: Path) -> None:
    """Write the files of TOML that a page has its reader write."""
    for name, table in WRITTEN.findall(page.read_text()):
        (folder / name).write_text(table)


def run_block(block: Block, text: str, folder: Path, names: dict[str, object]) -> None:
    """Run a block of a page with ``text`` in place of its own; ``names`` are those of its page."""
    if block.language == "sh":
        run_shell(Block(block.page, block.line, "sh", text), folder)
    else:
        exec(compile(text, str(block), "exec"), names)


def await_api(url: str) -> None:
    for _ in range(600):
        try:
            urlopen(f"{url}/collections", timeout=1.0).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise AssertionError(f"{url} does not answer")


def run_shell(block: Block, folder: Path) -> None:
    """Run those commands of a block that are ours or copy a store."""
    served: list[subprocess.Popen[bytes]] = []
    try:
        for command in commands(block):
            words = command.words
            if command.needs or not (is_ours(words) or words[0] in ("mkdir", "cp")):
                continue
            if command.background:
                served.append(subprocess.Popen([str(PROGRAM), *words[1:]], cwd=folder))
                await_api(f"http://127.0.0.1:{words[words.index('--port') + 1]}")
            else:
                run(words, folder, command.ends, command.says)
    finally:
        for process in served:
            process.terminate()
            process.wait(30)


def in_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Go on as a user whose working directory is ``folder``, without tables of their own."""
    monkeypatch.chdir(folder)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(folder / "config"))
    monkeypatch.setenv("OMP_NUM_THREADS", os.environ.get("OMP_NUM_THREADS", "1"))


@pytest.mark.soak
@pytest.mark.parametrize("name", sorted(ALONE))
def test_a_page_that_begins_in_an_empty_folder_runs_there(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_folder(tmp_path, monkeypatch)
    write_tables(ROOT / "docs" / name, tmp_path)
    names: dict[str, object] = {"__name__": "__main__"}
    for block in blocks("sh", "python"):
        if block.page.name == name:
            run_block(block, block.text, tmp_path, names)


@pytest.mark.soak
def test_the_documentation_runs_from_first_to_last_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_folder(tmp_path, monkeypatch)
    run(("terralatent", "simulate", "--out", "SCENES", "--size", "32"), tmp_path)
    shutil.copy("SCENES/region.geojson", "field.geojson")
    region = geopandas.read_file("field.geojson")
    west, south, east, north = region.total_bounds
    halves = [
        box(west, south, (west + east) / 2, north),
        box((west + east) / 2, south, east, north),
    ]
    geopandas.GeoDataFrame(geometry=halves, crs=region.crs).to_file("fields.geojson")
    pages = [page for page in PAGES if page.name not in ALONE]
    for page in pages:
        write_tables(page, tmp_path)

    unused, port = set(CHANGED), str(free_port())
    names: dict[Path, dict[str, object]] = {page: {"__name__": "__main__"} for page in pages}
    for block in (block for block in blocks("sh", "python") if block.page in pages):
        text = block.text.replace("7822", port)
        for before, after in CHANGED.items():
            if before in text:
                unused.discard(before)
                text = text.replace(before, after)
        if "STATE" in text:
            listed = run(("terralatent", "status", "cube", "--history", "--json"), tmp_path)
            text = text.replace("STATE", json.loads(listed)["snapshots"][0]["id"])
        run_block(block, text, tmp_path, names[block.page])
    assert not unused, "these texts are not in the documentation any more"
