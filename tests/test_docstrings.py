"""The examples in the docstrings are run: an example that is not true fails here."""

import doctest
import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("catalogs", "models", "pipeline")


PATHS = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


def name_of(path: Path) -> str:
    """The dotted name of a module."""
    name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    return f"terralatent.{name.removesuffix('.__init__')}"


def test_every_module_can_be_imported() -> None:
    for path in PATHS:
        importlib.import_module(name_of(path))


# These open stores, which tests/pipeline/accessor/test_examples.py makes for them.
OF_STORES = ("terralatent.pipeline.accessor.", "terralatent.pipeline.training.pixel_series")
SHOWN = [
    name_of(path)
    for path in PATHS
    if ">>> " in path.read_text("utf-8") and not name_of(path).startswith(OF_STORES)
]


@pytest.mark.parametrize("name", SHOWN)
def test_examples_in_docstrings_are_true(name: str) -> None:
    failed, _ = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS)
    assert not failed, f"{failed} examples of {name} failed; see above"
