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
# # 6. A sensor of your own
#
# The package knows both Sentinels and Landsat. Another satellite, a drone, or the product of your
# own processor is described in a table, without Python, and added to a model that is trained
# already. Here the Landsat scenes of a simulated region play a satellite that nobody has described
# yet: in that year Sentinel-2 passed rarely, and it helps to have it.
#
# ## Describe it
#
# Most of it stands on the page of its STAC collection: the asset key of each band, reflectance =
# scale * number + offset where items do not say it, and which bits of the mask band are no clear
# sky. `packing` is how the cube keeps it: a step below the noise, in a range that holds all values.

# %%
from pathlib import Path

import matplotlib.pyplot as plt
import xarray as xr

import terralatent as tl

Path("mine.toml").write_text("""
[sensors.my-optical]
title = "Surface reflectance of my satellite"
collections = ["landsat-c2-l2"]
constellation = "my-satellite"
bands = { green = [], red = [], nir = ["nir08"], swir = ["swir16"] }
resolution = 30.0
units = "1"
scale = 2.75e-5
offset = -0.2
nodata = 0.0
packing = { scale_factor = 1e-4, add_offset = -0.2, fill_value = 0, dtype = "uint16" }
[[sensors.my-optical.quality]]
asset = "qa_pixel"
rule = { no_bits = [0, 1, 2, 3, 4, 5] }
fill_value = 1
dtype = "uint16"
""")
tl.simulate("region", size=64, climate="mediterranean", seed=2)
source, region = "region", "region/region.geojson"
sensors = ["sentinel-2-l2a", "sentinel-1-asc", "sentinel-1-desc", "my-optical"]
scenes = tl.search_scenes(source, region, "2016", "2016", sensors, described=["mine.toml"])
tl.build_cube(scenes, region, "cube")

# %% [markdown]
# For a real region these three lines stand in place of `simulate` and of those that begin alike.
# `source` is where your scenes are; Planetary Computer has Landsat too.
#
# ```python
# source, region = "planetary-computer", "my-fields.geojson"
# scenes = tl.search_scenes(source, region, "2024", "2024", sensors, described=["mine.toml"])
# tl.build_cube(scenes, region, "cube")
# ```
#
# ## See whether it is sound
#
# Before anything is trained, both optical sensors should have about the same median of a band, and
# about the same share of clear observations. Else mend `scale`, `offset` or `rule`.

# %%
for sensor, red in (("sentinel-2-l2a", "B04"), ("my-optical", "red")):
    seen = tl.open_cube("cube")[sensor].to_dataset().sel(band=red).compute()
    print(f"{sensor}: {seen['clear'].mean():.0%} clear, red {seen['data'].median():.3f}")

# %% [markdown]
# ## Add it to the model
#
# Encoder and decoder of the new sensor learn from pixels that it and the old ones have seen; all
# else is frozen. So latents of series without it stay equal to the bit, and maps of before compare.

# %%
print(tl.train("cube", "more", extend="s1s2l8", sensors=["my-optical"], steps=40))
tl.load_model("more")

# %% [markdown]
# ## What it brings
#
# The surface as Sentinel-2 would see it, without the new sensor and with it: its error against the
# truth, over bands and dates. Fields are known better; their edges are not, where a pixel of 30 m
# mixes two of them.

# %%
truth = xr.open_datatree("region/truth.zarr", consolidated=False)["daily"]["reflectance"]
figure, axes = plt.subplots(1, 2, figsize=(8, 3.6), layout="constrained")
for axis, name, model in zip(axes, ("without it", "with it"), ("s1s2l8", "more"), strict=True):
    error = (tl.decode("cube", model, "sentinel-2-l2a", "10D")["mean"].compute() - truth) ** 2
    image = axis.imshow(error.mean(["time", "band"]) ** 0.5, vmin=0.0, vmax=0.05)
    axis.set(title=f"{name}: {float(error.mean()) ** 0.5:.4f}", xticks=[], yticks=[])
figure.colorbar(image, ax=axes, label="error of reflectance")
