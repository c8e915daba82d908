"""The explorer in a real browser: open, zoom, slide, click, draw, see; and nobody else is asked."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
from PIL import Image

from tests.browser.pages import Explored, browser_there, exploring, serving
from tests.made.opened import Stores

pytestmark = pytest.mark.browser

SHOTS = os.environ.get("TERRALATENT_SHOTS")
"""A folder that gets pictures of the page, where it is set."""


@pytest.fixture(scope="module")
def page(stores: Stores) -> Iterator[Explored]:
    """Latents of the made-up region, of which the cube and the model are found."""
    browser_there()
    with serving(stores["latents"]) as url, exploring(url) as explored:
        yield explored
        hosts = {urlsplit(asked).netloc for asked in explored.asked}
        assert hosts == {urlsplit(url).netloc}
        assert not explored.wrong


def picture(page: Explored, name: str) -> np.ndarray:
    """The map as it is on the screen, (y, x, 3)."""
    seen = page.page.screenshot()
    if SHOTS:
        Path(SHOTS, f"{name}.png").write_bytes(seen)
    left, top = (int(value) for value in page.at(0.0, 0.0))
    right, bottom = (int(value) for value in page.at(1.0, 1.0))
    return np.asarray(Image.open(io.BytesIO(seen)).convert("RGB"))[top:bottom, left:right]


def test_it_opens_with_a_picture(page: Explored) -> None:
    page.until("model('map').title.text.includes('level 0')")
    assert page.title.startswith("three latents as colours")
    colours = np.unique(picture(page, "opened").reshape(-1, 3), axis=0)
    assert len(colours) > 100


def test_another_date_is_another_picture(page: Explored) -> None:
    before = picture(page, "before")
    page.page.locator(".noUi-handle").first.focus()
    page.page.keyboard.press("ArrowRight")
    page.until("model('map').title.text.includes('2018-03-15')")
    assert (picture(page, "slid") != before).any()


def test_layers_have_their_scale_or_their_legend(page: Explored) -> None:
    page.choose("uncertainty")
    picture(page, "uncertainty")
    assert page.value("model('bar').visible")
    page.choose("clear observations of sentinel-2-l2a")
    page.choose("sentinel-2-l2a: true colour")
    picture(page, "cube")
    page.choose("three latents as colours")
    assert not page.value("model('bar').visible")


def test_a_click_gives_a_series_with_what_was_seen(page: Explored) -> None:
    page.click(0.3, 0.3)
    page.until("model('series').title.text.startsWith('sentinel-2-l2a')")
    page.until("model('mean').data.value.length == 3 && model('clear').data.value.length > 5")
    picture(page, "clicked")
    assert page.value("model('outer').data.low.length") == 3
    page.choose("similar pixels")
    picture(page, "similar")


def test_polygons_make_a_map(page: Explored) -> None:
    page.page.get_by_role("button", name="Draw").click()
    for name, x, y in (
        ("maize", 0.08, 0.08),
        ("grass", 0.48, 0.08),
        ("grass", 0.08, 0.48),
        ("maize", 0.48, 0.48),
    ):
        page.polygon(name, [(x, y), (x + 0.2, y), (x + 0.2, y + 0.2), (x, y + 0.2)])
    page.until("model('map').title.text.startsWith('classes from polygons')")
    page.until("model('status').text.startsWith('Accuracy')")
    assert "maize" in page.value("model('legend').text")
    assert "FeatureCollection" in page.value("model('save').tags[0]")
    picture(page, "classes")
    with page.page.expect_download() as saved:
        page.page.get_by_role("button", name="Save labels").click()
    assert saved.value.suggested_filename == "labels.geojson"
    page.page.get_by_role("button", name="Draw").click()


def test_zooming_draws_what_is_seen(page: Explored) -> None:
    page.choose("three latents as colours")
    whole = page.value("model('image').data.image[0].shape")
    page.zoom(4)
    page.until(f"model('image').data.image[0].shape[0] < {whole[0]}")
    picture(page, "zoomed")
