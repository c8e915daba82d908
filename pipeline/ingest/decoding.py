"""Memory for pixels that are being decoded: what a file needs, and what the threads share.

A file of a megabyte may claim one tile of a gigabyte, which is only ever decoded whole, or a
JPEG 2000 in blocks of code of 4 x 4 pixels, each of which takes half a kilobyte. What a file needs
is read from its header; eight of them at once would end the process.
"""

from __future__ import annotations

import struct
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from xml.sax.saxutils import escape

import numpy as np
import rasterio

__all__ = ["MOST_BYTES", "DecodingMemory", "RasterError", "decoding_memory", "tile_bytes"]

MOST_BYTES = 1 << 30
"""Of one tile or strip, which is only ever decoded whole, and of what one window is made from."""

CODE_BLOCK = 512
"""Bytes in which OpenJPEG keeps a block of code; 400 were measured."""

HEADER = 1 << 14
"""Bytes of a codestream in which its main header must end."""

BOXES = 64
"""Boxes of a JPEG 2000 at most before its codestream."""

CODESTREAM, SIZ, COD, COC, SOT = 0xFF4F, 0xFF51, 0xFF52, 0xFF53, 0xFF90
"""Markers of ISO 15444-1, annex A."""

RAW = """<VRTDataset rasterXSize="{size}" rasterYSize="1">
<GeoTransform>0,1,0,0,0,-1</GeoTransform>
<VRTRasterBand dataType="Byte" band="1" subClass="VRTRawRasterBand">
<SourceFilename relativeToVRT="0">{path}</SourceFilename><ImageOffset>{offset}</ImageOffset>
<PixelOffset>1</PixelOffset><LineOffset>{size}</LineOffset></VRTRasterBand></VRTDataset>"""
"""A part of any file as a row of pixels: its bytes, through the same connection and cache."""


class RasterError(ValueError):
    """A file holds a raster that is not what was wanted, or none that is safe to read."""


class DecodingMemory:
    """So many bytes, from which each reading takes what it needs and waits until that is free."""

    def __init__(self, limit: int) -> None:
        """Take the number of bytes that there are."""
        self.limit = limit
        self._free = limit
        self._changed = threading.Condition()

    @contextmanager
    def taken(self, size: int) -> Iterator[None]:
        """Hold ``size`` bytes, once they are free. Not to be called again by who holds some.

        Raises:
            RasterError: If there never are so many.
        """
        if size > self.limit:
            raise RasterError(
                f"it takes {size / 1e6:.0f} MB to decode, {self.limit / 1e6:.0f} MB of a worker "
                "are for that (a quarter of memory=)"
            )
        with self._changed:
            self._changed.wait_for(lambda: self._free >= size)
            self._free -= size
        try:
            yield
        finally:
            with self._changed:
                self._free += size
                self._changed.notify_all()


@cache
def decoding_memory(limit: int = MOST_BYTES) -> DecodingMemory:
    """Return that of this process, the same for all threads that give the same ``limit``."""
    return DecodingMemory(limit)


def tile_bytes(file: rasterio.DatasetReader) -> int:
    """What one tile or strip takes to decode, with all bands that lie interleaved in it.

    Raises:
        RasterError: If the header of a JPEG 2000 does not say.
    """
    rows, columns = file.block_shapes[0]
    each, codes = np.dtype(file.dtypes[0]).itemsize, 0
    if file.driver.startswith("JP2"):
        each += 4  # OpenJPEG decodes to integers of 4 bytes
        codes = CODE_BLOCK * _code_blocks(file.name)
    return int(rows * columns * each * file.count) + codes


def _code_blocks(path: str) -> int:
    """Blocks of code in a tile of a JPEG 2000, all components."""
    begin = _codestream(path)
    header = _bytes(path, begin, HEADER)
    try:
        first, siz = struct.unpack_from(">HH", header)
        if (first, siz) != (CODESTREAM, SIZ):
            raise RasterError("its codestream does not begin with its size")
        length, _, *sides, components = struct.unpack_from(">HH8IH", header, 4)
        x, y, left, top, width, height = sides[:6]
        pixels = min(width, x - left) * min(height, y - top)
        at, blocks = 4 + length, 0
        while (marker := struct.unpack_from(">H", header, at)[0]) != SOT:
            (length,) = struct.unpack_from(">H", header, at + 2)
            if marker in (COD, COC):
                component = 0 if marker == COD else 1 if components < 257 else 2
                scod, style = at + 4 + component, at + (9 if marker == COD else 5 + component)
                levels, *sides = header[style : style + 3]
                precincts = header[style + 5 : style + 6 + levels] if header[scod] & 1 else ()
                blocks = max(blocks, _blocks(pixels, levels, sides, precincts))
            at += 2 + max(length, 2)
    except (struct.error, ValueError) as error:
        raise RasterError("the header of its codestream is cut, or longer than any") from error
    return components * blocks


def _blocks(pixels: int, levels: int, sides: Sequence[int], precincts: Sequence[int]) -> int:
    """Blocks of code of one component, over its resolutions from the lowest on.

    All sides are exponents of 2: of a block less two, of a precinct, of which a block has half the
    side at most, in four bits each.
    """
    count = 0
    for level in range(levels + 1):
        side = precincts[level] if precincts else 0xFF
        across = min(sides[0] + 2, max(0, (side & 15) - 1))
        down = min(sides[1] + 2, max(0, (side >> 4) - 1))
        count += -(-pixels // 4 ** (levels - level) // 2 ** (across + down))
    return count


def _codestream(path: str) -> int:
    """Where the codestream begins among the boxes of a file."""
    at = 0
    for _ in range(BOXES):
        head = _bytes(path, at, 16)
        size, kind = struct.unpack_from(">I4s", head)
        if size >> 16 == CODESTREAM:
            return at
        long = size == 1
        if kind == b"jp2c":
            return at + (16 if long else 8)
        size = struct.unpack_from(">Q", head, 8)[0] if long else size
        if size < 8:
            break
        at += size
    raise RasterError("it has no codestream")


def _bytes(path: str, offset: int, size: int) -> bytes:
    """Some bytes of a file; zeros beyond its end."""
    path = path.replace("s3://", "/vsis3/", 1) if path.startswith("s3://") else path
    text = RAW.format(path=escape(path), offset=offset, size=size)
    with (
        rasterio.Env(GDAL_VRT_RAWRASTERBAND_ALLOWED_SOURCE="ALL"),
        rasterio.DatasetReader(text, driver="VRT", sharing=False) as raw,
    ):
        return bytes(raw.read(1).tobytes())
