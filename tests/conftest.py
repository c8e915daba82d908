"""What several test files share."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from distributed import Client, LocalCluster

from terralatent.catalogs.scenes import Scenes
from terralatent.catalogs.search import search_scenes
from terralatent.pipeline.ingest import build_cube
from tests.catalogue import region, write_catalogue

SCENES = Path(__file__).resolve().parents[2] / "shared" / "scenes"


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
    """The tiny made-up catalogue of ``tests.catalogue``; not to be changed."""
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
