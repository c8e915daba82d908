"""The feature sets that are compared, by name: features of pixels, averaged over polygons.

Models see what the cube of a row has: one that is trained on the region is trained on the cube from
which acquisitions were removed. It sees all pixels of the region, those of test polygons too, and
no label; the model that comes with the package saw none of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from distributed import Client
from numpy.typing import NDArray

from benchmarks.downstream.encoders import kept_arrays
from benchmarks.downstream.parcels.medians import RAW, Medians, read_medians
from benchmarks.downstream.parcels.polygons import Polygons
from benchmarks.downstream.parcels.regions import Region
from terralatent.models.shipped import DEFAULT as SHIPPED
from terralatent.pipeline import embed, open_latents, train

__all__ = ["LATENTS", "SETS", "RegionFeatures"]

OWN = "trained here"
PARTS = {"means": ("mean",), "means and std": ("mean", "std")}
LATENTS = {
    f"{model}, {label}": (model, parts)
    for model in (SHIPPED, OWN)
    for label, parts in PARTS.items()
}
"""Model and parts of the feature sets of latents."""

SETS = (*RAW, *LATENTS)

PRIOR = {"mean": 0.0, "std": 1.0}
"""Latents of a pixel that was never observed."""


@dataclass(eq=False)
class RegionFeatures:
    """Makes the features of the polygons of a region; medians and latents are kept in files."""

    region: Region
    polygons: Polygons
    client: Client | None = None
    """Of Dask, for latents; processes on this machine by default."""

    steps: int | None = None
    """Of training; as many as :func:`train` takes by default."""

    _medians: dict[str, Medians] = field(default_factory=dict)

    def of(self, name: str, missing: str) -> NDArray[np.float64]:
        """Features of all polygons, (N, F); computes.

        Args:
            name: One of :data:`SETS`.
            missing: What the cube lacks.
        """
        if name in RAW:
            return self.polygons.means(RAW[name](self.medians(missing)))
        model, parts = LATENTS[name]
        latents = self._latents(model, missing)
        return np.concatenate([latents[part] for part in parts], axis=1).astype(np.float64)

    def medians(self, missing: str) -> Medians:
        """Of the pixels in polygons; those of one cube are held in memory."""

        def make() -> Mapping[str, NDArray[Any]]:
            return vars(read_medians(region.cube(missing), self.polygons.pixels, region.year))

        region = self.region
        if missing not in self._medians:
            kept = kept_arrays(region.work / "medians" / f"{region.cube(missing).name}.npz", make)
            self._medians = {missing: Medians(**kept)}
        return self._medians[missing]

    def _latents(self, model: str, missing: str) -> dict[str, NDArray[Any]]:
        """``mean`` and ``std`` of the 15th of each month, (N, month * latent) both."""
        cube, work = self.region.cube(missing), self.region.work
        name = f"{model.replace(' ', '-')}-{cube.name}"

        def make() -> Mapping[str, NDArray[Any]]:
            folder = model
            if model == OWN:
                folder = str(work / "models" / cube.name)
                more = {} if self.steps is None else {"steps": self.steps}
                train(cube, folder, device="cpu", **more)
            out, dates = work / "latents" / name, f"monthly:{self.region.year}"
            embed(cube, folder, out, dates=dates, device="cpu", client=self.client)
            stored, (rows, columns) = open_latents(out), self.polygons.pixels
            found = {}
            for part, prior in PRIOR.items():
                values = stored[part].transpose("y", "x", "time", "latent").values[rows, columns]
                complete = np.where(np.isfinite(values), values, prior)
                found[part] = self.polygons.means(complete.reshape(len(rows), -1))
            return found

        return kept_arrays(work / "latents" / f"{name}.npz", make)
