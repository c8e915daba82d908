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
import xarray as xr
from sklearn.metrics import average_precision_score

import terralatent as tl

tl.simulate("region", size=96, seed=3)
source, region = "region", "region/region.geojson"
scenes = tl.search_scenes(source, region, "2018-01-01", "2018-12-31")
tl.build_cube(scenes, region, "cube", block=48)

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
# A place is a point, or several, or a polygon. `cosine` is of the posterior means. `distance` also
# counts how well each pixel is known: in standard deviations of the errors of both, about 1 where
# only errors differ. Here one pixel in a field of winter wheat is asked for; the black lines are
# where that crop truly stands.

# %%
truth = xr.open_datatree("region/truth.zarr", engine="zarr", consolidated=False)
cover = truth["land_cover"][0]
names = dict(zip(cover.flag_meanings.split(), cover.flag_values, strict=True))
wheat = (cover == names["winter_wheat"]).values
row, column = map(int, (v[len(v) // 2] for v in wheat.nonzero()))
x, y = vectors.x[column].item(), vectors.y[row].item()
figure, axes = plt.subplots(1, 2, figsize=(9, 4), layout="constrained")
for axis, by in zip(axes, ("cosine", "distance"), strict=True):
    alike = vectors.terralatent.similar_to(x, y, by=by).squeeze("time").compute()
    sign = 1 if by == "cosine" else -1
    score = average_precision_score(wheat.ravel(), sign * alike.values.ravel())
    alike.plot(ax=axis, robust=True, cmap="viridis" if sign > 0 else "viridis_r")
    axis.contour(alike.x, alike.y, wheat, levels=[0.5], colors="black", linewidths=0.8)
    axis.plot(x, y, "*", color="white", markeredgecolor="black", markersize=14)
    axis.set(title=f"by {by}: average precision {score:.2f}", aspect="equal")
    axis.set_axis_off()
