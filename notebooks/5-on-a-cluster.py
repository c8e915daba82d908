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
# # 5. On a cluster
#
# A region is mapped block by block, and blocks go to Dask workers: on this machine, on SLURM, on
# Kubernetes, wherever you have a client. Workers read the cube and write the result themselves; the
# notebook commits. Memory of a worker depends on the block, never on the region. `security=True`
# gives the cluster keys of its own: without, whoever reaches its port can run code as you.

# %%
import os
import signal
from threading import Timer

from dask.distributed import Client

import terralatent as tl

options = {"memory_limit": "2GB", "dashboard_address": ":0", "silence_logs": "CRITICAL"}
client = Client(n_workers=2, threads_per_worker=1, security=True, **options)
tl.simulate("region", size=64, seed=3)
source, region = "region", "region/region.geojson"
scenes = tl.search_scenes(source, region, "2018-01-01", "2018-12-31")
tl.build_cube(scenes, region, "cube", block=16, client=client)

# %% [markdown]
# For a real region these three lines stand in place of the last four. On a cluster, cube and result
# lie where all workers reach them: on a common disk or in an object store.
#
# ```python
# source, region = "planetary-computer", "my-fields.geojson"
# scenes = tl.search_scenes(source, region, "2024-01-01", "2024-12-31")
# tl.build_cube(scenes, region, "s3://my-bucket/cube", client=client)
# ```
#
# The client is any of Dask's, or a name: `client="slurm", workers=64` asks for jobs as
# `~/.config/dask/jobqueue.yaml` describes them, and `"kubernetes"` and `"gateway"` go the same way.
#
# ```python
# client = Client("tcp://scheduler:8786")
# client = dask_jobqueue.SLURMCluster(cores=8, processes=8, memory="32GB").get_client()
# ```
#
# ## A store, block by block
#
# Here a block is 16 by 16 pixels, so that there are 16 of them; 256 by 256 is the default.

# %%
report = tl.embed("cube", out="latents", dates="monthly", client=client)
print(report.computed, "of", report.blocks, "blocks,", report.pixels, "pixels")

# %% [markdown]
# ## A run that ends early
#
# Workers die, jobs reach the end of their time, kernels are interrupted. What is done stays, and
# the same call does the rest. Here one worker is killed in the middle of a run, as a cluster might
# do it: its blocks go to the other one, and to the worker that takes its place.

# %%
victim = client.run(os.getpid).popitem()[1]
Timer(0.2, os.kill, (victim, signal.SIGKILL)).start()
report = tl.decode("cube", None, "sentinel-2-l2a", "10D", out="bands", client=client)
print(report.computed, "of", report.blocks, "blocks;", len(report.losses), "lost")
again = tl.decode("cube", None, "sentinel-2-l2a", "10D", out="bands", client=client)
print("the same call again:", again.computed, "blocks left to do")

# %% [markdown]
# ## Lazy results
#
# Without `out=` a verb gives a Dataset of Dask arrays, which the client computes when it is asked
# for, as part of a graph of your own: here how much each pixel changes over the year, of which only
# the map comes back.

# %%
latents = tl.embed("cube", dates="monthly")
informed = latents["mean"].isel(latent=(latents["information"] > 1.0).values)
change = informed.std("time").mean("latent").rename("change over the year").compute()
options = {"size": 4, "aspect": 1.3, "cbar_kwargs": {"label": change.name}}
change.drop_vars("spatial_ref").plot.imshow(**options).axes.set_axis_off()
client.close()
