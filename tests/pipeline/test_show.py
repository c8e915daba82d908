"""Pictures: every kind of store gives one, and the arithmetic behind them holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import dask.array as da
import numpy as np
import pytest
import xarray as xr
from distributed import Client

from terralatent.catalogs.errors import InputError
from terralatent.pipeline import decode, embed, open_latents
from terralatent.pipeline.pictures.composites import Composite, plotted_bands
from terralatent.pipeline.pictures.cube import clear_share, clearest
from terralatent.pipeline.pictures.mosaic import Strip, colour_ends, draw, spread, stretch
from terralatent.pipeline.pictures.series import find_pixel
from terralatent.pipeline.pictures.show import show
from tests.made.models import made_up_model

PNG = b"\x89PNG"


@pytest.fixture(scope="module")
def stores(
    cube: Path, workers: Client, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """A cube, latents and bands of it."""
    folder = tmp_path_factory.mktemp("stores")
    model = made_up_model(cube, folder / "model")
    embed(cube, model, folder / "latents", dates="2018-05-11,2018-05-21", client=workers)
    decode(cube, model, "sentinel-2-l2a", "2018-05-21", folder / "bands", client=workers)
    return {"cube": cube, "latents": folder / "latents", "bands": folder / "bands"}


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("cube", {}),
        ("cube", {"sensor": "sentinel-1-asc", "date": "2018-05-02", "variable": "vh"}),
        ("cube", {"sensor": "sentinel-1-asc"}),
        ("cube", {"variable": "ndvi"}),
        ("cube", {"pixel": "3,4"}),
        ("cube", {"pixel": "501400,5629600", "sensor": "sentinel-2-l2a", "variable": "B02"}),
        ("latents", {}),
        ("latents", {"variable": "2", "date": "2018-05-20"}),
        ("latents", {"variable": "observations"}),
        ("latents", {"pixel": "0,39"}),
        ("bands", {}),
        ("bands", {"variable": "evi"}),
        ("bands", {"pixel": "7,7", "variable": "ndvi"}),
        ("bands", {"pixel": "501400.5,5629600.5"}),
    ],
)
def test_every_store_gives_pictures(
    stores: dict[str, Path], kind: str, options: dict[str, Any], tmp_path: Path
) -> None:
    out = show(stores[kind], tmp_path / "pictures" / "one.png", **options)
    assert out.read_bytes().startswith(PNG)
    assert out.stat().st_size > 10_000


def test_without_a_file_it_is_the_picture_that_the_file_would_hold(
    stores: dict[str, Path], tmp_path: Path
) -> None:
    figure = show(stores["bands"])
    figure.savefig(tmp_path / "own.png")
    kept = show(stores["bands"], tmp_path / "kept.png")
    assert (tmp_path / "own.png").read_bytes() == kept.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["kept.png", "own.png"]


@pytest.mark.parametrize(
    ("kind", "options", "words"),
    [
        ("cube", {"sensor": "sentinel-3"}, "has no sensor 'sentinel-3'; it has sentinel-1-asc, "),
        ("cube", {"variable": "B99"}, "no band 'B99' here; there are B02, "),
        ("cube", {"variable": "B99", "pixel": "1,1"}, "No sensor here has a band 'B99'"),
        ("cube", {"variable": "ndre", "sensor": "sentinel-1-asc"}, "no band for nir"),
        ("cube", {"date": "tomorrow"}, "'tomorrow' is no ISO date"),
        ("cube", {"pixel": "40,0"}, "outside the grid: x 501360 to 501760, .* columns 0 to 39"),
        ("cube", {"pixel": "here"}, "no pair of numbers"),
        ("cube", {"pixel": "1,nan"}, "no pair of numbers"),
        ("latents", {"variable": "4"}, "no latent '4' here; there are 0 to 3"),
        ("latents", {"pixel": "-1,0"}, "outside the grid"),
        ("bands", {"sensor": "sentinel-1-asc"}, "holds sentinel-2-l2a, not sentinel-1-asc"),
        ("bands", {"variable": "vv"}, "no band 'vv' here"),
    ],
)
def test_what_is_not_there_cannot_be_shown(
    stores: dict[str, Path], kind: str, options: dict[str, Any], words: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=words):
        show(stores[kind], tmp_path / "one.png", **options)
    assert not (tmp_path / "one.png").exists()


def test_a_picture_needs_a_store_and_a_known_format(
    stores: dict[str, Path], tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="no store here"):
        show(tmp_path / "nothing", tmp_path / "one.png")
    with pytest.raises(InputError, match=r"Cannot draw 'one.xyz': end it in one of \.png"):
        show(stores["latents"], tmp_path / "one.xyz")
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="Cannot write"):
        show(stores["latents"], tmp_path / "file" / "one.png", variable="0")


def test_a_pixel_is_found_by_its_place_and_by_its_centre(stores: dict[str, Path]) -> None:
    latents = open_latents(stores["latents"])
    for column, row in ((0, 0), (39, 39), (7, 31)):
        centre = f"{float(latents.x[column])},{float(latents.y[row])}"
        corner = f"{float(latents.x[column]) - 5},{float(latents.y[row]) + 5}"
        assert find_pixel(latents, f"{column},{row}") == (column, row)
        assert find_pixel(latents, centre) == find_pixel(latents, corner) == (column, row)


def test_one_stretch_for_all_images_keeps_order_and_gaps() -> None:
    rng = np.random.default_rng(0)
    images = [rng.normal(n, 1.0, (9, 8, 3)).astype(np.float32) for n in range(3)]
    images[1][2, 3] = np.nan

    drawn = stretch(images, colour_ends(images))

    assert all(np.nanmin(image) >= 0 and np.nanmax(image) <= 1 for image in drawn)
    before, after = (np.stack(many).reshape(-1, 3) for many in (images, drawn))
    assert np.isnan(after[:, 0]).sum() == 1
    for channel in range(3):
        order = np.argsort(before[:, channel])
        assert (np.diff(after[order, channel][:-1]) >= 0).all()


def test_clouds_do_not_make_the_land_black() -> None:
    rng = np.random.default_rng(0)
    land = [rng.uniform(0.0, 0.2, (9, 8, 3)).astype(np.float32) for _ in range(2)]
    cloudy = [land[0], np.where(np.arange(8)[:, None] < 4, 0.9, land[1]).astype(np.float32)]
    clear = [np.ones((9, 8), bool), np.tile(np.arange(8) >= 4, (9, 1))]

    drawn = stretch(cloudy, colour_ends(cloudy, clear))

    np.testing.assert_allclose(drawn[0], stretch(land, colour_ends(land))[0], atol=0.05)
    assert (drawn[1][:, :4] == 1.0).all()
    for none in (None, [np.zeros((9, 8), bool)] * 2):
        np.testing.assert_array_equal(colour_ends(cloudy, none), colour_ends(cloudy))


def test_the_clearest_date_of_each_part_of_the_period_is_chosen() -> None:
    times = np.arange("2018-01-01", "2018-01-31", dtype="datetime64[D]")
    share = np.zeros(30)
    share[[4, 12, 25]] = 1.0
    assert clearest(times, share, 3).tolist() == [4, 12, 25]
    assert clearest(times[:2], share[:2], 3).tolist() == [0, 1]
    share[12] = 0.0
    assert clearest(times, share, 3).tolist() == [4, 25]


@pytest.mark.parametrize(("count", "most"), [(1, 6), (5, 6), (6, 6), (130, 6)])
def test_dates_are_spread_from_first_to_last(count: int, most: int) -> None:
    places = spread(count, most)
    assert len(places) == min(count, most)
    assert (places[0], places[-1]) == (0, count - 1)


class CountedArray:
    """Ones, and what was asked of them; dask copies objects, but not their classes."""

    shape, dtype, ndim = (8, 3, 4, 6), np.dtype("float32"), 4
    read: ClassVar[list[Any]] = []

    def __getitem__(self, key: Any) -> Any:
        self.read.append(key)
        return np.ones(self.shape, self.dtype)[key]


def test_a_picture_of_many_dates_reads_each_chunk_once_and_shares_read_masks_alone() -> None:
    dims, bands = ("time", "band", "y", "x"), ["B04", "B03", "B02"]
    CountedArray.read.clear()
    stored = da.from_array(CountedArray(), chunks=(4, 3, 4, 6), meta=np.empty((0,) * 4, np.float32))
    data = xr.DataArray(stored, dims=dims, coords={"band": bands})
    clear = xr.DataArray(np.zeros((8, 4, 6), bool), dims=("time", "y", "x"))
    clear[:, :, :3] = True
    clear[0] = False

    shares = clear_share(xr.Dataset({"data": data, "clear": clear, "quality": clear}))
    assert not CountedArray.read
    assert shares is not None
    assert shares.tolist() == [0.0, *[1.0] * 7]
    assert len(Composite(bands).images(data)) == 8
    assert len(CountedArray.read) == 2


def test_colours_and_plots_of_each_sensor() -> None:
    optical = ["B02", "B03", "B04", "B08", "B11"]
    dims = ("time", "band", "y", "x")
    values = xr.DataArray(np.ones((3, 5, 2, 2)), dims=dims, coords={"band": optical})
    assert Composite(optical).bands == ("B04", "B03", "B02")
    assert np.shape(Composite(optical).images(values)) == (3, 2, 2, 3)
    radar = xr.DataArray(np.ones((1, 2, 2, 2)), dims=dims, coords={"band": ["vv", "vh"]})
    assert Composite(["vv", "vh"]).images(radar)[0][0, 0].tolist() == [1.0, 1.0, 0.0]
    assert Composite(["a"]).bands == ("a", "a", "a")
    assert plotted_bands(optical) == ["B03", "B04", "B08", "B11"]
    assert plotted_bands(["x", "y"]) == ["x", "y"]


def test_a_notebook_shows_a_picture_without_pyplot() -> None:
    shown = draw([Strip("zeros", [np.zeros((4, 4))], ["a day"])], "nowhere")[0]._repr_png_()
    assert shown.startswith(PNG)
