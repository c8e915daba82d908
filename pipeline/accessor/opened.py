"""``.terralatent`` of xarray's Datasets; each method imports what it needs when it is called.

Of what is opened, and of any part selected from it: what a Dataset is, its variables decide.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import xarray as xr

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

    from terralatent.pipeline.accessor.colours import Limits
    from terralatent.pipeline.accessor.places import Number, Shapes
    from terralatent.pipeline.probes.estimators import Estimator
    from terralatent.pipeline.probes.labels import LabelSource

__all__ = ["Opened"]


@xr.register_dataset_accessor("terralatent")
class Opened:
    """What is known of a Dataset that ``open_*`` gave, and what can be made of it.

    Examples:
        >>> import terralatent as tl
        >>> tl.open_latents("latents").terralatent  # doctest: +ELLIPSIS
        kind           latents
        ...
        dates          3, 2017-09-15 to 2018-03-15
        grid           18 x 18 pixels of 10
        CRS            EPSG:32631
        blocks done    100% of 4
    """

    def __init__(self, data: xr.Dataset) -> None:
        self._given = data

    @property
    def _data(self) -> xr.Dataset:
        return self._given

    def __repr__(self) -> str:
        from terralatent.pipeline.accessor.summary import as_text, summary

        return as_text(summary(self._data))

    def _repr_html_(self) -> str:
        from terralatent.pipeline.accessor.summary import as_html, summary

        return as_html(summary(self._data))

    def rgb(
        self,
        percent: float = 2.0,
        *,
        channels: Sequence[str | int] | None = None,
        limits: Limits | None = None,
    ) -> xr.DataArray:
        """Three channels as colours, with one stretch for all dates.

        Of reflectance red, green and blue, which share their stretch; of radar VV, VH and VV - VH;
        of latents the three that vary most over the dates; of annual vectors the first three
        components. Lazy with ``limits``; else a bounded, evenly spread part of the map is read (16
        squares of 64 x 64 pixels of 12 dates at most), and of latents another to choose by.

        Args:
            percent: Of the clear pixels of that part, below and above the stretch.
            channels: Three bands, latents or components instead, by name.
            limits: What is black and what is full colour, each a number or three.

        Returns:
            ``(time, y, x, rgb)``, float32, 0 to 1, NaN where there is nothing; ``black`` and
            ``full`` of its attributes are the limits.

        Raises:
            InputError: If it is a map of classes or numbers, or there is no such channel.

        Examples:
            >>> import terralatent as tl
            >>> seen = tl.open_cube("cube")["sentinel-2-l2a"].terralatent.rgb(limits=(0.0, 0.3))
            >>> seen.dims, seen.attrs["long_name"]
            (('time', 'y', 'x', 'rgb'), 'true colour (B04, B03, B02)')
            >>> picture = seen.isel(time=0).plot.imshow(rgb="rgb")
        """
        from terralatent.pipeline.accessor.colours import rgb

        return rgb(self._data, percent, channels=channels, limits=limits)

    def clear(self) -> xr.DataArray:
        """The share of the grid that is clear at each date of a sensor, (time,), float32; lazy.

        Raises:
            InputError: If it is no sensor of a cube.

        Examples:
            >>> import terralatent as tl
            >>> optical = tl.open_cube("cube")["sentinel-2-l2a"].to_dataset()
            >>> share = optical.terralatent.clear().compute()
            >>> optical.sel(time=share > 0.8).sizes["time"], round(float(share[0]), 2)
            (12, 0.19)
        """
        from terralatent.pipeline.accessor.measures import clear_share

        return clear_share(self._data)

    def index(self, name: str) -> xr.Dataset:
        """An index of reflectance, such as ``ndvi``, of a sensor or of decoded bands; lazy.

        Args:
            name: One of :data:`terralatent.pipeline.indices.INDICES`.

        Returns:
            ``value (time, y, x)``, float32, NaN where it is not clear. Of decoded bands also
            ``std``, how unsure that of the surface is, by first-order propagation in which errors
            of bands are independent (:func:`terralatent.pipeline.indices.index_std`), and ``q05``
            and ``q95``, its interval of 90 %: ``value`` -+ 1.645 ``std``.

        Raises:
            InputError: If there is no such index, or a band is missing.

        Examples:
            >>> import terralatent as tl
            >>> ndvi = tl.open_bands("bands").terralatent.index("ndwi")
            Traceback (most recent call last):
            ...
            terralatent.catalogs.errors.InputError: NDWI is made of green, nir; there is no band ...
        """
        from terralatent.pipeline.accessor.measures import index

        return index(self._data, name)

    def std_map(self, *, latents: Sequence[str | int] | None = None) -> xr.DataArray:
        """How unsure each pixel is at each date, in one number.

        Of latents the share of the prior's variance that observations leave, 0 to 1: the mean of
        ``std ** 2`` over the latents that are informed, by 0.1 nats or more (mean of -log ``std``
        over a bounded, evenly spread part of the map, which is read). Of decoded bands the root
        mean square of ``std_signal`` over the bands, of annual vectors that of ``std`` over
        components, of classes the entropy, of numbers ``std``: these are lazy.

        Args:
            latents: Those that count as informed, by name; nothing is read then.

        Returns:
            ``(time, y, x)``, float32, NaN outside every scene.

        Raises:
            InputError: If it is a sensor of a cube, or there is no such latent.

        Examples:
            >>> import terralatent as tl
            >>> unsure = tl.open_latents("latents").terralatent.std_map()
            >>> unsure.dims, bool(unsure.max() <= 1.0)
            (('time', 'y', 'x'), True)
        """
        from terralatent.pipeline.accessor.measures import std_map

        return std_map(self._data, latents=latents)

    def series(
        self, x: float, y: float, *, crs: Any = None, cube: str | Path | xr.DataTree | None = None
    ) -> xr.Dataset:
        """One pixel through time; computes: reads the chunks that hold it.

        Args:
            x: In map coordinates; a longitude with ``crs=4326``.
            y: The same; a latitude.
            crs: Of the place: an EPSG code or what pyproj takes; the map's own by default.
            cube: Of decoded bands, where the cube lies that they were made from, or as
                ``open_cube(..., clear=False)`` gives it; by default found beside the store.

        Returns:
            Of a sensor ``data (time, band)`` and ``clear (time)``; of latents and annual vectors
            ``mean``, ``std`` and ``observations``; of decoded bands ``surface``, its credible
            interval ``surface_q05`` and ``surface_q95`` (90 %), the predictive one of an
            observation ``q05`` and ``q95``, (time, band), and what was seen: ``observed
            (acquisition, band)`` and ``clear (acquisition)``, left out where there is no cube.

        Raises:
            InputError: If the place lies outside of the grid, or it is a map of classes.

        Examples:
            >>> import terralatent as tl
            >>> pixel = tl.open_bands("bands").terralatent.series(540_035, 5_679_965)
            >>> pixel["observed"].dims, int(pixel["clear"].sum())
            (('acquisition', 'band'), 11)
            >>> line = pixel["surface"].sel(band="B03").plot()
            >>> dots = pixel["observed"].sel(band="B03").where(pixel["clear"]).plot(marker=".")
        """
        from terralatent.pipeline.accessor.series import series

        return series(self._data, x, y, crs=crs, cube=cube)

    def similar_to(
        self, x: Number | Shapes, y: Number | None = None, *, crs: Any = None, by: str = "cosine"
    ) -> xr.DataArray:
        """How much every pixel of latents or annual vectors is like a place; lazy.

        By ``cosine`` of their posterior means m, whose units are already those in which places
        differ, and of the place's m0 (that of several pixels is the mean)::

            m . m0 / (|m| |m0|), -1 to 1

        or by ``distance``, in which what is unsure counts less, v their variances::

            sqrt( mean_k (m_k - m0_k)^2 / (v_k + v0_k) ), about 1 where only errors differ.

        ``k`` runs over components, window by window; of latents over dates and latents together.

        Args:
            x: Of a point, or of several, as for :meth:`series`; or points or polygons of shapely or
                geopandas, of each at most 64 pixels.
            y: Of the points.
            crs: Of points, and of geometries of shapely; the map's own by default.
            by: ``cosine`` or ``distance``.

        Returns:
            ``(y, x)``, of annual vectors ``(time, y, x)``, float32, NaN outside every scene. The
            place is read at once.

        Raises:
            InputError: If there are no values at the place, or it is something else.

        Examples:
            >>> import terralatent as tl
            >>> alike = tl.open_annual("annual").terralatent.similar_to(540_035, 5_679_965)
            >>> round(float(alike.sel(x=540_035, y=5_679_965)[0]), 4)
            1.0
        """
        from terralatent.pipeline.accessor.similarity import similar_to

        return similar_to(self._data, x, y, crs=crs, by=by)

    def cluster(self, k: int, *, seed: int = 0) -> xr.DataArray:
        """Pixels in ``k`` clusters by their means, of latents, annual vectors or decoded bands.

        By scikit-learn's ``MiniBatchKMeans``, fitted here to a bounded, evenly spread part of the
        map (at most 65,536 pixels), and predicted chunk by chunk when it is used. All features of a
        chunk are in memory. Bands count in units of their standard deviation, latents and
        components as they are.

        Returns:
            ``(y, x)``, uint8, 1 to ``k``, the largest first; 0 outside every scene. The same seed
            gives the same map, whatever the chunks.

        Raises:
            InputError: If ``k`` is not 2 to 254, or it is something else.

        Examples:
            >>> import terralatent as tl
            >>> alike = tl.open_latents("latents").terralatent.cluster(3)
            >>> sorted(set(alike.values.ravel().tolist()))
            [0, 1, 2, 3]
        """
        from terralatent.pipeline.accessor.clusters import cluster

        return cluster(self._data, k, seed=seed)

    def sample(self, n: int, *, seed: int = 0, with_std: bool = False) -> pd.DataFrame:
        """``n`` pixels inside the scenes, drawn at random; computes: reads chunks that hold one.

        Returns:
            A row a pixel: ``x``, ``y``, then its features, see :meth:`samples`. All pixels there
            are where these are fewer.

        Raises:
            InputError: If none has values, or it is neither latents, annual vectors nor bands.

        Examples:
            >>> import terralatent as tl
            >>> tl.open_annual("annual").terralatent.sample(50).shape
            (50, 5)
        """
        from terralatent.pipeline.accessor.samples import sample

        return sample(self._data, n, seed=seed, with_std=with_std)

    def samples(self, labels: LabelSource, column: str, **options: Any) -> tuple[Any, Any, Any]:
        """Pixels of labels, as :func:`terralatent.pipeline.samples`: ``X``, ``y``, ``groups``.

        Examples:
            >>> import terralatent as tl
            >>> vectors = tl.open_annual("annual")
            >>> X, y, groups = vectors.terralatent.samples("labels.geojson", "crop", with_std=True)
            >>> X.shape, y[0]
            ((144, 6), np.str_('maize'))
        """
        from terralatent.pipeline.accessor.samples import samples

        return samples(self._data, labels, column, **options)

    def predict(self, estimator: Estimator, *, with_std: bool = False) -> xr.Dataset:
        """A map by a fitted estimator, as :func:`terralatent.pipeline.predict`; lazy.

        Examples:
            >>> from sklearn.neighbors import KNeighborsClassifier
            >>> import terralatent as tl
            >>> vectors = tl.open_annual("annual").terralatent
            >>> X, y, groups = vectors.samples("labels.geojson", "crop")
            >>> land = vectors.predict(KNeighborsClassifier(3).fit(X, y))
            >>> land["probability"].dims
            ('category', 'y', 'x')
        """
        from terralatent.pipeline.accessor.prediction import predict

        return predict(estimator, self._data, with_std=with_std)

    def to_rio(self, variable: str | None = None, *, date: Any = None) -> xr.DataArray:
        """One date or map as rioxarray writes it: ``.rio.to_raster("june.tif")``; lazy.

        Args:
            variable: By default the values: ``data``, ``mean`` or ``class``.
            date: The stored date nearest to it; needed where there are several.

        Returns:
            ``(band, y, x)`` with the CRS and no data set (NaN; 0 of classes; none of counts), and
            ``long_name`` a tuple of what the bands are.

        Raises:
            InputError: If there is no such map, or no one date.

        Examples:
            >>> import terralatent as tl
            >>> raster = tl.open_bands("bands").terralatent.to_rio("std", date="2017-12-01")
            >>> raster.attrs["long_name"], raster.attrs["time"], float(raster.rio.nodata)
            (('B02', 'B03', 'B04'), '2017-12-15T00:00:00', nan)
        """
        from terralatent.pipeline.accessor.raster import to_rio

        return to_rio(self._data, variable, date=date)

    def explore(self, percent: float = 2.0, *, limits: Limits | None = None, **options: Any) -> Any:
        """Colours with a slider over the dates, by hvplot, which has to be installed; computes.

        Beside them, of what has one, :meth:`std_map`, and below the series of the pixel that is
        tapped (not of annual vectors). Of maps the classes, or the numbers.

        Args:
            percent: As for :meth:`rgb`.
            limits: As for :meth:`rgb`.
            options: Handed to hvplot, such as ``frame_width=400``.

        Raises:
            InputError: If hvplot is not installed.
        """
        from terralatent.pipeline.accessor.explore import explore

        return explore(self._data, percent, limits=limits, **options)

    def view(self, *, cube: str | Path | xr.DataTree | None = None, model: Any = None) -> Any:
        """A map with layers, dates and levels, and the series of what is clicked, in a notebook.

        Over Jupyter's own channel, by Panel, which ``pip install "terralatent[view]"`` brings; see
        docs/explorer.md. Computes what is seen, when it is seen.

        Args:
            cube: Of which observations are read; the one it was made from by default.
            model: Of latents, the folder or name of theirs, by which bands are decoded.

        Returns:
            An object of Panel, whose ``labels`` are the polygons that were drawn, a GeoDataFrame.

        Raises:
            InputError: If Panel is not installed, or ``cube`` or ``model`` is of no use here.
        """
        from terralatent.pipeline.explorer.view import view_in_notebook

        return view_in_notebook(self._data, cube=cube, model=model)
