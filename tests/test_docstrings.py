"""Every public name shows how it is used, and the examples in the docstrings are run.

Those of public names, which need stores, are run by ``tests/test_examples.py``.
"""

import doctest
import importlib
import importlib.util
import inspect

import pytest

import terralatent
from tests.modules import ON_STORES, ON_THEIR_OWN, PATHS, PUBLIC, name_of

VIEW = ("bokeh", "panel")
"""Of the extra `view`, which `make ci-extra` has."""


def test_every_module_can_be_imported() -> None:
    there = all(map(importlib.util.find_spec, VIEW))
    for path in PATHS:
        if there or path.parent.name != "explorer":
            importlib.import_module(name_of(path))


def test_every_public_name_shows_how_it_is_used() -> None:
    public = {name: getattr(terralatent, name) for name in terralatent.__all__}
    shown = {name: inspect.getdoc(value) or "" for name, value in public.items() if callable(value)}
    assert not [name for name, text in shown.items() if PUBLIC not in text]
    assert not [name for name in shown if public[name].__module__ not in ON_STORES]


@pytest.mark.parametrize("name", ON_THEIR_OWN)
def test_examples_in_docstrings_are_true(name: str) -> None:
    failed, _ = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS)
    assert not failed, f"{failed} examples of {name} failed; see above"
