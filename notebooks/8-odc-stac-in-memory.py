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
# # 8. Your odc-stac Dataset, in memory
#
# Whoever has loaded a Dataset already, by odc-stac, stackstac or xcube, needs no cube: the model
# takes it as it is, once it is said what its numbers mean. Nothing is written to disk here.

# %%
import matplotlib.pyplot as plt
import odc.stac
import pystac

import terralatent as tl

tl.simulate("region", size=64, seed=3)
catalog = pystac.Catalog.from_file("region/catalog.json")
items, offset = list(catalog.get_child("sentinel-2-l2a").get_items()), 0.0

# %% [markdown]
# For a real region these three lines stand in place of those three, after `import
# planetary_computer, pystac_client`. ESA's processor adds 0.1 to the reflectance since baseline
# 04.00 of January 2022, so that the offset of newer scenes is -0.1.
#
# ```python
# url, sign = "https://planetarycomputer.microsoft.com/api/stac/v1", planetary_computer.sign_inplace
# search = pystac_client.Client.open(url, modifier=sign).search(
#     collections="sentinel-2-l2a", bbox=(3.00, 50.80, 3.05, 50.84), datetime="2024")
# items, offset = list(search.items()), -0.1
# ```
#
# ## Load it
#
# Into memory here; with `chunks=` it would be lazy. The bands that you have are enough: the model
# has ten of Sentinel-2, and takes what is not there as masked.

# %%
loaded = odc.stac.load(
    items,
    bands=["B02", "B03", "B04", "B08", "B11", "SCL"],
    crs="EPSG:32631",
    resolution=10,
    groupby="solar_day",
)
loaded.sizes, str(loaded["B08"].dtype)

# %% [markdown]
# ## Say what it is
#
# Integers could mean anything, so what they are is asked for, not guessed: here reflectance is
# number * 0.0001 + offset. What is clear follows from the sensor's own mask band, `SCL`, unless you
# say `clear=`. With `items=` a warning names the times at which passes of two platforms are merged.

# %%
optical = tl.as_sensor(loaded, "sentinel-2-l2a", scale=1e-4, offset=offset, items=items)
optical.terralatent

# %% [markdown]
# ## Latents and bands
#
# Both are lazy Datasets on the grid of yours, with its CRS, and computed when they are asked for.

# %%
model = tl.pretrained()
latents = model.embed(optical, dates="monthly")
seasons = latents.terralatent.rgb().isel(time=[1, 4, 7, 10])
for axis in seasons.plot.imshow(col="time", size=3, aspect=1).axs.flat:
    axis.set_axis_off()

# %% [markdown]
# The model gives back bands that were never loaded, such as the red edge, and a series without
# gaps: NDVI on every tenth day, with its 90 % interval, beside what was seen.

# %%
bands = model.decode(optical, "sentinel-2-l2a", dates="10D")
x, y = optical.x[20].item(), optical.y[40].item()
ndvi = bands.terralatent.index("ndvi").sel(x=x, y=y).compute()
seen = optical.terralatent.index("ndvi").sel(x=x, y=y).where(optical["clear"].sel(x=x, y=y))
figure, axis = plt.subplots(figsize=(9, 3))
axis.fill_between(ndvi.time, ndvi["q05"], ndvi["q95"], color="#a9cbe6")
axis.plot(ndvi.time, ndvi["value"], label="NDVI of the surface")
axis.plot(seen.time, seen["value"], "k.", label="seen")
axis.legend()
print(*bands.band.values)
