"""JPEG 2000 from strangers: bombs are refused before they are decoded, boxes lead nowhere."""

from __future__ import annotations

import struct
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from terralatent.catalogs.items.georeference import Georeference
from terralatent.pipeline.ingest.decoding import tile_bytes
from terralatent.pipeline.ingest.raster import open_raster
from tests.pipeline.ingest.files.test_raster import SECRET, SIDE, STATED, read, refused, vrt, write

LOSSLESS = {"driver": "JP2OpenJPEG", "codec": "JP2", "quality": 100, "reversible": "yes"}
SIZE, STYLE = b"\xff\x4f\xff\x51", b"\xff\x52\x00"
"""How codestream and coding style begin."""


@pytest.fixture
def good(tmp_path: Path) -> bytes:
    """A good file of sevens."""
    return write(tmp_path / "good.jp2", nodata=None, **LOSSLESS).read_bytes()


def claiming(content: bytes, side: int, tile: int, code: int = 6, parts: int = 1) -> bytes:
    """The same, claiming another size, tiles, blocks of code (exponents of 2) and components."""
    claimed = bytearray(content)
    header, stream, style = (content.index(mark) for mark in (b"ihdr", SIZE, STYLE))
    struct.pack_into(">II", claimed, header + 4, side, side)
    struct.pack_into(">II", claimed, stream + 8, side, side)
    struct.pack_into(">II", claimed, stream + 24, tile, tile)
    claimed[style + 10 : style + 12] = bytes([code - 2, code - 2])
    return bytes(claimed)


BOMBS: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "one tile": (lambda good: claiming(good, 190_000, 190_000), "MB to decode"),
    "large tiles": (lambda good: claiming(good, 40_000, 20_000), "MB to decode"),
    "small blocks of code": (lambda good: claiming(good, 10_900, 10_900, code=2), "MB to decode"),
    "too many tiles": (lambda good: claiming(good, 150_000, 64), "opj_read_header() failed"),
    "cut in its header": (lambda good: good[: good.index(STYLE)], ""),
    "an endless box": (lambda good: good.replace(b"jp2c", b"jp2z"), ""),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_named_before_it_goes_off(good: bytes, name: str, tmp_path: Path) -> None:
    make, words = BOMBS[name]
    (path := tmp_path / "bomb.jp2").write_bytes(make(good))
    refused(path, words, placement=Georeference("EPSG:32631"))


def test_what_a_good_one_takes_is_known(tmp_path: Path) -> None:
    for side in (4, 64):
        code = {"codeblock_width": side, "codeblock_height": side}
        path = write(tmp_path / "a.jp2", nodata=None, **LOSSLESS, **code)
        with open_raster(str(path), "uint16", STATED) as file:
            rows, columns = file.block_shapes[0]
            codes = (tile_bytes(file) - rows * columns * (2 + 4)) / 512
        assert 1 <= codes / np.ceil(rows * columns / side**2) < 1.5


# -- boxes ----------------------------------------------------------------------------------------


def with_box(content: bytes, text: str, kind: bytes = b"xml ", claimed: int | None = None) -> bytes:
    """The same with a box before its codestream."""
    box = struct.pack(">I4s", claimed or 8 + len(text), kind) + text.encode()
    at = content.index(b"jp2c") - 4
    return content[:at] + box + content[at:]


@pytest.fixture
def visits() -> Iterator[tuple[str, list[str]]]:
    """A server's URL, and the paths that anybody asked it for."""
    asked: list[str] = []

    class Server(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(404)

        def do_HEAD(self) -> None:
            self.do_GET()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", asked
        server.shutdown()


LAUGHS = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10 if n else "ha"}">' for n in range(12))


def texts(secret: Path, url: str) -> dict[str, str]:
    """What boxes may hold: entities, coordinates elsewhere, GDAL's own lists of files."""
    gml = (
        '<gml:FeatureCollection xmlns:gml="http://www.opengis.net/gml"><gml:RectifiedGrid '
        f'dimension="2" srsName="{url}/crs.xml" xlink:href="{url}/grid.gml"/>'
        f'<gmlcov:file xlink:href="{secret}"/></gml:FeatureCollection>'
    )
    domain = '<GDALMultiDomainMetadata><Metadata domain="{}"><MDI key="{}">{}</MDI></Metadata>'
    return {
        "laughs": f"<!DOCTYPE a [{LAUGHS}]><a>&l11;</a>",
        "an entity": f'<!DOCTYPE a [<!ENTITY x SYSTEM "{url}/x">]><a>&x;</a>',
        "a file": f'<!DOCTYPE a [<!ENTITY x SYSTEM "file://{secret}">]><a>&x;</a>',
        "GML": gml,
        "overviews": domain.format("OVERVIEWS", "OVERVIEW_FILE", secret)
        + "</GDALMultiDomainMetadata>",
        "a VRT": vrt(secret),
        "depth": "<a>" * 50_000,
        "nothing": "",
        "no XML": "\x00\xff<" * 100,
    }


def test_boxes_with_xml_lead_to_no_other_file_and_nowhere(
    good: bytes, visits: tuple[str, list[str]], tmp_path: Path
) -> None:
    url, asked = visits
    secret = write(tmp_path / "secret.tif", np.full((SIDE, SIDE), SECRET, np.uint16))
    folder = tmp_path / "catalogue"
    folder.mkdir()
    for name, text in texts(secret, url).items():
        for kind in (b"xml ", b"asoc"):
            (path := folder / "a.jp2").write_bytes(with_box(good, text, kind))
            pixels, unread = read(path)
            if name == "overviews" and kind == b"xml ":
                assert "names other files" in unread[0].reason
            else:
                assert (pixels == (0 if unread else 7)).all(), name
    assert asked == []


@pytest.mark.parametrize("claimed", [0xFFFFFFF0, 9, 3])
def test_a_box_that_lies_on_its_size_is_named_or_harmless(
    good: bytes, claimed: int, tmp_path: Path
) -> None:
    (path := tmp_path / "a.jp2").write_bytes(with_box(good, "<a/>", claimed=claimed))
    pixels, unread = read(path)
    assert (pixels == (0 if unread else 7)).all()
