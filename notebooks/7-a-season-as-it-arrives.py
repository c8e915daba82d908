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
# # 7. A season as acquisitions arrive
#
# A crop is to be watched while it grows, with what there is that day. The cube grows by what is
# new, and the same model says, after each step, how the season went, what it makes of the weeks to
# come, and how unsure that is.

# %%
import matplotlib.pyplot as plt
import pandas as pd
import xarray as xr

import terralatent as tl

tl.simulate("region", size=64, seed=3)
source, region, year = "region", "region/region.geojson", "2018"

# %% [markdown]
# For a real region these three lines stand in place of those two and of the first one in the loop;
# `end` is then today, once a night.
#
# ```python
# source, region, year = "planetary-computer", "my-fields.geojson", "2024"
# sensors = ["sentinel-2-l2a", "sentinel-1-asc", "sentinel-1-desc"]
# scenes = tl.search_scenes(source, region, f"{year}-01-01", f"{year}-{end}", sensors)
# ```
#
# ## Three days of a season
#
# The same three calls with a later end. `build_cube` reads scenes that are new, and shows them to
# readers in one commit; where nothing is new it writes nothing. `decode` takes dates beyond the
# last acquisition as well as those before it, and warns where they lie so far beyond that nothing
# is known of them but the prior.

# %%
dates = pd.date_range(f"{year}-03-01", f"{year}-09-15", freq="5D")
ndvi = {}
for end in ("04-20", "06-05", "07-25"):
    scenes = tl.search_scenes(source, region, f"{year}-01-01", f"{year}-{end}")
    report = tl.build_cube(scenes, region, "season", progress=False)
    bands = tl.pretrained().decode("season", "sentinel-2-l2a", dates=dates)
    ndvi[end] = bands.terralatent.index("ndvi").compute()
    print(f"until {end}: {report.new} dates are new,", report.sensors)

# %% [markdown]
# ## One field
#
# NDVI of a pixel of winter wheat, with its 90 % interval, as it was known on each of these days;
# the orange line is the truth. Up to the day the interval is narrow; after it, it widens to what
# such a pixel might do, and the harvest of July is within it before it is seen.

# %%
truth = xr.open_datatree("region/truth.zarr", consolidated=False)
cover = truth["land_cover"][0]
wheat = dict(zip(cover.flag_meanings.split(), cover.flag_values, strict=True))["winter_wheat"]
row, column = (int(places[len(places) // 2]) for places in (cover == wheat).values.nonzero())
true = truth["daily"]["reflectance"].isel(y=row, x=column).sel(time=dates)
red, near = true.sel(band="B04"), true.sel(band="B08")
figure, axes = plt.subplots(3, figsize=(9, 7), sharex=True, sharey=True, layout="constrained")
for axis, (end, known) in zip(axes, ndvi.items(), strict=True):
    pixel = known.isel(y=row, x=column)
    axis.fill_between(dates, pixel["q05"], pixel["q95"], color="#a9cbe6")
    axis.plot(dates, pixel["value"], dates, (near - red) / (near + red))
    axis.axvline(pd.Timestamp(f"{year}-{end}"), color="0.4")
    axis.set(title=f"as known on {year}-{end}", ylabel="NDVI", ylim=(0, 1))

# %% [markdown]
# Every state of the cube can be opened again: a result names the one that it was made of as
# `cube_snapshot` in its attributes, and `at=` of `embed` and `decode` takes it.
