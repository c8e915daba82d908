"""An export is there under its name once it is whole, and what keeps it from that is one line."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from rasterio.errors import RasterioError

from terralatent.catalogs.enclosing_store import refuse_inside_store
from terralatent.catalogs.errors import InputError
from terralatent.pipeline.command import command_line
from terralatent.pipeline.store.damage import damage_of
from terralatent.pipeline.store.location import is_url
from terralatent.pipeline.store.lock.writer import writer_lock
from terralatent.pipeline.store.repository import Store

__all__ = ["local_place", "made_whole", "require_room", "writing_export"]


def local_place(out: str | Path) -> Path:
    """The absolute path of an export.

    Raises:
        InputError: If it is a URL, or lies inside a store.
    """
    if is_url(out):
        raise InputError(f"{out}: exports go to a local folder; copy it from there.")
    path = Path(out).expanduser().absolute()
    if not path.exists():
        refuse_inside_store(out)
    return path


@contextmanager
def made_whole(out: Path, store: Store) -> Iterator[Path]:
    """Yield a place aside, for a file or a folder, which becomes ``out`` if the block ends well.

    Of such an export there is no part: a disk that is full or a folder that may not be written
    leaves nothing, as does a store that cannot be read to its end. What a kill left goes first.

    Raises:
        InputError: As of :func:`writing_export`.
    """
    partial = out.with_name(f".{out.name}.new")
    with writing_export(out, store):
        try:
            _remove(partial)
            yield partial
            partial.rename(out)
        finally:
            _remove(partial)


@contextmanager
def writing_export(out: Path, store: Store) -> Iterator[None]:
    """Be the one process that writes an export, for the time of a ``with`` block.

    Raises:
        InputError: If another one is writing it, if it cannot be written, or if the store that is
            read is damaged.
    """
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"Cannot write {out}: {error.strerror or error}.") from error
    with writer_lock(out, command_line()):
        try:
            yield
        except InputError:
            raise
        except Exception as error:
            if isinstance(error, RasterioError):
                raise InputError(f"Cannot write {out}: {error}.") from error
            if (damage := damage_of(error)) is not None and not isinstance(error, OSError):
                raise InputError(f"{store} {damage}") from error
            if isinstance(error, OSError) and error.errno is not None:
                raise InputError(f"Cannot write {out}: {error.strerror or error}.") from error
            raise


def require_room(out: Path, needed: int) -> None:
    """Check that a disk has room before work of hours fills it.

    Args:
        out: Where an export goes; it need not be there.
        needed: Bytes that it takes at most, what lies beside it on the way included.

    Raises:
        InputError: If there are fewer.
    """
    there = next(place for place in (out, *out.parents) if place.exists())
    free = shutil.disk_usage(there).free
    if needed > free:
        raise InputError(
            f"{out} may take {_gigabytes(needed)}, what lies beside it on the way included, and "
            f"{there} has {_gigabytes(free)} free. Make room, or take a part, by variable=, "
            "sensor= or date=."
        )


def _gigabytes(count: int) -> str:
    return f"{count / 1e9:,.2f} GB" if count < 1e11 else f"{count / 1e9:,.0f} GB"


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    with suppress(OSError):
        path.unlink()
