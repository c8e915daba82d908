"""Simulated acquisitions as a static STAC catalogue of COGs, as the real collections have them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pystac
import rasterio
from numpy.typing import NDArray
from rasterio.transform import from_origin
from rasterio.warp import transform, transform_bounds
from shapely.geometry import box, mapping

from terralatent.catalogs.simulation.orbits import Pass

__all__ = ["Ground", "optical_item", "radar_item", "write_catalogue"]

EXTENSIONS = tuple(
    f"https://stac-extensions.github.io/{name}/schema.json"
    for name in ("projection/v2.0.0", "raster/v1.1.0", "eo/v1.1.0", "sat/v1.0.0", "view/v1.0.0")
)
COG_TYPE = "image/tiff; application=geotiff; profile=cloud-optimized"

SCALE = 1e-4
"""Reflectance for one digital number of Sentinel-2."""

MGRS_TILE = "31UES"

TITLES = {
    "sentinel-2-l2a": "Sentinel-2 surface reflectance, simulated",
    "sentinel-1-rtc": "Sentinel-1 gamma nought, terrain corrected, simulated",
}


@dataclass(frozen=True)
class Ground:
    """Where the region lies: a square of ``size`` x ``size`` pixels of 10 m."""

    size: int
    crs: str = "EPSG:32631"
    left: float = 536_000.0
    top: float = 5_641_280.0

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """Edges in degrees: west, south, east, north."""
        side = 10.0 * self.size
        edges = (self.left, self.top - side, self.left + side, self.top)
        west, south, east, north = transform_bounds(self.crs, "EPSG:4326", *edges, densify_pts=21)
        return west, south, east, north

    @property
    def middle(self) -> tuple[float, float]:
        """Latitude and longitude of the centre, degrees."""
        west, south, east, north = self.bounds
        return (south + north) / 2, (west + east) / 2

    def polygon(self) -> dict[str, Any]:
        """A GeoJSON polygon a metre inside the edges, so that a grid around it has these pixels."""
        side = 10.0 * self.size - 1.0
        x = [self.left + 1, self.left + side, self.left + side, self.left + 1]
        y = [self.top - side, self.top - side, self.top - 1, self.top - 1]
        lon, lat = transform(self.crs, "EPSG:4326", x, y)
        corners = [[round(a, 9), round(b, 9)] for a, b in zip(lon, lat, strict=True)]
        return {"type": "Polygon", "coordinates": [[*corners, corners[0]]]}

    def transform(self, pixel: float) -> rasterio.Affine:
        """The affine transform of an image with pixels of ``pixel`` metres."""
        return from_origin(self.left, self.top, pixel, pixel)


def optical_item(
    folder: Path,
    ground: Ground,
    taken: Pass,
    reflectance: Mapping[str, NDArray[np.float32]],
    classes: NDArray[np.uint8],
    *,
    cloud_cover: float,
    sun: tuple[float, float],
    reprocessed: bool = False,
) -> pystac.Item:
    """Write one Sentinel-2 acquisition and return its item, hrefs absolute.

    Args:
        folder: Of the catalogue.
        ground: Where.
        taken: When, and by whom.
        reflectance: By band, (y, x) at the band's own pixel size.
        classes: SCL, (y, x) at 20 m.
        cloud_cover: Percent.
        sun: Zenith and azimuth, degrees.
        reprocessed: Whether this is the duplicate of baseline 05.00, whose digital numbers are 1000
            higher, with an offset that says so.
    """
    baseline, offset = ("05.00", -0.1) if reprocessed else ("02.07", 0.0)
    name = (
        f"S2{taken.platform[-1].upper()}_MSIL2A_{_compact(taken)}_N{baseline.replace('.', '')}_"
        f"R{taken.track.orbit:03d}_T{MGRS_TILE}"
    )
    images: dict[str, NDArray[Any]] = {
        band: np.clip(np.rint((values - offset) / SCALE), 1, 65535).astype(np.uint16)
        for band, values in reflectance.items()
    }
    stated = {"nodata": 0, "data_type": "uint16", "scale": SCALE, "offset": offset}
    about = {band: stated for band in images} | {"SCL": {"nodata": 0, "data_type": "uint8"}}
    properties = {
        "constellation": "sentinel-2",
        "instruments": ["msi"],
        "eo:cloud_cover": round(cloud_cover, 2),
        "s2:mgrs_tile": MGRS_TILE,
        "s2:processing_baseline": baseline,
        "view:sun_elevation": round(90 - sun[0], 2),
        "view:sun_azimuth": round(sun[1], 2),
        "view:off_nadir": taken.track.zenith,
        "view:azimuth": taken.track.azimuth,
        "created": "2023-06-01T00:00:00Z" if reprocessed else f"{taken.time}Z",
    }
    return _item(
        folder, ground, taken, "sentinel-2-l2a", name, images | {"SCL": classes}, about, properties
    )


def radar_item(
    folder: Path, ground: Ground, taken: Pass, power: Mapping[str, NDArray[np.float32]]
) -> pystac.Item:
    """Write one Sentinel-1 acquisition, linear power (y, x) by band, and return its item."""
    unit, orbit = taken.platform[-1].upper(), f"R{taken.track.orbit:03d}"
    name = f"S1{unit}_IW_GRDH_1SDV_{_compact(taken)}_{orbit}_rtc"
    stated = {"nodata": "nan", "data_type": "float32"}
    properties = {
        "constellation": "sentinel-1",
        "sar:instrument_mode": "IW",
        "sar:frequency_band": "C",
        "sar:polarizations": ["VV", "VH"],
        "view:incidence_angle": taken.track.zenith,
        "view:azimuth": taken.track.azimuth,
    }
    about = {band: stated for band in power}
    return _item(folder, ground, taken, "sentinel-1-rtc", name, power, about, properties)


def write_catalogue(folder: Path, ground: Ground, items: list[pystac.Item], title: str) -> None:
    """Write items, collections and catalogue below ``folder``, links relative, and the region."""
    catalogue = pystac.Catalog(id="simulated-region", description=title)
    for name in sorted({str(item.collection_id) for item in items}):
        members = [item for item in items if item.collection_id == name]
        times = sorted(item.datetime for item in members if item.datetime is not None)
        extent = pystac.Extent(
            pystac.SpatialExtent([list(ground.bounds)]),
            pystac.TemporalExtent([[times[0], times[-1]]]),
        )
        collection = pystac.Collection(name, TITLES[name], extent, license="CC0-1.0")
        catalogue.add_child(collection)
        for item in members:
            collection.add_item(item)
    catalogue.normalize_hrefs(f"{folder}/")  # the slash: a name with a dot is a folder too
    catalogue.make_all_asset_hrefs_relative()
    catalogue.save(pystac.CatalogType.SELF_CONTAINED)
    (folder / "region.geojson").write_text(json.dumps(ground.polygon()))


def _item(
    folder: Path,
    ground: Ground,
    taken: Pass,
    collection: str,
    name: str,
    images: Mapping[str, NDArray[Any]],
    about: Mapping[str, Mapping[str, Any]],
    properties: Mapping[str, Any],
) -> pystac.Item:
    place = folder / collection / name
    place.mkdir(parents=True)
    time = datetime.fromisoformat(str(taken.time)).replace(tzinfo=UTC)
    item = pystac.Item(
        id=name,
        geometry=mapping(box(*ground.bounds)),
        bbox=list(ground.bounds),
        datetime=time,
        properties={
            "platform": taken.platform,
            "sat:relative_orbit": taken.track.orbit,
            "sat:orbit_state": taken.track.direction,
            "proj:code": ground.crs,
            **properties,
        },
        stac_extensions=list(EXTENSIONS),
        collection=collection,
    )
    for band, image in images.items():
        pixel = 10.0 * ground.size / image.shape[0]
        path = place / f"{band}.tif"
        _write_cog(path, image, ground, pixel, about[band]["nodata"])
        asset = pystac.Asset(
            href=str(path),
            media_type=COG_TYPE,
            roles=["data"],
            extra_fields={
                "proj:shape": list(image.shape),
                "proj:transform": list(ground.transform(pixel))[:6],
                "raster:bands": [{**about[band], "spatial_resolution": pixel}],
            },
        )
        item.add_asset(band, asset)
    return item


def _write_cog(
    path: Path, image: NDArray[Any], ground: Ground, pixel: float, nodata: float | str
) -> None:
    floating = image.dtype.kind == "f"
    with rasterio.open(
        path, "w", driver="COG", dtype=image.dtype, count=1, crs=ground.crs,
        height=image.shape[0], width=image.shape[1], transform=ground.transform(pixel),
        nodata=float(nodata), compress="deflate", level=4, blocksize=256,
        predictor="FLOATING_POINT" if floating else "STANDARD", num_threads=1,
        overview_resampling="nearest" if image.dtype == np.uint8 else "average",
    ) as file:  # fmt: skip
        file.write(image, 1)


def _compact(taken: Pass) -> str:
    return str(taken.time).replace("-", "").replace(":", "")
