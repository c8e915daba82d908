"""The main job from nothing: a simulated region, served as a STAC API, and the user's commands.

The region is mapped by the model that comes with the package, then by the same trained further on
it. Each command is printed, then run as it stands in a process of its own, so that what is seen is
what anybody gets. The same demonstration again goes on with what is there.
"""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

from terralatent.catalogs.documents.serve import free_port
from terralatent.catalogs.errors import InputError
from terralatent.catalogs.simulation.simulate import FIRST_YEAR
from terralatent.models.shipped import DEFAULT
from terralatent.pipeline.cli.terminal import INTERRUPTED
from terralatent.pipeline.command import PROGRAM
from terralatent.pipeline.interrupts import uninterrupted

__all__ = ["DemoReport", "StoppedError", "demo"]

STEPS = 80
"""Steps by which the pretrained model is trained further: enough to see what that changes."""

SIZE = 128
"""Pixels of 10 m along the region."""

SERVES_WITHIN_S = 60.0


class StoppedError(Exception):
    """A command of the demonstration failed; it has said why itself."""

    def __init__(self, code: int) -> None:
        super().__init__(f"a command ended with exit code {code}")
        self.code = code


@dataclass(frozen=True)
class DemoReport:
    """What the demonstration leaves."""

    pictures: tuple[Path, ...]
    """Files that were drawn."""

    summary: tuple[str, ...]
    """Five lines: acquisitions, and scores against the truth."""

    seconds: float
    """From the first command to the last score."""

    def page(self) -> str:
        """What is shown at the end."""
        pictures = "\n".join(f"  {picture}" for picture in self.pictures)
        scores = "\n".join(f"  {line}" for line in self.summary)
        took = f"{self.seconds / 60:.1f} minutes"
        return f"\nPictures, after {took}:\n{pictures}\n\nAgainst the known truth:\n{scores}"


def demo(
    out: str | Path,
    *,
    size: int = SIZE,
    seed: int = 0,
    steps: int = STEPS,
    announce: Callable[[str], None] = lambda command: None,
    options: Sequence[str] = (),
) -> DemoReport:
    """Simulate a region in ``out`` and run the main job on it, command by command.

    Args:
        out: A folder; region, cube, model, latents, bands and pictures go there.
        size: Pixels of 10 m along the region, even, at least 64.
        seed: Of the simulation and the training.
        steps: Of the training.
        announce: Called with each command before it runs.
        options: Added to every command but not announced: ``--quiet``, ``--log-json``.

    Raises:
        InputError: If ``size`` is too small, or ``out`` is a file.
        StoppedError: If a command failed.
    """
    from terralatent.pipeline.cli.demo_landcover import label_parcels, score_map
    from terralatent.pipeline.cli.demo_scores import score

    begun = time.monotonic()
    folder = Path(out)
    if folder.exists() and not folder.is_dir():
        raise InputError(
            f"{folder} is a file; the demonstration wants a folder. Give another folder."
        )
    if size < 64:
        raise InputError(f"Size {size} is too small to demonstrate anything; give 64 or more.")
    folder.mkdir(parents=True, exist_ok=True)
    region, cube, latents, changed, bands, vectors, landcover, model, own_latents, own_bands = (
        folder / name
        for name in (
            "region", "cube", "latents", "changes", "bands", "annual", "landcover", "model",
            "own-latents", "own-bands",
        )
    )  # fmt: skip
    aoi, scenes, labels = (
        region / "region.geojson",
        folder / "scenes.parquet",
        folder / "labels.gpkg",
    )

    def run(*words: object) -> None:
        side_by_side(words)

    def side_by_side(*commands: Sequence[object]) -> None:
        """Two at a time, where none needs another: starting takes most of them the longest."""
        given = [[PROGRAM, *map(str, words)] for words in commands]
        for command in given:
            announce(shlex.join(command) + " &" * (len(given) > 1))
        with uninterrupted(), ThreadPoolExecutor(2) as pool:
            codes = list(pool.map(_run, [[_program(), *options, *own[1:]] for own in given]))
        if code := max(codes):
            raise StoppedError(code)

    run("simulate", "--out", region, "--size", size, "--seed", seed)
    port = free_port()
    announce(f"{shlex.join([PROGRAM, 'serve', str(region), '--port', str(port)])} &")
    monthly, optical = ("--dates", "monthly"), ("--sensor", "sentinel-2-l2a", "--dates", "10D")
    with _served(region, port) as url:
        for last in ("11-30", "12-31"):
            if last == "12-31":
                announce(
                    "# December arrives: the cube grows, and its latents are brought up to date"
                )
            days = ("--start", f"{FIRST_YEAR}-01-01", "--end", f"{FIRST_YEAR}-{last}")
            run("search", "--source", url, "--region", aoi, *days, "--out", scenes)
            run("build", "--scenes", scenes, "--region", aoi, "--block", 64, "--out", cube)
            run("embed", cube, *monthly, "--live", "--out", latents)
    autumn = (f"{FIRST_YEAR}-09-01", f"{FIRST_YEAR}-12-01")
    side_by_side(
        ("changes", latents, "--between", *autumn, "--out", changed),
        ("decode", cube, *optical, "--out", bands),
        ("annual", cube, "--window", FIRST_YEAR, "--out", vectors),
    )
    announce(f"# some parcels of each class, outlined as on the ground: {labels}")
    label_parcels(region, labels)
    run("classify", latents, "--labels", labels, "--column", "cover", "--out", landcover)
    run("train", cube, "--from", DEFAULT, "--steps", steps, "--seed", seed, "--out", model)
    side_by_side(
        ("embed", cube, model, *monthly, "--out", own_latents),
        ("decode", cube, model, *optical, "--out", own_bands),
    )
    pixel = f"{size // 2},{size // 2}"
    drawn = {
        "cube.png": (cube,),
        "latents.png": (latents,),
        "changes.png": (changed,),
        "bands.png": (bands,),
        "series.png": (bands, "--pixel", pixel),
        "annual.png": (vectors,),
    }
    side_by_side(*(("show", *words, "--out", folder / name) for name, words in drawn.items()))

    scores = score(region, cube, latents, bands)
    tuned = score(region, cube, own_latents, own_bands)
    beside = folder / "landcover.png"
    mapped = score_map(region, landcover, labels, beside)
    return DemoReport(
        pictures=(*(folder / name for name in drawn), beside),
        summary=(*scores.lines(tuned), mapped.line()),
        seconds=time.monotonic() - begun,
    )


@contextmanager
def _served(region: Path, port: int) -> Iterator[str]:
    """Run ``terralatent serve`` for the time of a ``with`` block; yields the API's URL."""
    url = f"http://127.0.0.1:{port}"
    process = subprocess.Popen(
        [_program(), "--quiet", "serve", str(region), "--port", str(port)],
        start_new_session=True,  # Ctrl-C is for the command that runs, and then for us
    )
    try:
        end = time.monotonic() + SERVES_WITHIN_S
        while not _answers(url):
            if process.poll() is not None or time.monotonic() > end:
                raise StoppedError(process.returncode or 1)
            time.sleep(0.1)
        yield url
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)


def _answers(url: str) -> bool:
    try:
        with urlopen(f"{url}/collections", timeout=1.0):
            return True
    except (URLError, OSError):
        return False


def _run(command: Sequence[str]) -> int:
    """Run a command to its end, also on Ctrl-C, which it hears itself."""
    with uninterrupted(), subprocess.Popen(command) as process:
        try:
            code = process.wait()
        except BaseException:  # Ctrl-C again: it does not end
            process.terminate()
            raise
    if code == INTERRUPTED:
        raise KeyboardInterrupt
    return code


def _program() -> str:
    """The program beside this Python, whether or not it is on the search path."""
    beside = Path(sysconfig.get_path("scripts")) / PROGRAM
    program = str(beside) if beside.is_file() else shutil.which(PROGRAM)
    if program is None:
        raise InputError(f"The program {PROGRAM} is missing beside {sys.executable}; install it.")
    return program
