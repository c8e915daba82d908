"""A season in motion: a frame for each date, all in the same colours."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from terralatent.catalogs.errors import InputError
from terralatent.pipeline.pictures.heading import Heading
from terralatent.pipeline.pictures.mosaic import Strip
from terralatent.pipeline.pictures.season import Season, animate, require_writer
from terralatent.pipeline.pictures.show import show
from tests.made.results import made_up_latents

TIMES = np.array(["2018-01-01", "2018-02-01", "2018-04-01", "2018-04-20"], "datetime64[us]")


def season(images: list[np.ndarray]) -> Season:
    days = [str(time)[:10] for time in TIMES]
    return Season(Strip("numbers", images, days, "m"), TIMES, Heading("four dates"), TIMES[:2])


def frames(path: Path) -> list[np.ndarray]:
    with Image.open(path) as moving:
        found = []
        for n in range(moving.n_frames):
            moving.seek(n)
            found.append(np.asarray(moving.convert("RGB"), dtype=int))
    return found


def test_a_season_has_a_frame_for_each_date_in_the_same_colours(tmp_path: Path) -> None:
    grey = [np.full((6, 6), value) for value in (0.0, 1.0, 2.0, 1.0)]
    animate(season(grey), tmp_path / "one.gif")
    found = frames(tmp_path / "one.gif")
    assert len(found) == 4
    middle = [frame[frame.shape[0] // 2, frame.shape[1] // 3] for frame in found]
    assert np.abs(middle[1] - middle[3]).max() <= 8  # a palette rounds
    assert np.abs(middle[0] - middle[2]).max() > 60
    # The line of time grows to the right, whatever the map shows.
    foot = [frame[-70:] for frame in found]
    reached = [np.flatnonzero((f[..., 0] - f[..., 2] > 100).any(axis=0)).max() for f in foot]
    assert np.all(np.diff(reached) > 0)
    days = (TIMES - TIMES[0]) / (TIMES[-1] - TIMES[0])
    grown = (np.array(reached) - reached[0]) / (reached[-1] - reached[0])
    np.testing.assert_allclose(grown, days, atol=0.02)


def test_a_store_gives_its_season_and_keeps_an_older_file_if_it_cannot(tmp_path: Path) -> None:
    store = made_up_latents(tmp_path / "latents", (20, 30), latents=4, dates=3)
    out = show(store, tmp_path / "season.gif")
    assert len(frames(out)) == 3
    before = out.read_bytes()
    with pytest.raises(InputError, match="leave pixel and date out"):
        show(store, out, pixel="1,1")
    assert out.read_bytes() == before
    assert os.listdir(tmp_path) == ["latents", "season.gif"] or len(os.listdir(tmp_path)) == 2


def test_an_mp4_needs_ffmpeg_and_says_what_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match=r"MP4 needs the program ffmpeg, .* in \.gif"):
        require_writer(Path("season.mp4"))
    require_writer(Path("season.gif"))
