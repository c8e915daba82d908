"""Land cover of a simulated region: some labelled parcels, and its map beside the truth."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import geopandas
import numpy as np
import odc.geo.xr  # noqa: F401  (gives xarray objects .odc)
import xarray as xr
from rasterio.features import geometry_mask, shapes
from shapely.geometry import shape

from terralatent.pipeline.cli.demo_scores import open_truth
from terralatent.pipeline.mapping.opened import open_landcover
from terralatent.pipeline.pictures.landcover import landcover_picture
from terralatent.pipeline.probes.legend import Legend

__all__ = ["MapScore", "label_parcels", "outlines", "score_map", "true_classes"]

EACH = 4
"""Parcels of a class that are labelled."""

FEWEST = 2
"""Classes with fewer parcels have no label: cross-validation hides one."""

INSIDE = -8.0
"""By how many metres an outline keeps away from the edge, where pixels are mixed."""

SMALLEST = 12
"""Pixels that a labelled parcel has at least."""


@dataclass(frozen=True)
class MapScore:
    """How a map of land cover compares with the truth."""

    accuracy: float
    """Share of the pixels outside of labelled parcels that are right."""

    classes: int
    """Classes that were mapped."""

    labels: int
    """Parcels that were learnt from."""

    def line(self) -> str:
        """For a reader."""
        return (
            f"land cover    {self.accuracy:.0%} right, learnt from {self.labels} parcels of "
            f"{self.classes} classes; on all others"
        )


def label_parcels(region: str | Path, out: Path, seed: int = 0) -> None:
    """Write outlines of up to four parcels of each class with their ``cover``; computes.

    Args:
        region: Folder that :func:`terralatent.catalogs.simulation.simulate.simulate` wrote.
        out: A GeoPackage; one that is there is written anew.
        seed: Of the choice among parcels.
    """
    parcels = outlines(open_truth(region))
    parcels = parcels.sample(frac=1.0, random_state=seed)
    alike = parcels["cover"].map(parcels["cover"].value_counts())
    parcels[alike >= FEWEST].groupby("cover").head(EACH).to_file(out, driver="GPKG")


def outlines(truth: xr.DataTree) -> geopandas.GeoDataFrame:
    """Outline the parcels of a simulated region, away from their edges; computes.

    Args:
        truth: Of the region, see :func:`~terralatent.pipeline.cli.demo_scores.open_truth`.

    Returns:
        Of each piece of a parcel of 12 pixels or more its ``cover`` and the number of its
        ``parcel``.
    """
    names, parcel = _names(truth), truth.ds["parcel"].values
    cover = truth.ds["land_cover"].values[0]
    grid = truth.to_dataset().odc.assign_crs(truth.attrs["proj:code"]).odc.geobox
    rows = [
        {
            "geometry": shape(outline).buffer(INSIDE),
            "cover": names[int(np.bincount(cover[parcel == number]).argmax())],
            "parcel": int(number),
        }
        for outline, number in shapes(parcel.astype(np.int32), transform=grid.affine)
        if (parcel == number).sum() >= SMALLEST
    ]
    parcels = geopandas.GeoDataFrame(rows, crs=str(grid.crs))
    return parcels[~parcels.is_empty]


def score_map(region: str | Path, landcover: str | Path, labels: Path, picture: Path) -> MapScore:
    """Compare a map of ``cover`` with the truth, and draw it beside; computes.

    Args:
        region: As for :func:`label_parcels`.
        landcover: The map.
        labels: What it was learnt from.
        picture: File of the picture.
    """
    land, parcels = open_landcover(landcover), geopandas.read_file(labels)
    grid, legend = land.odc.geobox, Legend.from_attrs(land["class"].attrs)
    truth = true_classes(open_truth(region), legend)
    others = geometry_mask(parcels.geometry, grid.shape, grid.affine)
    right = land["class"].values == truth.values
    landcover_picture(land, truth=truth).savefig(picture)
    return MapScore(float(right[others].mean()), len(legend), len(parcels))


def true_classes(truth: xr.DataTree, legend: Legend) -> xr.DataArray:
    """The truth as a map (y, x) in the values and colours of a legend; other classes come after.

    Args:
        truth: Of a region, see :func:`~terralatent.pipeline.cli.demo_scores.open_truth`.
        legend: Of a map of its ``cover``.
    """
    names, cover = _names(truth), truth.ds["land_cover"].values[0]
    values = dict(zip(legend.names, legend.values, strict=True))
    for name in sorted({names[int(number)] for number in np.unique(cover)} - set(values)):
        values[name] = max(values.values()) + 1
    table = np.zeros(256, np.uint8)
    table[list(names)] = [values.get(name, 0) for name in names.values()]
    classes = xr.DataArray(table[cover], dims=("y", "x"))
    return classes.assign_attrs(legend.extended(values).attrs())


def _names(truth: xr.DataTree) -> dict[int, str]:
    """Names of the classes by their numbers."""
    flags = truth.ds["land_cover"].attrs
    return dict(zip(flags["flag_values"], flags["flag_meanings"].split(), strict=True))
