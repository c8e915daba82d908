"""What of a map is read at each zoom."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from terralatent.pipeline import make_overviews, open_latents
from terralatent.pipeline.explorer import levels as module
from terralatent.pipeline.explorer.layers import layers_of
from terralatent.pipeline.explorer.levels import Levels, Wanted, Window, open_levels
from terralatent.pipeline.overviews import pyramid
from terralatent.pipeline.store.repository import Store
from tests.made.latents import LEFT, SIDE, TOP, made_up_fields
from tests.made.opened import Stores

MEAN = Wanted(("mean",), (("latent", (0, 2)),))


@pytest.fixture(scope="module")
def fields(tmp_path_factory: pytest.TempPathFactory, workers: object) -> Path:
    """Latents of 32 x 32 pixels with overviews of 16, 8, ... pixels."""
    path = tmp_path_factory.mktemp("fields") / "latents"
    made_up_fields(path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pyramid, "LEAST", 8)
        patch.setattr(pyramid, "SMALLEST", 8)
        make_overviews(path, client=workers)
    return path


def test_a_part_is_what_the_store_has_there(fields: Path) -> None:
    levels = open_levels(Store.of(fields))
    window = Window(LEFT + 42.0, TOP - 118.0, LEFT + 101.0, TOP - 20.0)
    part = levels.part(window, 600, MEAN, date=1)

    assert part is not None
    assert part.level == 0
    assert part.window == Window(LEFT + 40.0, TOP - 120.0, LEFT + 110.0, TOP - 20.0)
    wanted = open_latents(fields)["mean"].isel(
        time=[1], latent=[0, 2], y=slice(2, 12), x=slice(4, 11)
    )
    xr.testing.assert_equal(part.data["mean"].compute(), wanted.compute())


@pytest.mark.parametrize(("across", "level"), [(600, 0), (20, 1), (10, 2)])
def test_a_level_has_as_many_pixels_as_there_is_room_for(
    fields: Path, across: int, level: int
) -> None:
    levels = open_levels(Store.of(fields))
    assert len(levels.levels) == 3
    part = levels.part(levels.bounds, across, MEAN, date=0)
    assert part is not None
    assert part.level == level
    assert part.window == levels.bounds
    assert part.data.sizes["x"] == SIDE >> level


def test_what_takes_too_much_is_read_of_overviews(
    fields: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A chunk of the store holds 3 dates and 4 latents, one of a level one of each.
    for name in ("MOST_NUMBERS", "MOST_ALONE"):
        monkeypatch.setattr(module, name, SIDE**2 * 3 * 4 - 1000)
    levels = open_levels(Store.of(fields))
    assert levels.choose(levels.bounds, 600, MEAN) == 1
    assert levels.choose(levels.bounds.shrunk(0.5), 600, MEAN) == 0

    alone = Levels([open_latents(fields)])
    assert alone.choose(alone.bounds, 600, MEAN) is None
    assert alone.part(alone.bounds, 600, MEAN, 0) is None
    assert alone.choose(alone.seen_first(MEAN), 600, MEAN) == 0


def test_nothing_lies_outside_of_the_map(fields: Path) -> None:
    levels = open_levels(Store.of(fields))
    east = levels.bounds.east
    assert levels.part(Window(east + 10, TOP - 50, east + 90, TOP), 600, MEAN, 0) is None
    assert levels.pixel(east + 1.0, TOP - 5.0) is None
    assert levels.pixel(LEFT + 15.0, TOP - 25.0) == (2, 1)


def test_a_dataset_as_it_was_opened_has_the_store_s_overviews_and_a_part_none(fields: Path) -> None:
    opened = open_latents(fields)
    assert len(open_levels(opened).levels) == 3
    assert len(open_levels(opened.isel(y=slice(0, 16))).levels) == 1
    assert len(open_levels(opened * 2).levels) == 1
    part = open_levels(opened.isel(y=slice(4, 16), x=slice(8, 20)))
    assert part.bounds == Window(LEFT + 80.0, TOP - 160.0, LEFT + 200.0, TOP - 40.0)


@pytest.mark.parametrize("name", ["latents", "bands", "annual", "landcover"])
def test_every_layer_draws_every_pixel_that_has_values(stores: Stores, name: str) -> None:
    levels = open_levels(Store.of(stores[name]))
    layers = layers_of(levels)
    assert len({layer.title for layer in layers}) == len(layers)
    for layer in layers:
        part = levels.part(levels.bounds, 600, layer.wanted, date=0)
        assert part is not None
        image = layer.image(part)
        opaque = image.view(np.uint8).reshape(*image.shape, 4)[..., 3] == 255
        counts = "observations" in layer.wanted.variables
        assert counts or not opaque[:, -1].any(), layer.title  # outside every scene
        assert opaque[:, :-1].all(), layer.title


def test_red_of_a_latent_is_red_on_the_screen(stores: Stores) -> None:
    levels = open_levels(Store.of(stores["latents"]))
    layer = layers_of(levels)[0]
    part = levels.part(levels.bounds, 600, layer.wanted, date=1)
    assert part is not None
    values = layer.values(part.data)
    image = layer.image(part)
    red = image.view(np.uint8).reshape(*image.shape, 4)[::-1, :, 0].astype(float)
    low, high = (end[0] for end in layer.ends)
    share = np.clip((values[:, :-1, 0] - low) / (high - low), 0.0, 1.0)
    np.testing.assert_allclose(red[:, :-1], 255 * share, atol=0.51)
