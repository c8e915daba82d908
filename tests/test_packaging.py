"""The wheel holds the three packages whole, and the three lists of dependencies agree."""

import ast
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path, PurePosixPath

import numpy as np
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from terralatent.models.shipped import DEFAULT
from terralatent.pipeline.mapping.opened import open_latents
from tests.made.tiny import tiny_cube
from tests.waiting import WITHIN_S

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("catalogs", "models", "pipeline")

# What conda-forge calls otherwise, or splits up otherwise.
CONDA_NAMES = {"torch": "pytorch"}
# What torch brings for one kind of device is left to each machine.
EXTRAS = ("docs", "notebook", "view", "browser")
"""Whose further needs requirements-extra.lock pins."""
LOCKS = ("requirements.lock", "requirements-extra.lock")
DEVICE_BUILDS = re.compile(r"nvidia-|cuda-|triton")


def declared() -> dict[str, Requirement]:
    """The requirements of pyproject.toml, to run, to develop and of extras, by normalised name."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    optional = project["optional-dependencies"]
    lines = [*project["dependencies"], *(line for e in ("dev", *EXTRAS) for line in optional[e])]
    return {canonicalize_name(Requirement(line).name): Requirement(line) for line in lines}


def pins_of(lock: str) -> dict[str, Version]:
    """The pins of one lock by normalised name."""
    pins = {}
    for line in (ROOT / lock).read_text().splitlines():
        if line.strip() and not line.lstrip().startswith("#"):
            name, _, version = line.partition("==")
            pins[canonicalize_name(name)] = Version(version)
    return pins


def locked() -> dict[str, Version]:
    """The pins of both locks."""
    return {name: version for lock in LOCKS for name, version in pins_of(lock).items()}


def test_environment_repeats_the_ranges_of_pyproject() -> None:
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    by_pip = [line for entry in environment if isinstance(entry, dict) for line in entry["pip"]]
    by_conda = [entry for entry in environment if isinstance(entry, str)]
    found = {entry.name: entry.specifier for entry in map(Requirement, by_conda + by_pip)}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

    wanted = {CONDA_NAMES.get(name, name): entry.specifier for name, entry in declared().items()}
    wanted["python"] = Requirement(f"python{project['requires-python']}").specifier
    wanted["pip"] = Requirement("pip").specifier
    assert {name: str(found[name]) for name in found} == {n: str(wanted[n]) for n in wanted}


def test_binder_installs_the_project_as_a_conda_user_does() -> None:
    script = ROOT / "postBuild"
    assert os.access(script, os.X_OK)
    install = script.read_text().splitlines()[-1]
    assert f"#   {install}\n" in (ROOT / "environment.yml").read_text()


@pytest.mark.parametrize("name", sorted(declared()))
def test_lock_pins_each_requirement_within_its_range(name: str) -> None:
    pins = locked()
    assert name in pins, f"the locks have no {name}: run make lock"
    assert pins[name] in declared()[name].specifier, f"{name} {pins[name]} is out of range"


def test_the_locks_share_no_pin() -> None:
    assert not pins_of(LOCKS[0]).keys() & pins_of(LOCKS[1]).keys()


@pytest.mark.parametrize("lock", LOCKS)
def test_lock_holds_pins_and_nothing_else(lock: str) -> None:
    pin = re.compile(r"[a-z0-9][a-z0-9-]*==[0-9][0-9a-z.]*")
    lines = (ROOT / lock).read_text().splitlines()
    entries = [line for line in lines if line.strip() and not line.lstrip().startswith("#")]
    odd = [line for line in entries if not pin.fullmatch(line)]
    assert not odd, f"{odd}: wanted name==version, with no local version, option, file or host"
    hosts = [line for line in lines if re.search(r"://|@ |^-", line)]
    assert not hosts, f"{hosts}: the lock must hold on any machine"
    devices = [name for name in pins_of(lock) if DEVICE_BUILDS.match(name)]
    assert not devices, f"{devices} are for one kind of device only"


def test_lock_pins_torch_exactly() -> None:
    assert locked()["torch"] == Version("2.13.0")


def test_lock_is_closed() -> None:
    """All that a locked package needs on this machine is locked too, within its range."""
    pins, wrong = locked(), []
    extras: dict[str, set[str]] = {}
    waiting = list(declared().values())
    while waiting:
        entry = waiting.pop()
        name = canonicalize_name(entry.name)
        if DEVICE_BUILDS.match(name):
            continue
        if name not in pins or pins[name] not in entry.specifier:
            wrong.append(f"{entry} against {pins.get(name, 'no pin')}")
            continue
        asked = {"", *entry.extras} - extras.setdefault(name, set())
        extras[name] |= asked
        try:
            needs = [Requirement(line) for line in requires(entry.name) or ()] if asked else []
        except PackageNotFoundError:
            continue  # a tool of `dev` that is not installed here
        for need in needs:
            if need.marker is None or any(need.marker.evaluate({"extra": e}) for e in asked):
                waiting.append(need)
    assert not wrong, wrong


def homes_of_imports(path: Path, providers: Mapping[str, list[str]]) -> dict[str, set[str]]:
    """For each library that a module imports: the distributions that provide it."""
    found = {}
    for node in ast.walk(ast.parse(path.read_text("utf-8"), str(path))):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
        for name in names:
            top, *rest = name.split(".")
            if top == "odc":  # a namespace that odc-geo, odc-loader and odc-stac share
                found[name] = {f"odc-{rest[0]}"}
            elif top == "triton":  # which torch brings where it is built for CUDA
                found[name] = {"torch"}
            elif top not in {*sys.stdlib_module_names, "terralatent"}:
                found[name] = set(map(canonicalize_name, providers.get(top, [top])))
    return found


def test_every_library_that_is_imported_is_declared() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    runtime = {canonicalize_name(Requirement(line).name) for line in project["dependencies"]}
    viewing = project["optional-dependencies"]["view"]
    of_rooms = {"explorer": {canonicalize_name(Requirement(line).name) for line in viewing}}
    providers = packages_distributions()
    undeclared = [
        f"{path.relative_to(ROOT).as_posix()}: {name}"
        for package in PACKAGES
        for path in sorted((ROOT / package).rglob("*.py"))
        for name, homes in homes_of_imports(path, providers).items()
        if not homes & (runtime | of_rooms.get(path.parent.name, set()))
    ]
    assert not undeclared, f"{undeclared}: name them in pyproject.toml"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy so that no build/ of the repository's gets into it."""
    source = tmp_path_factory.mktemp("source")
    for package in (*PACKAGES, "terralatent"):
        shutil.copytree(
            ROOT / package, source / package, ignore=shutil.ignore_patterns("__pycache__")
        )
    for name in ("pyproject.toml", "setup.py", "LICENSE", "README.md"):
        if (ROOT / name).exists():
            shutil.copy(ROOT / name, source / name)
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation"]
    command += ["--no-index", "--quiet", "--wheel-dir", str(source / "dist"), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=WITHIN_S)
    assert done.returncode == 0, done.stderr
    (built,) = (source / "dist").glob("*.whl")
    return built


def test_wheel_holds_every_module(wheel: Path) -> None:
    held = set(zipfile.ZipFile(wheel).namelist())
    wanted = {
        f"terralatent/{path.relative_to(ROOT).as_posix()}"
        for package in PACKAGES
        for path in [
            *(ROOT / package).rglob("*.py"),
            *(ROOT / package).rglob("*.toml"),
            *(ROOT / package).glob("weights/*/*"),
            ROOT / package / "py.typed",
        ]
    }
    assert {
        "terralatent/catalogs/sources/sensors.toml",
        "terralatent/catalogs/sources/sources.toml",
    } <= wanted
    missing = sorted(wanted - held)
    assert not missing, f"{missing} are not in the wheel; has each folder an __init__.py?"


def test_wheel_installs_nothing_but_terralatent(wheel: Path) -> None:
    paths = [PurePosixPath(name) for name in zipfile.ZipFile(wheel).namelist()]
    tops = {path.parts[0] for path in paths if not path.parts[0].endswith(".dist-info")}
    assert tops == {"terralatent"}
    inner = {path.parts[1] for path in paths if path.parts[0] == "terralatent"}
    assert inner == {*PACKAGES, "__init__.py", "py.typed"}


def test_wheel_lays_the_command(wheel: Path) -> None:
    archive = zipfile.ZipFile(wheel)
    (entry_points,) = (name for name in archive.namelist() if name.endswith("entry_points.txt"))
    assert "terralatent = terralatent.pipeline.cli:main" in archive.read(entry_points).decode()


def test_an_installed_wheel_maps_a_cube_with_the_model_that_it_brings(
    wheel: Path, tmp_path: Path
) -> None:
    """In an environment of its own, which borrows only what terralatent depends on."""
    environment = tmp_path / "environment"
    venv.create(environment, with_pip=False)
    (site,) = environment.glob("lib/python3*/site-packages")
    zipfile.ZipFile(wheel).extractall(site)
    # A plain path: files in it that bring an editable install are not read from there.
    (site / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    cube = tiny_cube(tmp_path / "cube", side=8, block=8)
    command = [
        str(environment / "bin/python"), "-c",
        "from terralatent.pipeline.cli import main; main()",
        "embed", str(cube), "--out", str(tmp_path / "latents"), "--workers", "1",
    ]  # fmt: skip
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=WITHIN_S, cwd=tmp_path, check=False,
        env={**os.environ, "PYTHONPATH": ""},  # which tests set, and where a part of it lies
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    latents = open_latents(tmp_path / "latents")
    assert latents.attrs["model_name"] == DEFAULT
    # Its last column was never observed.
    assert np.isfinite(latents["mean"].values[..., :-1]).all()


PROJECT = """
import xarray as xr
import terralatent as tl

latents: xr.Dataset = tl.embed("cube", dates="monthly")
reveal_type(tl.embed("cube", None, "latents"))
reveal_type(tl.open_cube("cube"))
reveal_type(tl.load_model("model").decode(latents, "sentinel-2-l2a"))
tl.embed("cube", dats="monthly")
"""
"""A user's own, with a mistake in its last line."""


@pytest.mark.soak
def test_a_users_project_sees_the_types_of_a_wheel(wheel: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    zipfile.ZipFile(wheel).extractall(site)
    (tmp_path / "project.py").write_text(PROJECT)
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--follow-imports", "silent", "--ignore-missing-imports",
         "--cache-dir", str(tmp_path / "cache"), "project.py"],
        cwd=tmp_path, env={"MYPYPATH": str(site), "PATH": ""}, capture_output=True, text=True,
        timeout=4 * WITHIN_S, check=False,
    )  # fmt: skip
    said = done.stdout
    revealed = [line.partition("Revealed type is ")[2] for line in said.splitlines()]
    report, tree, bands = (text for text in revealed if text)
    assert "ResultReport" in report, said
    assert tree.endswith('DataTree"'), said
    assert bands.endswith('Dataset"'), said
    wrong = [line for line in said.splitlines() if "error: " in line]
    last = len(PROJECT.splitlines())
    assert wrong, said
    assert all(line.startswith(f"project.py:{last}:") for line in wrong), said
