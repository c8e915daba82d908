"""A page of `terralatent view` in Debian's chromium, which may ask nobody but the page's server."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.waiting import WITHIN_S

__all__ = ["Explored", "browser_there", "exploring", "serving"]

NEVER_MS = 1000 * float(os.environ.get("TERRALATENT_PATIENCE_S", WITHIN_S))
"""A ceiling, as of all waits."""

MODEL = "Bokeh.documents[0].get_model_by_name"


def browser_there() -> Any:
    """Playwright and where chromium lies; the test is skipped where one of them is not."""
    api = pytest.importorskip(
        "playwright.sync_api", reason="NOT TRIED: playwright is not installed (make browser)"
    )
    pytest.importorskip("bokeh", reason="NOT TRIED: the extra `view` is not installed")
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("NOT TRIED: there is no chromium; apt-get install chromium")
    return api, chromium


@contextmanager
def serving(store: Path, *options: str) -> Iterator[str]:
    """Run `terralatent view` as a user does, and give the address that it prints."""
    command = [
        sys.executable, "-c", "from terralatent.pipeline.cli import main; main()",
        "view", str(store), "--no-open", *options,
    ]  # fmt: skip
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env={**os.environ}
    ) as process:
        assert process.stdout is not None
        said = []
        try:
            for line in process.stdout:
                said.append(line)
                if line.startswith("http://127.0.0.1:"):
                    break
            else:
                pytest.fail("it ended before it said its address: " + "".join(said))
            yield line.strip()
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(WITHIN_S)
            process.stdout.read()


class Explored:
    """What a user sees and does."""

    def __init__(self, page: Any, asked: list[str], wrong: list[str]) -> None:
        self.page = page
        self.asked = asked
        """Every address that the page asked for."""
        self.wrong = wrong
        """Errors of its scripts."""

    def value(self, expression: str) -> Any:
        """Of an expression of JavaScript, in which ``model(name)`` is a model of the page."""
        return self.page.evaluate(f"(() => {{ const model = {_FIND}; return {expression} }})()")

    def until(self, expression: str) -> None:
        """Wait until it is true."""
        self.page.wait_for_function(
            f"(() => {{ const model = {_FIND}; return {expression} }})()", timeout=NEVER_MS
        )

    @property
    def title(self) -> str:
        """Above the map: what is shown, of which date, and its pixels."""
        return str(self.value("model('map').title.text"))

    def choose(self, layer: str) -> None:
        """Another layer."""
        self.page.get_by_label("Layer").select_option(layer)
        self.until(f"model('map').title.text.startsWith({layer!r})")

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Where on the screen a share of the map's width and height lies, from the upper left."""
        frame = self.value(
            "(() => { const view = Bokeh.index.find_one_by_id(model('map').id);"
            " const box = view.frame.bbox, at = view.el.getBoundingClientRect();"
            " return [at.x + box.x0, at.y + box.y0, box.width, box.height] })()"
        )
        return frame[0] + x * frame[2], frame[1] + y * frame[3]

    def click(self, x: float, y: float) -> None:
        """Click the map."""
        self.page.mouse.click(*self.at(x, y))

    def zoom(self, notches: int) -> None:
        """Turn the wheel over the middle of the map, towards it where ``notches`` are above 0."""
        self.page.mouse.move(*self.at(0.5, 0.5))
        for _ in range(abs(notches)):
            self.page.mouse.wheel(0, -120 if notches > 0 else 120)

    def polygon(self, name: str, corners: Sequence[tuple[float, float]]) -> None:
        """Draw a polygon of a class."""
        box = self.page.get_by_label("Class of the next polygon")
        box.fill(name)
        box.press("Enter")
        before = int(self.value("model('polygons').data.xs.length"))
        self.page.mouse.move(*self.at(*corners[0]))
        self.page.mouse.down()
        for corner in [*corners[1:], corners[0]]:
            self.page.mouse.move(*self.at(*corner), steps=5)
        self.page.mouse.up()
        self.until(f"model('polygons').data.xs.length == {before + 1}")


_FIND = f"(name) => {MODEL}(name)"


@contextmanager
def exploring(url: str, *also: str) -> Iterator[Explored]:
    """Open a page in a browser; other hosts than its own, and those named, are out of reach."""
    api, chromium = browser_there()
    hosts = {urlsplit(url).netloc, *also}
    with api.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        try:
            page = browser.new_page(viewport={"width": 1340, "height": 800})
            asked: list[str] = []
            wrong: list[str] = []

            def pass_on(route: Any) -> None:
                asked.append(route.request.url)
                reached = urlsplit(route.request.url).netloc in hosts
                route.continue_() if reached else route.abort()

            page.route("**/*", pass_on)
            page.on("websocket", lambda socket: asked.append(socket.url))
            page.on("pageerror", lambda error: wrong.append(str(error)))
            page.set_default_timeout(NEVER_MS)
            page.goto(url)
            explored = Explored(page, asked, wrong)
            page.wait_for_function(
                f"window.Bokeh && Bokeh.documents.length && {MODEL}('map')", timeout=NEVER_MS
            )
            page.wait_for_selector("canvas", timeout=NEVER_MS)
            yield explored
        finally:
            browser.close()
