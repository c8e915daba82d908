"""The house's rules: which package may import what, and how."""

import ast
import importlib
import re
import subprocess
import sys
from functools import cache
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
        "publication": {"sources"},
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
        "overviews": {"cluster", "cube", "store"},
        "pixels": {"tables", "cube", "store"},
        "mapping": {"pixels", "tables", "overviews", "cluster", "cube", "store"},
        "embeddings": {"overviews", "mapping", "pixels", "cluster", "cube", "store"},
        "changes": {"overviews", "mapping", "pixels", "cluster", "cube", "store"},
        "fields": {"pixels", "tables", "mapping", "cluster", "cube", "store"},
        "probes": {"cluster", "cube", "store"},
        "landcover": {"probes", "export", "embeddings", "mapping", "cluster", "cube", "store"},
        "pictures": {"probes", "landcover", "embeddings", "changes", "mapping", "overviews"}
        | {"cube", "store"},
        "info": {"training", "cube", "store"},
        "model": {"info", "embeddings", "mapping", "pixels", "tables", "cube"},
        "publication": {"export", "cube", "store"},
        "fleet": {
            "publication",
            "pictures",
            "ingest",
            "landcover",
            "probes",
            "embeddings",
            "mapping",
        }
        | {"cluster", "cube", "store"},
        "explorer": {
            "pictures",
            "model",
            "landcover",
            "probes",
            "embeddings",
            "mapping",
            "overviews",
        }
        | {"cube", "store"},
        "accessor": {
            "explorer",
            "pictures",
            "training",
            "probes",
            "landcover",
            "embeddings",
            "mapping",
            "overviews",
        }
        | {"cube", "store"},
        "cli": {
            "cluster",
            "fleet",
            "explorer",
            "info",
            "pictures",
            "publication",
            "ingest",
            "landcover",
            "probes",
            "embeddings",
            "mapping",
        }
        | {"fields", "changes", "overviews", "training", "tables", "export", "cube", "store"},
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


@cache
def tree_of(path: Path) -> ast.Module:
    """The file, parsed once for all that ask."""
    return ast.parse(path.read_text("utf-8"), str(path))


@cache
def imports_of(path: Path) -> tuple[tuple[int, str, int], ...]:
    """(line, dotted name, level of a relative import) of each import of the file."""
    found: list[tuple[int, str, int]] = []
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name, 0) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            found += [(node.lineno, f"{module}.{alias.name}", node.level) for alias in node.names]
    return tuple(found)


def lines_of(path: Path) -> list[str]:
    return path.read_text("utf-8").splitlines()


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


# One test for all files: a test for each costs far more than what it checks.
def test_imports_run_in_the_allowed_directions() -> None:
    wrong = [
        f"{name_of(path)}:{line} imports {name}{why}"
        for path in MODULES
        for line, name, level in imports_of(path)
        if (why := against_the_rules(path.relative_to(ROOT).parts[0], name, level))
    ]
    assert not wrong, "\n".join(wrong)


def against_the_rules(package: str, name: str, level: int) -> str:
    """What is wrong with an import in a package; "" where nothing is."""
    top, *rest = name.split(".")
    if level:
        return f" by a relative import; write terralatent.{package}.…"
    if top in PACKAGES:
        return f" by its bare name; write terralatent.{top}"
    if top in STRANGERS[package]:
        return f", which {package}/ must not know"
    if top == "terralatent":
        if not rest:
            return ", which is an empty namespace"
        if rest[0] not in {package, *ARROWS[package]}:
            return " against the arrows"
    return ""


def room_of(module: str) -> str:
    """The room of a dotted name below ``terralatent.PACKAGE``; "" for the ground."""
    package, *rest = module.split(".")[1:]
    return rest[0] if rest and rest[0] in ROOMS[package] else ""


def test_imports_between_rooms_run_one_way() -> None:
    wrong = []
    for path in MODULES:
        package, *rest = path.relative_to(ROOT).with_suffix("").parts
        room = rest[0] if len(rest) > 1 else ""
        if path.name == "__init__.py" and len(rest) == 1:
            continue  # offers names of any room
        if not room and package not in GROUND_BELOW:
            continue
        allowed = ROOMS[package][room] | {room, ""} if room else {""}
        wrong += [
            f"{name_of(path)}:{line} imports {name}, which lies above it"
            for line, name, _ in imports_of(path)
            if name.startswith(f"terralatent.{package}.") and room_of(name) not in allowed
        ]
    assert not wrong, "\n".join(wrong)


def imported_modules(path: Path) -> set[str]:
    """Dotted names of our modules that a file imports, inside functions and for types too.

    The ``__init__.py`` of a package counts with what it imports at once: what it offers lazily
    makes no circle.
    """
    tree = tree_of(path)
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


def test_tests_import_the_installed_packages() -> None:
    bare = [
        f"{name_of(path)}:{line} imports {name} by its bare name"
        for path in sorted((ROOT / "tests").rglob("*.py"))
        for line, name, _ in imports_of(path)
        if name.split(".")[0] in PACKAGES
    ]
    assert not bare, "\n".join(bare)


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


def test_results_are_opened_without_torch() -> None:
    code = "import sys, terralatent.pipeline.mapping.opened\nprint('torch' in sys.modules)"
    assert run_python(code) == "False"
