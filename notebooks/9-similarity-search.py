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
# # 9. Annual embeddings and similarity search
#
# One vector a year says how a pixel went through all seasons: where are other places like this one?
# `annual` gives each pixel 64 numbers, each with its own standard deviation, that compare across
# regions and years, since the map that makes them is a part of the model.

# %%
import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from sklearn.metrics import average_precision_score

import terralatent as tl

tl.simulate("region", size=96, seed=3)
source, region = "region", "region/region.geojson"
scenes = tl.search_scenes(source, region, "2018-01-01", "2018-12-31")
tl.build_cube(scenes, region, "cube", block=48)
scenes

# %% [markdown]
# For a real region these three lines stand in place of those four:
#
# ```python
# source, region = "planetary-computer", "my-fields.geojson"
# scenes = tl.search_scenes(source, region, "2024-01-01", "2024-12-31")
# tl.build_cube(scenes, region, "cube")
# ```

# %%
tl.annual("cube", out="annual", window="2018")
vectors = tl.open_annual("annual")
print("share of the first five components:", [round(s, 2) for s in vectors.attrs["explained"][:5]])
tl.show("annual")

# %% [markdown]
# ## More like this one
#
# `similar_to` compares every pixel with a place: by the cosine of posterior means, -1 to 1, or with
# `by="distance"` in standard deviations of the errors of both, in which what is hardly known counts
# less. A place is a point, a polygon, or several, which count as their mean. Here one pixel of
# maize is asked for, then ten, marked by stars; the black lines are where maize truly stands.

# %%
truth = xr.open_datatree("region/truth.zarr", consolidated=False)["land_cover"][0]
maize = dict(zip(truth.flag_meanings.split(), truth.flag_values, strict=True))["maize"]
maize = (truth == maize).values
rows, columns = np.random.default_rng(0).permutation(np.argwhere(maize))[:10].T
x, y = vectors.x.values[columns], vectors.y.values[rows]
figure, axes = plt.subplots(1, 2, figsize=(9, 4), layout="constrained")
for axis, count in zip(axes, (1, 10), strict=True):
    alike = vectors.terralatent.similar_to(x[:count], y[:count]).squeeze("time").compute()
    alike.plot(ax=axis, vmin=-0.5, vmax=1, cbar_kwargs={"label": "cosine"})
    axis.contour(alike.x, alike.y, maize, levels=[0.5], colors="black", linewidths=0.8)
    axis.plot(x[:count], y[:count], "*", color="white", markeredgecolor="black", markersize=12)
    score = average_precision_score(maize.ravel(), alike.values.ravel())
    axis.set(title=f"like {count}: average precision {score:.2f}", aspect="equal")
    axis.set_axis_off()

# %% [markdown]
# ## What it costs
#
# A year of a pixel is 64 numbers of a byte, and 64 for their standard deviations: a country fits on
# a disk. The vectors of a region that was embedded last year, or by somebody else with the same
# model, compare with these; [docs/annual.md](../docs/annual.md) says how well maps do from them.
