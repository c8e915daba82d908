"""Names that lead where a test says, for the process that connects: the proxy of this one."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from terralatent.catalogs.documents import proxy

PUBLIC = "8.8.8.8"
"""An address of the public internet, which is this machine to whoever connects to it here."""

PATCH = """
import json, os, socket

_real, _connect = socket.getaddrinfo, socket.socket.connect

def _resolve(host, *args, **options):
    with open(os.environ["NAMES"]) as file:
        names = json.load(file)
    if host not in names:
        return _real(host, *args, **options)
    leads = names[host]
    if isinstance(leads, list):  # to another address each time, and to the last from then on
        names[host] = leads[1:] if len(leads) > 1 else leads
        with open(os.environ["NAMES"], "w") as file:
            json.dump(names, file)
        leads = leads[0]
    return _real(leads, *args, **options)

def _to(here, address):
    there = (("127.0.0.1", *address[1:]) if address[0] == "PUBLIC" else address)
    return _connect(here, there)

socket.getaddrinfo, socket.socket.connect = _resolve, _to
""".replace("PUBLIC", PUBLIC)


@contextmanager
def leading(
    folder: Path, monkeypatch: pytest.MonkeyPatch, names: Mapping[str, str | list[str]]
) -> Iterator[None]:
    """Let ``names`` lead to addresses in a ``with`` block, in processes that start within it.

    Of a name with several addresses each counts once, the last from then on.
    """
    (folder / "sitecustomize.py").write_text(PATCH)
    (folder / "names.json").write_text(json.dumps(names))
    with monkeypatch.context() as patched:
        patched.setenv("PYTHONPATH", str(folder), prepend=os.pathsep)
        patched.setenv("NAMES", str(folder / "names.json"))
        with own_proxy(patched):
            yield


@contextmanager
def own_proxy(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Have this process start another proxy, as it would start it now."""
    mine: dict[int, proxy._Proxy] = {}
    monkeypatch.setattr(proxy, "_RUNNING", mine)
    try:
        yield
    finally:
        for started in mine.values():
            started.process.communicate(timeout=30)
