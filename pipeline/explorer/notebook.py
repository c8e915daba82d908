"""The page as an object of Panel, which a notebook shows over Jupyter's own channel."""

from __future__ import annotations

import geopandas
import panel

from terralatent.pipeline.explorer.page import Page

__all__ = ["Explorer"]


class Explorer(panel.viewable.Viewer):
    """A page in a notebook; no port is opened, and its scripts stand in the notebook itself."""

    def __init__(self, page: Page) -> None:
        super().__init__()
        panel.extension(inline=True)
        self.page = page
        self._pane = panel.pane.Bokeh(page.root)

    @property
    def labels(self) -> geopandas.GeoDataFrame:
        """The polygons that were drawn, class by class, as ``classify`` takes them: ``class``."""
        return self.page.labels

    def __panel__(self) -> panel.viewable.Viewable:
        return self._pane
