"""One tiny store of each kind, as a reader opens them: what examples in docstrings are run on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import geopandas
import torch
from distributed import Client
from shapely.geometry import box

from terralatent.models.annual import AnnualMap
from terralatent.pipeline import annual, classify, decode, embed
from tests.made.models import made_up_model
from tests.made.tiny import tiny_cube

SIDE, BLOCK, LATENTS, COMPONENTS = 18, 9, 4, 3
DATES = "2017-09-15,2017-12-15,2018-03-15"
LEFT, TOP = 540_000.0, 5_680_000.0


@dataclass(frozen=True)
class Stores:
    """A folder with ``cube``, ``model``, ``latents``, ``bands``, ``annual``, ``landcover`` and
    ``labels.geojson`` in it; the examples call them so."""

    folder: Path

    def __getitem__(self, name: str) -> Path:
        return self.folder / name


def make_stores(folder: Path, client: Client) -> Stores:
    """Make them of 18 x 18 pixels, whose last column lies outside every scene; some seconds."""
    cube = tiny_cube(folder / "cube", side=SIDE, block=BLOCK, period=("2017-06-01", "2018-12-31"))
    model = made_up_model(cube, folder / "model", latents=LATENTS)
    weights = torch.randn(COMPONENTS, 12, LATENTS, generator=torch.Generator().manual_seed(0))
    AnnualMap(0.05 * weights, torch.zeros(COMPONENTS), torch.ones(COMPONENTS)).save(model)
    labels_of_squares().to_file(folder / "labels.geojson")
    embed(cube, model, folder / "latents", dates=DATES, client=client)
    decode(cube, model, "sentinel-2-l2a", DATES, folder / "bands", client=client)
    annual(
        cube, model, folder / "annual", window="2017-08-01/2018-07-31", components=COMPONENTS,
        client=client,
    )  # fmt: skip
    classify(
        folder / "latents", folder / "labels.geojson", "crop", folder / "landcover", client=client
    )
    return Stores(folder)


def labels_of_squares() -> geopandas.GeoDataFrame:
    """Four polygons of 6 x 6 pixels in the west: ``crop``, ``yield`` and ``farm``."""
    squares = [
        box(LEFT + 70.0 * n, TOP - 70.0 * m - 60.0, LEFT + 70.0 * n + 60.0, TOP - 70.0 * m)
        for m in range(2)
        for n in range(2)
    ]
    columns = {
        "crop": ["maize", "grass", "grass", "maize"],
        "yield": [9.5, 4.0, 4.5, 9.0],
        "farm": ["a", "a", "b", "b"],
    }
    return geopandas.GeoDataFrame(columns, geometry=squares, crs="EPSG:32631")
