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
# # 2. Gaps and uncertainty
#
# What would Sentinel-2 have measured on a day on which it saw nothing but cloud, and how far can
# the answer be believed? Here seven weeks of Sentinel-2 are taken away in early summer, when crops
# change fastest, and predicted from what is left: Sentinel-2 before and after, and radar. The
# region is simulated, so that the truth of every day is known.

# %%
import matplotlib.pyplot as plt
import pandas as pd
import xarray as xr

import terralatent as tl

tl.simulate("region", size=64, seed=3)
source, region = "region", "region/region.geojson"
scenes = tl.search_scenes(source, region, "2018-01-01", "2018-12-31")
tl.build_cube(scenes, region, "cube")
scenes

# %% [markdown]
# For a real region these three lines stand in place of those four. Its truth is not known; what
# Sentinel-2 saw in the gap takes its place, for the predictive interval.
#
# ```python
# source, region = "planetary-computer", "my-fields.geojson"
# scenes = tl.search_scenes(source, region, "2024-01-01", "2024-12-31")
# tl.build_cube(scenes, region, "cube")
# ```
#
# ## A gap
#
# Datasets of sensors may stand where a cube does, so a gap is a selection in time. What `decode`
# gives is lazy; `compute` computes it here, in this process.

# %%
cube = tl.open_cube("cube", clear=False)  # with what is under clouds, which `clear` marks
sensors = {name: cube[name].to_dataset() for name in ("sentinel-1-asc", "sentinel-1-desc")}
optical = cube["sentinel-2-l2a"].to_dataset()
gap = slice("2018-05-20", "2018-07-10")
rest = optical.drop_sel(time=optical.sel(time=gap).time)
dates = pd.date_range("2018-04-01", "2018-08-31", freq="5D")
bands = {}
for name, own in {"all that was seen": optical, "all but the grey weeks": rest}.items():
    given = sensors | {"sentinel-2-l2a": own}
    bands[name] = tl.pretrained().decode(given, "sentinel-2-l2a", dates=dates).compute()

# %% [markdown]
# ## One pixel
#
# The dark band is the 90 % credible interval of the *surface*, the reflectance of the ground. A new
# *observation* scatters more, by haze and noise: the pale band is its 90 % predictive interval. The
# circles are clear observations; those in the grey weeks were taken away. The red line is the
# truth.

# %%
x, y = optical.x[20].item(), optical.y[40].item()
truth = xr.open_datatree("region/truth.zarr", consolidated=False)["daily"]["reflectance"]
shown = slice(dates[0], dates[-1])
truth = truth.sel(time=shown).compute()
figure, axes = plt.subplots(2, figsize=(9, 6), sharex=True, sharey=True, layout="constrained")
for axis, (name, own) in zip(axes, bands.items(), strict=True):
    pixel = own.terralatent.series(x, y, cube=cube).sel(band="B08", acquisition=shown)
    axis.fill_between(dates, pixel.q05, pixel.q95, color="#d9e6f2")
    axis.fill_between(dates, pixel.surface_q05, pixel.surface_q95, color="#7fb2d9")
    axis.plot(dates, pixel.surface, color="#0072B2")
    axis.plot(pixel.acquisition, pixel.observed.where(pixel.clear), "ko", markerfacecolor="none")
    axis.plot(truth.time, truth.sel(band="B08", x=x, y=y), color="#D55E00")
    axis.axvspan(*pd.to_datetime([gap.start, gap.stop]), color="0.5", alpha=0.15)
    axis.set(title=f"predicted from {name}", ylabel="near infrared")

# %% [markdown]
# ## All pixels
#
# Over all pixels and bands within these weeks: the error of the surface, what the model says of it
# (its standard deviation), and the share of the truth that its 90 % intervals hold. In the gap the
# error grows, and the model says so. The intervals hold more than 90 %: the model knows many
# regions, and is careful in each. [3](3-train-on-your-region.ipynb) adapts it to one.

# %%
rows = {}
for name, own in bands.items():
    error, std = truth - own["mean"].sel(time=gap), own["std_signal"].sel(time=gap)
    held = abs(error) <= 1.645 * std
    rows[name] = [float((error**2).mean()) ** 0.5, float(std.mean()), float(held.mean())]
pd.DataFrame(rows, index=["error", "standard deviation", "held by 90 % intervals"]).T.round(4)
