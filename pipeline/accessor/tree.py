"""``.terralatent`` of xarray's trees: of a cube, and of the nodes of its sensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import xarray as xr

from terralatent.catalogs.errors import InputError
from terralatent.pipeline.accessor.opened import Opened

if TYPE_CHECKING:
    from pathlib import Path

    from terralatent.pipeline.training.pixel_series import PixelSeries

__all__ = ["OpenedTree"]


@xr.register_datatree_accessor("terralatent")
class OpenedTree(Opened):
    """The same of a tree: of a sensor's node what its Dataset has, of a cube what it is.

    Examples:
        >>> import terralatent as tl
        >>> tl.open_cube("cube").terralatent  # doctest: +ELLIPSIS
        kind            a cube
        ...
        sentinel-2-l2a  24, 2017-08-01 to 2018-05-04, B02, B03, B04
        grid            18 x 18 pixels of 10
        CRS             EPSG:32631
    """

    def __init__(self, tree: xr.DataTree) -> None:
        self._tree = tree

    @property
    def _data(self) -> xr.Dataset:
        if not self._tree.children:
            return self._tree.to_dataset()
        sensors = [str(name) for name, own in self._tree.children.items() if "data" in own]
        first = sensors[0] if sensors else "NAME"
        raise InputError(
            f"This is of one sensor, and there are {', '.join(sensors) or 'none here'}; take it "
            f"of tree[{first!r}].terralatent."
        )

    def __repr__(self) -> str:
        from terralatent.pipeline.accessor.summary import as_text, tree_summary

        return as_text(tree_summary(self._tree)) if self._tree.children else super().__repr__()

    def _repr_html_(self) -> str:
        from terralatent.pipeline.accessor.summary import as_html, tree_summary

        return as_html(tree_summary(self._tree)) if self._tree.children else super()._repr_html_()

    def view(self, *, cube: str | Path | xr.DataTree | None = None, model: Any = None) -> Any:
        """As of a Dataset; of a cube a map of all of its sensors."""
        from terralatent.pipeline.explorer.view import view_in_notebook

        whole = self._tree if len(self._tree.children) > 1 else self._data
        return view_in_notebook(whole, cube=cube, model=model)

    def to_torch(
        self,
        batch: int = 4096,
        *,
        sensors: Sequence[str] | None = None,
        seed: int = 0,
        bands: Mapping[str, Sequence[str]] | None = None,
        shuffle: bool = True,
        places: bool = False,
    ) -> PixelSeries:
        """The series of a cube's pixels for PyTorch, see :class:`terralatent.pipeline.PixelSeries`.

        They are read from the store that was opened, at its snapshot and masked as then; of a tree
        that was selected by slices of y and x, those of that part.

        Raises:
            InputError: If the tree was not opened from a cube, or anything else was selected of it.

        Examples:
            >>> import terralatent as tl
            >>> series = tl.open_cube("cube").terralatent.to_torch(batch=100)
            >>> [len(seen["sentinel-1-asc"]) for seen in series]
            [100, 100, 100, 6]
        """
        from terralatent.pipeline.cube.selected import selection_of
        from terralatent.pipeline.training.pixel_series import PixelSeries

        nodes = {
            str(name): node.to_dataset()
            for name, node in self._tree.children.items()
            if "data" in node and node["data"].size and (sensors is None or name in sensors)
        }
        opened = selection_of(nodes)
        if opened is None:
            raise InputError(
                "to_torch reads the store of a cube as open_cube gives it, of which pixels may be "
                "selected by slices; dates or bands were, or values were computed. Name sensors= "
                "and bands= here."
            )
        return PixelSeries(
            opened.store, opened.sensors if sensors is None else sensors, batch=batch, seed=seed,
            shuffle=shuffle, bands=bands, masking=opened.masking, at=opened.snapshot or None,
            window=opened.window, places=places,
        )  # fmt: skip
