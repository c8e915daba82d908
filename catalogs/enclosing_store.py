"""A file or store is never written inside another store: what reads that one may trip over it, and
what cleans it up deletes it."""

from __future__ import annotations

from pathlib import Path

from terralatent.catalogs.errors import InputError

__all__ = ["refuse_inside_store"]

_ICECHUNK = ("snapshots", "transactions")
"""Folders of every Icechunk repository with a commit."""

_ZARR = ("zarr.json", ".zgroup", ".zarray")
"""Files of which every group and array of Zarr has one."""


def refuse_inside_store(out: str | Path) -> None:
    """Check that no folder above a local path is an Icechunk repository or a group of Zarr.

    Raises:
        InputError: If one is.
    """
    for folder in Path(out).expanduser().absolute().resolve().parents:
        icechunk = all((folder / name).is_dir() for name in _ICECHUNK)
        if icechunk or any((folder / name).is_file() for name in _ZARR):
            raise InputError(f"{out} lies inside the store {folder}; choose another out=.")
