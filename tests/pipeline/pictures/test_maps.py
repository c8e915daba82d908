"""Maps: colours that mean the same in all panels, bars that say what they cut, a scale."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, ClassVar

import dask.array as da
import numpy as np
import pytest
import xarray as xr

from terralatent.pipeline.pictures.composites import Composite
from terralatent.pipeline.pictures.cube import clear_share, clearest, monthly_means
from terralatent.pipeline.pictures.heading import period_of, where_and_what
from terralatent.pipeline.pictures.mosaic import Strip, colour_ends, draw, stretch
from tests.made.results import result_grid

MONTHS = {"2018-01": 3, "2018-02": 1, "2018-04": 2}


def test_what_is_grey_on_the_ground_is_grey_where_channels_share_a_unit() -> None:
    rng = np.random.default_rng(0)
    soil = rng.uniform(0.05, 0.2, (9, 8, 1)) * np.ones(3)
    bluish = np.where(np.arange(8)[:, None] < 5, soil * [0.4, 0.7, 1.0], soil)
    shared = stretch([bluish], colour_ends([bluish], shared=True))[0]
    np.testing.assert_allclose(np.ptp(shared[:, 5:], axis=-1), 0.0, atol=1e-6)
    own = stretch([bluish], colour_ends([bluish]))[0]
    assert np.ptp(own[:, 5:], axis=-1).max() > 0.05


@pytest.mark.parametrize("bands", [("B04", "B03", "B02"), ("vv", "vh")])
def test_a_legend_names_what_each_colour_is_and_its_ends(bands: tuple[str, ...]) -> None:
    rng = np.random.default_rng(1)
    images = [rng.uniform(0.0, 1.0, (20, 20, 3)).astype(np.float32)]
    drawn, legend = Composite(bands).drawn(images, "dB")
    for word in Composite(bands).channels:
        assert word in legend
    low, high = (float(np.percentile(images[0], end)) for end in (1, 99))
    assert f"{low:.2f}" in legend
    assert f"{high:.2f} dB" in legend
    assert drawn[0].min() == 0.0
    assert drawn[0].max() == 1.0


@pytest.mark.parametrize(
    ("limits", "extend"),
    [((0.0, 9.0), "neither"), ((1.0, 9.0), "min"), ((0.0, 8.0), "max"), ((1.0, 8.0), "both")],
)
def test_a_bar_has_arrows_where_values_lie_beyond_it(
    limits: tuple[float, float], extend: str
) -> None:
    images = [np.arange(10.0).reshape(2, 5), np.full((2, 5), np.nan)]
    figure, _ = draw([Strip("numbers", images, ["a", "b"], "m", limits=limits)], "heading")
    bars = [axes for axes in figure.axes if axes.get_ylabel() == "m"]
    assert len(bars) == 1  # one for all panels
    assert bars[0]._colorbar.extend == extend  # type: ignore[attr-defined]


def test_a_map_of_one_value_says_so_instead_of_a_bar() -> None:
    figure, _ = draw([Strip("n", [np.full((4, 4), 159.0)], [""], "observations")], "heading")
    assert "159 observations everywhere" in [text.get_text() for text in figure.texts]
    assert len(figure.axes) == 1


def test_a_heading_says_where_and_the_scale_bar_is_as_long_as_it_says() -> None:
    shape = (37, 53)
    grid = result_grid(shape)
    data = xr.DataArray(
        np.zeros(shape), dims=("y", "x"), coords=dict(xr.Dataset(coords=grid_coords(grid)).coords)
    )
    heading = where_and_what(data, "zeros", period_of(np.array(["2018-03-01", "2018-01-05"], "M8")))
    assert heading.what == "zeros · 2018-01-05 to 2018-03-01"
    centre = grid.extent.centroid.to_crs("EPSG:4326").coords[0]
    assert (
        f"centre {centre[0]:.2f}° E, {centre[1]:.2f}° N · 53 × 37 pixels of 10 m" in heading.where
    )

    figure, _ = draw([Strip("zeros", [np.zeros(shape), np.ones(shape)], ["a", "b"])], heading)

    bar: Any = figure.axes[0].artists[0]
    label = bar.txt_label.get_text()
    assert bar.size_bar.get_children()[0].get_width() * 10.0 == float(label.removesuffix(" m"))
    across = 10.0 * 53 / figure.axes[0].get_position().width / figure.get_figwidth()  # m an inch
    assert 0.3 < float(label.removesuffix(" m")) / across <= 1.1
    assert "N" in [text.get_text() for text in figure.texts]


def grid_coords(grid: Any) -> Any:
    return {name: grid.coordinates[name].values for name in ("y", "x")} | {
        "spatial_ref": ((), 0, {"crs_wkt": grid.crs.wkt})
    }


def test_long_titles_are_broken_into_lines_within_the_picture() -> None:
    words = "posterior mean of three latents and of many other things that have to be said " * 2
    figure, _ = draw([Strip(words, [np.zeros((4, 4))], [""])] * 2, words)
    figure.draw_without_rendering()
    for text in figure.texts:
        assert text.get_window_extent().x1 <= figure.bbox.x1
    first, second = (text for text in figure.texts if text.get_fontsize() == 9)
    assert first.get_window_extent().x1 < second.get_window_extent().x0


class Counted:
    """Radar in dB, and what was asked of it; dask copies objects, but not their classes."""

    values = np.random.default_rng(0).uniform(-20, -5, (6, 2, 4, 5)).astype(np.float32)
    shape, dtype, ndim = values.shape, values.dtype, values.ndim
    read: ClassVar[list[Any]] = []

    def __getitem__(self, key: Any) -> Any:
        self.read.append(key)
        return self.values[key]


def radar() -> xr.Dataset:
    days = [f"{month}-{9 * n + 1:02}" for month, count in MONTHS.items() for n in range(count)]
    stored = da.from_array(Counted(), chunks=(4, 2, 4, 5), meta=np.empty((0,) * 4, np.float32))
    data = xr.DataArray(
        stored,
        dims=("time", "band", "y", "x"),
        coords={"time": np.array(days, "datetime64[us]"), "band": ["vv", "vh"]},
        attrs={"units": "dB"},
    )
    return xr.Dataset({"data": data, "clear": data.notnull().any("band")})


def test_monthly_means_are_those_of_power_and_read_each_chunk_once() -> None:
    Counted.read.clear()
    means = monthly_means(radar()["data"])
    assert means.captions == [f"{month}  mean of {n}" for month, n in MONTHS.items()]
    assert not Counted.read
    found = means.data.values
    assert len(Counted.read) == 2
    ends = np.cumsum([0, *MONTHS.values()])
    for n, (first, last) in enumerate(pairwise(ends)):
        power = np.mean([10 ** (own / 10) for own in Counted.values[first:last]], axis=0)
        np.testing.assert_allclose(found[n], 10 * np.log10(power), rtol=1e-5)
    assert len(monthly_means(radar()["data"], most=2).captions) == 2


def test_nothing_is_read_to_find_how_clear_a_sensor_without_a_mask_band_is() -> None:
    Counted.read.clear()
    assert clear_share(radar()) is None
    assert not Counted.read
    times = radar().time.values
    assert clearest(times, None, 3).tolist() in ([0, 2, 5], [0, 3, 5])
