"""Text files as other programs write them are the files that they were."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from terralatent.catalogs.scenes.aoi import read_aoi
from terralatent.catalogs.scenes.scenes import Scenes
from terralatent.catalogs.scenes.search import search_scenes
from terralatent.catalogs.sources.registry import read_registry
from terralatent.catalogs.text_files import read_text
from terralatent.pipeline.dates import parse_when
from tests.made.catalogue import region
from tests.servers.scripted import Answer, scripted

MAY = ("2018-05-01", "2018-05-31")
WRITERS: dict[str, Callable[[str], bytes]] = {
    "a byte order mark": lambda text: text.encode("utf-8-sig"),
    "Windows line ends": lambda text: text.replace("\n", "\r\n").encode(),
    "old line ends": lambda text: text.replace("\n", "\r").encode(),
    "both": lambda text: text.replace("\n", "\r\n").encode("utf-8-sig"),
    "sixteen bits": lambda text: text.replace("\n", "\r\n").encode("utf-16"),
}


@pytest.fixture(params=WRITERS)
def written(request: pytest.FixtureRequest) -> Callable[[Path, str], Path]:
    """Writes a text as another program would."""

    def write(path: Path, text: str) -> Path:
        path.write_bytes(WRITERS[request.param](text))
        return path

    return write


Write = Callable[[Path, str], Path]


def test_a_text_is_what_it_was_whoever_wrote_it(written: Write, tmp_path: Path) -> None:
    assert read_text(written(tmp_path / "text", "één\ntwee\n")) == "één\ntwee\n"


def test_regions_tables_and_dates_are_read_whoever_wrote_them(
    written: Write, tmp_path: Path
) -> None:
    aoi = read_aoi(region())
    geojson = json.dumps(aoi.__geo_interface__, indent=1)
    assert read_aoi(written(tmp_path / "region.geojson", geojson)).equals(aoi)

    table = '[sources.ours]\nwhere = "https://example.org"\nneeds = """\ntwo\nlines"""\n'
    (source,) = (
        read_registry([written(tmp_path / "own.toml", table)]).sources[name] for name in ("ours",)
    )
    assert source.needs == "two\nlines"

    dates = written(tmp_path / "dates.csv", "# days\n2018-05-03\n2018-05-20\n")
    period = (np.datetime64("2018-05-01"), np.datetime64("2018-05-31"))
    times = parse_when(str(dates), period, np.array(["2018-05-03"], "datetime64[us]"))
    assert [str(time)[:10] for time in times] == ["2018-05-03", "2018-05-20"]


def test_items_are_read_whoever_wrote_them_and_kept(
    written: Write, catalogue: Path, made_up: Scenes, tmp_path: Path
) -> None:
    """Times without a zone are UTC."""
    folder = shutil.copytree(catalogue, tmp_path / "catalogue")
    for path in folder.rglob("*.json"):
        text = json.dumps(json.loads(path.read_text()), indent=1)
        naive = re.sub(r"(\d\d:\d\d:\d\d(\.\d+)?)(Z|\+00:00)", r"\1", text)
        written(path, naive)
    found = search_scenes(folder, region(), *MAY)
    assert found.digest == made_up.digest
    found.to_parquet(tmp_path / "scenes.parquet")
    assert Scenes.from_parquet(tmp_path / "scenes.parquet").digest == made_up.digest


def test_documents_come_with_a_byte_order_mark_too(made_up: Scenes) -> None:
    items = json.loads(json.dumps(made_up.items).replace('"/', '"https://example.org/'))
    content = json.dumps({"type": "FeatureCollection", "features": items})
    with scripted(lambda _: Answer(content.encode("utf-8-sig"))) as it:
        assert search_scenes(f"{it.url}/items.json", region(), *MAY).digest == made_up.digest
