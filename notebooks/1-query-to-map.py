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
# # 1. From a query to a latent map
#
# An optical satellite sees the ground where no cloud is in the way, a radar satellite sees through
# clouds but measures something else, and each passes on days of its own. This notebook asks a
# catalogue for all that was acquired over a region in a year, reads it into one store, a *cube*,
# and turns the irregular series of each pixel into a few *latents*: series with a mean on any date,
# and a standard deviation that grows where nothing was observed.
#
# The region is simulated, so that nothing is downloaded: 960 m by 960 m of fields, forest, a
# settlement and a river, under the clouds of Flanders, on the real days of both Sentinels.

# %%
import matplotlib.pyplot as plt

import terralatent as tl

tl.simulate("region", size=96, seed=3)
source, region = "region", "region/region.geojson"
scenes = tl.search_scenes(source, region, "2018-01-01", "2018-12-31")
tl.build_cube(scenes, region, "cube", block=48)
scenes

# %% [markdown]
# A search reads no pixels, and says what becomes of every item: used, merged with another of the
# same pass, or dropped, such as one that was processed again later. `build_cube` reads those that
# are used.
#
# For a real region these three lines stand in place of those four, and all else stays as it is. A
# region is a file, a geometry, a GeoDataFrame, or degrees: `"3.00,50.80,3.05,50.84"`.
#
# ```python
# source, region = "planetary-computer", "my-fields.geojson"
# scenes = tl.search_scenes(source, region, "2024-01-01", "2024-12-31")
# tl.build_cube(scenes, region, "cube")
# ```

# %%
tl.show("cube")

# %% [markdown]
# Every sensor keeps its own dates: nothing was averaged, filled or brought to a common calendar.
# `open_cube` gives the store to xarray, one group for each sensor, lazily; `.terralatent` has what
# xarray has not, such as the share of the region that is clear at each date.

# %%
cube = tl.open_cube("cube")
clear = cube["sentinel-2-l2a"].terralatent.clear().compute()
print(f"{clear.size} dates of Sentinel-2; {int((clear > 0.8).sum())} of them more than 80 % clear")
cube["sentinel-2-l2a"].terralatent

# %% [markdown]
# ## Latents
#
# The model comes with the package and never saw this region. It takes all observations of a pixel,
# of all sensors together, and gives 16 latents on the 15th of each month. The call computes block
# by block and keeps the result; the same call again does only what is not done yet.

# %%
tl.embed("cube", out="latents", dates="monthly")
tl.show("latents")

# %% [markdown]
# Three latents as colours: alike colours are alike in what the satellites saw, field by field and
# month by month, without a hole where clouds were. Below, what of the prior's variance is left: 0
# where observations say all, 1 where they say nothing. Not every latent means something everywhere:
# `information` says how much each was informed here, in nats; one near 0 is that of the prior.

# %%
latents = tl.open_latents("latents")
latents["information"].to_series().sort_values(ascending=False).round(2).head(6).to_frame()

# %% [markdown]
# What is opened is xarray, with a CRS: it plots, selects, and is written as any raster is.

# %%
june = latents.terralatent.to_rio(date="2018-06-15")
june.rio.to_raster("june.tif")
june.long_name[:2], june.rio.crs.to_string(), june.shape

# %% [markdown]
# Pixels that went alike through the year, in eight groups, without any label:

# %%
groups = latents.terralatent.cluster(8, seed=0)
groups.plot.imshow(cmap="Set2", vmin=0.5, vmax=8.5, size=4, aspect=1.3, cbar_kwargs={"label": ""})
plt.title("")
plt.axis("off")
plt.show()

# %% [markdown]
# Next: [2](2-gaps-and-uncertainty.ipynb), what the standard deviation is worth;
# [4](4-land-cover.ipynb), a map of crops from these latents.
