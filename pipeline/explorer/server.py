"""The page of `terralatent view`, served on loopback for one who has its address."""

from __future__ import annotations

import logging
import os
import tempfile
import threading
import webbrowser
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from bokeh.application.application import Application
from bokeh.application.handlers.function import FunctionHandler
from bokeh.document import Document
from bokeh.resources import Resources
from bokeh.server.server import BaseServer
from bokeh.server.tornado import BokehTornado
from bokeh.server.views.static_handler import StaticHandler
from tornado.httpserver import HTTPServer
from tornado.ioloop import IOLoop
from tornado.netutil import bind_sockets

from terralatent.catalogs.errors import InputError
from terralatent.pipeline.explorer.access import Access, Guard
from terralatent.pipeline.explorer.viewed import Viewed

__all__ = ["PageServer", "serve"]

log = logging.getLogger(__name__)

ADDRESS = "127.0.0.1"

MOST_MESSAGE = 64 * 1024 * 1024
"""Bytes of a message that a browser may send."""


class _Application(BokehTornado):
    """Bokeh's, whose pages name scripts by paths relative to themselves, and never by a CDN."""

    def resources(self, absolute_url: str | bool | None = None) -> Resources:
        """Those of the package, wherever a proxy has the page."""
        version = StaticHandler.append_version
        return Resources(mode="server", root_url="./", path_versioner=version)


class PageServer:
    """A server that listens; :meth:`run` answers until it is interrupted.

    Args:
        viewed: What the pages show; each that is opened has a state of its own.
        port: 0 for one that is free.
        origins: By which names a proxy is called that passes requests on to this server.

    Raises:
        InputError: If the port is taken.
    """

    def __init__(self, viewed: Viewed, *, port: int = 0, origins: Collection[str] = ()) -> None:
        try:
            sockets = bind_sockets(port, ADDRESS)
        except OSError as error:
            raise InputError(
                f"Port {port} cannot be listened on: {error.strerror}. Give another port=, or none."
            ) from error
        self.port = int(sockets[0].getsockname()[1])
        self.access = Access.at(self.port, origins)

        def add_page(document: Document) -> None:
            document.title = f"terralatent · {viewed.title}"
            document.add_root(viewed.page().root)

        application = _Application(
            {"/": Application(FunctionHandler(add_page))},
            extra_websocket_origins=sorted(self.access.hosts),
            websocket_max_message_size_bytes=MOST_MESSAGE,
        )
        http = HTTPServer(Guard(application, self.access))
        http.add_sockets(sockets)
        self._server = BaseServer(IOLoop.current(), application, http)
        self._viewed = viewed

    @property
    def url(self) -> str:
        """The address of the page, with its token."""
        return f"http://{ADDRESS}:{self.port}/{self.access.token}/"

    def run(self, ready: Callable[[], None] = lambda: None) -> None:
        """Answer until :meth:`stop` or an interrupt; ``ready`` is called once it does."""
        loop = IOLoop.current()
        self._server.start()
        loop.add_callback(ready)
        # Beside the first picture, which needs none of it.
        loop.call_later(1.0, threading.Thread(target=self._viewed.warm, daemon=True).start)
        try:
            loop.start()
        finally:
            self._server.stop()

    def stop(self) -> None:
        """End :meth:`run`, from any thread."""
        loop = IOLoop.current()
        loop.add_callback(loop.stop)


def serve(
    viewed: Viewed,
    *,
    port: int = 0,
    origins: Collection[str] = (),
    browse: bool = True,
    say: Callable[[str], None],
) -> None:
    """Serve pages until an interrupt.

    Args:
        viewed: What they show.
        port: 0 for one that is free.
        origins: Of proxies, see :class:`PageServer`.
        browse: Whether a browser is opened.
        say: Is given the address.

    Raises:
        InputError: If the port is taken.
    """
    server = PageServer(viewed, port=port, origins=origins)
    with _leading_to(server.url) as file:
        say(server.url)
        server.run(lambda: _open(file) if browse else None)


def _open(file: Path) -> None:
    try:
        webbrowser.open(file.as_uri())
    except webbrowser.Error as error:
        log.warning("no browser could be opened: %s", error)


@contextmanager
def _leading_to(url: str) -> Iterator[Path]:
    """A file that nobody else can read and that leads to an address.

    What a browser is started with every user of the machine can see; the token must not be there.
    """
    with tempfile.TemporaryDirectory(prefix="terralatent-view-") as folder:
        file = Path(folder, "view.html")
        with open(os.open(file, os.O_WRONLY | os.O_CREAT, 0o600), "w") as page:
            page.write(f'<meta http-equiv="refresh" content="0; url={url}">\n')
        yield file
