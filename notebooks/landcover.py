# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Land cover from a few fields
#
# From scenes to a map of crops with areas and their errors, learnt from four outlined fields of
# each class. The region is simulated, so that the map can be compared with the truth; nothing is
# downloaded. It took 80 seconds on two cores. [docs/landcover.md](../docs/landcover.md) says
# what each step does, and does the same on the command line.

# %%
import os
import tempfile
from pathlib import Path

import geopandas
import numpy as np
import pandas as pd

from terralatent.catalogs import search_scenes
from terralatent.catalogs.simulation.simulate import simulate
from terralatent.pipeline import build_cube, classify, open_landcover
from terralatent.pipeline.cli.demo_landcover import label_parcels, true_classes
from terralatent.pipeline.cli.demo_scores import open_truth
from terralatent.pipeline.pictures.landcover import landcover_picture
from terralatent.pipeline.probes.legend import Legend

os.chdir(tempfile.mkdtemp())

# %% [markdown]
# ## Scenes, cube
#
# For a real region these three lines change: no `simulate`, `source = "planetary-computer"`, and
# `region = "my-region.geojson"`.

# %%
simulate("scenes", size=128, seed=3)
source, region = "scenes", "scenes/region.geojson"
scenes = search_scenes(source, region, "2018-01-01", "2018-12-31")
build_cube(scenes, region, "cube", block=64)
print(scenes.summary())

# %% [markdown]
# ## Labels
#
# Yours are a file of polygons or points with a column that names the class. Here four parcels of
# each class are outlined, away from their edges, as somebody would do it on the ground.

# %%
label_parcels("scenes", Path("labels.gpkg"))
labels = geopandas.read_file("labels.gpkg")
labels["cover"].value_counts().to_frame("outlined parcels")

# %% [markdown]
# ## The map
#
# The cube is embedded by the model that comes with the package, which never saw the region; its
# latents stay beside the map. Scores are of labels that were hidden from the classifier.

# %%
report = classify("cube", labels, "cover", "map")
print(report.scores.accuracy)
land = open_landcover("map")
truth = true_classes(open_truth("scenes"), Legend.from_attrs(land["class"].attrs))
landcover_picture(land, truth=truth)

# %% [markdown]
# ## Areas, and their errors
#
# A mapped area is a count of pixels, biased by whatever the classifier confuses. Areas with
# standard errors want places drawn at random within each class of the map, and labelled by what is
# really there: here 40 of each, of which the truth says what they are.

# %%
names = dict(zip(truth.attrs["flag_values"], truth.attrs["class_names"], strict=True))
x, y = np.meshgrid(land.x, land.y)
pixels = pd.DataFrame({"stratum": land["class"].values.ravel(), "cover": truth.values.ravel()})
points = geopandas.points_from_xy(x.ravel(), y.ravel())
pixels = geopandas.GeoDataFrame(pixels.replace(names), geometry=points, crs=land.rio.crs)
sample = pixels.groupby("stratum").sample(40, random_state=0)
design = {"design": "stratified", "strata": "stratum", "drawn_from": "map"}
better = classify("map.latents", sample, "cover", "map-of-sample", **design)
areas = pd.DataFrame(better.to_json()["areas"]).set_index("class")
areas["true_ha"] = pixels["cover"].value_counts() / 100
areas[["mapped_ha", "estimated_ha", "low_ha", "high_ha", "true_ha"]].round(1)
