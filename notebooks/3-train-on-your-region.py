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
# # 3. Train on your region
#
# The model that comes with the package knows thirteen climates, simulated ones, and maps any region
# at once. A model of the region's own predicts better there, and takes minutes. This notebook
# trains the one further on a region, and compares both with the truth, which is known since the
# region is simulated.

# %%
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import xarray as xr

import terralatent as tl

tl.simulate("region", size=64, seed=3)
source, region = "region", "region/region.geojson"
scenes = tl.search_scenes(source, region, "2018-01-01", "2018-12-31")
tl.build_cube(scenes, region, "cube")
scenes

# %% [markdown]
# For a real region these three lines stand in place of those four:
#
# ```python
# source, region = "planetary-computer", "my-fields.geojson"
# scenes = tl.search_scenes(source, region, "2024-01-01", "2024-12-31")
# tl.build_cube(scenes, region, "cube")
# ```
#
# ## Train
#
# `pretrained=` begins from a model that is there, and keeps its choices; without it training begins
# from nothing, with more steps. Whole acquisitions are hidden meanwhile: weights that predict these
# best are kept, and the start is a candidate itself, so that nothing gets worse unnoticed. The same
# call again goes on where it was interrupted. 24 steps are few, for speed; 80 are better.

# %%
report = tl.train("cube", "own", pretrained="s1s2l8", steps=24, validate_every=8)
print(report)
tl.load_model("own")

# %% [markdown]
# ## What it brings
#
# Sentinel-2's bands on every tenth day, by both models, beside the truth: the error of the surface,
# and the share of the truth that lies within the 90 % intervals. Those of the model as it comes are
# wide, as it must hold for all regions; those of the one trained here are narrower, and rather too
# narrow. [docs/adapting.md](../docs/adapting.md) says how intervals alone are fitted to a place.

# %%
truth = xr.open_datatree("region/truth.zarr", consolidated=False)
truth = truth["daily"]["reflectance"]
bands, rows = {}, {}
for name, model in {"as it comes": "s1s2l8", "trained here": "own"}.items():
    bands[name] = tl.decode("cube", model, "sentinel-2-l2a", "10D").compute()
    error = truth.sel(time=bands[name].time) - bands[name]["mean"]
    held = abs(error) <= 1.645 * bands[name]["std_signal"]
    rows[name] = [np.sqrt(float((error**2).mean())), float(held.mean())]
pd.DataFrame(rows, index=["error", "held by 90 % intervals"]).T.round(4)

# %% [markdown]
# Where and when each of them errs, as the root mean square over the bands:

# %%
figure, axes = plt.subplots(1, 2, figsize=(8, 3.6), layout="constrained")
for axis, (name, own) in zip(axes, bands.items(), strict=True):
    error = (own["mean"] - truth.sel(time=own.time)) ** 2
    image = axis.imshow(np.sqrt(error.mean(["time", "band"])), vmin=0.0, vmax=0.04)
    axis.set(title=name)
    axis.set_axis_off()
figure.colorbar(image, ax=axes, label="error of reflectance")
plt.show()
