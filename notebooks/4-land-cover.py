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
# # 4. Land cover from a few fields
#
# From scenes to a map of crops with areas and their errors, learnt from four outlined fields of
# each class. The region is simulated, so that the map can be compared with the truth.
# [docs/landcover.md](../docs/landcover.md) says what each step does, and does the same on the
# command line.

# %%
import geopandas
import numpy as np
import pandas as pd
import xarray as xr
from rasterio.features import shapes
from shapely.geometry import shape

import terralatent as tl

tl.simulate("region", size=128, seed=3)
source, region = "region", "region/region.geojson"
scenes = tl.search_scenes(source, region, "2018-01-01", "2018-12-31")
tl.build_cube(scenes, region, "cube", block=64)

# %% [markdown]
# For a real region these three lines stand in place of those four:
#
# ```python
# source, region = "planetary-computer", "my-fields.geojson"
# scenes = tl.search_scenes(source, region, "2024-01-01", "2024-12-31")
# tl.build_cube(scenes, region, "cube")
# ```
#
# ## Labels
#
# Yours are a file of polygons or points with a column that names the class, such as a survey or
# what was drawn in QGIS: `labels = "my-labels.gpkg"`. Here four parcels of each class are outlined
# 8 m inside of their edges, as somebody would do it on the ground. A class needs two labels, since
# the map is scored on labels that are hidden.

# %%
truth = xr.open_datatree("region/truth.zarr", consolidated=False)
parcel, cover = truth["parcel"].astype("int32"), truth["land_cover"][0]
names = dict(zip(cover.flag_values, cover.flag_meanings.split(), strict=True))
grid = tl.open_cube("cube")["sentinel-2-l2a"].to_dataset().rio
rows = [
    {"geometry": shape(outline).buffer(-8), "cover": names[cover.values[parcel == n].max()]}
    for outline, n in shapes(parcel.values, transform=grid.transform())
]
fields = geopandas.GeoDataFrame(rows, crs=grid.crs)
labels = fields[fields.area > 1000].sample(frac=1, random_state=0).groupby("cover").head(4)
labels = labels[labels.groupby("cover")["cover"].transform("size") > 1]
labels["cover"].value_counts().to_frame("outlined fields").T

# %% [markdown]
# ## The map
#
# The cube is embedded by the model that comes with the package, which never saw the region, and a
# linear discriminant learns the classes from the latents of a year. The accuracy and its interval
# are of fields that were hidden from it. Classes that no label has, here water, become another one.

# %%
print("accuracy:", tl.classify("cube", labels, "cover", "map").scores.accuracy)
tl.show("map")

# %% [markdown]
# ## Areas, and their errors
#
# A mapped area is a count of pixels, biased by whatever the classifier confuses. Areas with
# standard errors want places drawn at random within each class of the map, and labelled by what is
# really there: here 40 of each, of which the truth says what they are. The last column is the
# truth of the whole region.

# %%
land = tl.open_landcover("map")
mapped = dict(zip(land["class"].flag_values, land["class"].flag_meanings.split(), strict=True))
x, y = np.meshgrid(land.x, land.y)
pixels = {"stratum": land["class"].values.ravel(), "cover": cover.values.ravel()}
pixels = pd.DataFrame(pixels).replace({"stratum": mapped, "cover": names})
places = geopandas.points_from_xy(x.ravel(), y.ravel(), crs=grid.crs)
sample = (
    geopandas.GeoDataFrame(pixels, geometry=places).groupby("stratum").sample(40, random_state=0)
)
design = {"design": "stratified", "strata": "stratum", "drawn_from": "map"}
better = tl.classify("map.latents", sample, "cover", "map-of-sample", **design)
areas = pd.DataFrame(better.to_json()["areas"]).set_index("class")
areas["true_ha"] = pixels["cover"].value_counts() / 100
areas[["mapped_ha", "estimated_ha", "low_ha", "high_ha", "true_ha"]].round(1)
