"""What earlier versions wrote opens: a cube, a model, latents, decoded bands and an export.

``tests/data/written-before`` was written by commit 30c780d (version 0.1.0), of a simulated region
of 15 x 14 pixels in May and June 2018, with public names and commands alone::

    terralatent simulate --out scenes --size 32 --seed 3
    terralatent build --source scenes/catalog.json --region 3.5131,50.9200,3.5149,50.9213 \
                      --start 2018-05-10 --end 2018-06-10 --block 8 --out cube
    terralatent train cube --latents 3 --steps 6 --out model
    terralatent embed cube model --dates 2018-05-15,2018-06-01 --out latents
    terralatent decode cube model --sensor sentinel-2-l2a --dates 2018-06-01 --out bands
    terralatent export latents --out latents.zarr

It is read as a user would, and never written anew by a later version.
"""

import shutil
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from distributed import Client

from terralatent.pipeline import decode, embed, open_cube, open_latents, status
from terralatent.pipeline.mapping.opened import open_bands

BEFORE = Path(__file__).parent / "data" / "written-before"
DATES = ["2018-05-15", "2018-06-01"]
ACQUISITIONS = {"sentinel-1-asc": 6, "sentinel-1-desc": 5, "sentinel-2-l2a": 13}


@pytest.fixture
def before(tmp_path: Path) -> Path:
    """A copy: what uses a cube tags its state there."""
    return Path(shutil.copytree(BEFORE, tmp_path / "before"))


def test_the_cube_opens_with_what_it_held(before: Path) -> None:
    cube = open_cube(before / "cube")
    assert {name: cube[name].sizes["time"] for name in ACQUISITIONS} == ACQUISITIONS
    optical = cube["sentinel-2-l2a"]["data"]
    assert optical.dims == ("time", "band", "y", "x")
    assert optical.shape == (13, 10, 15, 14)
    assert optical.dtype == np.float32
    # by commit 30c780d; means of the clear reflectance and of the backscatter
    assert float(optical.astype("float64").mean()) == pytest.approx(0.15111406085184448, rel=1e-6)
    radar = cube["sentinel-1-asc"]["data"].astype("float64")
    assert float(radar.mean()) == pytest.approx(-17.07703929919572, rel=1e-6)
    assert str(cube["sentinel-2-l2a"]["time"].values[0])[:10] == "2018-05-11"


def test_the_model_gives_the_latents_that_it_gave(
    before: Path, workers: Client, tmp_path: Path
) -> None:
    embed(before / "cube", before / "model", tmp_path / "again", dates=DATES, client=workers)
    again, stored = open_latents(tmp_path / "again"), open_latents(before / "latents")
    assert again.attrs["model_hash"] == stored.attrs["model_hash"]
    xr.testing.assert_equal(again["observations"], stored["observations"])
    # A mean may fall on either side of a packing step; a step is below a tenth of a std.
    step = float(again["std"].min()) / 10
    for name in ("mean", "std"):
        xr.testing.assert_allclose(again[name], stored[name], rtol=0, atol=step)


def test_the_bands_decode_as_they_did(before: Path, workers: Client, tmp_path: Path) -> None:
    cube, model = before / "cube", before / "model"
    decode(cube, model, "sentinel-2-l2a", ["2018-06-01"], tmp_path / "again", client=workers)
    again, stored = open_bands(tmp_path / "again"), open_bands(before / "bands")
    assert set(again) >= {"mean", "std", "std_signal", "q05", "q95"}
    step = float(again["std"].min()) / 10
    for name in stored:
        xr.testing.assert_allclose(again[name], stored[name], rtol=0, atol=step)


def test_the_export_is_the_latents(before: Path) -> None:
    exported = xr.open_zarr(before / "latents.zarr", consolidated=False)
    stored = open_latents(before / "latents")
    for name in ("mean", "std"):
        np.testing.assert_allclose(exported[name], stored[name], rtol=0, atol=1e-6)


def test_a_finished_result_is_finished_still(before: Path, workers: Client) -> None:
    kept = status(before / "latents").snapshot
    report = embed(
        before / "cube", before / "model", before / "latents", dates=DATES, client=workers
    )
    assert not report.losses
    assert status(before / "latents").snapshot == kept


@pytest.mark.parametrize("name", ["cube", "model", "latents", "bands"])
def test_status_tells_of_it(before: Path, name: str) -> None:
    assert "0.1.0" in str(status(before / name))
