"""Functions by their name, ``module:function``: what a store can remember and a worker can find."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import reduce
from typing import Any

from terralatent.catalogs.errors import InputError

__all__ = ["find_function", "name_of"]


def find_function(name: str) -> Callable[..., Any]:
    """Import the function that is called ``module:function``. Runs the module's code.

    Raises:
        InputError: If it is not of that form, or there is no such module or function.
    """
    module, colon, function = name.partition(":")
    if not (module and colon and function):
        raise InputError(f"{name!r} is no name of a function; give it as module:function.")
    try:
        found = reduce(getattr, function.split("."), importlib.import_module(module))
    except Exception as error:  # a module may fail in any way while it is run
        told = f"{type(error).__name__}: {error}"
        raise InputError(
            f"The function {name} cannot be loaded ({told}); its module must be installed, or lie "
            "in the folder where the command is run, here and on every worker."
        ) from error
    if not callable(found):
        raise InputError(f"{name} is a {type(found).__name__}, not a function.")
    return found


def name_of(function: Callable[..., Any]) -> str | None:
    """The name by which :func:`find_function` finds ``function``; None where it does not."""
    module, own = (getattr(function, part, "") for part in ("__module__", "__qualname__"))
    if not module or not own or module == "__main__" or "<" in own:
        return None
    name = f"{module}:{own}"
    try:
        return name if find_function(name) is function else None
    except InputError:
        return None
