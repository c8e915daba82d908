"""The house's rules: which package may import what, and how."""

import ast
import importlib
import re
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from tests.waiting import WITHIN_S

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("catalogs", "models", "pipeline")
MODULES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
SOURCES = sorted(
    [*MODULES, *(path for top in ("benchmarks", "tests") for path in (ROOT / top).rglob("*.py"))]
)

# The arrows run one way: what each package may import of the others, and what it must not know.
ARROWS = {"catalogs": set(), "models": set(), "pipeline": {"catalogs", "models"}}
# So they do between the rooms of a package. Every room may import the modules that stand beside the
# rooms (the ground); of those of pipeline/ and catalogs/ none imports a room. In models/ the ground
# is both what all build on (observations, config) and what is built (gpvae, checkpoint).
ROOMS: dict[str, dict[str, set[str]]] = {
    "catalogs": {
        "documents": set(),
        "sources": {"documents"},
        "items": {"sources", "documents"},
        "scenes": {"items", "sources", "documents"},
        "simulation": set(),
    },
    "models": {
        "kernels": set(),
        "posteriors": {"kernels"},
        "sensor": set(),
        "start": {"kernels", "posteriors", "sensor"},
        "baselines": {"kernels", "posteriors", "sensor", "start"},
    },
    "pipeline": {
        "store": set(),
        "cube": {"store"},
        "cluster": {"store"},
        "tables": {"cube", "store"},
        "export": {"store"},
        "ingest": {"cluster", "cube", "store"},
        "training": {"tables", "cube", "store"},
        "mapping": {"tables", "cluster", "cube", "store"},
        "fields": {"mapping", "cube", "store"},
        "landcover": {"mapping", "cluster", "cube", "store"},
        "pictures": {"landcover", "mapping", "cube", "store"},
        "info": {"training", "cube", "store"},
        "cli": {"info", "pictures", "ingest", "landcover", "mapping", "training", "tables"}
        | {"export", "cube", "store"},
    },
}
GROUND_BELOW = ("catalogs", "pipeline")
STRANGERS = {
    "catalogs": {"torch", "gpytorch", "lightning", "dask", "distributed"},
    "models": {"xarray", "dask", "distributed", "zarr", "icechunk", "rasterio", "rioxarray", "odc"}
    | {"pystac", "pystac_client", "rustac", "geopandas", "pandas"},
    "pipeline": set(),
}
# What can be read at a glance, and words of no field; "look" is radar's, for one of its averages.
MOST_FILES, MOST_LINES = 16, 400
PRIVATE = re.compile(r"\b(told|tell|tells|telling|clear looks?|a look)\b|_told\b|\btold_")
DRAWERS = {"utils", "util", "helpers", "helper", "common", "base", "misc", "tools"}


def imports_of(path: Path) -> Iterator[tuple[int, str, int]]:
    """Yield (line, dotted name, level of a relative import) for each import of the file."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"), str(path))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name, 0
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                yield node.lineno, f"{node.module or ''}.{alias.name}", node.level


def lines_of(path: Path) -> list[str]:
    return path.read_text("utf-8").splitlines()


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_imports_run_in_the_allowed_directions(path: Path) -> None:
    package = path.relative_to(ROOT).parts[0]
    for line, name, level in imports_of(path):
        where = f"{name_of(path)}:{line} imports {name}"
        top, *rest = name.split(".")
        assert level == 0, f"{where} by a relative import; write terralatent.{package}.…"
        assert top not in PACKAGES, f"{where} by its bare name; write terralatent.{top}"
        assert top not in STRANGERS[package], f"{where}, which {package}/ must not know"
        if top == "terralatent":
            assert rest, f"{where}, which is an empty namespace"
            assert rest[0] in {package, *ARROWS[package]}, f"{where} against the arrows"


def room_of(module: str) -> str:
    """The room of a dotted name below ``terralatent.PACKAGE``; "" for the ground."""
    package, *rest = module.split(".")[1:]
    return rest[0] if rest and rest[0] in ROOMS[package] else ""


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_imports_between_rooms_run_one_way(path: Path) -> None:
    package, *rest = path.relative_to(ROOT).with_suffix("").parts
    room = rest[0] if len(rest) > 1 else ""
    if path.name == "__init__.py" and len(rest) == 1:
        return  # offers names of any room
    for line, name, _ in imports_of(path):
        if not name.startswith(f"terralatent.{package}."):
            continue
        to = room_of(name)
        allowed = ROOMS[package][room] | {room, ""} if room else {""}
        if not room and package not in GROUND_BELOW:
            continue
        assert to in allowed, f"{name_of(path)}:{line} imports {name}, which lies above it"


def imported_modules(path: Path) -> set[str]:
    """Dotted names of our modules that a file imports, inside functions and for types too.

    The ``__init__.py`` of a package counts with what it imports at once: what it offers lazily
    makes no circle.
    """
    tree = ast.parse(path.read_text("utf-8"), str(path))
    nodes = tree.body if path.name == "__init__.py" else ast.walk(tree)
    found = set()
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        for name in names:
            module = name if name in MODULES_BY_NAME else name.rpartition(".")[0]
            if module in MODULES_BY_NAME:
                found.add(module)
    return found


def dotted(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(["terralatent", *(part for part in parts if part != "__init__")])


MODULES_BY_NAME = {dotted(path): path for path in MODULES}


@pytest.mark.parametrize("package", PACKAGES)
def test_no_circles(package: str) -> None:
    graph = {
        name: imported_modules(path)
        for name, path in MODULES_BY_NAME.items()
        if name.split(".")[1] == package
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"modules import each other: {' -> '.join(error.args[1])}")


def test_every_room_is_drawn() -> None:
    for package in PACKAGES:
        rooms = {path.parent.name for path in (ROOT / package).glob("*/__init__.py")}
        assert rooms == set(ROOMS[package])


def test_no_folder_is_too_full_to_be_read_at_a_glance() -> None:
    folders: dict[Path, int] = {}
    for path in SOURCES:
        folders[path.parent] = folders.get(path.parent, 0) + (path.stem != "__init__")
    full = {name_of(folder): count for folder, count in folders.items() if count > MOST_FILES}
    assert not full, f"{full}: more than {MOST_FILES} files; which noun is missing?"


def test_no_module_holds_two_ideas() -> None:
    long = {name_of(path): lines for path in MODULES if (lines := len(lines_of(path))) > MOST_LINES}
    assert not long, f"{long}: more than {MOST_LINES} lines; is there a second idea in them?"


def test_words_are_those_of_the_field() -> None:
    """See the glossary in CONTRIBUTING.md; the two tests that look for such words are let be."""
    lookers = {Path(__file__), ROOT / "tests" / "test_documentation.py"}
    private = [
        f"{name_of(path)}:{number} says {word[0]!r}"
        for path in SOURCES
        if path not in lookers
        for number, line in enumerate(lines_of(path), 1)
        if (word := PRIVATE.search(line))
    ]
    assert not private, private


@pytest.mark.parametrize("path", sorted((ROOT / "tests").rglob("*.py")), ids=name_of)
def test_tests_import_the_installed_packages(path: Path) -> None:
    bare = [
        f"{line}: {name}" for line, name, _ in imports_of(path) if name.split(".")[0] in PACKAGES
    ]
    assert not bare, f"{name_of(path)} imports by bare names, lines {bare}"


def test_no_module_is_a_drawer() -> None:
    names = {path: path.parent.name if path.stem == "__init__" else path.stem for path in MODULES}
    drawers = [name_of(path) for path, name in names.items() if name in DRAWERS]
    assert not drawers, f"{drawers}: name a module by the noun it holds"


@pytest.mark.parametrize("package", PACKAGES)
def test_every_name_that_a_package_offers_is_there(package: str) -> None:
    module = importlib.import_module(f"terralatent.{package}")
    for name in module.__all__:
        offered = getattr(module, name)
        if not name.isupper():  # a constant does not tell its home
            assert offered.__module__.startswith(f"terralatent.{package}.")
        assert name in dir(module)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        module.nothing  # noqa: B018


def run_python(code: str) -> str:
    """Run ``code`` in a fresh interpreter, away from the repository, and return what it prints."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT.parent,
        capture_output=True,
        text=True,
        timeout=WITHIN_S,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_command_line_starts_without_the_heavy_libraries() -> None:
    heavy = "{'torch', 'lightning', 'xarray', 'zarr', 'dask', 'rasterio', 'matplotlib.pyplot'}"
    printed = run_python(
        f"import sys, terralatent.pipeline.cli.app\nprint(sorted({heavy} & set(sys.modules)))"
    )
    assert printed == "[]"
