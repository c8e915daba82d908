"""The examples of public names are true, in a folder with one tiny store of each kind."""

from __future__ import annotations

import doctest
import importlib
import shutil
from contextlib import nullcontext
from pathlib import Path

import dask
import geopandas
import matplotlib
import pytest
from distributed import Client

from terralatent.pipeline.cluster import client as clients
from tests.made.catalogue import region
from tests.made.opened import Stores
from tests.modules import ON_STORES


@pytest.fixture(scope="module")
def folder(stores: Stores, catalogue: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copies of the stores, beside ``scenes`` and ``region.geojson``; examples write into it."""
    copied = tmp_path_factory.mktemp("examples")
    shutil.copytree(stores.folder, copied, dirs_exist_ok=True)
    shutil.copytree(catalogue, copied / "scenes")
    geopandas.GeoDataFrame(geometry=[region()], crs="EPSG:4326").to_file(copied / "region.geojson")
    return copied


@pytest.mark.parametrize("name", ON_STORES)
def test_examples_run(
    name: str, folder: Path, workers: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    # Examples name no client, as most users do not; processes for each would take a minute.
    monkeypatch.setattr(clients, "local_processes", lambda size: nullcontext(workers.cluster))
    matplotlib.use("agg")
    module = importlib.import_module(name)
    with dask.config.set(scheduler="synchronous"):
        failed, tried = doctest.testmod(module, optionflags=doctest.ELLIPSIS)
    assert tried
    assert not failed, f"{failed} examples of {name} failed; see above"
