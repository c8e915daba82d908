"""What several test files share."""

import functools
import gc
import logging
import os
import signal
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import typer
from distributed import Client, LocalCluster

from terralatent.catalogs.scenes.scenes import Scenes
from terralatent.catalogs.scenes.search import search_scenes
from terralatent.pipeline.ingest.build import build_cube
from tests.commands.plans import FilledStore, Plan, plan_build, plan_embed
from tests.commands.processes import Launcher, launching
from tests.commands.trainings import Training
from tests.made.catalogue import region, write_catalogue
from tests.made.opened import Stores, make_stores
from tests.made.tiny import tiny_cube

# Commands that run in this process build the same command line: half the time of one that is wrong.
typer.main.get_command = functools.cache(typer.main.get_command)

# What is imported stays until the end: to search it for garbage, again and again, took a fifth of
# the time in which the tests are collected.
gc.disable()


def pytest_collection_finish() -> None:
    """Let garbage be collected from now on, among what the tests make alone."""
    gc.freeze()
    gc.enable()


# What runs in the background is often started deaf to Ctrl-C, and every process would inherit that:
# the tests send Ctrl-C, and hear it, however they were started themselves.
if (
    signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    and threading.current_thread() is threading.main_thread()
):
    signal.signal(signal.SIGINT, signal.default_int_handler)

# A command that runs in this process lets its children find nothing in the current folder, where
# servers of tests and benchmarks would look for their own modules.
ROOT = Path(__file__).resolve().parents[1]
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))

# Names of hosts that exist nowhere: where no name server answers, none is waited for long.
os.environ.setdefault("RES_OPTIONS", "timeout:1 attempts:1")

# What searches of the tests note of their files goes with them.
_STATE = tempfile.TemporaryDirectory(prefix="terralatent-tests-")
os.environ["XDG_STATE_HOME"] = _STATE.name

SCENES = ROOT.parent / "shared" / "scenes"


@pytest.fixture(autouse=True)
def levels_of_logs() -> Iterator[None]:
    """What a command that ran in this process keeps silent is heard again by the next test."""
    loggers = [logging.getLogger(name) for name in ("", "terralatent")]
    before = [(logger, logger.level) for logger in loggers]
    yield
    for logger, level in before:
        logger.setLevel(level)


@pytest.fixture(scope="session")
def scenes() -> Path:
    """The folder of real scenes beside the repository; the test is skipped where it is absent."""
    if not (SCENES / "catalog.json").is_file():
        pytest.skip(f"the real scenes are not there: no {SCENES / 'catalog.json'}")
    return SCENES


@pytest.fixture(scope="session")
def workers() -> Iterator[Client]:
    """Two workers in threads of this process: they start at once, and see what tests patch."""
    with (
        LocalCluster(
            n_workers=2, threads_per_worker=1, processes=False, dashboard_address=None
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client


@pytest.fixture(scope="session")
def catalogue(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny made-up catalogue of ``tests.made.catalogue``; not to be changed."""
    return write_catalogue(tmp_path_factory.mktemp("catalogue"))


@pytest.fixture(scope="session")
def made_up(catalogue: Path) -> Scenes:
    """What a search of the tiny catalogue finds."""
    return search_scenes(catalogue, region(), "2018-05-01", "2018-05-31")


@pytest.fixture(scope="session")
def cube(made_up: Scenes, workers: Client, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The cube of the tiny catalogue in blocks of 16 pixels; not to be changed."""
    path = tmp_path_factory.mktemp("cube") / "cube"
    build_cube(made_up, region(), path, block=16, client=workers)
    return path


@pytest.fixture(scope="session")
def stores(workers: Client, tmp_path_factory: pytest.TempPathFactory) -> Stores:
    """Cube, model, latents, bands, annual vectors and classes; not to be changed."""
    return make_stores(tmp_path_factory.mktemp("opened"), workers)


# Real processes of the command line, and what they are to do.


@pytest.fixture(scope="session")
def launcher() -> Iterator[Launcher]:
    """Starts commands with a tiny plan; see ``tests.commands.launcher``."""
    with launching() as started:
        yield started


@pytest.fixture(scope="session")
def build_plan(made_up: Scenes, workers: Client, tmp_path_factory: pytest.TempPathFactory) -> Plan:
    """The build of both sensors of the tiny catalogue, four units each."""
    return plan_build(made_up, workers, tmp_path_factory.mktemp("build"), block=32)


@pytest.fixture(scope="session")
def radar(catalogue: Path) -> Scenes:
    """What a search of the tiny catalogue finds of one sensor."""
    return search_scenes(catalogue, region(), "2018-05-01", "2018-05-31", ["sentinel-1-asc"])


@pytest.fixture(scope="session")
def radar_plan(radar: Scenes, workers: Client, tmp_path_factory: pytest.TempPathFactory) -> Plan:
    """The build of one sensor in nine units, for what is the same with two."""
    return plan_build(radar, workers, tmp_path_factory.mktemp("radar"), block=16)


@pytest.fixture(scope="session")
def embed_plan(cube: Path, workers: Client, tmp_path_factory: pytest.TempPathFactory) -> Plan:
    """The embedding of the cube of the tiny catalogue."""
    return plan_embed(cube, workers, tmp_path_factory.mktemp("embed"))


@pytest.fixture
def filling(launcher: Launcher, tmp_path: Path) -> Callable[[Plan], FilledStore]:
    """Gives the store that a plan fills."""
    return lambda plan: FilledStore(plan, launcher, tmp_path)


@pytest.fixture(scope="session")
def trained(launcher: Launcher, tmp_path_factory: pytest.TempPathFactory) -> Training:
    """A training to which nothing happened; not to be changed."""
    folder = tmp_path_factory.mktemp("trained")
    cube = tiny_cube(folder / "cube", side=16, block=8)
    training = Training(cube, launcher, folder)
    assert training.run().code == 0
    return training


@pytest.fixture
def training(trained: Training, launcher: Launcher, tmp_path: Path) -> Training:
    """The same training, not yet begun."""
    return Training(trained.cube, launcher, tmp_path)
