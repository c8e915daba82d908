"""Pictures of large results are drawn from overviews, and read nothing else of their pixels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from distributed import Client

from terralatent.catalogs.errors import InputError
from terralatent.pipeline import make_overviews, open_latents
from terralatent.pipeline.export.formats import export
from terralatent.pipeline.overviews import pyramid
from terralatent.pipeline.overviews.layout import Plan, shown
from terralatent.pipeline.overviews.opened import Budget, kept_order, level_for
from terralatent.pipeline.overviews.pyramid import Pyramid
from terralatent.pipeline.pictures.latents import most_seasonal
from terralatent.pipeline.pictures.show import show
from terralatent.pipeline.store.arrays import grid_arrays
from terralatent.pipeline.store.repository import BRANCH, Store
from tests.made.results import made_up_latents, result_grid

OPTIONS: tuple[dict[str, Any], ...] = (
    {},
    {"variable": "observations"},
)


@pytest.fixture(scope="module")
def latents(workers: Client, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Latents with overviews of three levels."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"LEAST": 64, "SMALLEST": 16}.items():
            patch.setattr(pyramid, name, value)
        path = tmp_path_factory.mktemp("pictures") / "latents"
        made_up_latents(path, (75, 101), latents=4)
        make_overviews(path, client=workers)
    return path


def test_pictures_read_the_level_that_they_draw_and_no_pixel_of_level_0(
    latents: Path, tmp_path: Path
) -> None:
    before = [
        show(latents, tmp_path / f"{n}.png", **options).read_bytes()
        for n, options in enumerate(OPTIONS)
    ]
    pixels = show(latents, tmp_path / "pixels.png", level=0).read_bytes()
    session = Store.of(latents).repository().writable_session(BRANCH)
    root: Any = zarr.open_group(session.store, mode="r+")
    for name in ("mean", "std", "observations"):
        root[name][...] = np.random.default_rng(0).integers(0, 99, root[name].shape)
    session.commit("what no picture may show")

    after = [
        show(latents, tmp_path / f"{n}.png", **options).read_bytes()
        for n, options in enumerate(OPTIONS)
    ]

    assert after == before
    assert show(latents, tmp_path / "pixels.png", level=0).read_bytes() != pixels
    with pytest.raises(InputError, match="has no level 7; it has 0 to 3"):
        show(latents, tmp_path / "none.png", level=7)
    with pytest.raises(InputError, match="leave the level out"):
        show(latents, tmp_path / "none.png", level=1, pixel="1,1")


def test_the_latents_of_a_picture_are_those_that_vary_most(latents: Path) -> None:
    coarsest = open_latents(latents, level=3)
    assert kept_order(Store.of(latents).group()) == most_seasonal(coarsest).tolist()


def test_an_export_has_no_overviews_and_names_none(latents: Path, tmp_path: Path) -> None:
    out = export(latents, tmp_path / "latents.zarr", variable="observations")
    root = zarr.open_group(out, mode="r")
    assert "overviews" not in root
    assert "multiscales" not in root.attrs
    names = [entry["name"] for entry in root.attrs["zarr_conventions"]]  # type: ignore
    assert "multiscales" not in names
    assert len(names) == 2


@pytest.mark.parametrize(
    ("side", "bytes_a_pixel", "panel", "level"),
    [
        (1024, 4 * 12 * 2, 300, 4),  # 64 pixels at 12 dates: 0.4 MB
        (1024, 4 * 2, 690, 2),  # 256 pixels at one: 0.5 MB
        (10_980, 4 * 18 * 2, 300, 6),  # 172 pixels at 18 dates: 4.3 MB
        (10_980, 4 * 2, 690, 4),  # 687 pixels at one: 3.8 MB
        (10_980, 2, 690, 3),  # 1,373 pixels: less than twice what a panel has room for
        (600, 1, 60, 3),  # 75 pixels
    ],
)
def test_a_picture_reads_no_more_than_its_share(
    side: int, bytes_a_pixel: int, panel: int, level: int
) -> None:
    root = zarr.create_group({})
    for array in grid_arrays(result_grid((side, side // 2))):
        array.create(root)
    shown(root, Plan(Pyramid.of((side, side // 2)), ()))
    # Half as wide as high, so twice the bytes.
    assert level_for(root, Budget(2 * bytes_a_pixel, panel)) == level
