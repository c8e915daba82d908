"""Where a simulated region lies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rasterio.warp import transform, transform_bounds

__all__ = ["Ground"]


@dataclass(frozen=True)
class Ground:
    """Where the region lies: a square of ``size`` x ``size`` pixels of 10 m."""

    size: int
    crs: str = "EPSG:32631"
    left: float = 536_000.0
    top: float = 5_641_280.0

    @classmethod
    def at(cls, size: int, latitude: float, longitude: float) -> Ground:
        """The region around a place, in its UTM zone, edges on multiples of 60 m."""
        zone = int((longitude + 180) // 6) + 1
        crs = f"EPSG:{326 if latitude >= 0 else 327}{zone:02d}"
        (x,), (y,) = transform("EPSG:4326", crs, [longitude], [latitude])
        half = 5.0 * size
        left, top = 60.0 * round((x - half) / 60), 60.0 * round((y + half) / 60)
        return cls(size, crs, left, top)

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

    @property
    def mgrs_tile(self) -> str:
        """The tile of Sentinel-2's grid (MGRS) that holds its upper left corner."""
        zone, column, row = int(self.crs[-2:]), int(self.left // 1e5), int(self.top // 1e5)
        band = "CDEFGHJKLMNPQRSTUVWX"[int((self.middle[0] + 80) // 8)]
        columns = ("STUVWXYZ", "ABCDEFGH", "JKLMNPQR")[zone % 3]
        rows = "ABCDEFGHJKLMNPQRSTUV"
        return f"{zone}{band}{columns[column - 1]}{rows[(row + 5 * (zone % 2 == 0)) % 20]}"

    def polygon(self) -> dict[str, Any]:
        """A GeoJSON polygon a metre inside the edges, so that a grid around it has these pixels."""
        side = 10.0 * self.size - 1.0
        x = [self.left + 1, self.left + side, self.left + side, self.left + 1]
        y = [self.top - side, self.top - side, self.top - 1, self.top - 1]
        lon, lat = transform(self.crs, "EPSG:4326", x, y)
        corners = [[round(a, 9), round(b, 9)] for a, b in zip(lon, lat, strict=True)]
        return {"type": "Polygon", "coordinates": [[*corners, corners[0]]]}
