"""What a user waits for in the explorer, in a real browser, and what of a large store is read.

    python -m benchmarks.explorer [DEMO] [--rounds N] [--only demo|large] [--shot FILE]

`demo`: the latents that `make demo` left in DEMO. `large`: latents of 10,000 x 10,000 pixels of
noise, of which the coarse levels and the block in the middle are filled. Each round opens a page of
its own, of one
server; times are those of the browser, from an action to the picture or series that answers it.
Needs the extras `view` and `browser`, and chromium.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from benchmarks.overviews.reading import BLOCK, coarse_latents
from terralatent.pipeline.store.repository import BRANCH, Store
from tests.browser.pages import Explored, exploring, serving

SIDE = 10_000

FIELDS = (
    ("one", 0.10, 0.10), ("other", 0.55, 0.15), ("other", 0.15, 0.55), ("one", 0.60, 0.60),
)  # fmt: skip

READ = """
import sys
from pathlib import Path
import terralatent.pipeline.explorer.server
from terralatent.pipeline.explorer.viewed import view_of

def read():
    return int(Path("/proc/self/io").read_text().split()[1])

small, large = sys.argv[1:]
view_of(small).page()  # what is imported on first use
before = read()
page = view_of(large).page()
print(read() - before, page.map.plot.title.text, sep="|")
"""

Times = defaultdict[str, list[float]]


def main() -> int:
    """Measure and print; 1 where there is no demonstration."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("demo", nargs="?", type=Path, default=Path("demo"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", choices=("demo", "large"))
    parser.add_argument("--shot", type=Path, help="a picture of the page, clicked")
    options = parser.parse_args()
    if not (options.demo / "latents").exists():
        print(f"NOT MEASURED: {options.demo} has no latents; run make demo", file=sys.stderr)
        return 1
    if options.only != "large":
        _measure("demonstration", options.demo / "latents", options.rounds, options.shot)
    if options.only != "demo":
        with tempfile.TemporaryDirectory() as folder:
            large = _large(Path(folder, "large"))
            _measure("10,000 x 10,000", large, options.rounds, None)
            command = [sys.executable, "-c", READ, str(options.demo / "latents"), str(large)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            count, title = done.stdout.strip().rsplit("\n", 1)[-1].split("|")
            print(f"10,000 x 10,000: {int(count) / 1e6:.2f} MB read to open, {title}", flush=True)
    return 0


def _large(path: Path) -> Path:
    """Latents whose level 4 and coarser ones have values, and those of a click in the middle."""
    coarse_latents(path, SIDE)
    random = np.random.default_rng(0)
    session = Store.of(path).repository().writable_session(BRANCH)
    root: Any = zarr.open_group(session.store, mode="r+")
    block = slice(SIDE // 2 // BLOCK * BLOCK, (SIDE // 2 // BLOCK + 1) * BLOCK)
    for name, centre, width in (("mean", 0, 4000), ("std", 15_000, 2000)):
        shape = (*root[name].shape[:2], BLOCK, BLOCK)
        root[name][..., block, block] = random.normal(centre, width, shape).astype(root[name].dtype)
    Store.of(path).commit(session, "a block")
    return path


def _measure(what: str, store: Path, rounds: int, shot: Path | None) -> None:
    times: Times = defaultdict(list)
    with serving(store) as url:
        for _ in range(rounds):
            began = time.perf_counter()
            with exploring(url) as page:
                times["page there, from the start of the browser"].append(
                    time.perf_counter() - began
                )
                _open(page, url, times)
                _use(page, times)
                if shot is not None:
                    _shoot(page, shot)
                    shot = None
    for action, own in times.items():
        ends = f"{min(own):.2f} to {max(own):.2f}"
        print(f"{what}: {action}: {statistics.median(own):.2f} s ({ends}, {rounds} rounds)")
    sys.stdout.flush()


def _open(page: Explored, url: str, times: Times) -> None:
    """Again in a browser that runs: what a user waits for."""
    began = time.perf_counter()
    page.page.goto(url)
    times["page open"].append(time.perf_counter() - began)
    page.page.wait_for_function("window.Bokeh && Bokeh.documents.length")
    page.until("model('map').title.text.includes('level')")
    page.page.wait_for_selector("canvas")
    times["first picture, page and scripts among it"].append(time.perf_counter() - began)


def _use(page: Explored, times: Times) -> None:
    _click(page, times, "first click to series", 0.5)
    with _timed(times, "slider to picture"):
        page.page.locator(".noUi-handle").first.focus()
        before = page.title
        page.page.keyboard.press("ArrowRight")
        page.until(f"model('map').title.text != {before!r}")
    page.page.get_by_role("button", name="Draw").click()
    for count, (name, x, y) in enumerate(FIELDS, 1):
        action = {2: "polygon to redrawn map", 4: "polygon to redrawn map, with accuracy"}.get(
            count
        )
        with _timed(times, action):
            page.polygon(name, [(x, y), (x + 0.2, y), (x + 0.2, y + 0.2), (x, y + 0.2)])
            if count >= 2:
                page.until("model('map').title.text.startsWith('classes')")
            if count == 4:
                page.until("model('status').text.startsWith('Accuracy')")
    page.page.get_by_role("button", name="Draw").click()
    page.page.get_by_role("button", name="Remove all").click()
    page.until("model('map').title.text.startsWith('three')")
    _click(page, times, "click to series", 0.51)
    with _timed(times, "zoom to picture"):
        before = page.value("model('image').data.dw[0]")
        page.zoom(3)
        page.until(f"model('image').data.dw[0] < {before}")


def _click(page: Explored, times: Times, action: str, place: float) -> None:
    """Not twice within half a second, which is a double click."""
    before = page.value("model('mean').data.value[0] ?? null")
    with _timed(times, action):
        page.click(place, place)
        page.until(
            f"(model('mean').data.value[0] ?? null) !== {'null' if before is None else before}"
        )


@contextmanager
def _timed(times: Times, action: str | None) -> Iterator[None]:
    began = time.perf_counter()
    yield
    if action is not None:
        times[action].append(time.perf_counter() - began)


def _shoot(page: Explored, file: Path) -> None:
    """What the documentation shows."""
    page.page.reload()
    page.page.wait_for_function("window.Bokeh && Bokeh.documents.length")
    page.until("model('map').title.text.includes('level')")
    page.page.wait_for_selector("canvas")
    page.click(0.62, 0.28)
    page.until("model('mean').data.value.length > 1 && model('clear').data.value.length > 1")
    page.page.screenshot(path=file)


if __name__ == "__main__":
    sys.exit(main())
