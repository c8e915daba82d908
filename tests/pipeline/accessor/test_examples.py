"""The examples of what opened Datasets can do are true, on one tiny store of each kind."""

from __future__ import annotations

import doctest
import importlib

import matplotlib
import pytest

from tests.made.opened import Stores

MODULES = (
    "accessor.opened",
    "accessor.tree",
    "accessor.samples",
    "accessor.prediction",
    "training.pixel_series",
)


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name: str, stores: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(stores.folder)
    matplotlib.use("agg")
    module = importlib.import_module(f"terralatent.pipeline.{name}")
    failed, tried = doctest.testmod(module, optionflags=doctest.ELLIPSIS)
    assert tried
    assert not failed, f"{failed} examples of {name} failed; see above"
