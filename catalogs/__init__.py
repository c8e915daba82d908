"""What there is to read, and what we publish. Knows STAC; no torch, no dask.

Names are imported on first use, so that ``import terralatent.catalogs`` costs nothing.
"""

from typing import TYPE_CHECKING

__all__ = ["SENSORS", "Access", "Scenes", "Sensor", "Source", "search_scenes"]

if TYPE_CHECKING:
    from terralatent.catalogs.documents.access import Access
    from terralatent.catalogs.scenes.scenes import Scenes
    from terralatent.catalogs.scenes.search import search_scenes
    from terralatent.catalogs.sources.sensors import SENSORS, Sensor
    from terralatent.catalogs.sources.sources import Source
else:
    _HOMES = {
        "SENSORS": "sources.sensors",
        "Access": "documents.access",
        "Scenes": "scenes.scenes",
        "Sensor": "sources.sensors",
        "Source": "sources.sources",
        "search_scenes": "scenes.search",
    }

    def __getattr__(name):
        """Import ``name`` from its module, once (PEP 562)."""
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module

        value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
        globals()[name] = value
        return value

    def __dir__():
        """Offer the names that are not imported yet beside those that are."""
        return sorted({*globals(), *__all__})
