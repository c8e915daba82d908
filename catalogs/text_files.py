"""Text files as other programs write them: with a byte order mark, in UTF-8 or UTF-16."""

from __future__ import annotations

import codecs
from pathlib import Path

__all__ = ["read_text", "text_of"]


def read_text(path: str | Path, *, errors: str = "strict") -> str:
    r"""Read a text file of a user's; its lines end in ``\n``, whatever system wrote it.

    Raises:
        OSError: If it cannot be read.
        UnicodeDecodeError: If it is no text.
    """
    return text_of(Path(path).read_bytes(), errors=errors)


def text_of(content: bytes, *, errors: str = "strict") -> str:
    r"""Decode the content of a text file: UTF-8, or what its byte order mark says.

    >>> text_of(codecs.BOM_UTF8 + b"one\r\ntwo"), text_of("one".encode("utf-16"))
    ('one\ntwo', 'one')

    Raises:
        UnicodeDecodeError: If it is no text.
    """
    wide = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    text = content.decode("utf-16" if wide else "utf-8-sig", errors)
    return text.replace("\r\n", "\n").replace("\r", "\n")
