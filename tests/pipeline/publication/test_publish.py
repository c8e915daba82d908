"""What `publish` writes is valid STAC, and says of the store what it says of itself."""

import json
import shutil
from pathlib import Path
from typing import Any

import icechunk
import numpy as np
import pystac
import pystac_client
import pytest
import rasterio.warp
import xarray as xr
import zarr
from safetensors.numpy import load_file

from terralatent.catalogs.errors import InputError
from terralatent.pipeline.mapping.opened import open_latents
from terralatent.pipeline.publication.publish import publish
from terralatent.pipeline.store.repository import Store
from tests.pipeline.publication.conftest import lay_out_annual

TERMS: dict[str, Any] = {"licence": "CC-BY-4.0", "providers": ["We=https://example.org"]}


@pytest.fixture(scope="module")
def linked(cube: Path, model: Path, latents: Path, tmp_path_factory: Any) -> Path:
    """The latents' catalogue, whose assets lead to the store."""
    out = tmp_path_factory.mktemp("linked") / "catalogue"
    publish(latents, out, cube=cube, model=model, **TERMS)
    return Path(out)


@pytest.fixture(scope="module")
def copied(latents: Path, tmp_path_factory: Any) -> Path:
    """The same with the data in it, to be served at a URL; cube and model found by themselves."""
    out = tmp_path_factory.mktemp("copied") / "catalogue"
    publish(latents, out, copy="zarr", url="https://example.org/data/", **TERMS)
    return Path(out)


def documents(folder: Path) -> dict[str, dict[str, Any]]:
    """All STAC documents of a catalogue by their path; what Zarr and models keep is none."""
    found = {}
    for path in sorted(folder.rglob("*.json")):
        document = json.loads(path.read_text())
        if ".zarr" not in path.as_posix() and "stac_version" in document:
            found[path.relative_to(folder).as_posix()] = document
    return found


def content(folder: Path) -> dict[str, tuple[bytes, int]]:
    """All files with their bytes and when they were written."""
    return {
        path.relative_to(folder).as_posix(): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def item_of(folder: Path) -> dict[str, Any]:
    return documents(folder)["latents/latents.json"]


@pytest.mark.parametrize("which", ["linked", "copied"])
def test_every_document_is_valid(which: str, request: Any, validate: Any) -> None:
    found = documents(request.getfixturevalue(which))
    assert {document["type"] for document in found.values()} == {"Catalog", "Collection", "Feature"}
    for document in found.values():
        validate(document)
    declared = {uri for document in found.values() for uri in document.get("stac_extensions", [])}
    names = {uri.split("/")[3]: uri.split("/")[4] for uri in declared}
    assert names["embeddings"] == "v0.0.1"
    assert names["mlm"] == "v1.5.0"
    assert {"datacube", "projection", "raster", "processing"} <= set(names)


def test_the_validator_sees_what_is_wrong(linked: Path, validate: Any) -> None:
    item = item_of(linked)
    with pytest.raises(pystac.STACValidationError, match="embeddings"):
        validate({**item, "assets": {}})
    with pytest.raises(pystac.STACValidationError, match="embeddings"):
        validate({**item, "properties": {**item["properties"], "emb:anything": 1}})
    with pytest.raises(pystac.STACValidationError):
        validate({**item, "stac_version": "1.0.0", "geometry": {"type": "Polygon"}})


def test_every_link_leads_somewhere(linked: Path) -> None:
    for path, document in documents(linked).items():
        hrefs = [link["href"] for link in document["links"]]
        hrefs += [asset["href"] for asset in document.get("assets", {}).values()]
        for href in hrefs:
            assert href.startswith("https://") or (linked / path).parent.joinpath(href).exists()


def test_each_scene_that_went_in_has_one_link(linked: Path, cube: Path) -> None:
    repository = icechunk.Repository.open(icechunk.local_filesystem_storage(str(cube)))
    table: Any = zarr.open_group(repository.readonly_session("main").store, mode="r")["items"]
    ids, fates = (np.asarray(table[name][...]) for name in ("id", "fate"))
    wanted = sorted({str(id_) for id_, fate in zip(ids, fates, strict=True) if fate != "dropped"})
    links = [link for link in item_of(linked)["links"] if link["rel"] == "derived_from"]
    assert sorted(link["title"] for link in links) == wanted
    for link in links:
        scene = pystac.Item.from_file(str((linked / "latents" / link["href"]).resolve()))
        assert scene.id == link["title"]


def test_a_catalogue_of_the_web_is_linked_to_itself() -> None:
    from terralatent.catalogs.items.item import own_href

    def item(href: str) -> dict[str, Any]:
        return {"links": [{"rel": "root", "href": "https://a/"}, {"rel": "self", "href": href}]}

    assert own_href(item("https://a/items/1?sig=secret")) == "https://a/items/1"
    assert own_href(item("http://localhost:7822/items/1")) == ""
    assert own_href(item("/data/1.json")) == ""
    assert own_href({}) == ""


def test_places_agree_with_rasterio(linked: Path, latents: Path) -> None:
    item, properties = item_of(linked), item_of(linked)["properties"]
    opened = open_latents(latents)
    transform = opened.rio.transform()
    assert properties["proj:transform"] == list(transform)[:6]
    assert properties["proj:shape"] == list(opened["mean"].shape[-2:])
    assert properties["proj:code"] == str(opened.rio.crs)
    bounds = rasterio.transform.array_bounds(*properties["proj:shape"], transform)
    assert properties["proj:bbox"] == list(bounds)
    west, south, east, north = rasterio.warp.transform_bounds(
        opened.rio.crs, "EPSG:4326", *bounds, densify_pts=100
    )
    np.testing.assert_allclose(item["bbox"], [west, south, east, north], atol=1e-6)
    ring = np.array(item["geometry"]["coordinates"][0])
    np.testing.assert_allclose([*ring.min(axis=0), *ring.max(axis=0)], item["bbox"], atol=1e-9)
    dates = opened["time"].values.astype("datetime64[s]")
    assert properties["start_datetime"] == f"{dates[0]}Z"
    assert properties["end_datetime"] == f"{dates[-1]}Z"
    assert properties["cube:dimensions"]["latent"]["values"] == list(range(4))


def test_data_open_by_the_link_to_the_store(linked: Path, latents: Path) -> None:
    item = pystac.Item.from_file(str(linked / "latents" / "latents.json"))
    asset = item.assets["embeddings"]
    assert asset.roles == ["data", "embeddings"]
    assert item.assets["uncertainty"].roles == ["data", "uncertainty"]
    storage = icechunk.local_filesystem_storage(str(asset.get_absolute_href()))
    session = icechunk.Repository.open(storage).readonly_session(
        snapshot_id=item.properties["terralatent:snapshot"]
    )
    opened = xr.open_zarr(session.store, consolidated=False)
    np.testing.assert_allclose(opened["mean"], open_latents(latents)["mean"], atol=1e-6)


def test_the_snapshot_that_is_published_is_kept(linked: Path, latents: Path) -> None:
    from terralatent.pipeline.store.history import history

    published = item_of(linked)["properties"]["terralatent:snapshot"]
    (state,) = [state for state in history(latents) if state.id == published]
    assert any(name.startswith("catalogue-") for name in state.kept_for)


def test_data_open_by_xarray_in_a_catalogue_with_a_copy(copied: Path, latents: Path) -> None:
    root = pystac.Catalog.from_file(str(copied / "catalog.json"))
    item = next(iter(next(iter(root.get_children())).get_items()))
    place = copied / "latents" / item.assets["embeddings"].href
    opened = xr.open_zarr(str(place), consolidated=True)
    np.testing.assert_allclose(opened["std"], open_latents(latents)["std"], atol=1e-6)
    band = item.to_dict()["assets"]["uncertainty"]
    assert band["type"].startswith("application/vnd.zarr; version=3")
    link = opened.attrs["stac:link"]
    assert link["href"] == "https://example.org/data/latents/collection.json"
    assert "b3703368-7e7e-4e8e-9e0e-6d0f0d5e8e8e" in str(opened.attrs["zarr_conventions"])
    Store.of(place).group()  # its digests are those of its files


def test_packing_is_what_the_arrays_say(linked: Path, latents: Path) -> None:
    item, root = item_of(linked), Store.of(latents).group()
    quantization = item["properties"]["emb:quantization"]
    assert quantization["scale"] == [root["mean"].attrs["scale_factor"]]
    assert quantization["offset"] == [0.0]
    assert quantization["quantized_dtype"] == root["mean"].dtype.name  # type: ignore[union-attr]
    bands = item["assets"]["uncertainty"]["raster:bands"]
    assert [band["name"] for band in bands] == [f"latent-{n}" for n in range(4)]
    assert {band["scale"] for band in bands} == {root["std"].attrs["scale_factor"]}
    assert {band["nodata"] for band in bands} == {root["std"].attrs["_FillValue"]}


def test_the_model_is_an_item_with_its_weights(linked: Path, model: Path) -> None:
    collection = documents(linked)["latents/collection.json"]
    (href,) = [link["href"] for link in collection["links"] if link["rel"] == "emb:model"]
    item = pystac.Item.from_file(str((linked / "latents" / href).resolve()))
    weights = Path(str(item.assets["model"].get_absolute_href()))
    assert weights.read_bytes() == (model / "weights.safetensors").read_bytes()
    counted = sum(array.size for array in load_file(weights).values())
    assert item.properties["mlm:total_parameters"] == counted
    assert item.assets["model"].extra_fields["mlm:artifact_type"] == "safetensors.torch.save_file"
    assert {entry["name"] for entry in item.properties["mlm:input"]} >= {"sentinel-2-l2a"}


def test_providers_licence_and_sources_are_named(linked: Path) -> None:
    collection = documents(linked)["latents/collection.json"]
    roles = {provider["name"]: provider["roles"] for provider in collection["providers"]}
    assert roles["We"] == ["processor", "host"]
    assert "producer" in roles["European Space Agency (ESA), Copernicus"]
    assert collection["license"] == "CC-BY-4.0"
    assert any(link["rel"] == "emb:source-data" for link in collection["links"])


def test_pystac_client_reads_it(linked: Path) -> None:
    client = pystac_client.Client.from_file(str(linked / "catalog.json"))
    assert [collection.id for collection in client.get_collections()] == ["latents"]


def test_publishing_again_changes_nothing(latents: Path, linked: Path) -> None:
    before = content(linked)
    assert publish(latents, linked).changed == 0
    assert content(linked) == before
    assert not list(linked.parent.glob(".*"))


def test_another_store_or_another_folder_is_refused_by_name(
    latents: Path, cube: Path, linked: Path, tmp_path: Path
) -> None:
    before = content(linked)
    with pytest.raises(InputError, match="publication of another store, the latents latents"):
        publish(cube, linked, **TERMS)
    assert content(linked) == before
    (tmp_path / "thesis.txt").write_text("all of it")
    with pytest.raises(InputError, match="is not a publication of terralatent"):
        publish(latents, tmp_path, **TERMS)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ({"licence": None}, "Give licence="),
        ({"licence": "my own"}, "no SPDX identifier"),
        ({"providers": ["=https://example.org"]}, "is no name"),
        ({"copy": "tiff"}, "give zarr"),
        ({"name": "a/b"}, "is no id"),
    ],
)
def test_what_cannot_be_used_is_said(
    how: dict[str, Any], says: str, latents: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=says):
        publish(latents, tmp_path / "out", **{**TERMS, **how})
    assert not (tmp_path / "out").exists()


def test_another_cube_or_model_is_refused(latents: Path, cube: Path, tmp_path: Path) -> None:
    from terralatent.models.shipped import model_folder

    with pytest.raises(InputError, match=r"is not the cube that .* is made from"):
        publish(latents, tmp_path / "out", cube=latents, **TERMS)
    with pytest.raises(InputError, match="is not the model of"):
        publish(latents, tmp_path / "out", cube=cube, model=model_folder(None), **TERMS)
    moved = tmp_path / "far" / "off" / "moved"
    shutil.copytree(latents, moved)
    with pytest.raises(InputError, match=r"cannot be found \(it was at .*give it with cube="):
        publish(moved, tmp_path / "out", **TERMS)


def test_a_cube_is_a_datacube_without_embeddings(cube: Path, tmp_path: Path, validate: Any) -> None:
    publish(cube, tmp_path / "out", licence="proprietary")
    found = documents(tmp_path / "out")
    for document in found.values():
        validate(document)
    item = found["cube/cube.json"]
    assert not [uri for uri in item["stac_extensions"] if "embeddings" in uri]
    asset = item["assets"]["sentinel-2-l2a"]
    times = np.asarray(Store.of(cube).group()["sentinel-2-l2a/time"][...])  # type: ignore[index]
    assert len(asset["cube:dimensions"]["time"]["values"]) == len(times)
    assert {"data", "quality"} == set(asset["cube:variables"])


def test_another_year_comes_beside_the_first(
    latents: Path, cube: Path, model: Path, tmp_path: Path, validate: Any
) -> None:
    how = {"cube": cube, "model": model, "name": "annual", **TERMS}
    first = lay_out_annual(tmp_path / "one", latents, years=1)
    both = lay_out_annual(tmp_path / "both", latents, years=2)
    out = tmp_path / "out"
    assert publish(first, out, **how).items == ("annual-2017-10-01-2018-09-30",)
    before = documents(out)["annual/annual-2017-10-01-2018-09-30.json"]
    publish(both, out, **how)
    found = documents(out)
    for document in found.values():
        validate(document)
    collection = found["annual/collection.json"]
    items = [link["href"] for link in collection["links"] if link["rel"] == "item"]
    assert items == [f"./annual-{y}-10-01-{y + 1}-09-30.json" for y in (2017, 2018)]
    (interval,) = collection["extent"]["temporal"]["interval"]
    assert (interval[0][:10], interval[1][:10]) == ("2017-10-01", "2019-09-30")
    again = found["annual/annual-2017-10-01-2018-09-30.json"]
    assert again["properties"]["emb:quantization"] == before["properties"]["emb:quantization"]
    band = again["assets"]["uncertainty"]["raster:bands"][0]
    assert (band["scale"], band["offset"], band["nodata"]) == (0.02, -2.0, -128)
    assert collection["emb:temporal_resolution"] == "annual"
