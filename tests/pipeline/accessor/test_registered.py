"""The accessor is there where something was opened, costs nothing, and says what that is."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import rasterio
import xarray as xr
from sklearn.naive_bayes import GaussianNB

from terralatent.catalogs.errors import InputError
from terralatent.pipeline import open_annual, open_bands, open_cube, open_landcover, open_latents
from tests.made.opened import Stores
from tests.waiting import WITHIN_S

HEAVY = "{'torch', 'sklearn', 'matplotlib', 'geopandas', 'hvplot'}"


def run_python(code: str, folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder, capture_output=True, text=True, timeout=WITHIN_S,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_what_opens_registers_and_imports_nothing_heavy(stores: Stores) -> None:
    code = f"""
import sys
from terralatent.pipeline import Masking, open_latents
import xarray
print(hasattr(xarray.Dataset, "terralatent"), hasattr(xarray.DataTree, "terralatent"))
text = repr(open_latents("latents").terralatent)
print(sorted({HEAVY} & set(sys.modules)))
"""
    assert run_python(code, stores.folder).splitlines() == ["True True", "[]"]


def test_the_summary_is_of_what_is_there(stores: Stores) -> None:
    cube = open_cube(stores["cube"])
    opened: dict[str, xr.Dataset] = {
        "latents": open_latents(stores["latents"]),
        "decoded bands": open_bands(stores["bands"]),
        "annual vectors": open_annual(stores["annual"]),
        "a map of classes": open_landcover(stores["landcover"]),
        "a sensor of a cube": cube["sentinel-2-l2a"].to_dataset(),
    }
    for kind, data in opened.items():
        lines = dict(line.split("  ", 1) for line in repr(data.terralatent).splitlines())
        found = {name.strip(): text.strip() for name, text in lines.items()}
        assert found["kind"] == kind
        assert found["CRS"] == "EPSG:32631"
        assert found["blocks done"].startswith("100% of ")
        part = data.isel(y=slice(0, 5), drop=True)
        assert "5 x 18 pixels of 10" in repr(part.terralatent)
        assert repr(data.isel(x=0, y=0).terralatent)
    whole = repr(cube.terralatent)
    assert "sentinel-1-asc  30, 2017-08-01 to 2018-05-03, vv, vh" in whole
    assert "sentinel-2-l2a" in repr(cube["sentinel-2-l2a"].terralatent)
    assert "nothing of ours, with a" in repr(xr.Dataset({"a": 1}).terralatent)
    assert "no cube" in repr(xr.DataTree.from_dict({"/a": xr.Dataset()}).terralatent)


def test_a_summary_for_a_notebook_runs_no_code_of_a_store(stores: Stores) -> None:
    data = open_latents(stores["latents"]).assign_attrs(model_name="<script>x</script>")
    html = data.terralatent._repr_html_()
    assert "&lt;script&gt;" in html
    assert "<script>" not in html
    assert open_cube(stores["cube"]).terralatent._repr_html_().count("<tr>") == 6


@pytest.mark.parametrize(
    ("name", "variable", "names", "nodata"),
    [
        ("bands", None, ("B02", "B03", "B04"), "nan"),
        ("bands", "q95", ("B02", "B03", "B04"), "nan"),
        ("latents", "std", ("latent 0", "latent 1", "latent 2", "latent 3"), "nan"),
        ("latents", "observations", ("sentinel-1-asc", "sentinel-2-l2a"), "None"),
        ("annual", None, ("component 0", "component 1", "component 2"), "nan"),
        ("landcover", None, ("class",), "0.0"),
        ("landcover", "probability", ("grass", "maize"), "nan"),
        ("landcover", "entropy", ("entropy",), "nan"),
    ],
)
def test_a_raster_is_read_back_as_it_was(
    name: str, variable: str | None, names: tuple[str, ...], nodata: str, stores: Stores,
    tmp_path: Path,
) -> None:  # fmt: skip
    openers = {
        "bands": open_bands,
        "latents": open_latents,
        "annual": open_annual,
        "landcover": open_landcover,
    }
    data = openers[name](stores[name])
    dated = name in ("bands", "latents") and variable != "observations"
    array = data.terralatent.to_rio(variable, date="2017-12-20" if dated else None)
    array.rio.to_raster(tmp_path / "one.tif")

    source = data[array.name]
    source = source.isel(time=1 if dated else 0) if "time" in source.dims else source
    with rasterio.open(tmp_path / "one.tif") as raster:
        assert raster.descriptions == names
        assert str(raster.nodata) == nodata
        assert raster.crs.to_epsg() == 32631
        assert raster.transform == data.rio.transform()
        values = raster.read()
    assert (values == source.values.reshape(values.shape)).all() or nodata == "nan"
    xr.testing.assert_equal(xr.DataArray(values), xr.DataArray(source.values.reshape(values.shape)))


def test_a_raster_of_a_mask_and_what_is_refused(stores: Stores, tmp_path: Path) -> None:
    sensor = open_cube(stores["cube"])["sentinel-2-l2a"]
    clear = sensor.terralatent.to_rio("clear", date="2017-08-01")
    clear.rio.to_raster(tmp_path / "clear.tif")
    assert clear.dtype == "uint8"
    own = sensor.terralatent
    for call, words in (
        (lambda: own.to_rio(), "data has 24 dates, 2017-08-01 to .* name it as date="),
        (lambda: own.to_rio("nothing"), "no map 'nothing' here; there are quality, data, clear"),
        (lambda: own.to_rio(date="tomorrow"), "'tomorrow', which is no ISO date"),
        (
            lambda: open_landcover(stores["landcover"]).terralatent.to_rio(date="2018"),
            "no dates to choose from",
        ),
    ):
        with pytest.raises(InputError, match=words):
            call()


def test_exploring_names_what_is_to_be_installed(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "hvplot", None)
    with pytest.raises(InputError, match=r"hvplot, which is not installed .* `pip install hvplot`"):
        open_latents(stores["latents"]).terralatent.explore()


def test_what_is_noted_of_a_store_does_not_stop_it_from_being_written(
    stores: Stores, tmp_path: Path
) -> None:
    latents = open_latents(stores["latents"])
    assert latents.isel(time=[0]).encoding["source"] == str(stores["latents"])
    latents[["mean"]].drop_attrs().to_netcdf(tmp_path / "plain.nc")


def test_what_is_made_can_be_written_and_read_back(stores: Stores, tmp_path: Path) -> None:
    latents, bands = open_latents(stores["latents"]), open_bands(stores["bands"])
    optical = open_cube(stores["cube"])["sentinel-2-l2a"]
    own, x, y = latents.terralatent, float(latents.x[3]), float(latents.y[3])
    made: dict[str, Any] = {
        "rgb": own.rgb(),
        "clear": optical.terralatent.clear(),
        "std": own.std_map(),
        "series": bands.terralatent.series(x, y),
        "alike": own.similar_to(x, y),
        "clusters": own.cluster(3),
        "land": own.predict(GaussianNB().fit(*own.samples(stores["labels.geojson"], "crop")[:2])),
    }
    for name, data in made.items():
        data.to_netcdf(tmp_path / f"{name}.nc", engine="h5netcdf")
        opened = xr.open_dataset(tmp_path / f"{name}.nc", engine="h5netcdf", decode_coords="all")
        own = data.to_dataset() if isinstance(data, xr.DataArray) else data
        for variable in own.data_vars:
            xr.testing.assert_equal(own[variable].compute(), opened[variable])
        assert name in ("clear", "series") or opened.rio.crs.to_epsg() == 32631
