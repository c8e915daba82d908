"""Files are made readable as they are opened: tokens are fresh, keys go to their own store."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from distributed import Client
from planetary_computer import sas, settings

from terralatent.catalogs.errors import InputError
from terralatent.catalogs.scenes.scenes import Scenes
from terralatent.catalogs.sources.sensors import pick_sensors
from terralatent.catalogs.sources.signing import KeysError, missing_keys, readable, require_keys
from terralatent.catalogs.sources.sources import SOURCES, Bucket
from terralatent.pipeline.ingest.build import build_cube
from terralatent.pipeline.store.repository import Store
from tests.made.catalogue import optical, region
from tests.made.recorded import PC, moved, write_bands
from tests.servers.file_server import KEY, FileServer, Trouble, serving_files

PLACE = SOURCES["planetary-computer"]
ACCOUNT = "http://account.blob.core.windows.net"
CDSE = SOURCES["copernicus"].buckets[0]
LANDSAT = SOURCES["earth-search"].buckets[0]


def use(server: FileServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let Planetary Computer's client get its tokens from ``server``, and GDAL all files."""
    for name, value in server.environment().items():
        monkeypatch.setenv(name, value)
    settings.Settings.get.cache_clear()
    sas.TOKEN_CACHE.clear()


@pytest.fixture(autouse=True)
def _forgotten() -> Iterator[None]:
    yield
    settings.Settings.get.cache_clear()
    sas.TOKEN_CACHE.clear()


def scenes(folder: Path) -> tuple[Scenes, np.ndarray]:
    """Two dates in an account of Planetary Computer, and what B02 holds."""
    bands = optical(np.random.default_rng(5))
    items = []
    for day in (1, 6):
        paths = write_bands(folder / "tiles" / str(day), bands, raised=1000)
        hrefs = {band: f"{ACCOUNT}/tiles/{day}/{Path(path).name}" for band, path in paths.items()}
        items.append(moved(PC, hrefs, time=f"2018-05-{day:02d}T10:50:31Z", item_id=f"day-{day}"))
    period = tuple(np.array(["2018-05-01", "2018-05-31"], "datetime64[D]").tolist())
    sensors = pick_sensors(["sentinel-2-l2a"])
    return Scenes.gather(items, sensors, source=PLACE, period=period), bands["B02"]


@pytest.mark.parametrize(("seconds", "tokens"), [(3600.0, 1), (200.0, 22)])
def test_no_file_is_opened_with_a_token_that_is_about_to_expire(
    seconds: float,
    tokens: int,
    workers: Client,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A token that lasts is requested once; one that does not, for each of the 22 files."""
    found, band = scenes(tmp_path / "files")
    trouble = Trouble(key=KEY, token_stated=seconds)
    with serving_files(tmp_path / "files", tmp_path / "log", trouble) as server:
        use(server, monkeypatch)
        report = build_cube(found, region(), tmp_path / "cube", block=40, client=workers)
        requests = server.requests
    assert report.losses == ()
    np.testing.assert_array_equal(
        Store.of(tmp_path / "cube").group()["sentinel-2-l2a/data"][0, 0], band.astype(int) + 1000
    )
    given = [request.path for request in requests if request.path.startswith("/tokens/")]
    assert given == ["/tokens/account/tiles"] * tokens
    first: dict[str, str] = {}
    for request in requests:
        if request.path.endswith(".tif"):
            first.setdefault(request.path, request.query)
    assert len(first) == 22
    assert len(set(first.values())) == tokens


def test_tokens_are_stored_nowhere(
    workers: Client,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    found, _ = scenes(tmp_path / "files")
    (tmp_path / "files" / "tiles" / "6" / "B03.tif").unlink()
    with serving_files(tmp_path / "files", tmp_path / "log", Trouble(key=KEY)) as server:
        use(server, monkeypatch)
        report = build_cube(found, region(), tmp_path / "cube", block=40, client=workers)
    found.to_parquet(tmp_path / "scenes.parquet")
    (loss,) = report.losses
    assert (loss.item, loss.band) == ("day-6", "B03")
    assert "sig=" not in str(loss)
    assert "sig=" not in caplog.text
    for path in (tmp_path / "scenes.parquet", *(tmp_path / "cube").rglob("*")):
        assert not path.is_file() or b"sig=" not in path.read_bytes()


def test_a_giver_of_tokens_that_refuses_costs_the_file_and_is_named(
    workers: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, _ = scenes(tmp_path / "files")
    with serving_files(tmp_path / "files", tmp_path / "log", Trouble(key=KEY)) as server:
        use(server, monkeypatch)
        monkeypatch.setenv("PC_SDK_SAS_URL", f"{server.url}/none")
        report = build_cube(found, region(), tmp_path / "cube", block=40, client=workers)
    assert len(report.losses) == 22
    assert "403" in report.losses[0].reason


def test_files_elsewhere_get_no_token_and_no_key() -> None:
    for href in ("https://elsewhere.example/a.tif", "/data/a.tif", "s3://other/a.tif"):
        made = readable(href, PLACE)
        assert (made.href, dict(made.options)) == (href, {})
    made = readable("s3://elsewhere/a.tif", SOURCES["copernicus"])
    assert dict(made.options) == {}


def test_what_opens_a_file_shows_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CDSE_ACCESS_KEY_ID", "KEYOFMINE")
    monkeypatch.setenv("CDSE_SECRET_ACCESS_KEY", "not-to-be-shown")
    made = readable("s3://eodata/a.jp2", SOURCES["copernicus"])
    assert made.options["AWS_S3_ENDPOINT"] == "eodata.dataspace.copernicus.eu"
    assert made.options["AWS_VIRTUAL_HOSTING"] == "NO"
    assert "not-to-be-shown" not in repr(made)
    assert "KEYOFMINE" not in repr(made)


AMAZON = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}
OWN = {"CDSE_ACCESS_KEY_ID": "a", "CDSE_SECRET_ACCESS_KEY": "b"}


@pytest.mark.parametrize(
    ("bucket", "environment", "met"),
    [
        (LANDSAT, {}, False),
        (LANDSAT, AMAZON, True),
        (LANDSAT, OWN, False),
        (LANDSAT, {**AMAZON, "AWS_S3_ENDPOINT": "eodata.dataspace.copernicus.eu"}, False),
        (CDSE, {}, False),
        (CDSE, OWN, True),
        (CDSE, {"CDSE_ACCESS_KEY_ID": "a"}, False),
        (CDSE, AMAZON, False),
        (CDSE, {**AMAZON, "AWS_S3_ENDPOINT": "eodata.dataspace.copernicus.eu"}, True),
        (CDSE, {**AMAZON, "AWS_S3_ENDPOINT": "https://eodata.dataspace.copernicus.eu/"}, True),
        (Bucket("public"), {}, True),
    ],
)
def test_keys_are_for_their_own_endpoint(
    bucket: Bucket, environment: dict[str, str], met: bool
) -> None:
    assert (missing_keys(bucket, environment) == "") is met


def test_missing_keys_are_named_and_nothing_else_is_needed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in (*AMAZON, *OWN, "AWS_S3_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    place = SOURCES["earth-search"]
    require_keys(place, ["https://sentinel-cogs.s3.us-west-2.amazonaws.com/B02.tif"])
    with pytest.raises(InputError, match=r"s3://usgs-landsat: set AWS_ACCESS_KEY_ID and AWS_SEC"):
        require_keys(place, ["s3://usgs-landsat/collection02/a.tif"])
    with pytest.raises(KeysError, match="no keys for s3://usgs-landsat on this machine"):
        readable("s3://usgs-landsat/collection02/a.tif", place)
    for name, value in AMAZON.items():
        monkeypatch.setenv(name, value)
    made = readable("s3://usgs-landsat/collection02/a.tif", place)
    assert made.options["AWS_REQUEST_PAYER"] == "requester"
