"""What objects say of themselves at a prompt and in a notebook: little, and nothing secret."""

from __future__ import annotations

from pathlib import Path

from terralatent.catalogs.listing import html_of, text_of
from terralatent.catalogs.scenes.search import search_scenes
from terralatent.pipeline import status
from terralatent.pipeline.mapping.results.report import ResultReport
from tests.made.catalogue import region

URL = "https://me:secret@host/a?token=secret"


def test_nothing_of_a_listing_is_obeyed_or_secret() -> None:
    rows = [("<b>sensor</b>", f"{URL} \x1b[31m"), ("two", "2")]
    shown = ""
    for shown in (text_of("<i>head</i>", rows), html_of("<i>head</i>", rows, ("<u>",))):
        assert "secret" not in shown
        assert "\x1b" not in shown
    assert "<b>" not in shown
    assert "<i>" not in shown
    assert "<u>" not in shown
    assert shown.count("<tr>") == 3


def test_scenes_and_stores_are_shown_in_a_few_lines(catalogue: Path, cube: Path) -> None:
    scenes = search_scenes(catalogue, region(), "2018-05-01", "2018-05-31")
    for shown in (scenes, status(cube)):
        lines = repr(shown).splitlines()
        assert len(lines) < 10
        assert max(map(len, lines)) <= 160
        assert shown._repr_html_().count("<tr>") in (len(lines) - 1, len(lines))
    for name in scenes.sensors:
        kept = scenes.acquisitions(name)
        (line,) = (line for line in repr(scenes).splitlines() if name in line)
        assert f"{len(kept)} acquisitions  {str(kept[0].time)[:10]} to" in line
    assert repr(status(cube)).startswith(f"cube {cube}")


def test_reports_are_their_sentence() -> None:
    report = ResultReport(4, 4, 100, 0, 1.0, {}, ())
    assert repr(report) == f"ResultReport: {report}"
