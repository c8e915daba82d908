"""Vector files as GeoDataFrames, each read as what its name says it is and as nothing else.

GDAL takes a file for what its first bytes say, whatever its name: XML that calls itself a virtual
data source lets it open other files, and URLs. So the first bytes are compared first.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from terralatent.catalogs.errors import InputError

if TYPE_CHECKING:
    import geopandas

__all__ = ["GEOJSON_ENDINGS", "PARQUET_ENDINGS", "VECTOR_FILES", "read_vector_file"]

GEOJSON_ENDINGS = (".geojson", ".json")

PARQUET_ENDINGS = (".parquet", ".geoparquet")

VECTOR_FILES = {
    ".gpkg": "GeoPackage",
    ".shp": "Shapefile",
    ".kml": "KML",
    **dict.fromkeys(PARQUET_ENDINGS, "GeoParquet"),
}
"""By their endings, files that are no GeoJSON."""

_BEGINS: dict[str, tuple[bytes, ...]] = {
    ".gpkg": (b"SQLite format 3\0",),
    ".shp": (b"\x00\x00\x27\x0a",),
    ".kml": (b"<?xml", b"<kml"),
    **dict.fromkeys(PARQUET_ENDINGS, (b"PAR1",)),
    **dict.fromkeys(GEOJSON_ENDINGS, (b"{",)),
}
"""How files begin, after a byte order mark and white space."""

_HEAD = 4096
_VIRTUAL = b"<ogrvrt"


def read_vector_file(path: Path, name: str) -> geopandas.GeoDataFrame | None:
    """Read the one layer of a vector file; None where it has no geometries at all.

    Args:
        path: GeoJSON, or by its ending GeoParquet or one of :data:`VECTOR_FILES`.
        name: What messages call it.

    Raises:
        InputError: If it cannot be read as what its ending says, or has several layers.
    """
    import geopandas  # not where no such file is read: it takes a second

    ending = path.suffix.lower()
    kind = VECTOR_FILES.get(ending, "GeoJSON")
    try:
        _require_kind(path, ending)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if ending in PARQUET_ENDINGS:  # which GDAL may be built without
                frame = geopandas.read_parquet(path)
                return frame if len(frame) else None
            listed = geopandas.list_layers(path)
            layers = [str(layer) for layer in listed["name"][listed["geometry_type"].notna()]]
            if len(layers) > 1:
                raise InputError(
                    f"{name} has the layers {', '.join(layers)}; export the one that is wanted to "
                    "a file of its own."
                )
            return geopandas.read_file(path, layer=layers[0]) if layers else None
    except InputError:
        raise
    except (RuntimeError, OSError, ValueError) as error:  # those of GDAL and others
        first = str(error).splitlines()[0].rstrip(".") if str(error) else type(error).__name__
        raise InputError(f"{name} cannot be read as {kind}: {first}.") from error


def _require_kind(path: Path, ending: str) -> None:
    known = _BEGINS.get(ending)
    if known is None:
        raise ValueError(
            f"its ending is {ending!r}, and those that are read are {', '.join(sorted(_BEGINS))}"
        )
    with path.open("rb") as file:
        head = file.read(_HEAD)
    begin = head if ending == ".shp" else head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if not begin.startswith(known) or _VIRTUAL in begin.lower():
        raise ValueError("it does not begin as one does")
