"""Whether clusters that are started here serve Dask's web pages, which ask nobody for a key."""

from __future__ import annotations

import dask

__all__ = ["DASHBOARD", "serve_pages", "serves_pages"]

DASHBOARD = "terralatent.dashboard"
"""The key in Dask's configuration; false by default."""


def serve_pages() -> None:
    """Let clusters that are started from now on serve them."""
    dask.config.set({DASHBOARD: True})


def serves_pages() -> bool:
    """Whether they do."""
    return bool(dask.config.get(DASHBOARD, False))
