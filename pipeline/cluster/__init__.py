"""Dask: clients and workers, and the stream of tasks through them."""
