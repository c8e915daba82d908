"""A folder of STAC items as a real STAC API on loopback, with its files beside it."""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import subprocess
import sys
import sysconfig
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO, Any
from urllib.error import URLError
from urllib.parse import quote
from urllib.request import urlopen

from terralatent.catalogs.documents.access import Access
from terralatent.catalogs.documents.static import walk
from terralatent.catalogs.errors import InputError
from terralatent.catalogs.hrefs import HrefError, is_remote
from terralatent.catalogs.printable import printable
from terralatent.catalogs.temporary import temporary_folder

__all__ = ["free_port", "serve", "serving"]

_LOG = logging.getLogger(__name__)

_HOST = "127.0.0.1"

_START = 60.0
"""Seconds within which the API must answer."""


def serve(
    folder: str | Path, port: int = 7822, *, ready: Callable[[str], None] | None = None
) -> None:
    """Serve ``folder`` until interrupted (SIGINT or SIGTERM); call it from the main thread.

    Args:
        folder: As for :func:`serving`.
        port: Port of the API; that of the files is the next one.
        ready: Called with the URL of the API once it answers.

    Raises:
        InputError: As for :func:`serving`; or if one of its processes ends by itself.
    """
    stop = threading.Event()
    before = {
        number: signal.signal(number, lambda *_: stop.set())
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        with _serving(folder, port) as (url, processes):
            for process in processes.values():
                threading.Thread(target=_when_ended, args=(process, stop), daemon=True).start()
            (ready or _LOG.info)(url)
            stop.wait()
            for name, process in processes.items():
                if (code := process.poll()) is not None:
                    raise InputError(f"{name} ended by itself (exit code {code}); serve again.")
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def serving(folder: str | Path, port: int = 0) -> Iterator[str]:
    """Serve a static catalogue as a STAC API while the context lasts.

    ``rustac serve`` answers searches (it has no CQL2: filter on the client), behind a process of
    our own; another serves the files below ``folder`` with range requests. They listen on loopback
    only, answer no page of a web site, and end with this process, however that ends. The
    API lists what the folder holds now; hrefs below the folder lead to the second port, and
    those of other local files are left out.

    Args:
        folder: A static catalogue, or a folder with STAC items as JSON.
        port: Port of the API, the next one being that of the files; 0: any two free ports.

    Yields:
        The URL of the API, which answers.

    Raises:
        InputError: If there is no such folder, if it holds no STAC item, or if a port is taken.
    """
    with _serving(folder, port) as (url, _):
        yield url


@contextmanager
def _serving(
    folder: str | Path, port: int
) -> Iterator[tuple[str, dict[str, subprocess.Popen[bytes]]]]:
    """As :func:`serving`; yields the processes by what messages call them, too."""
    root = Path(folder).resolve()
    if not root.is_dir():
        raise InputError(f"There is no folder {str(folder)!r} to serve; give one with STAC items.")
    with ExitStack() as stack:
        listening = stack.enter_context(_listen(port + 1 if port else 0))
        public = stack.enter_context(_listen(port))
        files, url = (f"http://{_HOST}:{each.getsockname()[1]}" for each in (listening, public))
        items = [_public(item, root, files) for item in walk(str(root))]
        if not items:
            raise InputError(f"The folder {str(folder)!r} holds no STAC item.")
        kept = stack.enter_context(temporary_folder("terralatent-serve-"))
        collection = {"type": "FeatureCollection", "features": items}
        (kept / "items.json").write_text(json.dumps(collection))

        with (kept / "log").open("wb") as log:
            processes = {
                "The file server": _start(stack, "range_files", listening, None, str(root)),
                "The API": _start(
                    stack, "api_front", public, log, _rustac(), str(kept / "items.json")
                ),
            }
        _wait_for(url, processes["The API"], kept)
        yield url, processes


def _public(item: dict[str, Any], root: Path, files: str) -> dict[str, Any]:
    """The item as the API lists it: hrefs of files below ``root`` lead to ``files``."""
    assets, own = {}, Access(folder=str(root))
    given = item.get("assets")
    for name, asset in given.items() if isinstance(given, dict) else ():
        href = asset.get("href") if isinstance(asset, dict) else None
        if not is_remote(str(href)):
            try:
                path = Path(own.check(href))
            except HrefError as error:
                asset_name = printable(f"{name} of {item.get('id')}")
                _LOG.warning("%s is left out: %s", asset_name, error)
                continue
            href = f"{files}/{quote(path.relative_to(root).as_posix())}"
        assets[name] = {**asset, "href": href}
    return {"collection": "items", **item, "assets": assets, "links": []}


def _start(
    stack: ExitStack,
    module: str,
    listening: socket.socket,
    log: IO[bytes] | None,
    *words: str,
) -> subprocess.Popen[bytes]:
    """Run one of our own modules on a listening socket."""
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", f"{__package__}.{module}", str(listening.fileno()), *words],
        stdin=subprocess.PIPE,  # closes with this process, however it ends
        stdout=log,
        stderr=log,
        pass_fds=[listening.fileno()],
        start_new_session=True,
    )
    stack.callback(_stop, process)
    return process


def _when_ended(process: subprocess.Popen[bytes], stop: threading.Event) -> None:
    process.wait()
    stop.set()


def _wait_for(url: str, api: subprocess.Popen[bytes], kept: Path) -> None:
    end = time.monotonic() + _START
    while time.monotonic() < end and api.poll() is None:
        try:
            with urlopen(f"{url}/collections", timeout=1.0):
                return
        except (URLError, OSError):
            time.sleep(0.02)
    said = " ".join((kept / "log").read_text(errors="replace").split())[-300:]
    raise InputError(f"The API at {url} did not start: {said}.")


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End a process and what it has started, which may be all that is left of them."""
    if process.stdin is not None:
        process.stdin.close()
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(5.0)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _listen(port: int) -> socket.socket:
    """A listening socket on loopback; 0: on any free port."""
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((_HOST, port))
        listening.listen(1024)
    except (OSError, OverflowError) as error:
        listening.close()
        raise InputError(
            f"Port {port} of {_HOST} cannot be used ({error}); give another port=, which "
            "takes that port and the next."
        ) from error
    return listening


def free_port() -> int:
    """Return a port of loopback that is free together with the next, as :func:`serve` wants."""
    while True:
        with _listen(0) as probe:
            port: int = probe.getsockname()[1]
        with suppress(InputError):
            _listen(port + 1).close()
            return port


def _rustac() -> str:
    """The program that came with the package, whether or not it is on the search path."""
    name = "rustac.exe" if os.name == "nt" else "rustac"
    for folder in (Path(sysconfig.get_path("scripts")), Path(sys.executable).parent):
        if (folder / name).is_file():
            return str(folder / name)
    raise InputError("The program rustac is missing beside Python; install its package again.")
