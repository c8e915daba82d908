"""The same acquisitions of one ground, as providers of items deliver them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tests.made.catalogue import optical
from tests.made.recorded import (
    COPERNICUS,
    EARTH_SEARCH,
    EARTH_SEARCH_C1,
    PC,
    PC_OLD,
    changed,
    moved,
    write_bands,
)

TIMES = tuple(f"2018-05-{day:02d}T10:50:31.024000Z" for day in (1, 6, 16, 26))
PERIOD = ("2018-05-01", "2018-05-31")


@dataclass(frozen=True)
class Files:
    """Paths of one acquisition's bands, in the forms that processors and archives keep them in."""

    plain: Mapping[str, str]
    """GeoTIFF, digital numbers as before baseline 04.00, or where their offset was taken off."""

    raised: Mapping[str, str]
    """GeoTIFF, digital numbers 1000 higher."""

    jpeg: Mapping[str, str]
    """The same as JPEG 2000, which states no nodata."""


Writer = Callable[[Files, str], dict[str, Any]]
"""Makes an item of files and a time."""


def write_acquisitions(folder: Path) -> tuple[Files, ...]:
    """Write the files of every one of :data:`TIMES`; a tenth of the pixels lacks all bands, and of
    each band a twentieth."""
    rng = np.random.default_rng(29)
    written = []
    for number in range(len(TIMES)):
        bands = optical(rng)
        lost = rng.random((20, 20)) < 0.1
        for band, pixels in bands.items():
            times = pixels.shape[0] // 20
            pixels[lost.repeat(times, 0).repeat(times, 1)] = 0
            if band != "SCL":
                pixels[rng.random(pixels.shape) < 0.05] = 0
        place = folder / str(number)
        written.append(
            Files(
                plain=write_bands(place / "plain", bands),
                raised=write_bands(place / "raised", bands, raised=1000),
                jpeg=write_bands(place / "jpeg", bands, jp2=True, raised=1000),
            )
        )
    return tuple(written)


def planetary_computer(files: Files, time: str) -> dict[str, Any]:
    """Bands by number, silent on offset and nodata; the baseline says that numbers are raised."""
    return moved(PC, files.raised, time=time, item_id=f"PC_{time[:10]}")


def planetary_computer_before(files: Files, time: str) -> dict[str, Any]:
    """The same before baseline 04.00."""
    return moved(PC_OLD, files.plain, time=time, item_id=f"PCO_{time[:10]}")


def earth_search(files: Files, time: str) -> dict[str, Any]:
    """Bands by colour, an offset beside them, and a flag that says it was taken off already."""
    return moved(EARTH_SEARCH, files.plain, time=time, item_id=f"ES_{time[:10]}")


def earth_search_left(files: Files, time: str) -> dict[str, Any]:
    """The same where the flag says that the offset is still to be applied."""
    item = moved(EARTH_SEARCH, files.raised, time=time, item_id=f"ESL_{time[:10]}")
    return changed(item, earthsearch__boa_offset_applied=False)


def earth_search_c1(files: Files, time: str) -> dict[str, Any]:
    """Bands by colour, offset in ``raster:bands``; states an angle of incidence."""
    return moved(EARTH_SEARCH_C1, files.raised, time=time, item_id=f"C1_{time[:10]}")


def copernicus(files: Files, time: str) -> dict[str, Any]:
    """Bands by number and resolution, offset on the asset; states an angle of incidence."""
    return moved(COPERNICUS, files.jpeg, time=time, item_id=f"CDSE_{time[:10]}")


def without_nodata(files: Files, time: str) -> dict[str, Any]:
    """As :func:`earth_search_c1`, silent on nodata, its platform written in capitals."""
    item = earth_search_c1(files, time)
    for asset in item["assets"].values():
        for band in asset["raster:bands"]:
            band.pop("nodata", None)
    return changed(item, platform="SENTINEL-2B")


PROVIDERS: Mapping[str, Writer] = {
    writer.__name__: writer
    for writer in (
        planetary_computer,
        planetary_computer_before,
        earth_search,
        earth_search_left,
        earth_search_c1,
        copernicus,
        without_nodata,
    )
}


def delivered_by(writers: Iterable[Writer], acquisitions: Iterable[Files]) -> list[dict[str, Any]]:
    """Items of all acquisitions, the providers taking turns."""
    turns = list(writers)
    return [
        turns[number % len(turns)](files, time)
        for number, (files, time) in enumerate(zip(acquisitions, TIMES, strict=True))
    ]


def flown_by(unit: str, files: Files, time: str) -> dict[str, Any]:
    """An item of :func:`planetary_computer` whose words all name one Sentinel-2, such as ``A``."""
    item = planetary_computer(files, time)
    hrefs = {key: asset.pop("href") for key, asset in item["assets"].items()}
    words = json.dumps(item).replace("S2B", f"S2{unit}").replace("tinel-2B", f"tinel-2{unit}")
    named: dict[str, Any] = json.loads(words)
    for key, href in hrefs.items():
        named["assets"][key]["href"] = href
    return named


def of_one_acquisition(item: Mapping[str, Any]) -> dict[str, Any]:
    """The item with words that make items of one time one acquisition, each provider's its own."""
    return changed(
        item,
        platform="sentinel-2b",
        grid__code="MGRS-31UDS",
        s2__mgrs_tile="31UDS",
        sat__relative_orbit=51,
        s2__datastrip_id=None,
        eopf__datastrip_id=None,
        s2__product_uri=None,
    )


def write_collection(path: Path, items: Iterable[Mapping[str, Any]]) -> Path:
    """Write items as one file that is a catalogue; what they name lies below its folder."""
    path.write_text(json.dumps({"type": "FeatureCollection", "features": list(items)}))
    return path
