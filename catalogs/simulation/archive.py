"""Simulated acquisitions as a static STAC catalogue of COGs, as the real collections have them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pystac
import rasterio
from numpy.typing import NDArray
from rasterio.transform import from_origin
from shapely.geometry import box, mapping

from terralatent.catalogs.simulation.climates.ground import Ground
from terralatent.catalogs.simulation.orbits import Pass

__all__ = ["landsat_item", "optical_item", "radar_item", "write_catalogue"]

EXTENSIONS = tuple(
    f"https://stac-extensions.github.io/{name}/schema.json"
    for name in ("projection/v2.0.0", "raster/v1.1.0", "eo/v1.1.0", "sat/v1.0.0", "view/v1.0.0")
)
COG_TYPE = "image/tiff; application=geotiff; profile=cloud-optimized"

SCALE = 1e-4
"""Reflectance for one digital number of Sentinel-2."""

LANDSAT_SCALE, LANDSAT_OFFSET = 2.75e-5, -0.2
"""Reflectance for one digital number of Landsat's Collection 2, and of the digital number 0."""

LANDSAT_PIXEL, LANDSAT_MARGIN = 30.0, 15.0
"""Metres along a pixel, and from the region's edges to those of Landsat's pixels: their centres
lie on multiples of 30 m."""

COLOURS = {
    "B02": "blue",
    "B03": "green",
    "B04": "red",
    "B05": "nir08",
    "B06": "swir16",
    "B07": "swir22",
}
"""Asset keys of Landsat's bands."""

TITLES = {
    "sentinel-2-l2a": "Sentinel-2 surface reflectance, simulated",
    "sentinel-1-rtc": "Sentinel-1 gamma nought, terrain corrected, simulated",
    "landsat-c2-l2": "Landsat Collection 2 surface reflectance, simulated",
}


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
        reflectance: By band, (y, x) at the band's own pixel size; NaN beyond the swath.
        classes: SCL, (y, x) at 20 m.
        cloud_cover: Percent.
        sun: Zenith and azimuth, degrees.
        reprocessed: Whether this is the duplicate of baseline 05.00, whose digital numbers are 1000
            higher, with an offset that says so.
    """
    baseline, offset = ("05.00", -0.1) if reprocessed else ("02.07", 0.0)
    name = (
        f"S2{taken.platform[-1].upper()}_MSIL2A_{_compact(taken)}_N{baseline.replace('.', '')}_"
        f"R{taken.track.orbit:03d}_T{ground.mgrs_tile}"
    )
    images = _counts(reflectance, SCALE, offset)
    stated = {"nodata": 0, "data_type": "uint16", "scale": SCALE, "offset": offset}
    about = {band: stated for band in images} | {"SCL": {"nodata": 0, "data_type": "uint8"}}
    properties = {
        "constellation": "sentinel-2",
        "instruments": ["msi"],
        "eo:cloud_cover": round(cloud_cover, 2),
        "s2:mgrs_tile": ground.mgrs_tile,
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


def landsat_item(
    folder: Path,
    ground: Ground,
    taken: Pass,
    reflectance: Mapping[str, NDArray[np.float32]],
    quality: NDArray[np.uint16],
    *,
    cloud_cover: float,
    sun: tuple[float, float],
) -> pystac.Item:
    """Write one Landsat acquisition and return its item, hrefs absolute.

    Args:
        folder: Of the catalogue.
        ground: Where the region lies; the images reach :data:`LANDSAT_MARGIN` and more beyond it.
        taken: When, and by whom.
        reflectance: By band, (y, x) with pixels of 30 m; NaN beyond the swath.
        quality: The bits of ``qa_pixel``, (y, x).
        cloud_cover: Percent.
        sun: Zenith and azimuth, degrees.
    """
    number, day = taken.platform[-1], str(taken.time)[:10].replace("-", "")
    name = f"LC0{number}_L2SP_{taken.track.orbit:03d}001_{day}_02_T1"
    images = _counts(reflectance, LANDSAT_SCALE, LANDSAT_OFFSET)
    images = {COLOURS[band]: image for band, image in images.items()}
    stated = {"nodata": 0, "data_type": "uint16", "scale": LANDSAT_SCALE, "offset": LANDSAT_OFFSET}
    about = {band: stated for band in images} | {"qa_pixel": {"nodata": 1, "data_type": "uint16"}}
    properties = {
        "constellation": "landsat",
        "instruments": ["oli", "tirs"],
        "eo:cloud_cover": round(cloud_cover, 2),
        "landsat:wrs_path": f"{taken.track.orbit:03d}",
        "landsat:collection_number": "02",
        "view:sun_elevation": round(90 - sun[0], 2),
        "view:sun_azimuth": round(sun[1], 2),
        "view:off_nadir": 0,
        "created": f"{taken.time}Z",
    }
    images |= {"qa_pixel": quality}
    return _item(folder, ground, taken, "landsat-c2-l2", name, images, about, properties)


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


def write_catalogue(
    folder: Path,
    ground: Ground,
    items: list[pystac.Item],
    title: str,
    about: Mapping[str, Any],
) -> None:
    """Write items, collections and catalogue below ``folder``, links relative, and the region.

    The catalogue carries ``about`` as fields of its own.
    """
    catalogue = pystac.Catalog(id="simulated-region", description=title, extra_fields=dict(about))
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
    landsat = properties["constellation"] == "landsat"
    for band, image in images.items():
        pixel = LANDSAT_PIXEL if landsat else 10.0 * ground.size / image.shape[0]
        margin = LANDSAT_MARGIN if landsat else 0.0
        placed = from_origin(ground.left - margin, ground.top + margin, pixel, pixel)
        path = place / f"{band}.tif"
        _write_cog(path, image, ground.crs, placed, about[band])
        asset = pystac.Asset(
            href=str(path),
            media_type=COG_TYPE,
            roles=["data"],
            extra_fields={
                "proj:shape": list(image.shape),
                "proj:transform": list(placed)[:6],
                "raster:bands": [{**about[band], "spatial_resolution": pixel}],
            },
        )
        item.add_asset(band, asset)
    return item


def _counts(
    reflectance: Mapping[str, NDArray[np.float32]], scale: float, offset: float
) -> dict[str, NDArray[Any]]:
    """Digital numbers, by band; 0 where there is none."""
    counts = {}
    for band, values in reflectance.items():
        image = np.clip(np.rint((values - offset) / scale), 1, 65535)
        counts[band] = np.nan_to_num(image, nan=0.0).astype(np.uint16)
    return counts


def _write_cog(
    path: Path, image: NDArray[Any], crs: str, placed: rasterio.Affine, about: Mapping[str, Any]
) -> None:
    floating = image.dtype.kind == "f"
    classes = not floating and "scale" not in about
    with rasterio.open(
        path, "w", driver="COG", dtype=image.dtype, count=1, crs=crs,
        height=image.shape[0], width=image.shape[1], transform=placed,
        nodata=float(about["nodata"]), compress="deflate", level=4, blocksize=256,
        predictor="FLOATING_POINT" if floating else "STANDARD", num_threads=1,
        overview_resampling="nearest" if classes else "average",
    ) as file:  # fmt: skip
        file.write(image, 1)


def _compact(taken: Pass) -> str:
    return str(taken.time).replace("-", "").replace(":", "")
